"""Events, hooks, and the two ways to hear of them.

| | `EventBus` | `HookRegistry` |
| --- | --- | --- |
| who waits | nobody: `publish` is a plain call | the sender: `emit` awaits each hook in turn |
| a slow listener | loses its own oldest events, and can see how many | delays the sender |
| a failing listener | fails alone, in its own task | is logged; the other hooks still run |
| for | watching: dashboards, logs, tests | acting at a moment: metrics, alarms |

Both match by `isinstance`: a subscription to a base class gets every subclass, one to `object`
everything. Both are plain objects that may be made outside a Trio run; use them from the Trio
thread.

The payloads are frozen. New fields are added at the end, with defaults.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final, overload

import trio
from attrs import frozen

from lexigram_actors.checks import require, whole

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


# --- payloads --------------------------------------------------------------------------------


@frozen
class WorkflowStartedEvent:
    """An instance began."""

    workflow_id: str
    workflow_name: str


@frozen
class WorkflowCompletedEvent:
    """An instance reached its end with success."""

    workflow_id: str
    workflow_name: str


@frozen
class WorkflowFailedEvent:
    """An instance ended because of a failure; `error` says which, for a person."""

    workflow_id: str
    workflow_name: str
    error: str


@frozen
class WorkflowStartedHook:
    """Given to hooks when an instance begins."""

    workflow_id: str
    workflow_type: str


@frozen
class WorkflowCompletedHook:
    """Given to hooks when an instance ended, well or not."""

    workflow_id: str
    workflow_type: str
    succeeded: bool


@frozen
class WorkflowStateTransitionedHook:
    """Given to hooks when an instance moved from one state to another."""

    workflow_id: str
    from_state: str
    to_state: str


@frozen
class WorkflowCancelledEvent:
    """An instance ended because somebody asked for it, for this reason."""

    workflow_id: str
    workflow_name: str
    reason: str


@frozen
class WorkflowStatusEvent:
    """An instance does something else now; `note` says what it waits for, or why it is so."""

    workflow_id: str
    workflow_name: str
    from_status: str
    to_status: str
    note: str = ""


@frozen
class WorkflowRecordedEvent:
    """An instance recorded something: it is durable, or will be with the next that is.

    `path` is where in the definition, and `kind` which sort, as in its history.
    """

    workflow_id: str
    path: str
    kind: str


@frozen
class WorkflowCrashedEvent:
    """An instance raised a bug. It is started again in `delay` seconds; None: it is not."""

    workflow_id: str
    workflow_name: str
    error: str
    delay: float | None


@frozen
class WorkflowPublished:
    """A durable function tells how far it is: what it gave to `ctx.publish`."""

    workflow_id: str
    name: str
    value: Any


# --- events ----------------------------------------------------------------------------------


@final
class Subscription(Generic[T_co]):
    """What a subscriber holds: an async iterator over events, from entry to exit.

    Made by `EventBus.subscribe`; use it with `async with`, once. Iteration ends when the bus is
    closed and all that had arrived is taken, or when the `async with` is left. Several tasks may
    iterate; each event goes to one of them. Each step of the iteration is a checkpoint; cancelled
    there, no event is lost.
    """

    __slots__ = (
        "_arrived",
        "_bound",
        "_bus",
        "_dropped",
        "_ended",
        "_entered",
        "_types",
        "_waiting",
        "_where",
    )

    def __init__(
        self,
        bus: EventBus,
        types: tuple[type, ...],
        bound: int,
        where: Callable[[Any], bool] | None,
    ) -> None:
        self._bus = bus
        self._types = types
        self._where = where
        self._bound = bound
        self._arrived: deque[Any] = deque()  # never longer than bound
        self._waiting = trio.lowlevel.ParkingLot()
        self._dropped = 0
        self._entered = False
        self._ended = False

    @property
    def dropped(self) -> int:
        """How many events were lost because this subscriber was too slow; the oldest go first."""
        return self._dropped

    @property
    def queued(self) -> int:
        """How many events have arrived and are not taken yet."""
        return len(self._arrived)

    async def __aenter__(self) -> Self:
        """Begin to receive. No checkpoint."""
        if self._entered:
            raise RuntimeError("a subscription is used once: call subscribe() again for another")
        self._entered = True
        self._bus._add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop receiving and forget what was not taken. No checkpoint."""
        self._bus._remove(self)
        self._arrived.clear()
        self._end()

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self

    async def __anext__(self) -> T_co:
        if not self._entered:
            raise RuntimeError("write `async with bus.subscribe(...) as events:` before iterating")
        # First the checkpoint, then the event: one taken before it would be lost if cancelled.
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            if self._ended:
                raise StopAsyncIteration
            await self._waiting.park()
        event: T_co = self._arrived.popleft()
        return event

    def _offer(self, event: object) -> None:
        if not isinstance(event, self._types):
            return
        if self._where is not None and not self._where(event):
            return
        if len(self._arrived) >= self._bound:
            self._arrived.popleft()
            self._dropped += 1
        self._arrived.append(event)
        if self._waiting:
            self._waiting.unpark()

    def _end(self) -> None:
        self._ended = True
        if self._waiting:
            self._waiting.unpark_all()


