"""References: how anybody talks to an actor, or to a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio
from trio.lowlevel import checkpoint, current_task, wait_task_rescheduled

from lexigram_actors.errors import (
    ActorError,
    ActorStopped,
    AskTimeout,
    ConfigurationError,
)
from lexigram_actors.kernel.cell import STARTING
from lexigram_actors.kernel.specs import (
    ChildCounts,
    ChildInfo,
    ChildSpec,
    DeadLetter,
    Exit,
    MailboxStatistics,
    check_seconds,
)
from lexigram_actors.kernel.views import count_children, runs_inside, which_children
from lexigram_actors.kernel.waiting import Ask

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell
    from lexigram_actors.kernel.supervision import Supervision

M = TypeVar("M")


class ActorRef(Generic[M]):
    """An actor's address. It stays good over restarts.

    Use it from the system's own Trio thread only. `tell` and `ask` are checkpoints when they have
    to wait, and otherwise once in 100 calls or a millisecond.
    """

    __slots__ = ("cell",)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    @property
    def name(self) -> str:
        return self.cell.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cell.name!r} {self.cell.state.value}>"

    async def tell(self, message: M) -> None:
        """Put a message in the actor's mailbox; waits for room as the mailbox's policy says.

        Cancelled while it waits, the message was not accepted.

        Raises:
            ActorStopped: the actor has ended or is stopping; the message became a dead letter.
            MailboxFull: the mailbox rejects what it has no room for.
        """
        cell = self.cell
        mailbox = cell.mailbox
        if cell.system.pacer.due():  # before, so that a message is accepted or Cancelled is raised
            await checkpoint()
        try:
            if not mailbox.offer(message):
                if cell.task is current_task():
                    raise ActorError(
                        f"actor {self.name!r} waits for room in its own mailbox, for ever",
                        hint="use `tell_nowait`, or a mailbox with room for what it tells itself",
                    )
                await mailbox.put(message)
        except ActorStopped as exc:
            self._dead_letter(message, exc)
            raise

    def tell_nowait(self, message: M) -> None:
        """As `tell`, but raises `MailboxFull` instead of waiting. A plain call."""
        mailbox = self.cell.mailbox
        try:
            if not mailbox.offer(message):
                raise mailbox.refuse()
        except ActorStopped as exc:
            self._dead_letter(message, exc)
            raise

    def _dead_letter(self, message: M, why: ActorStopped) -> None:
        self.cell.system.events.publish(DeadLetter(message, self.cell.name, why.reason))

    async def ask(self, message: M, timeout: float | None = None) -> Any:
        """Send a message and wait for its answer, at most `timeout` seconds (None: no limit).

        After a time-out or cancellation the answer is thrown away; a message that was accepted is
        handled all the same.

        Raises:
            ActorFailed: the actor crashed on it, or before it came to it and was not restarted;
                the crash is its cause.
            ActorStopped: the actor has ended or ended before it came to it.
            AskTimeout: (a `TimeoutError`) there was no answer in time.
            MailboxFull: the mailbox rejected or dropped it.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        cell, task = self.cell, current_task()
        if cell.task is task:
            raise ActorError(
                f"actor {self.name!r} asks itself and would wait for ever",
                hint="call a method of its own, or `tell` it and go on",
            )
        if cell.system.pacer.due():
            await checkpoint()
        ask = Ask(message)
        try:
            if not cell.mailbox.offer(ask):
                cell.mailbox.enqueue_asker(ask)
        except ActorStopped as exc:
            self._dead_letter(message, exc)
            raise
        if not ask.settled:  # `ask.wait()`, without the cost of one more coroutine
            ask.task = task
            if timeout is None:
                await wait_task_rescheduled(ask.give_up)
            else:
                await self._wait_at_most(timeout, ask)
        if ask.error is not None:
            raise ask.error
        return ask.value

    async def _wait_at_most(self, timeout: float, ask: Ask) -> None:
        """A timer of the system costs 2 µs, where a cancel scope for each ask costs 8."""

        def give_up() -> None:
            ask.fail(AskTimeout(self.name, timeout))

        timer = self.cell.system.timers.call_at(trio.current_time() + timeout, give_up)
        try:
            await wait_task_rescheduled(ask.give_up)
        finally:
            timer.cancel()

    async def stop(self, reason: str = "stopped", grace: float | None = None) -> None:
        """Ask the actor to end, and return when it and its children have.

        It takes no more messages and handles what is queued; after `grace` seconds (None: its own
        `shutdown`, 0: at once) it is cancelled. What is left in the mailbox becomes dead letters.
        The stop goes on if whoever waits for it is cancelled. Called by the actor itself, or by one
        below it, it only begins the stop. A permanent child of a supervisor is started again: use
        `terminate_child`.
        """
        if grace is not None:
            check_seconds("grace", grace)
        if not isinstance(reason, str) or reason in ("", "failed", "normal"):
            raise ConfigurationError(
                f"a reason to stop is a word of yours, not {reason!r}: "
                '"failed" and "normal" say that an actor ended by itself'
            )
        cell = self.cell
        earlier = cell.last_exit
        cell.begin_stop(reason, grace)
        if cell.last_exit is not earlier or not cell.alive:  # it ended there and then
            if cell.system.pacer.due():
                await checkpoint()
        elif runs_inside(cell, current_task()):
            await checkpoint()
        else:
            await cell.next_exit()

    async def monitor(self) -> Exit:
        """Wait for the actor to end, and return how it did; at once when it has already.

        As in Erlang, a restarted actor has ended: each call reports one end. Returns the next one
        while a restart is under way.
        """
        cell = self.cell
        if cell.last_exit is not None and cell.is_down:
            await checkpoint()
            return cell.last_exit
        return await cell.next_exit()

    def statistics(self) -> MailboxStatistics:
        """What became of the messages sent to it."""
        return self.cell.mailbox.statistics()


