"""The caller's side of a run: hands results over one at a time, and records what was."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, final

import trio
from trio.lowlevel import checkpoint

from lexigram_actors.bulk.checkpoint import Journal
from lexigram_actors.bulk.models import BulkBatchResult
from lexigram_actors.bulk.outlet import Outlet
from lexigram_actors.bulk.turns import Turn
from lexigram_actors.errors import BulkOperationError

LONGEST_TURN = 100
RECORD_SECONDS = 5.0
"""What recording a result may take at least, also after the run's own time-out."""
"""Results that are handed over without a pause."""

Outcome = BulkBatchResult[Any, Any]


@final
class Delivery:
    """Takes results out of the outlet for whoever iterates.

    Args:
        outlet: Where the workers put them.
        journal: Where a result is recorded once the next one is asked for.
        make_room: Called when a result was taken.
        record_failed: Called when it could not be recorded; with None when that was cut off.
    """

    __slots__ = (
        "_handed",
        "_journal",
        "_make_room",
        "_outlet",
        "_record_failed",
        "_turn",
        "asked",
        "closed",
        "deadline",
        "error",
        "exhausted",
        "recording",
        "told",
    )

    def __init__(
        self,
        outlet: Outlet,
        journal: Journal | None,
        make_room: Callable[[], None],
        record_failed: Callable[[BulkOperationError | None], None],
    ) -> None:
        self.closed = False
        """The run is over."""
        self.error: BaseException | None = None
        """What is raised once all results are taken; None: nothing, the run is complete."""
        self.told = False
        """It was raised, or nobody wants it."""
        self.exhausted = False
        """Every batch ended well or badly; what is in the outlet is all there will be."""
        self.asked = trio.Event()
        """Somebody asked for a result after the last."""
        self._outlet = outlet
        self._journal = journal
        self._make_room = make_room
        self._record_failed = record_failed
        self._handed: Outcome | None = None  # not recorded yet
        self.deadline = inf
        """When the run times out: a store that hangs must not hold it up."""
        self.recording: trio.CancelScope | None = None
        self._turn = Turn(LONGEST_TURN)

    def at_hand(self) -> bool:
        """Say whether `pop` may be called: a result is there, and no pause is due."""
        if not self._outlet.results or self._journal is not None:
            return False
        return not self._turn.is_over()

    def pop(self) -> Outcome:
        """Hand over a result; its place is free for another."""
        result = self._outlet.results.popleft()
        self._make_room()
        return result

    async def take(self) -> Outcome:
        """Return the next result, waiting for it; cancelled, it loses none.

        Raises:
            StopAsyncIteration: The run is complete, or its error was raised before.
            BaseException: How the run ended, when all results were taken.
        """
        if self._handed is not None:
            await self._record()
        while not self._outlet.results:
            if self.closed:
                raise self._last_word()
            if self.exhausted:
                self.asked.set()
            await self._outlet.wait()
            self._turn.begin()
        if self._turn.is_over():
            await checkpoint()
            self._turn.begin()
        if self._journal is not None:
            self._handed = self._outlet.results[0]
        return self.pop()

    async def _record(self) -> None:
        if self._journal is not None and self._handed is not None:
            try:
                least = trio.current_time() + RECORD_SECONDS  # all may have ended long ago
                with trio.CancelScope(deadline=max(least, self.deadline)) as self.recording:
                    await self._journal.record(self._handed)
                if self.recording.cancelled_caught:  # timed out, or the run was cancelled
                    self._outlet.discard()
                    self._record_failed(None)
            except BulkOperationError as error:
                # Results delivered from here on could not be recorded, and would come again.
                self._outlet.discard()
                self._record_failed(error)
        self._handed = None

    def _last_word(self) -> BaseException:
        if self.error is None or self.told:
            return StopAsyncIteration()
        self.told = True
        return self.error

    def close(self, error: BaseException | None) -> None:
        """Let whoever iterates have what is left, and then the error."""
        self.error = error
        self.closed = True
        self._outlet.release()
