"""Where a processor runs: in the task, in a thread; elsewhere through an executor of your own.

| executor | processor | when cancelled |
| --- | --- | --- |
| `TaskExecutor`, by default for async | async, or plain and quick | ends at its next checkpoint |
| `ThreadExecutor`, by default for plain | plain | is waited for until it returns |
| `adapters.processes.ProcessExecutor` | plain, importable | is killed with its process |
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import trio

from lexigram_actors.errors import BulkOperationError

Processor: TypeAlias = Callable[[list[Any]], Any]
"""Takes the items of a batch and returns one result for each, in order; plain or async."""

BatchCall: TypeAlias = Callable[[list[Any]], Awaitable[Any]]
"""A processor that runs somewhere: awaited with the items of a batch."""


@runtime_checkable
class BulkExecutor(Protocol):
    """Runs a processor somewhere."""

    def open(
        self, processor: Processor, max_concurrency: int
    ) -> AbstractAsyncContextManager[BatchCall]:
        """Return a context manager that gives the call to make for each batch.

        Called by `execute`, so a processor that does not fit is refused there, at once. Entered
        when the run starts and left when no call is under way any more. The call is made by up
        to `max_concurrency` tasks at a time. An `Exception` it raises is a failure of that batch;
        when it is cancelled it must end what it began, or wait for it.
        """


@final
class TaskExecutor:
    """Calls the processor in the task of its batch. A plain function blocks all other tasks."""

    def open(
        self, processor: Processor, max_concurrency: int
    ) -> AbstractAsyncContextManager[BatchCall]:
        """Give the processor itself, or an async function around a plain one."""
        return _given(processor if is_async(processor) else _inline(processor))


@final
class ThreadExecutor:
    """Calls a plain processor in Trio's worker threads, up to `max_concurrency` at once.

    The threads are counted by a limit of the run's own, so a run neither waits for nor starves
    other users of threads. Context variables are passed on. If the function returns an awaitable,
    that is awaited in the task of the batch.

    Args:
        abandon_on_cancel: A function in a thread cannot be stopped. False: a cancelled run waits
            until it returns, so that nothing goes on behind your back. True: the run ends at
            once, the function goes on unattended and its result is dropped.
    """

    def __init__(self, *, abandon_on_cancel: bool = False) -> None:
        self.abandon_on_cancel = abandon_on_cancel

    def open(
        self, processor: Processor, max_concurrency: int
    ) -> AbstractAsyncContextManager[BatchCall]:
        """Give a call that hands the batch to a thread."""
        refuse_async(processor, "ThreadExecutor")
        limiter = trio.CapacityLimiter(max_concurrency)

        def boxed(items: list[Any]) -> tuple[Any]:
            return (processor(items),)  # Trio refuses a bare coroutine as a thread's result

        async def call(items: list[Any]) -> Any:
            (results,) = await trio.to_thread.run_sync(
                boxed, items, limiter=limiter, abandon_on_cancel=self.abandon_on_cancel
            )
            return await results if inspect.isawaitable(results) else results

        return _given(call)


def default_executor(processor: Processor) -> BulkExecutor:
    """Return the executor for a processor that came without: by whether it is async."""
    return TaskExecutor() if is_async(processor) else ThreadExecutor()


def is_async(function: object) -> bool:
    """Say whether calling it gives a coroutine, as far as can be told without calling it.

    Sees through `functools.partial`, bound methods, and objects with an async `__call__`.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the function, not whether
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(called)


def refuse_async(processor: Processor, executor: str) -> None:
    """Refuse an async processor where only a plain one can run.

    Raises:
        BulkOperationError: It is async.
    """
    if is_async(processor):
        raise BulkOperationError(
            f"{executor} runs plain functions, and {name_of(processor)} is async",
            hint="leave the executor away: async processors run in tasks",
        )


def name_of(function: object) -> str:
    """Return what to call a processor in a message."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _inline(function: Processor) -> BatchCall:
    async def call(items: list[Any]) -> Any:
        results = function(items)
        return await results if inspect.isawaitable(results) else results

    return call


@asynccontextmanager
async def _given(call: BatchCall) -> AsyncIterator[BatchCall]:
    yield call
