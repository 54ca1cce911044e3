"""Several lives of one instance, without a host: what was recorded is given to the next life."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors import DurableFunction
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import RunContext
from lexigram_actors.host.surroundings import Surroundings
from lexigram_actors.result import Result
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
)

BEGUN = 1_700_000_000.0


class Lives:
    """An instance of a durable function, its journal and its mail.

    `skew` is added to the wall clock: to let time pass between lives, or to let the clock jump.
    """

    def __init__(self, function: Any, input: Any = None, **facts: Any) -> None:
        self.runnable: DurableFunction = function.__runnable__
        self.input = input
        self.entries: list[Entry] = []
        self.mail: list[Mail] = []
        self.skew = 0.0
        self.host: Surroundings | None = None
        self.journal: Journal | None = None
        self.instance = Instance(
            id="order-42",
            definition=Definition("workflow", self.runnable.name, self.runnable.version),
            status=InstanceStatus.RUNNING,
            epoch=1,
            created_at=BEGUN,
            **{"seed": "seed", **facts},
        )

    def clock(self) -> float:
        return BEGUN + trio.current_time() + self.skew

    def begin(self, entries: list[Entry] | None = None) -> Journal:
        """Begin a life with what is recorded, or with these entries instead."""
        codec = Codec()
        kept = self.entries if entries is None else entries
        copies = [each._replace(value=codec.loads(codec.dumps(each.value))) for each in kept]
        loaded = Loaded(
            instance=self.instance, input=self.input, entries=copies, mail=list(self.mail)
        )
        self.journal = Journal(loaded, None, self.clock, host=self.host)
        return self.journal

    async def run(self, entries: list[Entry] | None = None) -> Result[Any, Exception]:
        """Live until the end, whatever it is; what was recorded is in `entries` then."""
        journal = self.begin(entries)
        written = list(self.entries if entries is None else entries)
        journal.on_entry = written.append
        try:
            with journal.scope:
                context = RunContext(input=self.input, run_id="order-42", journal=journal)
                return await self.runnable.run(context)
            raise AssertionError("the life was ended from outside")
        finally:
            self.entries = written

    async def die_at(self, moment: float) -> None:
        """Live until that moment of Trio's clock, then die: nothing more is recorded."""
        with trio.CancelScope(deadline=moment):
            await self._live()
            raise AssertionError("it ended before its death")

    async def die_when_idle(self) -> None:
        """Live until nothing moves, then die."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        journal = self.begin()
        written = self.entries = list(self.entries)
        journal.on_entry = written.append
        await self.runnable.run(RunContext(input=self.input, run_id="order-42", journal=journal))

    def go_back(self, entries: list[Entry]) -> None:
        """Let it be the time at which the last of these was recorded."""
        self.skew += (entries[-1].at if entries else BEGUN) - self.clock()

    def signal(self, name: str, payload: Any = None, *, kind: str = "signal") -> None:
        """Send something, to the life there is and to those that follow."""
        mail = Mail(len(self.mail) + 1, "order-42", kind, name, payload, self.clock())
        self.mail.append(mail)
        if self.journal is not None:
            self.journal.deliver(mail)

    def recorded(self) -> list[tuple[str, str]]:
        """Return what is recorded, by path and kind."""
        return [(entry.path, entry.kind) for entry in self.entries]
