"""The life of one actor: its incarnations, from start over crash and restart to the end.

A `Cell` is what a reference points to. It outlives restarts: each start makes a new *incarnation*
(a context, an instance of the actor's class or a call of its function, and a task when one is
needed), while the mailbox, the name and the references stay.

    starting ──▶ running ──▶ stopping ──▶ down          (kept by a static supervisor, or forgotten)
        │           │            │
        └───────────┴────────────┴──────▶ restarting ──▶ starting

What keeps it quick:

- An actor of a class without `started()` has no task until its first message: an idle one is
  a few hundred bytes and starts and stops by plain calls.
- What happens at an end is a plain call up the tree (`Supervision.child_ended`), not a message.

Rules that the code keeps:

- `end()` runs exactly once an incarnation, whatever ended it, and never waits. So no exit is lost
  when a cancellation arrives in between.
- The deadline of a stop is the deadline of the incarnation's own cancel scope. It holds also when
  whoever asked for the stop is cancelled meanwhile.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Mapping
from enum import Enum
from functools import partial
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import (
    checkpoint,
    current_task,
    disable_ki_protection,
    enable_ki_protection,
    wait_task_rescheduled,
)

from lexigram_actors.errors import ActorFailed, ActorStopped
from lexigram_actors.errors.base import sole_error
from lexigram_actors.kernel.actor import Actor, ActorContext
from lexigram_actors.kernel.failures import report_unresponsive
from lexigram_actors.kernel.links import break_links
from lexigram_actors.kernel.mailbox import MailboxQueue
from lexigram_actors.kernel.pacing import BATCH, BATCH_SECONDS
from lexigram_actors.kernel.specs import (
    DeadLetter,
    Exit,
    Mailbox,
    Restart,
    SupervisingBehaviour,
)
from lexigram_actors.kernel.waiting import Ask, Outcome

if TYPE_CHECKING:
    from lexigram_actors.kernel.refs import ActorRef
    from lexigram_actors.kernel.supervision import Supervision
    from lexigram_actors.kernel.system import ActorSystem
    from lexigram_actors.kernel.timers import Timer

logger = logging.getLogger(__name__)

CLEANUP = 1.0
"""Seconds that an actor's `stopping()` gets when its deadline has passed already, and after which
an actor that was cancelled and still runs is reported as unresponsive."""


class State(Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    DOWN = "stopped"


class Start(Enum):
    """Who is told when a start fails."""

    BY_HAND = "by hand"  # whoever waits for it
    ALONE = "alone"  # nobody: it is one more crash
    IN_GROUP = "in group"  # the restart of its group


class Intent(Enum):
    """What a supervisor means by stopping a child: without one, the child ended by itself."""

    TERMINATE = "terminate"
    RESTART = "restart"


# Members as plain names: on Python 3.11 `State.DOWN` takes 70 ns, and a life looks at fifteen.
STARTING, RUNNING, STOPPING, RESTARTING, DOWN = State
TO_TERMINATE, TO_RESTART = Intent
BY_HAND, ALONE, IN_GROUP = Start


@final
class Cell:
    """One actor over all its incarnations. See the module's head."""

    __slots__ = (
        "_ref",
        "actor",
        "args",
        "begun_at",
        "behaviour",
        "context",
        "deadline",
        "failure",
        "fresh",
        "halting",
        "has_task",
        "id",
        "intent",
        "is_supervisor",
        "kwargs",
        "last_exit",
        "links",
        "mailbox",
        "monitors",
        "name",
        "origin",
        "parent",
        "parting",
        "restart",
        "restart_timer",
        "restarts",
        "restarts_in_a_row",
        "scope",
        "shutdown",
        "significant",
        "start_outcome",
        "state",
        "stop_reason",
        "supervision",
        "system",
        "task",
        "watch",
        "way",
    )

    def __init__(
        self,
        parent: Supervision,
        id: str,
        name: str,
        behaviour: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        restart: Restart,
        shutdown: float,
        mailbox: Mailbox,
        significant: bool = False,
    ) -> None:
        self.parent = parent
        self.system: ActorSystem = parent.system
        self.id = id
        self.name = name
        self.behaviour = behaviour
        self.is_supervisor = isinstance(behaviour, SupervisingBehaviour)
        self.args = args
        self.kwargs = kwargs
        self.restart = restart
        self.shutdown = shutdown
        self.significant = significant
        self.mailbox = MailboxQueue(mailbox, self)
        self.origin = contextvars.copy_context()  # the spawner's, for the task of each incarnation
        self._ref: ActorRef[Any] | None = None
        self.state = DOWN
        self.intent: Intent | None = None
        self.fresh = True  # has never been started successfully
        self.way = BY_HAND
        self.restarts = 0
        self.restarts_in_a_row = 0
        self.begun_at = 0.0
        self.restart_timer: Timer | None = None
        self.last_exit: Exit | None = None
        self.monitors: list[Outcome] | None = None
        self.links: set[Cell] | None = None
        # Of the incarnation:
        self.context: ActorContext[Any] | None = None
        self.actor: Actor[Any] | None = None
        self.supervision: Supervision | None = None
        self.has_task = False
        self.task: trio.lowlevel.Task | None = None
        self.scope: trio.CancelScope | None = None
        self.deadline = inf
        self.watch: Timer | None = None  # reports the incarnation when it does not end
        self.stop_reason: str | None = None
        self.parting = False  # the goodbye runs; then only children are waited for
        self.halting = False  # stops after the message in hand, what is queued stays queued
        self.failure: Exception | None = None
        self.start_outcome: Outcome | None = None

    @property
    def ref(self) -> ActorRef[Any]:
        if self._ref is None:
            self._ref = self.system.make_ref(self)
        return self._ref

    @property
    def alive(self) -> bool:
        """Whether an incarnation exists."""
        return self.state is not DOWN and self.state is not RESTARTING

    @property
    def active(self) -> bool:
        """Whether it can be talked to: an incarnation exists, and is not one more try to start."""
        return self.alive and (self.fresh or self.state is not STARTING)

    @property
    def is_down(self) -> bool:
        """Whether no incarnation exists and none is about to."""
        return self.state is DOWN

    # --- start

    @enable_ki_protection
    def start(self, way: Start) -> None:
        """Begin an incarnation. Raises what the actor's constructor raises; state is DOWN then."""
        self.way = way
        self.intent = None
        self.stop_reason = None
        self.failure = None
        self.halting = False
        self.parting = False
        self.deadline = inf
        self.mailbox.closed_by = None
        self.context = ActorContext(self)
        behaviour = self.behaviour
        if isinstance(behaviour, type):
            self._start_instance(behaviour)
        elif self.is_supervisor:
            self.state = STARTING
            self.supervision = self.system.supervise(self, behaviour.supervision)
            self.supervision.begin()
        else:
            self.state = STARTING
            self.begin_task()

    def _start_instance(self, behaviour: type[Actor[Any]]) -> None:
        try:
            # The first time the spawner's context is the current one; later it is any other.
            make = self._make_instance
            self.actor = make(behaviour) if self.fresh else self.origin.copy().run(make, behaviour)
        except BaseException as exc:
            self.state = DOWN
            self.last_exit = Exit(self.name, "failed", exc)
            self._leave(self.last_exit, started=False)
            raise
        if behaviour.started is not Actor.started:
            self.state = STARTING
            self.begin_task()
            return
        self.mark_started()
        if self.mailbox.ready():
            self.begin_task()
        else:
            self.mailbox.idle = True

    def _make_instance(self, behaviour: type[Actor[Any]]) -> Actor[Any]:
        actor = behaviour.__new__(behaviour, *self.args, **self.kwargs)
        # Before `__init__` may use it; this way also for a class whose instances are frozen.
        object.__setattr__(actor, "context", self.context)
        actor.__init__(*self.args, **self.kwargs)  # type: ignore[misc]
        return actor

    def mark_started(self) -> None:
        """The incarnation runs: said by itself, or of a supervisor once its first children do."""
        self.fresh = False
        self.state = RUNNING if self.stop_reason is None else STOPPING
        if self.start_outcome is not None:
            outcome, self.start_outcome = self.start_outcome, None
            outcome.answer(None)

    async def wait_started(self) -> None:
        """Wait until the incarnation runs.

        Raises `ActorFailed` or `ActorStopped` when it ended instead. Cancelled, the actor is
        stopped at once, as `nursery.start()` does, and gone within its clean-up time.
        """
        outcome = self.start_outcome = Outcome()
        fresh = self.fresh
        try:
            await outcome.wait()
        except trio.Cancelled:
            self.intent, self.fresh = TO_TERMINATE, fresh
            self.begin_stop("cancelled", 0.0)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * CLEANUP):
                await self.wait_down()
            if fresh:  # also where it began to run in the moment of the cancellation
                self.parent.forget(self)
            raise

    def begin_task(self) -> None:
        self.has_task = True
        self.mailbox.idle = False
        self.mailbox.queue()
        self.origin.run(partial(self.system.nursery.start_soon, self._run, name=self.name))

    # --- the incarnation's task

    @enable_ki_protection
    async def _run(self) -> None:
        self.task = current_task()
        error: BaseException | None = None
        try:
            with trio.CancelScope(deadline=self.deadline) as self.scope:
                if self.failure is not None:
                    self.scope.cancel()
                await self._live()
        except Exception as exc:  # noqa: BLE001 - a failure is what a supervisor is for
            error = exc
        except trio.Cancelled:
            # Something of the kernel's own broke the nursery: say goodbye, and let it pass.
            self.system.torn_down = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP):
                await self._wind_up(None)
            raise
        except BaseException as exc:  # noqa: BLE001 - raised again from the system's block
            self.system.crash(exc)
            error = exc
        await self._wind_up(error)

    @disable_ki_protection
    async def _live(self) -> None:
        actor = self.actor
        if actor is None:
            self.mark_started()
            await self.behaviour(self.context, *self.args, **self.kwargs)
            return
        if self.state is STARTING:
            await actor.started()
            self.mark_started()
        await self._serve(actor)

    async def _serve(self, actor: Actor[Any]) -> None:
        """Hand message after message to `receive`."""
        receive = actor.receive
        mailbox = self.mailbox
        items = mailbox.queue()
        context, task = self.context, self.task
        assert context is not None
        left, until = BATCH, 0.0
        while True:
            while items and not self.halting:
                item = items.popleft()
                mailbox.handled += 1
                if mailbox.senders:
                    mailbox.admit(mailbox.bound)
                if type(item) is Ask:
                    context.ask = item
                    item.answer(await receive(item.message))
                    context.ask = None
                else:
                    await receive(item)
                if not items and not mailbox.senders:
                    break  # it parks, which is a checkpoint
                left -= 1
                if not until:  # the clock is read only where there is a second message
                    until = perf_counter() + BATCH_SECONDS
                elif not left or perf_counter() > until:
                    await checkpoint()
                    left, until = BATCH, perf_counter() + BATCH_SECONDS
            if self.halting or self.stop_reason is not None:
                return
            if not items and not (mailbox.senders and mailbox.ready()):
                mailbox.receiver = task
                await wait_task_rescheduled(mailbox.stop_waiting)
                left, until = BATCH, 0.0

    async def _wind_up(self, error: BaseException | None) -> None:
        """Everything that has to happen between the last message and the end."""
        error = self.failure if self.failure is not None else error
        if error is not None:
            error = sole_error(error)
        reason = "failed" if error is not None else (self.stop_reason or "normal")
        self.parting = True
        try:
            if self._has_goodbye() and self.state is not STARTING:
                left_with = await self._say_goodbye(reason)
                error = error if left_with is None else sole_error(left_with)
            if self.supervision is not None:
                await self._stop_children(self.supervision)
        finally:
            self.end(reason if error is None else "failed", error)

    async def _say_goodbye(self, reason: str) -> BaseException | None:
        """Call `stopping`; returns what it raises, which becomes the actor's failure."""
        assert self.actor is not None
        now = trio.current_time()
        until = max(
            now + CLEANUP, self.deadline if self.stop_reason is not None else now + self.shutdown
        )
        try:
            with trio.CancelScope(shield=True, deadline=until) as self.scope:
                await self.actor.stopping(reason)
        except Exception as exc:  # noqa: BLE001
            return exc
        except trio.Cancelled:
            raise
        except BaseException as exc:  # noqa: BLE001 - raised again from the system's block
            self.system.crash(exc)
            return exc
        if self.scope.cancelled_caught:
            logger.warning("stopping() of actor %r was cut off at its deadline", self.name)
        return None

    async def _stop_children(self, supervision: Supervision) -> None:
        """Each child ends within its own deadline, and its parent's, which bounds the shield."""
        self.scope = None
        if self.deadline != inf:
            supervision.hasten(max(0.0, self.deadline - trio.current_time()))
        with trio.CancelScope(shield=True):
            await supervision.stop_children()

    # --- stop

    @enable_ki_protection
    def begin_stop(self, reason: str, grace: float | None) -> None:
        """Ask the incarnation to end, and see to it that it does; a plain call, never waits.

        It takes no more messages, handles what is queued until `grace` seconds have passed (None:
        its own `shutdown`), is cancelled then. Asked again, the shorter deadline holds.
        """
        if self.state is DOWN:
            return
        if self.state is RESTARTING:
            if self.restart is not Restart.PERMANENT:  # which comes back whoever stops it
                self.parent.give_up_restart(self, reason)
            return
        if self.stop_reason is None:
            self.mailbox.close(reason)
            self._announce_stop(reason)
        self._stop_within(grace)

    def begin_halt(self) -> None:
        """Ask the incarnation to end after the message in hand; the next one goes on from there."""
        self.intent = TO_RESTART
        self.halting = True
        if self.stop_reason is None:
            self._announce_stop("shutdown")
        self._stop_within(None)

    def _announce_stop(self, reason: str) -> None:
        self.stop_reason = reason
        if self.state is RUNNING:
            self.state = STOPPING
        if self.context is not None:
            self.context.announce_stop()

    def _stop_within(self, grace: float | None) -> None:
        if self.is_supervisor:
            assert self.supervision is not None
            limit = grace if grace is not None else (inf if self.shutdown else 0.0)
            self.supervision.close(self.stop_reason or "stopped", None, limit)
        elif self.has_task:
            if not self._ends_when_woken():
                self._move_deadline(self.shutdown if grace is None else grace)
            self.mailbox.wake()
        elif self._has_goodbye() or self.supervision is not None:
            self._move_deadline(self.shutdown if grace is None else grace)
            self.begin_task()
        else:
            self.end(self.stop_reason or "stopped", None)

    def _has_goodbye(self) -> bool:
        return self.actor is not None and type(self.actor).stopping is not Actor.stopping

    def _ends_when_woken(self) -> bool:
        """Whether nothing of the actor's own runs any more once it is woken: no deadline needed."""
        return (
            self.mailbox.receiver is not None
            and self.actor is not None
            and not self._has_goodbye()
            and self.supervision is None
        )

    def _move_deadline(self, grace: float) -> None:
        if grace == inf:
            return
        if self.supervision is not None:
            self.supervision.hasten(grace)
        now = trio.current_time()
        deadline = now + grace
        if deadline >= self.deadline:
            return
        self.deadline = deadline
        if self.scope is not None:
            # A goodbye has a second at least, whatever the deadline.
            end = max(deadline, now + CLEANUP) if self.parting else deadline
            self.scope.deadline = min(self.scope.deadline, end)
        if self.watch is not None:
            self.watch.cancel()
        self.watch = self.system.timers.call_at(
            deadline + CLEANUP, partial(report_unresponsive, self, grace)
        )

    @enable_ki_protection
    def fail(self, error: Exception) -> None:
        """End the incarnation as failed with `error`: from outside, by a link or a child."""
        if not self.alive or self.failure is not None or self.parting:
            return
        self.failure = error
        self.halting = True
        if self.is_supervisor:
            assert self.supervision is not None
            self.supervision.close("failed", error, 0.0)
        elif self.has_task:
            if self.scope is not None:
                self.scope.cancel()
        elif self._has_goodbye() or self.supervision is not None:
            self.begin_task()
        else:
            self.end("failed", error)

    async def wait_down(self) -> None:
        """Wait until no incarnation exists."""
        while self.alive:
            await self.next_exit()

    async def next_exit(self) -> Exit:
        """Wait for the end of an incarnation."""
        outcome = Outcome()
        if self.monitors is None:
            self.monitors = []
        monitors = self.monitors
        monitors.append(outcome)
        try:
            exit_: Exit = await outcome.wait()
        except trio.Cancelled:
            monitors.remove(outcome)
            raise
        return exit_

    # --- the end

    @enable_ki_protection
    def end(self, reason: str, error: BaseException | None) -> None:
        """The incarnation is over. Plain calls only: nothing can come in between."""
        exit_ = self.last_exit = Exit(self.name, reason, error)
        started = self.state is not STARTING
        self._leave(exit_, started)
        links, self.links = self.links, None
        monitors, self.monitors = self.monitors, None
        outcome, self.start_outcome = self.start_outcome, None
        self.system.events.publish(exit_)
        self.parent.child_ended(self, exit_, started)
        if self.state is DOWN:
            self.retire(exit_)
        if outcome is not None:
            outcome.fail(self._why(exit_))
        for monitor in monitors or ():
            monitor.answer(exit_)
        if links:
            break_links(self, links, exit_)

    def _leave(self, exit_: Exit, started: bool) -> None:
        if exit_.reason == "failed" and (started or self.way is not BY_HAND):
            if isinstance(exit_.error, ActorFailed):  # another's failure, logged there
                logger.error("actor %r failed with another: %s", self.name, exit_.error)
            else:
                logger.error("actor %r failed", self.name, exc_info=exit_.error)
        self.state = DOWN
        if self.context is not None:
            self.context.close(self._why(exit_) if self.context.ask is not None else None)
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        self.actor = None
        self.supervision = None
        self.task = None
        self.scope = None
        self.has_task = False
        self.mailbox.idle = False

    def _why(self, exit_: Exit) -> Exception:
        """What somebody gets who waited for something from an actor that ended."""
        if exit_.reason == "failed":
            return ActorFailed(self.name, exit_.error)
        return ActorStopped(self.name, exit_.reason)

    @enable_ki_protection
    def give_up(self, reason: str) -> None:
        """No incarnation follows the last, although one was about to."""
        self.state = DOWN
        exit_ = self.last_exit = Exit(self.name, reason)
        self.retire(exit_)
        monitors, self.monitors = self.monitors, None
        for monitor in monitors or ():
            monitor.answer(exit_)

    def retire(self, exit_: Exit) -> None:
        """No incarnation follows: what is queued becomes dead letters, askers are told."""
        mailbox = self.mailbox
        mailbox.close(exit_.reason)
        if not mailbox.items:
            mailbox.items = None
            return
        for item in mailbox.drain():
            message = item.message if type(item) is Ask else item
            self.system.events.publish(DeadLetter(message, self.name, exit_.reason))
            if type(item) is Ask:
                item.fail(self._why(exit_))
