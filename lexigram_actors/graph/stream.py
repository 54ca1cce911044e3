"""`GraphStream`: what `astream` returns.

The run works in a task of its own: a task of the caller's nursery under `async with`, a system task
where the caller just iterates. It tells its events to a `Feed`, from which the caller takes them.
Neither the run nor the feed knows the `GraphStream`, so that dropping it, as a loop does that is
left early, ends the run.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Final, Self, final

import trio
from trio.lowlevel import ParkingLot, TrioToken, checkpoint

from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.graph.driving import drive
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import GraphEvent, NodeFinished, RunFinished
from lexigram_actors.host.observing import observed
from lexigram_actors.nurseries import leave_nursery
from lexigram_actors.storage import Codec

BOUND: Final = 64
"""Events that may wait to be taken; with more, no further node starts."""

CLOSING_GRACE: Final = 5.0
"""Seconds for which waiting for the end of the run is shielded."""


@final
class Feed:
    """Events on their way from a run to its reader, and the task of the run.

    Attributes:
        error: What the run raised; the reader raises it once all events are taken.
    """

    def __init__(
        self, begin: Callable[[], Execution], codec: Codec, tell: Callable[..., Any]
    ) -> None:
        self._begin = begin
        self._codec = codec
        self._tell = tell
        self._events: deque[GraphEvent] = deque()
        self._readers = ParkingLot()
        self._writers = ParkingLot()
        self._scope = trio.CancelScope()
        self._token: TrioToken | None = None
        self.error: BaseException | None = None
        self.ended = trio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether the run has a task."""
        return self._token is not None

    # --- the run's side ---------------------------------------------------------------------

    def begin(self) -> None:
        """The task follows at once."""
        self._token = trio.lowlevel.current_trio_token()

    async def main(self) -> None:
        """Run to the end; raises nothing but `Cancelled`."""
        try:
            with self._scope:
                execution = self._begin()
                execution.tell_failure = lambda failed: self.tell(NodeFinished(failed))
                name = execution.graph.name
                outcome = await self._tell(
                    execution.run_id, name, drive, execution, self._codec, watcher=self
                )
                self.tell(RunFinished(outcome))
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001, ASYNC103, ASYNC104 - the reader raises it
            self.error = error
        finally:
            self.ended.set()
            self._readers.unpark_all()

    def tell(self, event: GraphEvent) -> None:
        """Append an event."""
        self._events.append(event)
        self._readers.unpark()

    @property
    def is_full(self) -> bool:
        """Whether the reader is behind."""
        return len(self._events) >= BOUND

    async def wait_room(self) -> None:
        """Wait until the reader has caught up."""
        while self.is_full:
            await self._writers.park()

    # --- the reader's side ------------------------------------------------------------------

    async def take(self) -> GraphEvent:
        """Return the next event, once there is one.

        Raises:
            StopAsyncIteration: There are no more.
            BaseException: What the run raised, once.
        """
        await checkpoint()
        while not self._events:
            if self.ended.is_set():
                error, self.error = self.error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._readers.park()
        event = self._events.popleft()
        if not self.is_full:
            self._writers.unpark_all()
        return event

    async def close(self) -> None:
        """Stop the run and wait until no task of it is left."""
        self._scope.cancel()
        if not self.has_begun:
            self.begin()
            self.ended.set()
        else:
            with trio.move_on_after(CLOSING_GRACE, shield=True):
                await self.ended.wait()
            await self.ended.wait()

    def drop(self) -> None:
        """Stop the run, from a finaliser: at any moment, in any thread, even after the run."""
        if self._token is not None and not self.ended.is_set():
            with suppress(trio.RunFinishedError):
                # Not `cancel` itself: a finaliser may run in the midst of Trio's bookkeeping.
                self._token.run_sync_soon(self._scope.cancel)


@final
class GraphStream:
    """The events of one run, as they happen. Made by `WorkflowEngine.astream`.

    An async iterator, and an async context manager around it. The run begins at the first
    `__anext__` or at `__aenter__`; it cannot be begun twice.
    """

    __slots__ = ("__weakref__", "_feed", "_manager")

    def __init__(
        self,
        begin: Callable[[], Execution],
        codec: Codec,
        tell: Callable[..., Any] = observed,
    ) -> None:
        self._feed = Feed(begin, codec, tell)
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GraphEvent:
        """Return the next event; always a checkpoint. Cancelled, no event is lost.

        Raises:
            HumanInputRequiredError: Nothing can move until a person answers.
        """
        feed = self._feed
        try:
            if not feed.has_begun:
                feed.begin()
                trio.lowlevel.spawn_system_task(
                    feed.main, name="graph run", context=contextvars.copy_context()
                )
            return await feed.take()
        finally:
            del self  # or the traceback would keep the run alive as long as somebody holds it

    async def aclose(self) -> None:
        """Stop the run and wait until no task of it is left. Fine to call twice."""
        await self._feed.close()
        await checkpoint()

    async def __aenter__(self) -> Self:
        """Begin, with the run in a nursery around the block. Not a checkpoint.

        Raises:
            WorkflowStateError: It was begun before.
        """
        if self._feed.has_begun:
            raise WorkflowStateError(
                "this run has begun already",
                hint="async with engine.astream(...) as events: async for event in events: ...",
            )
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        self._manager = manager
        self._feed.begin()
        nursery.start_soon(self._feed.main, name="graph run")
        return self

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        """Stop what still runs and wait until no task is left, as a nursery does.

        An error of the run that was not asked for is not raised; an interrupt is.
        """
        return self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        self._feed._scope.cancel()
        manager, self._manager = self._manager, None
        assert manager is not None
        await leave_nursery(manager, error)
        left, self._feed.error = self._feed.error, None
        if left is not None and not isinstance(left, Exception):
            raise left

    def __del__(self) -> None:
        self._feed.drop()
