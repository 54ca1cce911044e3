"""One run of a durable function: what its contexts share, and a command under way in one."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, final

import trio
from attrs import frozen
from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.errors import NonDeterminismError, WorkflowStateError
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.retrying import CUT
from lexigram_actors.nurseries import split_cancelled
from lexigram_actors.storage.instances import Entry
from lexigram_actors.workflow.alone import Copies
from lexigram_actors.workflow.replay import Command, End, Fate, Scope

SIDE_BY_SIDE: Final = (
    "for work side by side give each branch a context of its own:\n"
    "    async with ctx.parallel() as group:\n"
    "        group.start(ship, order)     # async def ship(ctx, order): ...\n"
    "        group.start(bill, order)"
)


@final
@frozen(eq=False)
class Run:
    """What all contexts of one run share.

    Attributes:
        run_id: The instance's id; None for a run without a host that was given none.
        place: Of the function in the instance.
        is_hosted: Whether somebody keeps the journal, posts signals and answers questions.
        copies: What is recorded, where no store keeps it.
    """

    journal: Journal
    run_id: str | None
    place: str
    is_hosted: bool
    copies: Copies | None = None

    def was_given(self, entry: Entry) -> bool:
        """Say whether the instance is a fork, and was given this by its original."""
        return self.journal.instance.copied > 0 and entry.epoch == 0


@final
class Issued:
    """A command under way: the context takes no other until it is left.

    Attributes:
        path: Where.
        recorded: What is recorded of it; None: nothing.
    """

    __slots__ = ("_context", "_run", "path", "recorded", "scope", "what")

    def __init__(self, context: Any, run: Run, scope: Scope, name: str, command: Command) -> None:
        self._context = context
        self._run = run
        self.scope = scope
        self.what = command.noun
        self.path, self.recorded = scope.issue(name, command)

    def __enter__(self) -> Issued:
        self._context._busy = self.path
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context._busy = None
        if error is not None:
            self.leave(error)

    def leave(self, error: BaseException) -> None:
        """Remember where a cancellation ended it, unless that is recorded."""
        if not self.was_cut and split_cancelled(error)[0] is not None:
            self.scope.note_cut_off(self.path)

    def last(self, kind: str) -> Entry | None:
        """Return the last record of a kind at its path."""
        return None if self.recorded is None else self.recorded.last(kind)

    def last_time(self, kind: str) -> Entry | None:
        """Return the last record of a time, of that kind, that counts for this instance.

        What a fork was given and has not come past begins there: the time does too.
        """
        entry = self.last(kind)
        is_given = entry is not None and self._run.was_given(entry)
        return None if is_given and self.scope.fate() is Fate.OPEN else entry

    @property
    def was_cut(self) -> bool:
        """Whether it had been cut off, and the function went on."""
        return self.last(CUT) is not None

    def cut_end(self) -> End | None:
        """Return how a scope ended that had been cut off from further out; None: it was not.

        Raises:
            NonDeterminismError: What cut it off does not come again.
        """
        cut = self.last(CUT)
        if cut is None:
            return None
        self._check_cut_again(cut)
        return End(cancelled=True, by=cut.value, at=cut.at)

    @property
    def found(self) -> str:
        """The command, as a message shows it."""
        return f"{self.what} {self.path.rpartition('/')[2]!r}"

    async def begin(self) -> None:
        """Make sure that it may do what is not recorded; a checkpoint only where it may not.

        Raises:
            NonDeterminismError: The past went on without it.
            Suspended: Nothing new may begin in this incarnation.
            trio.Cancelled: It was cut off in the past, or is now.
        """
        cut = self.last(CUT)
        if cut is not None:
            await self._be_cut_again(cut)
        fate = self.scope.fate()
        if fate is Fate.CUT:
            await self.be_cut()
        if fate is Fate.OVER:
            raise NonDeterminismError(self.path, "the end of the scope", self.found)
        journal = self._run.journal
        if not journal.is_open:
            await journal.ready()
        await checkpoint_if_cancelled()
        self._mark_the_cut_off()

    async def be_cut(self) -> None:
        """Wait for the cancellation that ended this in the past."""
        self.scope.cut()
        await trio.sleep_forever()

    async def _be_cut_again(self, cut: Entry) -> None:
        """Wait for what had cut this off; the function then goes on as it did."""
        self._check_cut_again(cut)
        cutter = self.scope.cutter_at(cut.value)
        if cutter is not None:
            cutter.call()
        await trio.sleep_forever()

    def _check_cut_again(self, cut: Entry) -> None:
        """Refuse to wait for a cancellation that does not come again.

        Raises:
            NonDeterminismError: A cancel scope of the function's own had cut this off.
        """
        if self.scope.cutter_at(cut.value) or self._run.journal.cancelled_by is not None:
            self.scope.is_cleaning_up = True
            return
        raise NonDeterminismError(
            self.path,
            f"{self.found}, cut off by a cancel scope that is not the context's",
            "the same again, and nobody to cut it off",
            hint="limit the time of commands with ctx.move_on_after or ctx.fail_after, and run "
            "them side by side with ctx.parallel: these are recorded, Trio's scopes are not",
        )

    def _mark_the_cut_off(self) -> None:
        """Record that the command before this was cut off, and the function went on."""
        cut_off, self.scope.cut_off = self.scope.cut_off, None
        if cut_off is not None:
            path, cause = cut_off
            self._run.journal.later(path, CUT, cause)


@final
class Held:
    """Keeps a context from taking commands meanwhile."""

    __slots__ = ("_context", "_what")

    def __init__(self, context: Any, what: str) -> None:
        self._context = context
        self._what = what

    def __enter__(self) -> None:
        self._context._busy = self._what

    def __exit__(self, *exc_info: object) -> None:
        self._context._busy = None


def check_turn(busy: str | None, owner: trio.lowlevel.Task, name: object) -> None:
    """Refuse a second command in a context.

    Raises:
        WorkflowStateError: Another is under way, or the context is another task's.
    """
    if busy is not None:
        raise WorkflowStateError(
            f"{name!r} was asked of a context in which {busy!r} is under way; the commands of a "
            "context come one after another, so that a replay finds them in the same order",
            hint=SIDE_BY_SIDE,
        )
    if owner is not trio.lowlevel.current_task():
        raise WorkflowStateError(
            f"{name!r} was asked of a context in another task than the one that it was given to",
            hint=SIDE_BY_SIDE,
        )
