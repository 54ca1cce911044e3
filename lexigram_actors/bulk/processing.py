"""What a worker does with a batch: recorded already? send it, count it, tell of it, deliver it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import trio

from lexigram_actors.bulk.attempts import BatchRunner
from lexigram_actors.bulk.batches import over_failure_limit
from lexigram_actors.bulk.job import Job
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import BulkBatchResult
from lexigram_actors.bulk.outlet import Outlet
from lexigram_actors.errors import BulkOperationError
from lexigram_actors.errors.base import describe

Outcome = BulkBatchResult[Any, Any]


@final
class Processing:
    """Brings the batches of a job from the source to the outlet.

    Args:
        job: Whose batches.
        metrics: Where they are counted.
        outlet: Where their results go.
        give_up: Called when more items failed than the job tolerates.
    """

    __slots__ = (
        "_give_up",
        "_grows",
        "_job",
        "_journal",
        "_metrics",
        "_outlet",
        "runner",
        "watched",
    )

    runner: BatchRunner

    def __init__(
        self,
        job: Job,
        metrics: BulkOperationMetrics,
        outlet: Outlet,
        give_up: Callable[[BulkOperationError], None],
    ) -> None:
        self.watched = job.hooks.wanted or job.config.failure_limit is not None
        self._grows = job.source.known_items is None
        self._job = job
        self._journal = job.journal
        self._metrics = metrics
        self._outlet = outlet
        self._give_up = give_up

    async def process(self, number: int, items: list[Any]) -> None:
        """Process a batch. A failure of it is no exception here."""
        if self._grows:
            self._metrics.total_items += len(items)
            self._metrics.total_batches += 1
        if self._journal is not None and await self._known(number, items):
            return
        result = await self.runner.run(number, items)
        self._metrics.record_batch_result(result)
        if self.watched:
            await self._tell(result)
        else:
            self._outlet.put(number, result)

    async def _known(self, number: int, items: list[Any]) -> bool:
        """Deliver the kept results of a recorded batch, or pass over it; False: process it."""
        journal = self._journal
        if journal is None or not journal.check(number, items):
            return False
        results = None
        if journal.keep_results:
            results = await journal.results_of(number)
            if results is None or len(results) != len(items):
                journal.redo(number)
                return False
        self._metrics.skipped_items += len(items)
        now = trio.current_time()
        kept = None if results is None else BulkBatchResult(number, items, results, [], now, now)
        self._outlet.put(number, kept)
        return True

    async def _tell(self, result: Outcome) -> None:
        """Tell hooks and judge the failure limit; the result is delivered whatever they do."""
        try:
            await self._job.hooks.batch_ended(result, self._metrics)
        finally:
            self._outlet.put(result.batch_id, result)
            if self._metrics.failed_items:
                self._judge_failures()  # after a good batch too: a fraction waits for enough items

    def _judge_failures(self) -> None:
        config, metrics = self._job.config, self._metrics
        failed, processed = metrics.failed_items, metrics.processed_items
        judged_from = config.batch_size * config.max_concurrency
        if over_failure_limit(config.failure_limit, failed, processed, judged_from):
            last = self.runner.last_error
            error = BulkOperationError(
                f"the run was ended: {failed} of {processed} items failed, and the failure limit "
                f"is {config.failure_limit}; the last error was {describe(last)}",
                cause=last,
            )
            self._give_up(error)
