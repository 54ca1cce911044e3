"""Bulk processors in worker processes, for work that keeps a CPU busy. Extra: `processes`.

Built on trio-parallel: a warm call costs about 0.1 ms and the way of items and results through a
pipe, so batches should be worth some milliseconds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, final

import trio

from lexigram_actors.bulk.executors import BatchCall, Processor, name_of, refuse_async
from lexigram_actors.errors import BulkOperationError, ConfigurationError, MissingExtraError
from lexigram_actors.errors.base import describe

logger = logging.getLogger(__name__)


@final
class ProcessExecutor:
    """Calls a plain processor in worker processes.

        operation = BulkOperation(config, resize, executor=ProcessExecutor())

    The processor must be importable by name (a function at the top of a module, a
    `functools.partial` of one); items and results travel by pickle between processes of this one
    program, and nothing is pickled from anywhere else. A main script needs the usual
    `if __name__ == "__main__":`.

    - Cancelled, the process of a batch is killed: what the function began outside stays half done.
    - A process that dies (killed, out of memory, a crash in C) fails its batch, which is retried
      like any other; the other batches go on, and a new process takes its place.
    - Processes start as they are needed, are used again, and end with the run.

    Args:
        max_workers: Processes at most; None: as many as `max_concurrency`. Batches beyond wait.
        grace: Seconds that idle processes get to exit at the end, before they are killed.

    Raises:
        ConfigurationError: `max_workers` is below 1, or `grace` below 0.
    """

    def __init__(self, max_workers: int | None = None, *, grace: float = 5.0) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigurationError(
                f"max_workers must be at least 1 or None, and is {max_workers}"
            )
        if not 0 <= grace < math.inf:
            raise ConfigurationError(f"grace must be 0 or more seconds, and is {grace}")
        self.max_workers = max_workers
        self.grace = grace

    def open(
        self, processor: Processor, max_concurrency: int
    ) -> AbstractAsyncContextManager[BatchCall]:
        """Give a call that hands the batch to a process.

        Raises:
            MissingExtraError: trio-parallel is not installed.
            BulkOperationError: The processor is async, or a worker process could not import it.
        """
        refuse_async(processor, "ProcessExecutor")
        try:
            import trio_parallel
        except ImportError as error:
            raise MissingExtraError("trio-parallel", "processes", cause=error) from error
        refuse_unimportable(processor)
        workers = min(self.max_workers or max_concurrency, max_concurrency)
        return self._opened(trio_parallel, processor, workers)

    @asynccontextmanager
    async def _opened(
        self, trio_parallel: Any, processor: Processor, workers: int
    ) -> AsyncIterator[BatchCall]:
        limiter = trio.CapacityLimiter(workers)
        cut_off: BaseException | None = None
        try:
            async with trio_parallel.open_worker_context(grace_period=self.grace) as context:

                async def call(items: list[Any]) -> Any:
                    try:
                        return await context.run_sync(
                            processor, items, kill_on_cancel=True, limiter=limiter
                        )
                    except trio_parallel.BrokenWorkerError as error:
                        raise died(error) from error

                try:
                    yield call
                except BaseException as error:
                    cut_off = error
                    raise
        except trio_parallel.BrokenWorkerError as error:
            # An idle process had died, or did not exit in time and was killed: no batch is lost.
            logger.warning("worker processes did not end well: %s", error.args[0])
            if cut_off is not None:
                raise cut_off from None


def died(error: Exception) -> BulkOperationError:
    """Return what a batch fails with whose process died."""
    code = getattr(error.args[-1], "exitcode", None)
    return BulkOperationError(
        f"the worker process died, exit code {code}",
        hint="it was killed, ran out of memory, or crashed in native code",
        details={"exit_code": code},
    )


def refuse_unimportable(processor: Processor) -> None:
    """Refuse a processor that cannot be sent to another process.

    Raises:
        BulkOperationError: It is a lambda, a closure, a method of something unpicklable.
    """
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(processor)
    except Exception as error:
        raise BulkOperationError(
            f"{name_of(processor)} cannot be sent to a worker process: {describe(error)}",
            hint="define it at the top of a module; bind arguments with functools.partial",
            cause=error,
        ) from error
