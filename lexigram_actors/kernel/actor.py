"""What the author of an actor writes and is given: `Actor` and `ActorContext`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio
from trio_util import AsyncBool

from lexigram_actors.errors import ActorError, ActorStopped, ConfigurationError, MailboxFull
from lexigram_actors.kernel.links import link, unlink
from lexigram_actors.kernel.messages import Messages
from lexigram_actors.kernel.specs import (
    ActorBehaviour,
    DeadLetter,
    Restart,
    check_seconds,
    is_plain_function,
)
from lexigram_actors.kernel.views import running_refs

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell
    from lexigram_actors.kernel.refs import ActorRef
    from lexigram_actors.kernel.specs import Mailbox
    from lexigram_actors.kernel.system import ActorSystem
    from lexigram_actors.kernel.timers import Timer
    from lexigram_actors.kernel.waiting import Ask

M = TypeVar("M")

SHORTEST_BEAT = 1e-6
"""Seconds: a clock that has run for days still tells two such beats apart."""


class Actor(ABC, ActorBehaviour, Generic[M]):
    """A serial owner of some state: it handles one message after the other.

        class Counter(Actor[int]):
            def __init__(self) -> None:
                self.total = 0

            async def receive(self, message: int) -> int:
                self.total += message
                return self.total

    A new instance is made at every start, with the arguments given to `spawn`; `self.context` is
    there before `__init__` runs. State that must survive a crash belongs somewhere else.

    What is raised from `__init__`, `started` or `receive` ends the instance as failed, and its
    supervisor decides. A cancel scope or nursery must not stay open from one hook to another; an
    actor that holds one is a function actor: `async def body(context)`.
    """

    __slots__ = ("context",)

    context: ActorContext[M]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("receive", "started", "stopping"):
            if is_plain_function(cls.__dict__.get(name)):
                raise ConfigurationError(
                    f"{cls.__name__}.{name} is not async: write `async def {name}`"
                )

    @abstractmethod
    async def receive(self, message: M) -> Any:
        """Handle one message; what is returned answers an `ask`."""

    async def started(self) -> None:
        """Prepare, before the first message. `spawn` returns, or raises, when this has.

        An actor whose class has no `started` costs no task until its first message.
        """

    async def stopping(self, reason: str) -> None:
        """Clean up, after the last message; not called when the start failed.

        Runs shielded from cancellation, for what is left of the stop's deadline and at least one
        second, then it is cut off. `reason` is as in `Exit`. Raising makes the exit a failure.
        """


@final
class ActorContext(Generic[M]):
    """An actor's view of itself and its surroundings; a new one at every start."""

    __slots__ = ("_prune_at", "_stopping", "ask", "cell", "closed", "timers")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.ask: Ask | None = None  # the one in hand
        self.closed = False  # the incarnation is over
        self.timers: list[Timer] | None = None
        self._prune_at = 16
        self._stopping: AsyncBool | None = None

    @property
    def self(self) -> ActorRef[M]:
        """The actor's own reference."""
        return self.cell.ref

    @property
    def system(self) -> ActorSystem:
        """The system it runs in."""
        return self.cell.system

    @property
    def stopping(self) -> AsyncBool:
        """Becomes true when the actor is asked to stop.

        `await context.stopping.wait_value(True)` waits for that.
        """
        if self._stopping is None:
            self._stopping = AsyncBool(self.cell.stop_reason is not None)
        return self._stopping

    @property
    def stop_reason(self) -> str | None:
        """Why the actor is asked to stop; None while it is not."""
        return self.cell.stop_reason

    @property
    def children(self) -> tuple[ActorRef[Any], ...]:
        """The actors spawned by this one that run, in start order."""
        supervision = self.cell.supervision
        return () if supervision is None else running_refs(supervision)

    def messages(self) -> Messages[M]:
        """Read the mailbox of a function actor: `async for message in context.messages()`.

        Ends when the actor is asked to stop and the mailbox is empty. An `ask` that was not
        answered by `reply` when the next message is taken is answered None. One task may read at
        a time (`trio.BusyResourceError`).
        """
        return Messages(self)

    def reply(self, value: Any) -> None:
        """Answer the message in hand if it was asked; the first answer counts."""
        if self.ask is not None:
            self.ask.answer(value)

    async def spawn(
        self,
        behaviour: Any,
        *args: Any,
        name: str | None = None,
        mailbox: float | Mailbox = 64,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float = 5.0,
        **kwargs: Any,
    ) -> Any:
        """Start a child, named `"{own name}/{name}"`; as `ActorSystem.spawn` otherwise.

        It is stopped before this actor ends. Children that are restarted share an intensity of one
        restart in five seconds; one more, and this actor fails with `RestartIntensityExceeded`.
        """
        self._check_open()
        cell = self.cell
        if cell.supervision is None:
            cell.supervision = cell.system.supervise(cell)
        return await cell.supervision.spawn(
            behaviour, args, kwargs, name, mailbox, restart, shutdown
        )

    def link(self, ref: ActorRef[Any]) -> None:
        """Live and die together: when one of the two ends, other than normally, so does the other.

        A failure is passed on as `ActorFailed`; a stop as a stop with the same reason. Linking to
        an actor that has ended has the same effect at once. The link ends with either incarnation.
        As Erlang's links, but no exit can be trapped: use `monitor`.
        """
        self._check_open()
        if not self.cell.alive:
            raise ActorError(
                f"actor {self.cell.name!r} is not there yet",
                hint="link in `started`, not `__init__`",
            )
        link(self.cell, ref.cell)

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Undo `link`; nothing happens when there is none."""
        unlink(self.cell, ref.cell)

    def send_after(self, delay: float, message: M) -> Timer:
        """Put `message` in the own mailbox after `delay` seconds.

        The timer is cancelled when this incarnation ends. A mailbox that refuses the message makes
        it a dead letter.
        """
        check_seconds("delay", delay)
        return self._send_at(trio.current_time() + delay, None, message)

    def send_every(self, interval: float, message: M) -> Timer:
        """Put `message` in the own mailbox every `interval` seconds, first after one interval.

        The beat is fixed and missed ticks are skipped. Ends as `send_after`.
        """
        if check_seconds("interval", interval) < SHORTEST_BEAT:
            raise ConfigurationError(
                f"interval is at least {SHORTEST_BEAT:g} seconds, not {interval!r}"
            )
        return self._send_at(trio.current_time() + interval, interval, message)

    def _send_at(self, deadline: float, interval: float | None, message: M) -> Timer:
        self._check_open()
        send = partial(self._send, message)
        timer = self.cell.system.timers.call_at(deadline, send, interval)
        if self.timers is None:
            self.timers = []
        elif len(self.timers) >= self._prune_at:
            self.timers = [earlier for earlier in self.timers if earlier.active]
            self._prune_at = max(16, 2 * len(self.timers))
        self.timers.append(timer)
        return timer

    def _check_open(self) -> None:
        if self.closed:
            raise ActorStopped(self.cell.name, "this incarnation has ended")

    def _send(self, message: M) -> None:
        cell = self.cell
        try:
            if cell.mailbox.offer(message):
                return
            cell.mailbox.refuse()
            reason = "mailbox full"
        except MailboxFull:
            reason = "mailbox full"
        except ActorStopped as exc:
            reason = exc.reason
        cell.system.events.publish(DeadLetter(message, cell.name, reason))

    # --- the kernel's side

    def announce_stop(self) -> None:
        if self._stopping is not None:
            self._stopping.value = True

    def close(self, unanswered: Exception | None) -> None:
        """The incarnation ended: its timers with it, and the ask in hand is told why."""
        for timer in self.timers or ():
            timer.cancel()
        if self.ask is not None and unanswered is not None:
            self.ask.fail(unanswered)
            self.ask = None
        self.closed = True
        self.announce_stop()
