"""Runs TARGET over items until they end, fail, or a signal comes. What `bulk` and `demo` share."""

import functools
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import frozen

from lexigram_actors.bulk import (
    BulkBatchResult,
    BulkOperation,
    BulkRun,
    TaskExecutor,
    ThreadExecutor,
)
from lexigram_actors.bulk.executors import BulkExecutor
from lexigram_actors.bulk.limits import RateLimit
from lexigram_actors.cli.calling import Failure, Outcome, RemoteCall, call, call_async
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import OptionError, RunError
from lexigram_actors.cli.items import ItemSource, numbered
from lexigram_actors.cli.options import Executor
from lexigram_actors.cli.processing import Attempted, Processor
from lexigram_actors.cli.target import Target
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.retry import RetryPolicy
from lexigram_actors.storage.ports import CacheBackendProtocol

CONCURRENCY = 5
BATCH_SIZE = 10
NO_RETRY = RetryPolicy(retries=0)


class Sink(Protocol):
    """Takes what became of items."""

    async def write(self, batch: list[list[Any]], attempted: list[Attempted]) -> None:
        """Take a batch of `[index, item]` and their outcomes. The next comes after this returns."""


@frozen
class Setup:
    """How to run: every choice made."""

    target: Target
    executor: Executor
    concurrency: int
    batch_size: int
    retry: RetryPolicy = NO_RETRY
    rate: float | None = None
    timeout: float = math.inf
    failure_limit: int | None = None

    @property
    def config(self) -> BulkOperationConfig:
        """The operation's part; retries and rate are the processor's, who knows single items."""
        return BulkOperationConfig(
            batch_size=self.batch_size,
            max_concurrency=self.concurrency,
            timeout=self.timeout,
            retry_attempts=0,
        )


def choose_executor(target: Target, wanted: Executor | None) -> Executor:
    """Return where to run TARGET.

    Raises:
        OptionError: TARGET cannot run where it is wanted.
    """
    is_async = target.shape.is_async
    if wanted is None:
        return "task" if is_async else "thread"
    if is_async and wanted != "task":
        raise OptionError(
            f"--executor {wanted} runs plain functions, and {target.name} is async.",
            hint="leave --executor out: async functions run as tasks",
        )
    if not is_async and wanted == "task":
        raise OptionError(
            f"--executor task runs async functions, and {target.name} is a plain one: it would "
            "hold up everything else.",
            hint="use thread, or process for work that keeps the processor busy",
        )
    return wanted


def default_concurrency(executor: Executor) -> int:
    """Return how many batches to work on at once if nobody says."""
    return usable_processors() if executor == "process" else CONCURRENCY


def default_batch_size(executor: Executor, target: Target) -> int:
    """Return the items of a call if nobody says.

    One, where a call takes one item anyway: then an item's failure touches no other. A call to a
    process costs about a tenth of a millisecond, so several share one.
    """
    return 1 if target.shape.each and executor != "process" else BATCH_SIZE


def usable_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_executor(setup: Setup) -> tuple[BulkExecutor, Callable[[list[Any]], Any]]:
    """Return the executor and what it is to call."""
    if setup.executor == "task":
        return TaskExecutor(), functools.partial(call_async, setup.target)
    if setup.executor == "thread":
        return ThreadExecutor(), functools.partial(call, setup.target)
    from lexigram_actors.adapters.processes import ProcessExecutor

    return ProcessExecutor(), RemoteCall(setup.target.name, setup.target.shape)


@frozen
class Checkpoint:
    """Where the progress of a job is recorded, so that it can be continued."""

    store: CacheBackendProtocol
    operation_id: str


async def run_items(
    setup: Setup,
    source: ItemSource,
    sink: Sink,
    counters: Counters,
    *,
    checkpoint: Checkpoint | None = None,
    at_end: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Run all items; what became of each has reached `sink` when this returns.

    Cancelled or failing, what `sink` took stands, and nothing is under way any more. `at_end` is
    awaited with the number of items when their end is seen, before the run can end.

    Raises:
        LexigramError: the run ended before its items did; the message says why.
    """

    async def note_end(total: int) -> None:
        counters.total = total
        if at_end is not None:
            await at_end(total)

    executor, function = make_executor(setup)
    limit = None if setup.rate is None else RateLimit(setup.rate)
    async with executor.open(function, setup.concurrency) as call_target:
        processor = Processor(call_target, setup.target.shape.each, setup.retry, counters, limit)
        operation = BulkOperation(
            setup.config,
            processor,
            checkpoint_store=checkpoint.store if checkpoint else None,
            executor=TaskExecutor(),
        )
        items = numbered(source, note_end)
        operation_id = checkpoint.operation_id if checkpoint else None
        async with operation.execute(items, operation_id=operation_id) as run:
            await _deliver(run, processor, sink, counters, setup.failure_limit)


async def _deliver(
    run: BulkRun[list[Any], Outcome],
    processor: Processor,
    sink: Sink,
    counters: Counters,
    failure_limit: int | None,
) -> None:
    """Hand every result to the sink; the operation records a batch when the next is asked for."""
    async for result in run:
        if processor.broken is not None:
            raise processor.broken
        attempted = _attempted(result, processor)
        await sink.write(result.items, attempted)
        _count(counters, attempted)
        if failure_limit is not None and counters.failed > failure_limit:
            raise RunError(
                f"{counters.failed} items failed, and --failure-limit is {failure_limit}."
            )


def _attempted(
    result: BulkBatchResult[list[Any], Outcome], processor: Processor
) -> list[Attempted]:
    if result.is_successful:
        return [Attempted(outcome, 0) for outcome in result.results]
    kept = processor.take(result.items)
    if kept is not None:
        return kept
    # The processor itself did not get to its end: what the operation says of the batch is all.
    error = result.errors[0]
    return [Attempted(Failure(error.error, error.error_type), 0)] * len(result.items)


def _count(counters: Counters, attempted: list[Attempted]) -> None:
    for one in attempted:
        if isinstance(one.outcome, Failure):
            counters.fail(one.outcome.error_type, one.outcome.error)
        else:
            counters.succeeded += 1
