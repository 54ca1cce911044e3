"""What outlives a process: its store, the time, and what it did to the outside."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, final

import trio

from lexigram_actors.storage.memory import MemoryStore
from lexigram_actors.storage.memory_instances import MemoryTables
from lexigram_actors.storage.ports import Store
from lexigram_actors.storage.sqlite.store import SQLiteStore
from lexigram_actors.testing.clock import VirtualTime
from lexigram_actors.testing.faults import CrashPoint, FaultyStore, Life
from lexigram_actors.testing.ledger import Effect
from lexigram_actors.testing.schedules import Schedule, Stuck, run

StoreKind = Literal["memory", "sqlite"]

LOGGER = "lexigram_actors"

DOWNTIME = 1.0
"""Seconds of virtual time between the end of one life and the beginning of the next."""


def is_excused(error: BaseException, life: Life) -> bool:
    """Say whether a life that raised this has only met with what was planned for it."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_excused(each, life) for each in error.exceptions)
    if isinstance(error, KeyboardInterrupt | Stuck):
        return False
    return life.is_dead or (life.is_struck and isinstance(error, Exception))


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing of the library's meanwhile: in a life that is to die it is what was planned."""
    logger = logging.getLogger(LOGGER)
    earlier = logger.propagate
    silent = logging.NullHandler()
    logger.addHandler(silent)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = earlier
        logger.removeHandler(silent)


@final
class World:
    """A place where a program lives several times over, each life in a Trio run of its own.

    The program reaches everything durable through it: `store`, `time` (the wall clock), and
    `effect` for what it does to the outside. What it keeps in Python objects that outlive it is
    none of that, and must not be read by a later life.

    Attributes:
        time: Give it as `clock=` to whatever asks for one.
        ledger: The effects of all lives, in the order in which they began.
        acknowledged: What the program has promised to somebody, in order.
        lives: All lives so far; the last is the one that goes on.
        result: What the program returned, in the last life that got so far.

    Args:
        kind: Which sort of store. A SQLite file is opened anew for each life, in the calling task.
        folder: An empty folder for its file; needed for that sort alone.
    """

    def __init__(self, kind: StoreKind = "memory", folder: str | os.PathLike[str] | None = None):
        if kind not in ("memory", "sqlite"):
            raise ValueError(f"a world has a store in 'memory' or 'sqlite', and not {kind!r}")
        if kind == "sqlite" and folder is None:
            raise ValueError("a SQLite file needs a folder: World('sqlite', folder=...)")
        self.time = VirtualTime()
        self.ledger: list[Effect] = []
        self.acknowledged: list[str] = []
        self.lives: list[Life] = []
        self.result: Any = None
        self._path = None if folder is None or kind == "memory" else Path(folder) / "world.db"
        self._tables = MemoryTables()
        self._store: FaultyStore | None = None

    # --- for the program and for checks

    @property
    def store(self) -> FaultyStore:
        """The store, while a life or a check goes on."""
        if self._store is None:
            raise RuntimeError("the store of a world is open only while a life or a check goes on")
        return self._store

    @property
    def life(self) -> int:
        """The number of this life, from 1; 0 before the first."""
        return len(self.lives)

    async def effect(self, name: str, seconds: float = 0.0) -> None:
        """Do something to the outside: it is in the ledger from when it begins.

        A checkpoint comes before, so that a cancellation keeps it from beginning. Of a dead process
        it is refused, and counted.

        Args:
            seconds: How long it takes.
        """
        await trio.lowlevel.checkpoint()
        await self._live_on()
        self.ledger.append(Effect(name, self.life, self.time()))
        if seconds:
            await trio.sleep(seconds)

    async def acknowledge(self, name: str) -> None:
        """Promise something to somebody: a check says whether it was kept.

        Of a dead process it is refused, and counted. Otherwise no checkpoint.
        """
        await self._live_on()
        self.acknowledged.append(name)

    def started(self, name: str) -> int:
        """Return how often the effect of that name has begun."""
        return Counter(effect.name for effect in self.ledger)[name]

    @property
    def crashes(self) -> int:
        """How many lives have met with what was planned for them."""
        return sum(life.is_struck for life in self.lives)

    @property
    def calls_after_death(self) -> int:
        """How many calls and effects there were of processes that were dead."""
        return sum(life.refused for life in self.lives)

    async def _live_on(self) -> None:
        if self.lives:
            await self.lives[-1].live_on()

    # --- for whoever plays fate

    def live(
        self,
        program: Callable[[World], Awaitable[Any]],
        point: CrashPoint | None = None,
        *,
        within: float,
        seed: int = 0,
        schedule: Schedule = "shuffled",
    ) -> bool:
        """Let the program live until its end, or until `point`; return whether it got to the end.

        What a dead program raises on its way out counts for nothing; nor does what it raises after
        its store has wrongly told it of a failure.

        Args:
            within: Seconds of virtual time that it may take.

        Raises:
            AssertionError: It took longer, dead or alive; or it spins.
            BaseException: What it raised in good health.
        """
        life = Life(len(self.lives) + 1, point)
        self.lives.append(life)
        self.time.jump(DOWNTIME)
        limit = trio.CancelScope()
        ended = False

        async def main() -> None:
            nonlocal ended
            async with self.opened(life):
                limit.deadline = trio.current_time() + within
                with limit, life.scope:
                    result = await program(self)
                    ended = not life.is_dead
                    if ended:
                        self.result = result

        try:
            with quiet() if point is not None else nullcontext():
                run(main, seed=seed, schedule=schedule)
        except BaseException as error:  # noqa: ASYNC103 - a life that is over, seen from outside
            if not is_excused(error, life):
                raise
            ended = False
        if limit.cancelled_caught:
            raise AssertionError(f"life {life.number} did not end within {within} s")
        return ended

    def look(self, check: Callable[[World], Awaitable[None] | None]) -> None:
        """Call `check` with this world in a Trio run, in which it may read the store."""

        async def main() -> None:
            async with self.opened(Life(0)):
                complaint = check(self)
                if complaint is not None:
                    await complaint

        run(main)

    @asynccontextmanager
    async def opened(self, life: Life, *, inline: bool = True) -> AsyncIterator[None]:
        """Open the store for a life.

        Args:
            inline: Whether the SQL runs in the calling task; else on the store's own thread.
        """
        async with self._opened(life, inline) as store:
            self._store = FaultyStore(store, life)
            try:
                yield
            finally:
                self._store = None

    @asynccontextmanager
    async def _opened(self, life: Life, inline: bool) -> AsyncIterator[Store]:
        if self._path is None:
            yield MemoryStore(tables=self._tables, clock=self.time)
            return
        # A process that dies takes nothing with it that was committed; only a power loss would.
        store = SQLiteStore(self._path, synchronous="normal", inline=inline, clock=self.time)
        async with store:
            worker = store.rows.running()
            worker.before_commit = life.before_commit
            yield store
