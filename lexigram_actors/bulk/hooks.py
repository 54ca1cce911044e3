"""Calls what the caller wants to be told through. A hook that raises is logged; the run goes on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, final

from attrs import field, frozen

from lexigram_actors.bulk.executors import name_of
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import BulkBatchResult
from lexigram_actors.errors.base import describe

logger = logging.getLogger(__name__)

Hook: TypeAlias = Callable[[int, int, str], Awaitable[None] | None]
"""Gets (items processed, items known so far, message)."""

ProgressCallback: TypeAlias = Callable[[BulkOperationMetrics], Awaitable[None] | None]
"""Gets the metrics of the run, alive."""


@final
@frozen(eq=False)
class Hooks:
    """Who is told of what: plain or async functions, called in the task of what they tell of.

    Batches end side by side, so hooks run side by side: each call gets the counts of its moment.
    """

    on_progress: Hook | None = None
    on_complete: Hook | None = None
    on_error: Hook | None = None
    callbacks: list[ProgressCallback] = field(factory=list)
    track_progress: bool = True

    @property
    def wanted(self) -> bool:
        """Whether anyone wants to hear of a batch."""
        return bool(self.on_progress or self.on_error or (self.callbacks and self.track_progress))

    async def batch_ended(
        self, result: BulkBatchResult[Any, Any], metrics: BulkOperationMetrics
    ) -> None:
        """Tell of a batch that ended, well or badly."""
        if result.is_successful:
            await tell(self.on_progress, metrics, f"Processed batch {result.batch_id}")
        else:
            said = f"Batch {result.batch_id} failed: {result.errors[0].error}"
            await tell(self.on_error, metrics, said)
        if self.track_progress:
            for callback in tuple(self.callbacks):
                await guarded(callback, metrics)

    async def run_failed(self, error: BaseException, metrics: BulkOperationMetrics) -> None:
        """Tell that the run failed."""
        await tell(self.on_error, metrics, f"Operation failed: {describe(error)}")

    async def run_completed(self, metrics: BulkOperationMetrics) -> None:
        """Tell that the run is complete."""
        done = f"{metrics.processed_items}/{metrics.total_items} items processed"
        await tell(self.on_complete, metrics, f"Operation completed: {done}")


async def tell(hook: Hook | None, metrics: BulkOperationMetrics, message: str) -> None:
    """Call a hook with the counts, if there is one."""
    if hook is not None:
        await guarded(hook, metrics.processed_items, metrics.total_items, message)


async def guarded(function: Callable[..., Any], *args: Any) -> None:
    """Call a plain or async function and log what it raises."""
    try:
        outcome = function(*args)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        logger.exception("the hook %s failed; the run goes on", name_of(function))
