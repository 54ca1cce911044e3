"""What a bulk operation hands to its caller: values, frozen."""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar, final

from attrs import frozen

T = TypeVar("T")
R = TypeVar("R")


class BulkOperationState(StrEnum):
    """Where a bulk operation stands.

    ========= =================================================================================
    PENDING   nothing was executed yet
    RUNNING   from the call of `execute` until its run ends
    COMPLETED every batch ended and was handed over; batches may have failed
    FAILED    a time-out, the failure limit, an input that raises, a checkpoint that cannot be
              written, or a bug
    CANCELLED `cancel()`, or the caller left before the end
    ========= =================================================================================
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@final
@frozen
class BulkItemError:
    """Why a batch, or a single item of it, failed.

    Args:
        batch_id: The batch, from 0 in the order of the input; -1 for an error of the whole run.
        error: What went wrong, in words; very long messages are cut.
        error_type: The type of the exception with its module (`httpx.ReadTimeout`); built-in
            ones go without (`ValueError`).
        retry_count: Retries made before giving up.
        timestamp: When, in seconds of the Trio clock.
        item_index: Position of the item in the input, from 0; None: every item of the batch.
    """

    batch_id: int
    error: str
    error_type: str
    retry_count: int
    timestamp: float
    item_index: int | None = None


@final
@frozen
class BulkBatchResult(Generic[T, R]):
    """The outcome of one batch.

    Args:
        batch_id: Its number, from 0 in the order of the input.
        items: What was sent, in input order.
        results: One result for each item that succeeded, in input order.
        errors: Empty; or one error for the whole batch; or, where bad items were isolated, one
            for each of them.
        start_time, end_time: Seconds of the Trio clock, retries included.
        retry_count: Retries made.
    """

    batch_id: int
    items: list[T]
    results: list[R]
    errors: list[BulkItemError]
    start_time: float
    end_time: float
    retry_count: int = 0

    @property
    def duration(self) -> float:
        """Seconds from the first attempt to the end of the last."""
        return self.end_time - self.start_time

    @property
    def success_count(self) -> int:
        """Number of items that succeeded."""
        return len(self.results)

    @property
    def error_count(self) -> int:
        """Number of items that failed."""
        if any(error.item_index is None for error in self.errors):
            return len(self.items)
        return len(self.errors)

    @property
    def is_successful(self) -> bool:
        """Whether no item failed."""
        return not self.errors


@final
@frozen
class BulkCheckpoint:
    """What is recorded of an interrupted run.

    Args:
        operation_id: The run.
        batch_size: Items in a batch; a resume must use the same.
        batches: Numbers of the recorded batches, from 0. Each was handed over before.
        items: How many items they hold together.
    """

    operation_id: str
    batch_size: int
    batches: frozenset[int]
    items: int
