"""Results on their way from the workers to the one who iterates.

A deque and a parked task instead of a memory channel: a put and a take cost nothing but
themselves as long as neither side has to wait. The bound is not kept here but where batches are
taken: a worker takes none unless its result will have a place.
"""

from __future__ import annotations

from collections import deque
from typing import Any, final

import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from lexigram_actors.bulk.models import BulkBatchResult

Outcome = BulkBatchResult[Any, Any]


@final
class Outlet:
    """Holds results until they are taken, in the order they come or in that of the input."""

    __slots__ = ("_next", "_stash", "_taker", "discarding", "ordered", "results")

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.results: deque[Outcome] = deque()
        self.discarding = False  # nothing more is delivered
        self._stash: dict[int, Outcome | None] = {}  # ended before a batch ahead of them
        self._next = 0
        self._taker: trio.lowlevel.Task | None = None

    def held(self) -> int:
        """Return how many results wait here."""
        return len(self.results) + len(self._stash)

    def put(self, batch_id: int, result: Outcome | None) -> None:
        """Add the result of a batch, None for a batch that has none to deliver."""
        if self.discarding:
            return
        if self.ordered:
            self._stash[batch_id] = result
            self._unstash()
        elif result is not None:
            self.results.append(result)
        if self.results:
            self.wake()

    def _unstash(self) -> None:
        while self._next in self._stash:
            result = self._stash.pop(self._next)
            self._next += 1
            if result is not None:
                self.results.append(result)

    def release(self) -> None:
        """Let the results go that wait for a batch ahead of them which will never end."""
        for _, result in sorted(self._stash.items()):
            if result is not None:
                self.results.append(result)
        self._stash.clear()
        self.wake()

    def discard(self) -> None:
        """Drop what was not taken, and what comes from now on."""
        self.discarding = True
        self.results.clear()
        self._stash.clear()

    def wake(self) -> None:
        """Let whoever waits look again."""
        taker, self._taker = self._taker, None
        if taker is not None:
            reschedule(taker)

    async def wait(self) -> None:
        """Wait until there is something, or something else to know.

        Raises:
            trio.BusyResourceError: Another task waits already.
        """
        if self._taker is not None:
            raise trio.BusyResourceError("another task iterates over this run already")
        self._taker = current_task()

        def abort(_: RaiseCancelT) -> Abort:
            self._taker = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
