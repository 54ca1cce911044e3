"""Counters of a run, of constant size whatever the length of the input."""

from __future__ import annotations

import time
from typing import Any, final

import trio
from attrs import define, field

from lexigram_actors.bulk.failures import item_error
from lexigram_actors.bulk.models import BulkBatchResult, BulkItemError

KEPT_ERRORS = 1000


@final
@define
class BulkOperationMetrics:
    """What a run did so far; alive while it goes on.

    Args:
        total_items: Items known: all of them where the input has a length, else those read so
            far (0 before the first).
        processed_items: Items that ended, well or badly.
        successful_items, failed_items: How they ended.
        total_batches: Batches known, as `total_items`.
        completed_batches: Batches that ended, well or badly.
        failed_batches: Those of them with an error.
        start_time, end_time: Seconds of the Trio clock; None before.
        total_retries: Retries in all batches that ended.
        average_batch_time: Mean duration of a batch, in seconds.
        errors: The first 1,000 errors.
        error_count: All errors, also those that `errors` no longer holds.
        skipped_items: Items of batches that a checkpoint had recorded; not among those processed.
    """

    total_items: int = 0
    processed_items: int = 0
    successful_items: int = 0
    failed_items: int = 0
    total_batches: int = 0
    completed_batches: int = 0
    failed_batches: int = 0
    start_time: float | None = None
    end_time: float | None = None
    total_retries: int = 0
    average_batch_time: float = 0.0
    errors: list[BulkItemError] = field(factory=list)
    error_count: int = 0
    skipped_items: int = 0

    def record_start(self, total_items: int, total_batches: int) -> None:
        """Note the start of a run over so many items; 0 where the number is unknown."""
        self.total_items = total_items
        self.total_batches = total_batches
        self.start_time = clock()
        self.end_time = None

    def record_end(self) -> None:
        """Note the end of the run."""
        self.end_time = clock()

    def record_batch_result(self, result: BulkBatchResult[Any, Any]) -> None:
        """Count a batch that ended."""
        self.processed_items += len(result.items)
        self.successful_items += len(result.results)
        self.completed_batches += 1
        spent = result.end_time - result.start_time
        self.average_batch_time += (spent - self.average_batch_time) / self.completed_batches
        if result.retry_count:
            self.total_retries += result.retry_count
        if result.errors:
            self.failed_batches += 1
            self.failed_items += result.error_count
            self._keep(result.errors)

    def record_error(self, error: Exception) -> None:
        """Keep an error of the operation itself, under batch -1; no batch is counted."""
        self._keep([item_error(-1, error, 0, clock())])

    def _keep(self, errors: list[BulkItemError]) -> None:
        self.error_count += len(errors)
        room = KEPT_ERRORS - len(self.errors)
        if room > 0:
            self.errors.extend(errors[:room])

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, or so far; None before the start."""
        if self.start_time is None:
            return None
        return (clock() if self.end_time is None else self.end_time) - self.start_time

    @property
    def success_rate(self) -> float:
        """Percentage of the processed items that succeeded; 100 where none was processed."""
        if not self.processed_items:
            return 100.0
        return 100.0 * self.successful_items / self.processed_items

    @property
    def throughput(self) -> float:
        """Items processed a second, so far; 0 where no time has passed."""
        return self.processed_items / self.duration if self.duration else 0.0


def clock() -> float:
    """Return the time of the Trio run, or the monotonic clock's where there is none."""
    try:
        return trio.current_time()
    except RuntimeError:
        return time.monotonic()
