"""The workers of a run: tasks that pull batches, process them, and pull again.

They start as they are needed. At most one of them is *standby*: woken or started, and not yet on
its way. When it runs, those before it have either gone to sleep in their processors or have no
room for results; so it takes a batch and rouses the next. Where a processor never waits, one worker
does all and the standby finds nothing to do; where it waits, the pool grows to its limit.

Where batches are taken is the only bound: `in_flight < limit`, `waiting results < limit`, and both
together below a window of twice that (of once that before the first result was taken). A worker
therefore never waits with a result in its hand, and a consumer that is slow stops the reading.

Rejected: a task a batch (12 µs each), and a channel that feeds the workers (10 µs a hop).
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
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
from lexigram_actors.bulk.sources import AsyncSource, IterableSource, ListSource
from lexigram_actors.bulk.turns import Turn

LONGEST_TURN = 32
"""Batches without waiting before a pause, and results that such batches may pile up: few, so that
little memory is used where a processor never waits."""

Work = Callable[[int, list[Any]], Awaitable[None]]


@final
class Pool:
    """Runs `work(number, items)` for every batch of the source, up to `limit` at once.

    Args:
        work: Processes a batch and puts its result into the outlet.
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
        "_pausing",
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
        self._pausing = False
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
        if reader is not None and not reader.ready() and not reader.over:
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
        """Take batches until there are none, with a pause where none of them has waited.

        One coroutine, and nothing caught: what is below it stands in every traceback of a
        cancellation, and a thousand workers are cancelled at once.
        """
        me, turn, busy = object(), Turn(LONGEST_TURN), False
        try:
            await self._begin()
            while (items := self._take()) is not None or await self._may_go_on():
                if items is None:
                    turn.begin()
                    continue
                busy = True
                number = self._count(items)
                self._last = me
                await self._work(number, items)
                busy = False
                self.in_flight -= 1
                if self._last is not me:
                    turn.begin()  # somebody else worked meanwhile, so this task has waited
                elif turn.is_over() or number == 0 or self._outlet.held() >= LONGEST_TURN:
                    # After the first batch always, so that its result is delivered before others.
                    await self._pause()
                    turn.begin()
        finally:
            self.in_flight -= busy
            self._live -= 1
            if not self._live:
                self.gone.set()

    async def _begin(self) -> None:
        self._standby = False
        if self._is_needless():
            await self._rest()

    def _count(self, items: list[Any]) -> int:
        """Count a batch that was taken, let another worker take the next, return its number."""
        number = self.taken
        self.taken += 1
        self.read += len(items)
        self.in_flight += 1
        if self._idle or self._live < self.limit or self._reader is not None:
            self.rouse()
        return number

    async def _may_go_on(self) -> bool:
        """Rest until there may be a batch; say whether there may ever be one again."""
        if self.stopped or self._source.over:
            self._dismiss()
            return False
        await self._rest()
        return True

    def _dismiss(self) -> None:
        """Let those who rest see that nothing more comes."""
        while self._idle:
            reschedule(self._idle.popitem()[0])

    async def _pause(self) -> None:
        """Let everybody have a turn, and whoever takes the results take some."""
        self._pausing = True
        await checkpoint()
        if self._outlet.results:
            await checkpoint()  # woken in the turn before, the taker may have come after us
        self._pausing = False
        if self._outlet.held() >= LONGEST_TURN:
            await self._rest()

    def _is_needless(self) -> bool:
        """Say whether the processor never waits: then one worker that pauses does it all."""
        return self._pausing and not self.in_flight

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
        if self._reader is not None and not self._reader.ready():
            self._reader.demand()

        def abort(_: RaiseCancelT) -> Abort:
            self._idle.pop(task, None)
            return Abort.SUCCEEDED

        while True:
            await wait_task_rescheduled(abort)
            self._standby = False
            if not self._is_needless() or self.stopped:
                return
            self._idle[task] = None

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
        window = min(self._most_held, self.window - self.in_flight) - waiting - held
        return min(free, window, LONGEST_TURN - waiting)

    def _announce(self) -> None:
        if self._source.over:
            self._dismiss()
        else:
            self.rouse()
