"""`BulkRun`: what `execute` returns.

**Two ways to use it.** `async with operation.execute(items) as run: async for result in run: ...`
has the workers in a nursery of the caller: when the block is left, in whatever way, no task of the
run is left. `async for result in operation.execute(items): ...` is shorter. Its workers live in a
system task, and leaving the loop early stops them when the iterator is dropped: on CPython at once,
as the loop holds the only reference to it.

**How dropping works.** The engine does not know this object, so its end is not kept up by the work
it started, and `__del__` cancels. While `__anext__` waits it refers to the object itself (it may be
the only one who does, as in `await anext(operation.execute(items))`), and lets go of it before it
raises: otherwise the traceback, which refers to all frames, would keep the run alive for as long as
somebody holds the exception.
"""

from __future__ import annotations

import contextvars
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import trio

from lexigram_actors.bulk.engine import Engine
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import BulkBatchResult, BulkOperationState
from lexigram_actors.errors import BulkOperationError
from lexigram_actors.nurseries import leave_nursery

T = TypeVar("T")
R = TypeVar("R")


class BulkRun(Generic[T, R]):
    """The results of one execution, batch by batch, as they come.

    An async iterator, and an async context manager around it. Made by `BulkOperation.execute`;
    nothing happens before the first `__anext__` or `__aenter__`, where the time-out begins.
    """

    __slots__ = ("__weakref__", "_engine", "_manager")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    @property
    def state(self) -> BulkOperationState:
        """Where this run stands."""
        return self._engine.state

    @property
    def metrics(self) -> BulkOperationMetrics:
        """What this run did so far; alive."""
        return self._engine.metrics

    @property
    def concurrency(self) -> int:
        """How many batches may be under way at once; moves where the operation is adaptive."""
        return self._engine.pool.limit

    @property
    def in_flight(self) -> int:
        """How many batches are under way."""
        return self._engine.pool.in_flight

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BulkBatchResult[T, R]:
        """Return the next result.

        A result that is there is handed over without waiting, with a checkpoint after 100 of them
        or 1 ms. Cancelled while it waits it loses nothing, and may be called again.

        Raises:
            BulkOperationError: The run failed (`BulkOperationTimeoutError`: it took too long);
                results of batches that ended before were delivered first.
            BulkOperationCancelledError: It was cancelled by `BulkOperation.cancel`.
            trio.BusyResourceError: Another task waits for the next result already.
        """
        engine = self._engine
        delivery = engine.delivery
        if delivery.at_hand():
            return delivery.pop()
        try:
            if not engine.started and not engine.finished.is_set():
                engine.begin()
                trio.lowlevel.spawn_system_task(
                    engine.main, name="bulk operation", context=contextvars.copy_context()
                )
            return await delivery.take()
        finally:
            del self  # see the top of the file

    async def aclose(self) -> None:
        """Stop the work and wait until no task of the run is left. Fine to call twice.

        The waiting is shielded from cancellation for a few seconds. Called from within the run
        (a processor, a hook) it stops the work without waiting.
        """
        self._engine.leave()
        await self._engine.settle()
        self._raise_interrupt()

    async def __aenter__(self) -> Self:
        """Begin, with the workers in a nursery around the block. Not a checkpoint.

        Raises:
            BulkOperationError: It was begun before.
        """
        engine = self._engine
        if engine.started:
            raise BulkOperationError(
                "this run has begun already",
                hint="async with operation.execute(items) as run: async for result in run: ...",
            )
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        self._manager = manager
        if not engine.finished.is_set():
            engine.begin()
            nursery.start_soon(engine.main, name="bulk operation")
        return self

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        """Stop what still works and wait until no task is left, as a nursery does.

        An error of the run that was not asked for is not raised; an interrupt is.
        """
        return self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        self._engine.leave()
        manager, self._manager = self._manager, None
        assert manager is not None
        await leave_nursery(manager, error)
        self._raise_interrupt()

    def _raise_interrupt(self) -> None:
        """Let no `KeyboardInterrupt` or `SystemExit` be lost that hit a processor meanwhile."""
        error, delivery = self._engine.error, self._engine.delivery
        if error is not None and not isinstance(error, Exception) and not delivery.told:
            delivery.told = True
            raise error

    def __del__(self) -> None:
        self._engine.drop()
