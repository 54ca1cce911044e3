"""Where the progress of a saga is recorded: nowhere, in a store of sagas, or in a journal.

A ledger is told of what happened (`progress.news`) before the next thing begins. Cancelled
meanwhile it writes all the same, within `WRITE_TIMEOUT` seconds, and lets the cancellation pass.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Final, Protocol, TypeVar, final

import trio

from lexigram_actors.errors import NotStorableError, StoreError, describe
from lexigram_actors.errors.base import sole_error
from lexigram_actors.host.cancelling import passing
from lexigram_actors.host.compensation import LEDGER, part_of, step_of
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import escaped
from lexigram_actors.host.steps import key_of
from lexigram_actors.saga.models import SagaState, SagaStoreProtocol
from lexigram_actors.saga.progress import Progress, damaged, stored_version

logger = logging.getLogger(__name__)

T = TypeVar("T")

WRITE_TIMEOUT: Final = 30.0
"""Seconds that a write may go on for after a cancellation."""

RESULT_PATH: Final = re.compile(r"\$\.done\[(\d+)\]")

MARK: Final = "#saga"
"""Where in a journal stands what is of no single step."""


class Ledger(Protocol):
    """Records what happened.

    Attributes:
        journal: Of the instance that the saga is a part of; None where no host keeps it.
        is_lenient: Whether the saga goes on where something cannot be recorded.
        lock: Held from what happened to its record, where all is written at once: a result that
            cannot be stored must be the only news there is. None: each thing is written by itself.
    """

    @property
    def journal(self) -> Journal | None: ...

    @property
    def is_lenient(self) -> bool: ...

    @property
    def lock(self) -> trio.Lock | None: ...

    def now(self) -> float:
        """Return wall time in unix seconds."""
        ...

    def key(self, step: str) -> str:
        """Return the idempotency key of a step."""
        ...

    async def record(self, progress: Progress) -> None:
        """Record the news; durable on return.

        Raises:
            StoreError: They are not, or it is not known.
            NotStorableError: A result has no stored form; nothing was written.
        """
        ...


@final
class SagaLedger:
    """Keeps a saga in a store of sagas, whole each time it is recorded.

    Args:
        is_lenient: Whether a store that fails is logged, and the saga goes on.
    """

    __slots__ = ("_id", "_kept", "_store", "is_lenient", "lock")

    journal: Journal | None = None

    def __init__(self, store: SagaStoreProtocol, id: str, *, is_lenient: bool) -> None:
        self._store = store
        self._id = id
        self.is_lenient = is_lenient
        self._kept: set[str] = set()  # steps of which the result was recorded
        self.lock: trio.Lock | None = trio.Lock()

    def now(self) -> float:
        return time()

    def key(self, step: str) -> str:
        return key_of_step(self._id, step)

    async def load(self) -> tuple[int, str, dict[str, Any]] | None:
        """Return the version, the state and the data that are stored; None: nothing."""
        loaded = await self._ask(self._store.load, self._id, "read")
        if loaded is None:
            return None
        if not isinstance(loaded, tuple | list) or len(loaded) != 2:
            raise damaged(f"what is stored of {self._id!r} is no state with its data")
        state, data = loaded
        return stored_version(data), state, data

    async def record(self, progress: Progress) -> None:
        """See `Ledger`."""
        progress.news.clear()
        try:
            await self._save(progress.state, progress)
        except trio.Cancelled:
            with trio.move_on_after(WRITE_TIMEOUT, shield=True) as scope:
                await self._save(progress.state, progress)
            if scope.cancelled_caught:
                logger.error(  # noqa: TRY400 - the cancellation is no news
                    "saga %r: it may not be recorded how far it is: that took longer than %g s",
                    self._id,
                    WRITE_TIMEOUT,
                )
            raise

    async def _save(self, state: SagaState, progress: Progress) -> None:
        async def save(id: str) -> None:
            await self._store.save(id, state, progress.as_data())

        try:
            while True:
                try:
                    await self._ask(save, self._id, "recorded")
                    break
                except NotStorableError as error:
                    if not self._leave_out_changed(progress, error):
                        raise
            self._kept.update(progress.done)
            progress.is_ahead = False
        except StoreError as error:
            if not self.is_lenient:
                raise
            progress.is_ahead = True
            logger.warning("saga %r goes on, and is not recorded: %s", self._id, error)

    def _leave_out_changed(self, progress: Progress, error: NotStorableError) -> bool:
        """Have results left out that could be stored once, and were changed; False: none was."""
        names = list(progress.done)
        found = RESULT_PATH.match(error.path)
        if found is not None:
            names = names[int(found[1]) : int(found[1]) + 1]
        elif any(n not in self._kept and progress.done[n] is not None for n in names):
            return False  # it is the new one
        changed = [n for n in names if n in self._kept and n not in progress.unstorable]
        progress.unstorable.update(changed)
        for name in changed:
            logger.error(
                "saga %r: the result of %r was changed after it was recorded, and is recorded as "
                "None from now on: %s",
                self._id,
                name,
                error,
            )
        return bool(changed)

    async def _ask(self, ask: Callable[[str], Awaitable[T]], id: str, done: str) -> T:
        try:
            return await ask(id)
        except (StoreError, NotStorableError):
            raise
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of any kind
            failure = sole_error(error)
        except BaseExceptionGroup as group:
            raise passing(group, f"the store of saga {id!r}") from None  # noqa: ASYNC104
        raise StoreError(
            f"the progress of saga {id!r} cannot be {done}: {describe(failure)}",
            hint="mend the store, and execute the saga again: what is recorded stands",
            cause=failure,
        ) from failure


@final
class JournalLedger:
    """Keeps a saga in the journal of the instance that it is, or is a part of."""

    __slots__ = ("_place", "journal")

    lock: trio.Lock | None = None
    is_lenient: bool = False

    def __init__(self, journal: Journal, place: str) -> None:
        self.journal: Journal | None = journal
        self._place = f"{place}/" if place else ""

    def now(self) -> float:
        return self._journal.clock()

    @property
    def _journal(self) -> Journal:
        assert self.journal is not None
        return self.journal

    def path(self, step: str) -> str:
        """Return where a step stands in the journal."""
        return self._place + (part_of(step) if step else MARK)

    def key(self, step: str) -> str:
        return key_of(self._journal, self.path(step))

    def load(self, version: int) -> Progress:
        """Return what is recorded."""
        progress = Progress(version)
        progress.epoch = self._journal.epoch
        start = len(self._place)
        for entry in self._journal.entries:
            name = entry.path[start:]
            if entry.kind not in LEDGER or not entry.path.startswith(self._place) or "/" in name:
                continue
            progress.apply(entry.kind, "" if name == MARK else step_of(name), entry.value)
        return progress

    async def record(self, progress: Progress) -> None:
        """See `Ledger`: one write, whatever the number of news."""
        news, progress.news = progress.news, []
        if not news:
            return
        *earlier, last = news
        for kind, step, value in earlier:
            self._journal.later(self.path(step), kind, value)
        kind, step, value = last
        await self._journal.append(self.path(step), kind, value)


def key_of_step(saga_id: str, step: str) -> str:
    """Return the idempotency key of a step of a saga that is no part of an instance."""
    return f"{escaped(saga_id)}/{part_of(step)}"
