"""The workers of a run: tasks that pull batches, process them, and pull again.

They start as they are needed. At most one of them is *standby*: woken or started, and not yet on
its way. When it runs, those before it have either gone to sleep in their processors or have no
room for results; so it takes a batch and rouses the next. Where a processor never waits, one worker
does all and the standby finds nothing to do; where it waits, the pool grows to its limit.

Where batches are taken is the only bound: `in_flight < limit`, `waiting results < limit`, and both
together below a window of twice that (of once that before the first result was taken). A worker therefore never waits with a result in its hand, and a consumer that is slow
stops the reading.

Rejected: a task a batch (12 µs each), and a channel that feeds the workers (10 µs a hop).
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, final

import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    checkpoint,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from lexigram_actors.bulk.outlet import Outlet
from lexigram_actors.bulk.sources import (
    TURN,
    TURN_SECONDS,
    AsyncSource,
    IterableSource,
    ListSource,
)

Work = Callable[[int, list[Any]], Awaitable[None]]


@final
class Pool:
    """Runs `work(number, items)` for every batch of the source, up to `limit` at once.

    Args:
        work: Processes a batch and puts its result into the outlet. What it raises ends its
            worker and is raised by the nursery.
        input_failed: Told what the input raised; nothing more is taken then.
    """

    __slots__ = (
        "_context",
        "_idle",
        "_last",
        "_live",
        "_most_held",
        "_nursery",
        "_outlet",
        "_reader",
        "_source",
        "_standby",
        "_work",
        "gone",
        "in_flight",
        "input_failed",
        "limit",
        "read",
        "stopped",
        "taken",
        "window",
    )

    def __init__(
        self,
        source: ListSource | IterableSource | AsyncSource,
        outlet: Outlet,
        limit: int,
        work: Work,
        input_failed: Callable[[Exception], None],
    ) -> None:
        self.limit = limit
        self._most_held = limit
        self.window = limit  # until the first result was taken: it must not wait for others
        self.in_flight = 0
        self.taken = 0  # batches
        self.read = 0  # items in them
        self.stopped = False
        self.input_failed = input_failed
        self.gone = trio.Event()
        self._work = work
        self._source = source
        self._reader = source if isinstance(source, AsyncSource) else None
        self._outlet = outlet
        self._live = 0
        self._idle: dict[trio.lowlevel.Task, None] = {}
        self._standby = False
        self._last: object = None

    def start(self, nursery: trio.Nursery) -> None:
        """Start to work in the nursery; workers get the context of this call."""
        self._nursery = nursery
        self._context = contextvars.copy_context()
        if self._reader is not None:
            self._reader.room, self._reader.announce = self._room_to_read, self._announce
            nursery.start_soon(self._read, self._reader)
        self._spawn()

    def stop(self) -> None:
        """Take no further batch; those under way go on."""
        self.stopped = True

    def set_limit(self, limit: int) -> None:
        """Allow more or fewer batches at once; those under way go on."""
        grew = limit > self.limit
        self.limit = limit
        if grew:
            self.rouse()

    def rouse(self) -> None:
        """Let another batch be taken, if there is room for it: call it whenever there may be."""
        if self._standby or self.stopped or not self._live:
            return
        reader = self._reader
        if reader is not None and not reader.batches:
            reader.demand()
        elif self.in_flight < self.limit and (reader is not None or self._window_open()):
            if self._idle:
                self._standby = True
                reschedule(self._idle.popitem()[0])
            elif self._live < self.limit and not self._source.over:
                self._spawn()

    def make_room(self) -> None:
        """Do as `rouse`, where the only news is that a result was taken."""
        self.window = 2 * self._most_held
        if self._idle or self._reader is not None:
            self.rouse()

    @property
    def seen(self) -> int:
        """How many items of the input stand in a batch, taken or not."""
        waiting = self._reader.batches if self._reader is not None else ()
        return self.read + sum(map(len, waiting))

    # --- workers ----------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._live += 1
        self._standby = True
        # From the context of the run, not of the worker that happens to start this one.
        self._context.run(self._nursery.start_soon, self._worker)

    async def _worker(self) -> None:
        try:
            await self._pull()
        finally:
            self._live -= 1
            if not self._live:
                self.gone.set()

    async def _pull(self) -> None:
        """Take batches until there are none; pause after 100 of them or 1 ms without waiting."""
        self._standby = False
        me = object()
        turn, until = 0, perf_counter() + TURN_SECONDS
        while True:
            items = self._take()
            if items is None:
                if self.stopped or self._source.over:
                    self._release()
                    return
                await self._rest()
                turn, until = 0, perf_counter() + TURN_SECONDS
                continue
            number = self.taken
            self.taken += 1
            self.read += len(items)
            self.in_flight += 1
            if self._idle or self._live < self.limit or self._reader is not None:
                self.rouse()
            self._last = me
            try:
                await self._work(number, items)
            finally:
                self.in_flight -= 1
            # Somebody else worked meanwhile: then this task has waited, and owes no pause.
            turn = turn + 1 if self._last is me else 0
            if turn == 0:
                until = perf_counter() + TURN_SECONDS
            elif turn == TURN or number == 0 or perf_counter() > until:
                # After the first batch always, so that its result is delivered before others.
                await checkpoint()
                turn, until = 0, perf_counter() + TURN_SECONDS

    def _take(self) -> list[Any] | None:
        if self.stopped or self.in_flight >= self.limit:
            return None
        if self._reader is None and not self._window_open():
            return None
        try:
            return self._source.take()
        except Exception as error:  # noqa: BLE001 - the input is the caller's code
            self.input_failed(error)
            return None

    def _window_open(self) -> bool:
        held = self._outlet.held()
        return held < self._most_held and self.in_flight + held < self.window

    async def _rest(self) -> None:
        """Wait to be roused."""
        task = current_task()
        self._idle[task] = None
        if self._reader is not None and not self._reader.batches:
            self._reader.demand()

        def abort(_: RaiseCancelT) -> Abort:
            self._idle.pop(task, None)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
        self._standby = False

    def _release(self) -> None:
        """Let all resting workers see that nothing more comes."""
        while self._idle:
            reschedule(self._idle.popitem()[0])

    # --- the reader of an async input -------------------------------------------------------

    async def _read(self, reader: AsyncSource) -> None:
        try:
            await reader.read()
        except Exception as error:  # noqa: BLE001 - the input is the caller's code
            self.input_failed(error)

    def _room_to_read(self) -> int:
        if self.stopped or self._reader is None:
            return 0
        waiting = len(self._reader.batches)
        held = self._outlet.held()
        free = self.limit - self.in_flight - waiting
        return min(free, self._most_held - held, self.window - self.in_flight - waiting - held)

    def _announce(self) -> None:
        if self._source.over:
            self._release()
        else:
            self.rouse()
