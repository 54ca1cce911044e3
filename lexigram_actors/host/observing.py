"""Telling of runs: the hooks of a host, and `observing` for runs without one.

    async with observing(hooks=hooks) as observer:
        async with observer.events.subscribe(WorkflowFailedEvent) as failures:
            await pipeline.execute()

| | told by | what counts as a transition |
| --- | --- | --- |
| an instance of a host | the host: `host.events()`, `host.hooks` | a status that the store has |
| a run of its own inside `observing` | the observer | its begin, a pause for a person, its end |
| a state machine of its own inside `observing` | the observer | each transition that it made |
| a run inside another run | nobody: it is a part of that | |

**The problem.** A bus never waits, but a hook may be slow, or wait for a network. Awaited by the
run itself it would be a part of the run. **The trick.** What is to be told to hooks is put into a
queue, and one task, the pump, awaits them one after the other. So a hook that is slow, raises, or
waits for the very run that it is told of delays other hooks and nothing else. **The limits.** The
queue is in memory: what is not told when the process dies, or when the time to drain it is over,
never is.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, ParamSpec, TypeVar, final

import trio

from lexigram_actors.checks import given, number, require
from lexigram_actors.errors import HumanInputRequiredError, describe
from lexigram_actors.events import (
    EventBus,
    HookRegistry,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowCompletedHook,
    WorkflowFailedEvent,
    WorkflowStartedEvent,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
    WorkflowStatusEvent,
)
from lexigram_actors.nurseries import leave_nursery, split_cancelled
from lexigram_actors.result import Err
from lexigram_actors.storage.instances import InstanceStatus

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DRAIN: Final = 5.0
"""Seconds for which hooks are still called when all else has ended."""

MANY: Final = 10_000
"""So many payloads that wait are worth a line in the log."""

OBSERVER: Final[ContextVar[Observer | None]] = ContextVar("OBSERVER", default=None)
"""Who is told of the next run in this task; None: nobody, or it is a part of one that is told."""


# --- the pump -----------------------------------------------------------------------------------


@final
class Pump:
    """Gives payloads to hooks, in order, from a task of its own.

    Attributes:
        waiting: How many payloads were not given to all of their hooks yet.
    """

    def __init__(self, hooks: HookRegistry) -> None:
        self.hooks = hooks
        self.is_over = False
        self._queue: deque[object] = deque()
        self._in_hand = 0
        self._most = MANY
        self._has_news = trio.Event()
        self._is_closing = False
        self._ended = trio.Event()
        self._scope = trio.CancelScope(shield=True)

    @property
    def waiting(self) -> int:
        """How many payloads were not given to all of their hooks yet."""
        return len(self._queue) + self._in_hand

    def give(self, payload: object) -> None:
        """Have the hooks for this payload called, soon; never waits."""
        if not self.hooks.wants(payload):
            return
        if self.is_over:
            logger.warning("no hook is called any more: %r comes too late", payload)
            return
        self._queue.append(payload)
        self._has_news.set()
        if len(self._queue) >= self._most:
            logger.warning("hooks are slow: %d payloads wait for them", len(self._queue))
            self._most *= 10

    async def work(self) -> None:
        """Call hooks until it is closed and nothing waits any more."""
        OBSERVER.set(None)  # a hook that runs something is not told of that
        try:
            # Shielded: what was to be told before a cancellation is told after it, for a while.
            with self._scope:
                await self._give_all()
        finally:
            self.is_over = True
            self._ended.set()

    async def _give_all(self) -> None:
        while self._queue or not self._is_closing:
            if not self._queue:
                self._has_news = trio.Event()
                await self._has_news.wait()
                continue
            await trio.lowlevel.checkpoint()
            payload = self._queue.popleft()
            self._in_hand = 1
            await self.hooks.emit(payload)
            self._in_hand = 0

    async def drain(self, seconds: float) -> None:
        """Let what waits be told within this time, also where the caller is cancelled; then stop.

        Not a checkpoint where nothing waits, but for the end of the task.
        """
        self._is_closing = True
        self._has_news.set()
        with trio.move_on_after(seconds, shield=True):
            await self._ended.wait()
        if not self._ended.is_set():
            logger.warning(
                "%d payloads were not given to all of their hooks within %g s, and are dropped",
                self.waiting,
                seconds,
            )
            self._scope.cancel()


@asynccontextmanager
async def pumping(pump: Pump, drain: float) -> AsyncIterator[None]:
    """Call hooks for the length of a block, and `drain` seconds longer if need be.

    What the block raises is raised as it is, not in a group.
    """
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    nursery.start_soon(pump.work, name="hooks")
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            await pump.drain(drain)  # noqa: ASYNC102 - shielded, and bounded
        finally:
            await leave_nursery(manager, error)  # noqa: ASYNC102 - its only task is over, or is cancelled


# --- what is told -------------------------------------------------------------------------------


@final
class Observer:
    """Tells a bus and hooks what runs do. Made by `observing`.

    Attributes:
        events: The bus: `async with observer.events.subscribe(...) as events`.
        hooks: Called by a task of their own.
    """

    def __init__(self, events: EventBus, hooks: HookRegistry) -> None:
        self.events = events
        self.hooks = hooks
        self.pump = Pump(hooks)

    async def watch(
        self,
        id: str | None,
        name: str,
        fn: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Await `fn(*args)`, a run, and tell of its begin and its end."""
        watched = Watched(self, id, name)
        watched.start()
        return await self._watch(watched, fn, *args, **kwargs)

    async def watch_on(
        self,
        id: str | None,
        name: str,
        fn: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do the same for a run that goes on from where it waited for a person."""
        watched = Watched(self, id, name, InstanceStatus.WAITING)
        watched.move(InstanceStatus.RUNNING)
        return await self._watch(watched, fn, *args, **kwargs)

    async def _watch(
        self,
        watched: Watched,
        fn: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        token = OBSERVER.set(None)  # what it runs is a part of it
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            watched.end_with(error)
            raise
        finally:
            OBSERVER.reset(token)
        watched.end(result)
        return result

    def transitioned(self, id: str, from_state: str, to_state: str) -> None:
        """Tell that something with states of its own moved; never waits."""
        self.pump.give(WorkflowStateTransitionedHook(id, from_state, to_state))


@final
class Watched:
    """One run, of which an observer tells."""

    __slots__ = ("_id", "_name", "_observer", "_status")

    def __init__(
        self,
        observer: Observer,
        id: str | None,
        name: str,
        status: InstanceStatus = InstanceStatus.PENDING,
    ) -> None:
        self._observer = observer
        self._id = name if id is None else id
        self._name = name
        self._status = status

    def start(self) -> None:
        """Tell that it begins."""
        self.move(InstanceStatus.RUNNING)

    def end(self, result: object) -> None:
        """Tell what it came to: what it returned."""
        if isinstance(result, Err):
            self.move(InstanceStatus.FAILED, describe(result.error))
        else:
            self.move(InstanceStatus.COMPLETED)

    def end_with(self, error: BaseException) -> None:
        """Tell what it came to: what it raised."""
        if isinstance(error, HumanInputRequiredError):
            self.move(InstanceStatus.WAITING, describe(error))
        elif split_cancelled(error)[1] is None:
            self.move(InstanceStatus.CANCELLED, "cancelled")
        else:
            self.move(InstanceStatus.FAILED, describe(error))

    def move(self, status: InstanceStatus, why: str = "") -> None:
        """Tell that it does something else now."""
        before, self._status = self._status, status
        bus, pump = self._observer.events, self._observer.pump
        if bus.subscribers:
            for event in events_of(self._id, self._name, before, status, why):
                bus.publish(event)
        if pump.hooks.count:
            for payload in hooks_of(self._id, self._name, before, status):
                pump.give(payload)


def events_of(
    id: str,
    name: str,
    before: InstanceStatus,
    status: InstanceStatus,
    note: str = "",
    why: str | None = None,
) -> list[object]:
    """Return what those who watch are told of a transition, or of another note.

    Args:
        note: What it waits for, or why it is so, in a line.
        why: Why it ended; None: as the note says.
    """
    why = note if why is None else why
    events: list[object] = []
    if is_beginning(before, status):
        events.append(WorkflowStartedEvent(id, name))
    events.append(WorkflowStatusEvent(id, name, before.value, status.value, note))
    if status is InstanceStatus.COMPLETED:
        events.append(WorkflowCompletedEvent(id, name))
    elif status is InstanceStatus.CANCELLED:
        events.append(WorkflowCancelledEvent(id, name, why))
    elif status.has_ended:
        events.append(WorkflowFailedEvent(id, name, why))
    return events


def hooks_of(id: str, name: str, before: InstanceStatus, status: InstanceStatus) -> list[object]:
    """Return what hooks are given for a transition."""
    if status is before:
        return []
    payloads: list[object] = []
    if is_beginning(before, status):
        payloads.append(WorkflowStartedHook(id, name))
    payloads.append(WorkflowStateTransitionedHook(id, before.value, status.value))
    if status.has_ended:
        succeeded = status is InstanceStatus.COMPLETED
        payloads.append(WorkflowCompletedHook(id, name, succeeded))
    return payloads


def is_beginning(before: InstanceStatus, status: InstanceStatus) -> bool:
    """Say whether something leaves the status with which everything begins."""
    return before is InstanceStatus.PENDING and status is not before


# --- observing ----------------------------------------------------------------------------------


@asynccontextmanager
async def observing(
    events: EventBus | None = None,
    hooks: HookRegistry | None = None,
    *,
    drain: float = DRAIN,
) -> AsyncIterator[Observer]:
    """Tell of every run that begins inside the block, and in tasks begun there.

    For pipelines, graphs, bulk operations, sagas and durable functions that are run without a host:
    `WorkflowStartedEvent`, then `WorkflowCompletedEvent`, `WorkflowFailedEvent` or
    `WorkflowCancelledEvent`, each once, and the hooks that go with them. A run inside another is a
    part of that, and not told of. Nor are instances of a host: it tells of them itself. Blocks may
    lie inside each other; the innermost is told.

    On leaving, also by an exception or a cancellation, hooks are still called for what happened
    inside, for `drain` seconds at the most; the rest is dropped, and counted in the log.

    Args:
        events: Where events are published; it is left open. None: a bus of its own, `events` of
            what the block gets, which is closed at the end.
        hooks: What is called. None: a registry of its own, `hooks` of what the block gets.
        drain: Seconds, at least 0.

    Raises:
        TypeError: One of these is something else.
        ConfigurationError: `drain` is no finite number of at least 0.
    """
    refuse_misuse(events, hooks)
    require("drain", drain, number(least=0))
    bus = EventBus() if events is None else events
    observer = Observer(bus, HookRegistry() if hooks is None else hooks)
    try:
        async with pumping(observer.pump, drain):
            token = OBSERVER.set(observer)
            try:
                yield observer
            finally:
                OBSERVER.reset(token)
    finally:
        if events is None:
            bus.close()


def refuse_misuse(events: object, hooks: object) -> None:
    """Refuse what is no bus, or no registry."""
    if events is not None and not isinstance(events, EventBus):
        raise TypeError(f"events must be an EventBus, not {given(events)}")
    if hooks is not None and not isinstance(hooks, HookRegistry):
        raise TypeError(f"hooks must be a HookRegistry, not {given(hooks)}")


async def observed(
    id: str | None, name: str, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Await `fn(*args)`, a run by the name of `name`; tell of it if somebody observes.

    Args:
        id: Names the run; None: nothing but its name does.
    """
    observer = OBSERVER.get()
    if observer is None:
        return await fn(*args, **kwargs)
    return await observer.watch(id, name, fn, *args, **kwargs)


async def observed_on(
    id: str | None, name: str, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do the same for a run that goes on from where it waited for a person."""
    observer = OBSERVER.get()
    if observer is None:
        return await fn(*args, **kwargs)
    return await observer.watch_on(id, name, fn, *args, **kwargs)


def hide() -> None:
    """Let nobody be told of what this task runs: it is a part of something that is told of."""
    OBSERVER.set(None)


def watched(id: str | None, name: str) -> Watched | None:
    """Return what tells of a run that begins and ends in different calls; None: nobody observes."""
    observer = OBSERVER.get()
    return None if observer is None else Watched(observer, id, name)
