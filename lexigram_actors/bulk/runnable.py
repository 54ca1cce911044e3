"""A bulk operation as something to run inside something else, or in a host."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, final

from attrs import asdict, fields, filters

from lexigram_actors.bulk.checkpoint import Journal
from lexigram_actors.bulk.models import BulkBatchResult, BulkItemError
from lexigram_actors.checks import given
from lexigram_actors.errors import BulkOperationError, describe
from lexigram_actors.host.observing import observed
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result

if TYPE_CHECKING:
    from lexigram_actors.bulk.operation import BulkOperation

Items = Iterable[Any] | AsyncIterable[Any]
ItemsOf = Callable[[Any], Items]
"""What returns the items for an input."""


@final
class BulkRunnable:
    """What `BulkOperation.as_runnable` returns."""

    __slots__ = ("_items", "_name", "_operation")

    def __init__(
        self, operation: BulkOperation[Any, Any], name: str, items: Items | ItemsOf | None
    ) -> None:
        self._operation = operation
        self._name = name
        self._items = items

    @property
    def kind(self) -> str:
        """`"bulk"`."""
        return "bulk"

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def version(self) -> int:
        """1: a record tells by itself whether it fits the items and the batch size."""
        return 1

    async def run(self, context: RunContext, /) -> Result[dict[str, Any], Exception]:
        """Process all items; `Ok` of plain data, `Err(BulkOperationError)` where the run failed.

        Cancelled, no task of it is left.
        """
        return await observed(context.run_id, self._name, self._run, context)

    async def _run(self, context: RunContext) -> Result[dict[str, Any], Exception]:
        items = self._items_for(context.input)
        if isinstance(items, Err):
            return items
        summary = Summary()
        try:
            async with self._operation.run_apart(items.value, self._journal(context)) as run:
                async for batch in run:
                    summary.add(batch)
        except BulkOperationError as error:
            return Err(error)
        return Ok(summary.as_dict())

    def _items_for(self, input: Any) -> Result[Items, BulkOperationError]:
        items = self._items
        if items is None:
            if isinstance(input, list | tuple):
                return Ok(list(input))
            return Err(
                BulkOperationError(
                    f"the input of {self._name!r} must be a list of items, not {given(input)}",
                    hint="as_runnable(name, items) says where else the items come from",
                )
            )
        if not callable(items):
            return Ok(items)
        try:
            return Ok(items(input))
        except Exception as error:  # noqa: BLE001 - a function of the user's
            return Err(
                BulkOperationError(
                    f"the items of {self._name!r} cannot be had: {describe(error)}", cause=error
                )
            )

    def _journal(self, context: RunContext) -> Journal | None:
        if context.record is None:
            return self._operation.journal(context.run_id, keep_results=True)
        # By its place in the instance: one that is a copy of another goes on with its record.
        id = f"{self._name}/{context.place}"
        return self._operation.journal(id, context.record, keep_results=True, is_append_only=True)


@final
class Summary:
    """What came of the batches, as plain data, in the order of the input.

    The same however often the run was interrupted: so there are no times in it, and no retries,
    which are not recorded.
    """

    def __init__(self) -> None:
        self._results: dict[int, list[Any]] = {}
        self._errors: dict[int, list[BulkItemError]] = {}
        self._items = 0
        self._failed = 0

    def add(self, batch: BulkBatchResult[Any, Any]) -> None:
        """Keep what came of a batch."""
        self._items += len(batch.items)
        self._failed += batch.error_count
        self._results[batch.batch_id] = batch.results
        if batch.errors:
            self._errors[batch.batch_id] = batch.errors

    def as_dict(self) -> dict[str, Any]:
        """Return results (one for each item that succeeded), errors, and what can be counted."""
        results = [each for _, batch in sorted(self._results.items()) for each in batch]
        errors = [
            asdict(error, filter=filters.exclude(fields(BulkItemError).timestamp))
            for _, batch in sorted(self._errors.items())
            for error in batch
        ]
        metrics = {
            "total_items": self._items,
            "successful_items": len(results),
            "failed_items": self._failed,
            "total_batches": len(self._results),
            "failed_batches": len(self._errors),
        }
        return {"results": results, "errors": errors, "metrics": metrics}
