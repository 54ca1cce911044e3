"""`BulkOperation`: a configured processor, executed over as many inputs as you like."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import trio

from lexigram_actors.breaker import CircuitBreaker, CircuitBreakerProtocol
from lexigram_actors.bulk.checkpoint import Journal
from lexigram_actors.bulk.engine import Engine
from lexigram_actors.bulk.executors import BulkExecutor, Processor, default_executor, name_of
from lexigram_actors.bulk.hooks import Hook, Hooks, ProgressCallback
from lexigram_actors.bulk.job import Job
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import BulkCheckpoint, BulkOperationState
from lexigram_actors.bulk.run import BulkRun
from lexigram_actors.bulk.runnable import BulkRunnable
from lexigram_actors.bulk.sources import source_of
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import BulkOperationError, ConfigurationError
from lexigram_actors.host.seam import Runnable
from lexigram_actors.storage.ports import CacheBackendProtocol

T = TypeVar("T")
R = TypeVar("R")


class BulkOperation(Generic[T, R]):
    """Sends many items through a processor in batches, several at once.

        operation = BulkOperation(BulkOperationConfig(batch_size=100), send)
        async with operation.execute(orders) as run:
            async for result in run:
                print(result.batch_id, result.success_count, result.error_count)

    What is held in memory depends on `max_concurrency * batch_size`, not on the length of the
    input: items are read as workers are free, and a slow loop slows the reading. A batch that
    fails is no exception but a result with errors; the iteration raises only where the run as a
    whole ends: `BulkOperationTimeoutError`, the failure limit, an input that raises, a checkpoint
    that cannot be written, `BulkOperationCancelledError`. Batches that ended before are delivered
    first.

    Args:
        config: How big, how many at once, how often again; see `BulkOperationConfig`.
        processor: Gets a list of items, returns one result for each, in the same order. Async
            ones run in a task; plain ones in a thread, and should not wait for long, since a
            thread cannot be interrupted. A context variable that it sets may be seen by later
            batches: workers are used again.
        circuit_breaker: Guards every call of the processor, also of the parts of a batch that is
            being split; in place of `config.circuit_breaker_config`.
        checkpoint_store: Where runs with an `operation_id` record what was delivered.
        on_progress, on_complete, on_error: Told after a good batch, at the end of a completed run,
            and after a failed batch or when the run fails; with (items processed, items known so
            far, message). What they raise is logged. Plain functions will do too.
        executor: Where the processor runs: `ThreadExecutor()`, `ProcessExecutor()`, or yours.
        keep_results: Record results too, and deliver them again on a resume.
        fingerprint: What identifies an item when a run resumes, as `lambda order: order.id`.
            None: all it holds. Needed for items of types without a stable form.
    """

    def __init__(
        self,
        config: BulkOperationConfig | None = None,
        processor: Callable[[list[T]], Awaitable[Sequence[R]] | Sequence[R]] | None = None,
        circuit_breaker: CircuitBreakerProtocol | None = None,
        checkpoint_store: CacheBackendProtocol | None = None,
        *,
        on_progress: Hook | None = None,
        on_complete: Hook | None = None,
        on_error: Hook | None = None,
        executor: BulkExecutor | None = None,
        keep_results: bool = False,
        fingerprint: Callable[[T], Any] | None = None,
    ) -> None:
        if checkpoint_store is not None and not callable(getattr(checkpoint_store, "get", None)):
            raise ConfigurationError(
                f"checkpoint_store keeps values by key (a CacheBackendProtocol), which "
                f"{type(checkpoint_store).__name__} does not",
                hint="of an open store, give its cache: checkpoint_store=store.cache",
            )
        self.config = config or BulkOperationConfig()
        if circuit_breaker is None and self.config.circuit_breaker_config is not None:
            circuit_breaker = CircuitBreaker(self.config.circuit_breaker_config)
        self.circuit_breaker = circuit_breaker
        self._processor = processor
        self._store = checkpoint_store
        self._executor = executor
        self._keep_results = keep_results
        self._fingerprint = fingerprint
        self._callbacks: list[ProgressCallback] = []
        self._hooks = Hooks(
            on_progress,
            on_complete,
            on_error,
            self._callbacks,
            self.config.enable_progress_tracking,
        )
        self._engine: Engine | None = None
        self._idle_state = BulkOperationState.PENDING
        self._idle_metrics = BulkOperationMetrics()

    @property
    def state(self) -> BulkOperationState:
        """Where the latest execution stands; PENDING before the first."""
        return self._idle_state if self._engine is None else self._engine.state

    @property
    def metrics(self) -> BulkOperationMetrics:
        """What the latest execution did so far; alive. Each execution has its own."""
        return self._idle_metrics if self._engine is None else self._engine.metrics

    def add_progress_callback(self, callback: ProgressCallback) -> None:
        """Call this with the metrics after every batch, good or bad, in the task of the batch.

        `enable_progress_tracking=False` silences it. What it raises is logged.
        """
        self._callbacks.append(callback)
        if self._engine is not None:
            self._engine.processing.watched = True

    def execute(
        self,
        items: list[T] | Iterable[T] | AsyncIterable[T],
        processor: Callable[[list[T]], Awaitable[Sequence[R]] | Sequence[R]] | None = None,
        operation_id: str | None = None,
    ) -> BulkRun[T, R]:
        """Return a run over the items: `async for result in run`, best under `async with run`.

        A plain call that starts nothing yet. The operation is RUNNING from here until the run has
        ended, or was dropped. `config.timeout` counts from the first step of the iteration, and
        includes the time the loop takes for itself.

        Args:
            items: A list (not copied: leave it alone meanwhile), or any iterable or async
                iterable, read lazily. An async iterator is closed at the end.
            processor: In place of the operation's own.
            operation_id: Under which a run with a checkpoint store records, once they were handed
                over, the batches that succeeded. A run that was interrupted goes on from there;
                one whose items or batch size differ is refused from the iteration. A run in which
                every batch succeeded clears its record.

        Raises:
            BulkOperationError: Another execution of this operation is going on, there is no
                processor, or the executor cannot run it.
            TypeError: `items` cannot be iterated over.
        """
        return BulkRun(self._prepare(items, processor, operation_id))

    def _prepare(
        self,
        items: list[T] | Iterable[T] | AsyncIterable[T],
        processor: Processor | None = None,
        operation_id: str | None = None,
    ) -> Engine:
        """Check what is asked for and make the engine of a run, not begun."""
        function = self._function(processor)
        if self.state is BulkOperationState.RUNNING:
            raise BulkOperationError(
                "this operation is being executed already",
                hint="wait for the end of that run or cancel() it, or use an operation of its own",
            )
        job = self._job(items, function, self.journal(operation_id))
        before = self._engine
        if before is not None and (not before.started or before.finished.is_set()):
            before = None
        self._engine = Engine(job, before)
        return self._engine

    def _function(self, processor: Processor | None = None) -> Processor:
        function = processor or self._processor
        if function is None:
            raise BulkOperationError(
                "there is no processor",
                hint="BulkOperation(config, processor), or execute(items, processor)",
            )
        return function

    def _job(self, items: Any, function: Processor, journal: Journal | None) -> Job:
        executor = self._executor or default_executor(function)
        return Job(
            name_of(function),
            source_of(items, self.config.batch_size),
            executor.open(function, self.config.max_concurrency),
            self.config,
            self._hooks,
            self.circuit_breaker,
            journal,
        )

    def as_runnable(
        self,
        name: str,
        items: Iterable[T]
        | AsyncIterable[T]
        | Callable[[Any], Iterable[T] | AsyncIterable[T]]
        | None = None,
    ) -> Runnable:
        """Return the operation as something to run inside something else, or in a host.

        Its outcome is `Ok({"results": [...], "errors": [...], "metrics": {...}})`, all in the order
        of the input, also where batches failed; `Err(BulkOperationError)` where the run did. Any
        number of its runs may go on at once, also beside `execute`: `state`, `metrics` and `cancel`
        are those of `execute` alone.

        In a host each batch is recorded in the journal of the instance, with its results, once it
        was handed over. After a crash it is not processed again, unless it failed; and the outcome
        is the same, provided that the items are. Outside, it is recorded in the checkpoint store,
        if there is one, under the run's id.

        Args:
            name: Names the definition.
            items: An iterable that can be gone through again; or what returns the items, given the
                input of the run. None: the input is the list of items.

        Raises:
            BulkOperationError: There is no processor.
        """
        self._function()
        return BulkRunnable(self, name, items)

    def run_apart(self, items: Any, journal: Journal | None) -> BulkRun[T, R]:
        """Return a run that is not this operation's execution: any number may go on at once.

        Raises:
            TypeError: `items` cannot be iterated over.
        """
        return BulkRun(Engine(self._job(items, self._function(), journal)))

    def journal(
        self,
        operation_id: str | None,
        store: CacheBackendProtocol | None = None,
        *,
        keep_results: bool | None = None,
        is_append_only: bool = False,
    ) -> Journal | None:
        """Return where a run is recorded; None where it has no name, or there is no store.

        Args:
            store: None: the operation's own.
            keep_results: None: as the operation says.
            is_append_only: As for `Journal`.
        """
        store = self._store if store is None else store
        if store is None or operation_id is None:
            return None
        return Journal(
            store,
            operation_id,
            keep_results=self._keep_results if keep_results is None else keep_results,
            fingerprint=self._fingerprint,
            is_append_only=is_append_only,
        )

    async def checkpoint(self, operation_id: str) -> BulkCheckpoint | None:
        """Return what is recorded under this id; None where nothing is, or there is no store.

        Raises:
            BulkOperationError: It cannot be read.
        """
        journal = self.journal(operation_id)
        if journal is None:
            await trio.lowlevel.checkpoint()
            return None
        await journal.load()
        return journal.snapshot()

    async def clear_checkpoint(self, operation_id: str) -> None:
        """Forget what is recorded under this id: the next run with it starts from the beginning.

        Raises:
            BulkOperationError: The store did not do it.
        """
        journal = self.journal(operation_id)
        if journal is None:
            await trio.lowlevel.checkpoint()
        else:
            await journal.clear()

    async def cancel(self) -> None:
        """Stop the execution and return when no batch is under way any more.

        The state is CANCELLED at once; the iteration delivers what ended before and then raises
        `BulkOperationCancelledError`. Without an execution nothing happens.

        A processor that cannot be interrupted (a thread, a shielded scope) is waited for, and
        named in the log after 5 seconds; until then the waiting is shielded from a cancellation
        of the caller. Called from within the run (a processor, a hook, a callback) it does not
        wait: it would wait for itself.
        """
        if self._engine is None or self._engine.finished.is_set():
            await trio.lowlevel.checkpoint()
        else:
            self._engine.cancel()
            await self._engine.settle()

    async def shutdown(self) -> None:
        """Cancel the execution, if there is one, and end in a terminal state.

        An operation that never ran is CANCELLED; one that ended stays as it is. It may be
        executed again all the same.
        """
        if self._engine is None:
            self._idle_state = BulkOperationState.CANCELLED
        await self.cancel()