@final
class EventBus:
    """Hands each published event to whoever subscribes to its type at that moment."""

    def __init__(self) -> None:
        # Replaced, never changed in place: a publish that is under way keeps the one it began with.
        self._subscriptions: tuple[Subscription[Any], ...] = ()
        self._closed = False

    @overload
    def subscribe(
        self, *, bound: int = 1024, where: Callable[[Any], bool] | None = None
    ) -> Subscription[Any]: ...
    @overload
    def subscribe(
        self, *types: type[T], bound: int = 1024, where: Callable[[T], bool] | None = None
    ) -> Subscription[T]: ...
    def subscribe(
        self,
        *types: type[Any],
        bound: int = 1024,
        where: Callable[[Any], bool] | None = None,
    ) -> Subscription[Any]:
        """Return a subscription to events of these types (none: all events).

            async with bus.subscribe(WorkflowFailedEvent) as failures:
                async for failure in failures:
                    ...

        Args:
            types: Classes; an event of a subclass matches too.
            bound: How many events may wait to be taken, at least 1. When one more comes, the
                oldest is dropped and counted in `subscription.dropped`.
            where: Says of an event whether it is wanted; called by whoever publishes, so it must be
                quick and must not raise. None: all are.

        Events are received from the entry of the `async with` on, until its exit.

        Raises:
            TypeError: One of the types is no class.
            ConfigurationError: The bound is no whole number of at least 1.
        """
        for each in types:
            if not isinstance(each, type):
                raise TypeError(f"subscribe() takes classes, as subscribe(MyEvent); got {each!r}")
        require("bound", bound, whole(least=1))
        return Subscription(self, types or (object,), bound, where)

    def publish(self, event: object) -> None:
        """Hand the event to every subscriber; never waits. After `close` it does nothing."""
        for subscription in self._subscriptions:
            subscription._offer(event)

    def close(self) -> None:
        """End every iteration once it has taken what had arrived; later ones end at once."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription._end()
        self._subscriptions = ()

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def _add(self, subscription: Subscription[Any]) -> None:
        if self._closed:
            subscription._end()
        else:
            self._subscriptions = (*self._subscriptions, subscription)

    def _remove(self, subscription: Subscription[Any]) -> None:
        self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)


# --- hooks -----------------------------------------------------------------------------------


@final
class HookRegistry:
    """Functions that are called, one after the other, at the moments they were added for."""

    def __init__(self) -> None:
        self._hooks: tuple[tuple[type[Any], Callable[[Any], object]], ...] = ()

    def add(self, type: type[T], fn: Callable[[T], Awaitable[object] | object]) -> None:
        """Call `fn(payload)` for each payload of that type from now on; `fn` may be async.

        Added twice, it is called twice.
        """
        self._hooks = (*self._hooks, (type, fn))

    def remove(self, type: type[T], fn: Callable[[T], Awaitable[object] | object]) -> None:
        """Undo one `add` of the same two arguments.

        Raises:
            ValueError: That hook is not there.
        """
        hooks = list(self._hooks)
        try:
            hooks.remove((type, fn))
        except ValueError:
            raise ValueError(f"{fn!r} is no hook for {type.__name__}") from None
        self._hooks = tuple(hooks)

    @property
    def count(self) -> int:
        """How many hooks there are."""
        return len(self._hooks)

    def wants(self, payload: object) -> bool:
        """Return whether there is a hook for this payload now."""
        return any(isinstance(payload, kind) for kind, _ in self._hooks)

    async def emit(self, payload: object) -> None:
        """Call the hooks for this payload in the order they were added, and await each.

        A hook that raises an `Exception` is logged and the next is called. Cancelled, the hooks
        that follow are not called. A hook added or removed meanwhile counts from the next `emit`
        on. It checkpoints only where a hook does.
        """
        for kind, fn in self._hooks:
            if isinstance(payload, kind):
                await self._call(fn, payload)

    async def _call(self, fn: Callable[[Any], object], payload: object) -> None:
        try:
            outcome = fn(payload)
            if inspect.isawaitable(outcome):
                await outcome
        except Exception:
            logger.exception("hook %r failed on a %s", fn, type(payload).__name__)
