"""`bulk_map`, `bulk_filter`, `bulk_reduce`: the usual three over items of any number.

Functions may be plain or async. Plain ones are called in a worker thread, a batch at a time (or
where `executor` says); async ones one after the other within a batch, and batches side by side:
`BulkOperationConfig(batch_size=1)` gives the most concurrency. All keep the order of the input.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from attrs import evolve, frozen

from lexigram_actors.bulk.executors import BulkExecutor, is_async
from lexigram_actors.bulk.models import BulkBatchResult
from lexigram_actors.bulk.operation import BulkOperation
from lexigram_actors.bulk.run import BulkRun
from lexigram_actors.config import BulkOperationConfig

T = TypeVar("T")
R = TypeVar("R")


@frozen
class EachItem(Generic[T, R]):
    """A plain processor that applies a function to each item; survives the way to a process."""

    function: Callable[[T], R]

    def __call__(self, items: list[T]) -> list[R]:
        return [self.function(item) for item in items]


@frozen
class EachItemAwaited(Generic[T, R]):
    """An async processor that awaits a function for one item after the other."""

    function: Callable[[T], Awaitable[R]]

    async def __call__(self, items: list[T]) -> list[R]:
        return [await self.function(item) for item in items]


def each(function: Callable[[Any], Any]) -> Callable[[list[Any]], Any]:
    """Return the processor that applies a function to each item."""
    return EachItemAwaited(function) if is_async(function) else EachItem(function)


@overload
async def bulk_map(
    func: Callable[[T], Awaitable[R]],
    items: list[T] | Iterable[T] | AsyncIterable[T],
    config: BulkOperationConfig | None = None,
    *,
    executor: BulkExecutor | None = None,
) -> list[R]: ...
@overload
async def bulk_map(
    func: Callable[[T], R],
    items: list[T] | Iterable[T] | AsyncIterable[T],
    config: BulkOperationConfig | None = None,
    *,
    executor: BulkExecutor | None = None,
) -> list[R]: ...
async def bulk_map(
    func: Callable[[Any], Any],
    items: list[Any] | Iterable[Any] | AsyncIterable[Any],
    config: BulkOperationConfig | None = None,
    *,
    executor: BulkExecutor | None = None,
) -> list[Any]:
    """Return `func(item)` for every item, in the order of the input.

    Retries send a whole batch again, so `func` may be called again for items that succeeded.

    Args:
        config: As for `BulkOperation`. `failure_limit` is taken as 0, since a failed item leaves
            no result to return.
        executor: Where a plain `func` runs.

    Raises:
        BulkOperationError: An item failed for good: the exception of `func` is the cause, and
            what is not done is cancelled. Or the run failed, as in `BulkOperation.execute`.
    """
    operation = _operation(func, config, executor, failure_limit=0)
    results: list[Any] = []
    async with operation.execute(items) as run:
        async for result in run:
            results += result.results
    return results


def bulk_filter(
    items: list[T] | Iterable[T] | AsyncIterable[T],
    predicate: Callable[[T], Awaitable[bool] | bool],
    config: BulkOperationConfig | None = None,
    *,
    executor: BulkExecutor | None = None,
) -> FilterRun[T]:
    """Return a run whose results hold the items for which the predicate is true.

    An async iterator and an async context manager, as `BulkOperation.execute` returns: batches
    come in the order of the input while it is read, so it suits inputs of any length. Each has in
    `items` what was looked at and in `results` what passed; a batch whose predicate failed has
    `errors` and no results.

    Args:
        config: As for `BulkOperation`.
        executor: Where a plain predicate runs.
    """
    operation = _operation(predicate, config, executor)
    return FilterRun(operation._prepare(items))


async def bulk_reduce(
    items: list[T] | Iterable[T] | AsyncIterable[T],
    reducer: Callable[[R, T], Awaitable[R] | R],
    initial: R,
    config: BulkOperationConfig | None = None,
) -> R:
    """Return the items folded into one value: `reducer(... reducer(initial, a) ..., z)`.

    One item after the other, in the order of the input; memory does not depend on its length. A
    plain reducer is called in the task and should be quick. A batch that failed is folded again
    from the value before it; a reducer that changes its first argument in place must not be
    retried (`retry_attempts=0`).

    Args:
        config: Batch size, time-out and retries count; `max_concurrency` is taken as 1.

    Raises:
        BulkOperationError: The reducer failed for good, its exception is the cause; or the run
            failed, as in `BulkOperation.execute`.
    """
    value = initial

    async def fold(batch: list[T]) -> list[T]:
        nonlocal value
        folded = value
        for item in batch:
            step = reducer(folded, item)
            folded = await step if inspect.isawaitable(step) else step
        value = folded
        return batch

    settings = evolve(
        config or BulkOperationConfig(),
        max_concurrency=1,
        failure_limit=0,
        on_poison="fail",
        ordered=True,
    )
    async with BulkOperation(settings, fold).execute(items) as run:
        async for _ in run:
            pass
    return value


class FilterRun(BulkRun[T, T]):
    """A run of `bulk_filter`: its results are the items that passed."""

    __slots__ = ()

    async def __anext__(self) -> BulkBatchResult[T, T]:
        """Return the next batch with the items that passed; see `BulkRun.__anext__`."""
        waiting = super().__anext__()
        batch_size = self._engine.job.config.batch_size
        # The waiting itself refers to this run, and lets go of it before it raises.
        del self
        return passed(await waiting, batch_size)


def passed(result: BulkBatchResult[Any, Any], batch_size: int) -> BulkBatchResult[Any, Any]:
    """Return the result of a predicate with the items that passed in place of its answers."""
    if not result.results:
        return result  # all failed
    bad = {error.item_index for error in result.errors}
    first = result.batch_id * batch_size
    asked = [item for index, item in enumerate(result.items, first) if index not in bad]
    answers = zip(asked, result.results, strict=True)
    return evolve(result, results=[item for item, answer in answers if answer])


def _operation(
    function: Callable[[Any], Any],
    config: BulkOperationConfig | None,
    executor: BulkExecutor | None,
    **changes: Any,
) -> BulkOperation[Any, Any]:
    settings = evolve(config or BulkOperationConfig(), ordered=True, **changes)
    return BulkOperation(settings, each(function), executor=executor)
