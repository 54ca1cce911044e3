"""A system: the nursery that actors live in, and what they share.

Actors run in one nursery, and the tree of who supervises whom is kept beside it. That is cheaper
than a nursery for each parent (23 µs), and it lets a parent stop its children in order and with
a deadline each. Nothing escapes all the same: the nursery closes when the block does, and an actor
whose parent ends is stopped before.

The nursery is shielded. A cancellation that reaches the block from outside does not hit all actors
at once; it is noticed, and the actors are stopped at once but in order, each with its clean-up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar, final, overload

import trio

from lexigram_actors.errors import RestartIntensityExceeded
from lexigram_actors.errors.base import sole_error
from lexigram_actors.events import EventBus
from lexigram_actors.kernel.actor import Actor, ActorContext
from lexigram_actors.kernel.cell import Cell
from lexigram_actors.kernel.pacing import Pacer
from lexigram_actors.kernel.refs import ActorRef, SupervisorRef
from lexigram_actors.kernel.registry import Registry
from lexigram_actors.kernel.specs import (
    ActorNode,
    Backoff,
    DeadLetter,
    Exit,
    Mailbox,
    Restart,
    SupervisionPolicy,
    check_seconds,
)
from lexigram_actors.kernel.supervision import Supervision
from lexigram_actors.kernel.supervisor import DynamicSupervisor, Supervisor
from lexigram_actors.kernel.timers import TimerService
from lexigram_actors.kernel.views import tree

logger = logging.getLogger(__name__)

M = TypeVar("M")
P = ParamSpec("P")


@final
class ActorSystem:
    """Actors that live and end together. Made by `open_system`."""

    def __init__(self, name: str, grace: float, policy: SupervisionPolicy) -> None:
        self.name = name
        self.grace = check_seconds("grace", grace)
        self.events: EventBus = EventBus()
        """What happens: `Exit`, `ActorRestarted`, `ActorUnresponsive`, `DeadLetter`."""
        self.registry = Registry()
        self.pacer = Pacer()
        self.children = Supervision(self, None, policy)
        self.nursery: trio.Nursery  # set once the system runs
        self.timers: TimerService
        self.torn_down = False  # everything ends: nothing is started again
        self.failure: RestartIntensityExceeded | None = None
        self.crashed: BaseException | None = None
        self.body_scope = trio.CancelScope()
        self.broken_links: deque[tuple[ActorContext[Any] | None, Cell, Exit]] = deque()
        self.breaking_links = False

    @overload
    async def spawn(
        self,
        behaviour: Supervisor | DynamicSupervisor,
        *,
        name: str | None = None,
        mailbox: float | Mailbox = 64,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float = 5.0,
    ) -> SupervisorRef: ...

    @overload
    async def spawn(
        self,
        behaviour: type[Actor[M]],
        *args: Any,
        name: str | None = None,
        mailbox: float | Mailbox = 64,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float = 5.0,
        **kwargs: Any,
    ) -> ActorRef[M]: ...

    @overload
    async def spawn(
        self,
        behaviour: Callable[Concatenate[ActorContext[M], ...], Awaitable[Any]],
        *args: Any,
        name: str | None = None,
        mailbox: float | Mailbox = 64,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float = 5.0,
        **kwargs: Any,
    ) -> ActorRef[M]: ...

    async def spawn(
        self,
        behaviour: Any,
        *args: Any,
        name: str | None = None,
        mailbox: float | Mailbox = 64,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float = 5.0,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start an actor under the system itself, and return when it has started.

        Args:
            behaviour: an `Actor` class (made with `*args, **kwargs` at every start), an async
                function (called with a context and these), or a `Supervisor`.
            name: unique in the system; made up when None.
            mailbox: how many messages may wait (0: a rendezvous), or a `Mailbox`.
            restart: whether the system starts it again when it ends.
            shutdown: seconds it has to end when it is stopped.

        A checkpoint when the actor has a `started()` to wait for, otherwise once in 100 calls.
        Cancelled meanwhile, the actor is stopped at once and gone.

        Raises:
            ActorFailed: its constructor or `started()` raised; the cause is what they raised.
            ActorNameTaken: another actor has the name.
            ActorStopped: the system is closing.
            ConfigurationError: (a `ValueError`) an argument makes no sense.
        """
        return await self.children.spawn(behaviour, args, kwargs, name, mailbox, restart, shutdown)

    async def terminate_child(self, name: str) -> None:
        """Stop an actor spawned under the system itself for good, also a permanent one."""
        await self.children.terminate_child(name)

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """The running actor of that name, or None. A child's name is `"{parent}/{id}"`."""
        cell = self.registry.find(name)
        return None if cell is None else cell.ref

    def tree(self) -> ActorNode:
        """A snapshot of all actors: who supervises whom, and how each does."""
        state = "stopping" if self.children.closing else "running"
        return ActorNode(self.name, state, 0, 0, tree(self.children))

    def dead_letters(
        self, *, bound: int = 1024
    ) -> AbstractAsyncContextManager[AsyncIterator[DeadLetter]]:
        """Watch messages that no actor will handle: `async with system.dead_letters() as letters`.

        A subscriber that falls `bound` letters behind loses the oldest.
        """
        return self.events.subscribe(DeadLetter, bound=bound)

    # --- the kernel's side

    def make_ref(self, cell: Cell) -> ActorRef[Any]:
        return SupervisorRef(cell) if cell.is_supervisor else ActorRef(cell)

    def supervise(self, owner: Cell, policy: SupervisionPolicy | None = None) -> Supervision:
        return Supervision(self, owner, policy or SupervisionPolicy())

    def fail(self, error: RestartIntensityExceeded) -> None:
        """The system's own children were restarted too often: end it all."""
        if self.failure is None:
            self.failure = error
            self.children.closing = True
            self.body_scope.cancel()

    def crash(self, error: BaseException) -> None:
        """An actor raised what is no failure (Ctrl-C, `SystemExit`): end it all, and raise that.

        It is kept here instead of breaking the nursery, so that every actor is still stopped in
        order and says its goodbye.
        """
        if self.crashed is None:
            self.crashed = sole_error(error)
            self.torn_down = True
            self.children.closing = True
            self.children.hasten(0.0)
            self.body_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Hold the actors' nursery open until it is closed."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC100 - the nursery's end waits
            async with trio.open_nursery() as self.nursery:  # its end waits for the actors
                self.timers = TimerService(self.nursery)
                self.nursery.start_soon(trio.sleep_forever, name=self.name)
                task_status.started()

    async def notice_cancellation(self) -> None:
        """Hurry as soon as the block is cancelled from outside, wherever the block itself is."""
        try:
            await trio.sleep_forever()
        finally:
            if not self.torn_down:
                self.children.hasten(0.0)

    @trio.lowlevel.enable_ki_protection
    async def shut_down(self, grace: float) -> None:
        """Stop all actors, the last started first, and close the nursery."""
        self.children.hasten(grace)
        try:
            await self.children.stop_children()
        finally:
            self.torn_down = True
            self.nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_system(
    name: str = "system",
    *,
    grace: float = 5.0,
    max_restarts: int = 1,
    period: float = 5.0,
    backoff: Backoff | None = None,
) -> AsyncIterator[ActorSystem]:
    """Run actors for the length of an `async with` block.

    When the block ends, all actors are stopped, the last started first: each handles what it has
    queued within its own `shutdown`, all together within `grace` seconds, and what still runs then
    is cancelled. When the block raises or is cancelled they are cancelled at once, in the same
    order. The block is left when none is left; an actor that shields itself from cancellation is
    reported (`ActorUnresponsive`) and waited for, never abandoned.

    `max_restarts`, `period` and `backoff` are as for `Supervisor` and hold for the actors spawned
    under the system itself.

    Raises:
        RestartIntensityExceeded: these were restarted too often. The block was cancelled.

    An exception of the block is raised as it is, not in a group.
    """
    policy = SupervisionPolicy(max_restarts=max_restarts, period=period, backoff=backoff)
    system = ActorSystem(name, grace, policy)
    block = _Block()
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope(shield=True):  # it starts at once, or not at all
                await nursery.start(system.run)
            nursery.start_soon(system.notice_cancellation)
            with block, system.body_scope:
                yield system
            hurry = block.error is not None or system.crashed is not None
            with trio.CancelScope(shield=True):  # each actor's own deadline bounds it
                await system.shut_down(0.0 if hurry else grace)
            nursery.cancel_scope.cancel()
    except BaseException as exc:  # noqa: ASYNC103, ASYNC104, BLE001 - raised, here or below
        # From outside: the cancellation that the block has noticed, or will raise in a moment.
        nothing_else = block.error is None and system.crashed is None and system.failure is None
        if nothing_else or _without_cancelled(exc) is not None:
            raise sole_error(exc) from None  # noqa: ASYNC104 - of the error itself
    finally:
        system.events.close()
    _raise_first(system, block.error)


class _Block:
    """Keeps what the body of a block raises, for later: a nursery would put it into a group."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        self.error = error
        return True


def _without_cancelled(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


def _raise_first(system: ActorSystem, block_error: BaseException | None) -> None:
    """Raise what ended a system, if anything did; what is not raised is logged."""
    if system.crashed is not None:
        raise system.crashed
    if block_error is not None:
        if system.failure is not None:
            logger.error("%s; its block then raised", system.failure, exc_info=system.failure)
        raise block_error
    if system.failure is not None:
        raise system.failure
