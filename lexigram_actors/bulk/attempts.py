"""Sends one batch until it succeeds or is given up: retries, then isolation of the bad items."""

from __future__ import annotations

import logging
from typing import Any, final

import trio

from lexigram_actors.bulk.batches import Bisection
from lexigram_actors.bulk.executors import BatchCall
from lexigram_actors.bulk.failures import WrongResults, count_results, item_error
from lexigram_actors.bulk.limits import AdaptiveConcurrency
from lexigram_actors.bulk.models import BulkBatchResult, BulkItemError
from lexigram_actors.errors import CircuitOpenError
from lexigram_actors.errors.base import sole_error
from lexigram_actors.retry import RetryPolicy

logger = logging.getLogger(__name__)

Outcome = BulkBatchResult[Any, Any]


@final
class BatchRunner:
    """Turns the items of a batch into its result. An `Exception` of the call is a failure.

    Args:
        call: The processor, wherever it runs, behind rate limit and breaker.
        retry: How often a batch is sent again.
        batch_size: To tell positions in the input.
        isolate: Whether a batch that failed for good is split until its bad items stand alone.
        adaptive: Told how attempts of whole batches go; None: nobody asks.
    """

    __slots__ = ("adaptive", "batch_size", "call", "isolate", "last_error", "retry")

    def __init__(
        self,
        call: BatchCall,
        retry: RetryPolicy,
        batch_size: int,
        *,
        isolate: bool = False,
        adaptive: AdaptiveConcurrency | None = None,
    ) -> None:
        self.call = call
        self.retry = retry
        self.batch_size = batch_size
        self.isolate = isolate
        self.adaptive = adaptive
        self.last_error: BaseException | None = None

    async def run(self, batch_id: int, items: list[Any]) -> Outcome:
        """Return the result of a batch; checkpoints where the processor does.

        The processor gets a copy of the list: whatever it does to it, a retry sends the same.
        """
        started = trio.current_time()
        try:
            results = await self.call(items[:])
            # The usual answer passes without a call: this line is run for every batch.
            if type(results) is not list or len(results) != len(items):
                results = count_results(batch_id, len(items), results)
        except Exception as caught:  # noqa: BLE001 - whatever it is, the batch failed
            error = sole_error(caught)
        else:
            if self.adaptive is not None:
                self.adaptive.succeeded()
            return BulkBatchResult(batch_id, items, results, [], started, trio.current_time())
        try:
            return await self._recover(batch_id, items, started, error)
        finally:
            del error  # its traceback holds this frame

    async def _send(self, batch_id: int, items: list[Any]) -> list[Any] | BaseException:
        try:
            return count_results(batch_id, len(items), await self.call(items))
        except Exception as error:  # noqa: BLE001 - as above
            return sole_error(error)

    async def _recover(
        self, batch_id: int, items: list[Any], started: float, error: BaseException
    ) -> Outcome:
        """Send the batch again as long as the policy says so; then give up, or isolate."""
        retries, began = 0, started
        while True:
            self._note_failure(began, error)
            if retries == self.retry.retries or isinstance(error, WrongResults):
                break
            retries += 1
            await trio.sleep(self.retry.delay_before(retries))
            began = trio.current_time()
            outcome = await self._send(batch_id, items[:])
            if not isinstance(outcome, BaseException):
                if self.adaptive is not None:
                    self.adaptive.succeeded()
                return BulkBatchResult(
                    batch_id, items, outcome, [], started, trio.current_time(), retries
                )
            error = outcome
        self._note_end(batch_id, error)
        open_or_wrong = isinstance(error, WrongResults | CircuitOpenError)
        if self.isolate and len(items) > 1 and not open_or_wrong:
            return await self._isolate(batch_id, items, started, retries)
        now = trio.current_time()
        index = batch_id * self.batch_size if self.isolate and len(items) == 1 else None
        failure = item_error(batch_id, error, retries, now, index)
        return BulkBatchResult(batch_id, items, [], [failure], started, now, retries)

    def _note_failure(self, began: float, error: BaseException) -> None:
        # An open breaker answers for the calls before; it is no news about the load.
        if self.adaptive is not None and not isinstance(error, CircuitOpenError | WrongResults):
            self.adaptive.failed(began)

    def _note_end(self, batch_id: int, error: BaseException) -> None:
        self.last_error = error
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("batch %d failed for good", batch_id, exc_info=error)

    async def _isolate(
        self, batch_id: int, items: list[Any], started: float, retries: int
    ) -> Outcome:
        """Split the batch until what fails stands alone; what succeeded is not sent again."""
        plan = Bisection(len(items))
        good: dict[int, list[Any]] = {}
        while (piece := plan.next_piece()) is not None:
            # Pieces of a processor that never waits must not hold up everybody else.
            await trio.lowlevel.checkpoint()
            outcome = await self._send(batch_id, items[piece.start : piece.stop])
            if not isinstance(outcome, BaseException):
                good[piece.start] = outcome
                plan.succeeded(piece)
            elif isinstance(outcome, WrongResults):
                plan.condemn(piece, outcome)
            elif isinstance(outcome, CircuitOpenError):
                plan.condemn(piece, outcome)
                plan.give_up(outcome)
            else:
                plan.failed(piece, outcome)
        now = trio.current_time()
        results = [result for start in sorted(good) for result in good[start]]
        errors = self._errors(batch_id, plan.bad, retries, now)
        return BulkBatchResult(batch_id, items, results, errors, started, now, retries)

    def _errors(
        self, batch_id: int, bad: dict[int, BaseException], retries: int, now: float
    ) -> list[BulkItemError]:
        first = batch_id * self.batch_size
        return [
            item_error(batch_id, bad[index], retries, now, first + index) for index in sorted(bad)
        ]
