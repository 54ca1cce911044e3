"""Things to do later: one task and one heap for a whole system.

A timer is an entry in a heap; one task sleeps until the earliest. Starting or cancelling one is a
plain call (under a microsecond), where a task that sleeps costs about twenty. It runs on the Trio
clock, so a test's virtual clock moves it. What a timer calls is our own code and quick.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from itertools import count
from math import inf
from typing import final

import trio

logger = logging.getLogger(__name__)


@final
class Timer:
    """Something that will happen later, unless `cancel()` is called before."""

    __slots__ = ("callback", "deadline", "interval")

    def __init__(
        self, deadline: float, callback: Callable[[], None], interval: float | None = None
    ) -> None:
        self.deadline = deadline
        self.interval = interval
        self.callback: Callable[[], None] | None = callback

    @property
    def active(self) -> bool:
        """Whether it still is to happen (a repeating timer: until it is cancelled)."""
        return self.callback is not None

    def cancel(self) -> None:
        """Make sure that it does not happen (again). Safe to call at any time."""
        self.callback = None


@final
class TimerService:
    """Runs the timers of one system."""

    __slots__ = ("heap", "numbers", "nursery", "prune_at", "scope")

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.heap: list[tuple[float, int, Timer]] = []
        self.numbers = count()
        self.prune_at = 1_000
        self.scope: trio.CancelScope | None = None

    def call_at(
        self, deadline: float, callback: Callable[[], None], interval: float | None = None
    ) -> Timer:
        """Call `callback` when the clock reaches `deadline`, and every `interval` seconds after.

        Ticks that were missed are skipped, not made up for.
        """
        timer = Timer(deadline, callback, interval)
        self._add(timer)
        return timer

    def _add(self, timer: Timer) -> None:
        if len(self.heap) >= self.prune_at:
            self._prune()
        heapq.heappush(self.heap, (timer.deadline, next(self.numbers), timer))
        if self.scope is None:
            self.scope = trio.CancelScope(deadline=timer.deadline)
            self.nursery.start_soon(self._run, name="timers")
        elif timer.deadline < self.scope.deadline:
            self.scope.deadline = timer.deadline

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        while True:
            assert self.scope is not None
            with self.scope:
                await trio.sleep_forever()
            self._fire_due(trio.current_time())
            self.scope = trio.CancelScope(deadline=self._earliest())

    def _prune(self) -> None:
        """Forget cancelled timers, so that they cost memory in proportion to the live ones only."""
        self.heap = [entry for entry in self.heap if entry[2].callback is not None]
        heapq.heapify(self.heap)
        self.prune_at = max(1_000, 2 * len(self.heap))

    def _earliest(self) -> float:
        while self.heap and self.heap[0][2].callback is None:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else inf

    def _fire_due(self, now: float) -> None:
        while self.heap and self.heap[0][0] <= now:
            timer = heapq.heappop(self.heap)[2]
            callback = timer.callback
            if callback is None:
                continue
            if timer.interval is None:
                timer.callback = None
            else:
                missed = (now - timer.deadline) // timer.interval
                timer.deadline += timer.interval * (missed + 1)
                heapq.heappush(self.heap, (timer.deadline, next(self.numbers), timer))
            try:
                callback()
            except Exception:
                logger.exception("a timer's callback failed")