@final
class SupervisorRef(ActorRef[Any]):
    """A supervisor's address: what OTP's `supervisor` offers, by the same names.

    Every method raises `ActorStopped` when the supervisor does not run, and `ChildError`, whose
    `problem` says which, when the child is not as the call needs it. A call that is cancelled has
    begun what it does, and that goes on.
    """

    __slots__ = ()

    @property
    def _supervision(self) -> Supervision:
        cell = self.cell
        supervision = cell.supervision
        if supervision is None or supervision.closing:
            raise ActorStopped(self.name, cell.last_exit.reason if cell.last_exit else "stopped")
        if cell.state is STARTING:
            raise ActorStopped(self.name, "it has not started yet")
        return supervision

    async def tell(self, message: Any) -> None:
        """Raises `ActorError`: a supervisor reads no messages."""
        raise self._deaf()

    def tell_nowait(self, message: Any) -> None:
        """Raises `ActorError`: a supervisor reads no messages."""
        raise self._deaf()

    async def ask(self, message: Any, timeout: float | None = None) -> Any:
        """Raises `ActorError`: a supervisor reads no messages."""
        raise self._deaf()

    def _deaf(self) -> ActorError:
        return ActorError(
            f"supervisor {self.name!r} reads no messages",
            hint="send to one of its children; its own methods start, stop and list them",
        )

    async def start_child(self, spec: ChildSpec) -> ActorRef[Any]:
        """Add a child and start it; returns when it has started.

        Raises:
            ActorFailed: it did not start; its spec is forgotten.
            ChildError: the id is taken (`"already_started"`, or `"already_present"` by a child
                that does not run), or a dynamic supervisor is full (`"max_children"`).
        """
        return await self._supervision.start_child(spec)

    async def terminate_child(self, id: str) -> None:
        """Stop a child and keep it stopped; returns when it is gone.

        Its spec is kept for `restart_child`, except that of a temporary child and under a dynamic
        supervisor. A child that is stopped already stays so.
        """
        await self._supervision.terminate_child(id)

    async def restart_child(self, id: str) -> ActorRef[Any]:
        """Start a stopped child again; the same reference serves.

        Raises `ChildError` `"running"` or `"restarting"` when it is, `ActorFailed` when it does
        not start: it stays stopped then.
        """
        return await self._supervision.restart_child(id)

    async def delete_child(self, id: str) -> None:
        """Forget a stopped child; `ChildError` `"running"` or `"restarting"` when it is not."""
        self._supervision.delete_child(id)
        await checkpoint()

    async def which_children(self) -> list[ChildInfo]:
        """All children in start order."""
        children = which_children(self._supervision)
        await checkpoint()
        return children

    async def count_children(self) -> ChildCounts:
        """How many children there are, of what sort."""
        counts = count_children(self._supervision)
        await checkpoint()
        return counts
