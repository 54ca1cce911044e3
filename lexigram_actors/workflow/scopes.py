"""Parts of a durable function that end together: branches side by side, and limits of time.

How such a scope ended is recorded where it matters: where something in it was cancelled. In a
replay what had been cut off then waits to be cut off again, however fast it is now, and whatever
the clock says.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, TypeVarTuple, cast, final

import trio
from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.checks import number, require
from lexigram_actors.errors import NonDeterminismError, WorkflowStateError, WorkflowTimeoutError
from lexigram_actors.errors.base import sole_error
from lexigram_actors.host.cancelling import came_of_cancellation
from lexigram_actors.host.retrying import LIMIT, SCOPE
from lexigram_actors.host.steps import failure_record, give_way, is_stray, stray_cancellation
from lexigram_actors.host.surroundings import ContinueAsNew, Suspended
from lexigram_actors.invoking import as_result
from lexigram_actors.nurseries import leave_nursery, split_cancelled
from lexigram_actors.result import Err, Result
from lexigram_actors.workflow.failures import business_failure, failed_with
from lexigram_actors.workflow.replay import (
    A_LIMIT,
    A_PARALLEL,
    Cutter,
    End,
    Fate,
    Recorded,
    Scope,
    joined,
    part_of,
)
from lexigram_actors.workflow.running import Held, Issued, Run

if TYPE_CHECKING:
    from lexigram_actors.workflow.context import WorkflowContext

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BODY: Final = "body"
"""The segment of what the block itself does, beside its branches."""

FAILED: Final = "failed"
FIRED: Final = "fired"


# --- limits of time --------------------------------------------------------------------------


@final
class TimeLimit:
    """A limit for the time of several commands; made by `move_on_after` and `fail_after`.

    When its time is over, what is under way in the block is cancelled. The end of the time is
    recorded on entry, and that it came, on the way out.

    Attributes:
        fired: Whether the time was over before the block had ended; known behind it.
    """

    __slots__ = (
        "_cancel_scope",
        "_context",
        "_end",
        "_fails",
        "_inner",
        "_issued",
        "_name",
        "_outer",
        "_path",
        "_seconds",
        "fired",
    )

    def __init__(self, context: WorkflowContext, seconds: float, name: str, fails: bool) -> None:
        require("seconds", seconds, number(least=0))
        self._context = context
        self._seconds = seconds
        self._name = name
        self._fails = fails
        self._cancel_scope = trio.CancelScope()
        self._path = ""
        self.fired = False

    async def __aenter__(self) -> Self:
        """Begin; a checkpoint, unless it is recorded."""
        context = self._context
        journal = context._run.journal
        outer = context._scope
        with context._issue(self._name, A_LIMIT) as issued:
            self._end = issued.last(SCOPE)
            is_over = self._end is not None or issued.was_cut
            entry = issued.last(LIMIT) if is_over else issued.last_time(LIMIT)
            if entry is None:
                await issued.begin()
                entry = await journal.append(issued.path, LIMIT, journal.clock() + self._seconds)
            end = issued.cut_end() if self._end is None else End(cancelled=True, at=self._end.at)
        if self._end is None and outer.fate() is Fate.OPEN:
            left = max(0.0, entry.value - journal.clock())
            self._cancel_scope.deadline = trio.current_time() + left
        self._path = issued.path
        self._outer = outer
        self._inner = context._scope = Scope(
            issued.path,
            issued.recorded,
            outer,
            at=max(outer.at, entry.at),
            end=end,
            cutter=Cutter(issued.path, self._has_fired, self._cancel_scope.cancel),
        )
        self._issued = issued
        self._cancel_scope.__enter__()
        return self

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, bool]:
        """End, and record it where the time was over."""
        return self._leave(kind, error, traceback)

    async def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._context._scope = self._outer
        if error is not None:
            self._issued.leave(error)  # until it is known that the cause was this
        swallowed = bool(self._cancel_scope.__exit__(kind, error, traceback))
        if error is not None and not swallowed:
            return False
        if self._cancel_scope.cancelled_caught:
            self._outer.cut_off = None
            await self._record()
        elif self._end is None:
            self._inner.check_ended()
        self._outer.at = max(self._outer.at, self._inner.at)
        # Recorded, it had fired, though what it cut off then may be quick enough now.
        self.fired = self._end is not None
        if self.fired and self._fails:
            raise self._late()
        return swallowed

    def _has_fired(self) -> bool:
        return self._cancel_scope.cancel_called

    async def _record(self) -> None:
        if self._end is None:
            value: dict[str, Any] = {FIRED: True}
            if self._fails:
                value["error"] = failure_record(self._late())
            self._end = await self._context._run.journal.append(self._path, SCOPE, value)
        self._inner.at = max(self._inner.at, self._end.at)

    def _late(self) -> WorkflowTimeoutError:
        return WorkflowTimeoutError(
            f"{self._path!r} was stopped: it took longer than {self._seconds:g} s",
            step_name=self._name,
            details={"path": self._path, "timeout": self._seconds},
        )


# --- branches --------------------------------------------------------------------------------


@final
class Branch(Generic[T]):
    """One of the things that run side by side, known by its path.

    Its outcome is there when the block has ended.
    """

    __slots__ = ("_result", "path", "segment")

    def __init__(self, path: str, segment: str) -> None:
        self.path = path
        self.segment = segment
        self._result: Result[T, Exception] | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended; False also of one that was cancelled."""
        return self._result is not None

    def result(self) -> Result[T, Exception]:
        """Return what it came to.

        Raises:
            WorkflowStateError: It has not ended, or was cancelled.
        """
        if self._result is None:
            raise WorkflowStateError(
                f"branch {self.path!r} has no outcome: it has not ended, or was cancelled",
                hint="look at it behind the `async with ctx.parallel()` block",
            )
        return self._result

    @property
    def value(self) -> T:
        """What it returned; raises what it failed with."""
        result = self.result()
        if isinstance(result, Err):
            raise result.error
        return result.unwrap()


@final
class Parallel:
    """Branches side by side; made by `ctx.parallel()`, and used with `async with`, once.

    The block ends when all branches have. It may issue commands itself, through the context that
    it always had: these are one branch more. What it raises cancels the branches.
    """

    __slots__ = (
        "_body",
        "_branches",
        "_bug",
        "_context",
        "_cut_end",
        "_end",
        "_ended_at",
        "_fail_fast",
        "_failed",
        "_issued",
        "_manager",
        "_name",
        "_nursery",
        "_outer",
        "_passing",
        "_path",
        "_recorded",
        "_run",
        "_seen",
    )

    _manager: AbstractAsyncContextManager[trio.Nursery]
    _outer: Scope
    _body: Scope
    _issued: Issued
    _recorded: Recorded | None

    def __init__(self, context: WorkflowContext, *, fail_fast: bool, name: str) -> None:
        self._context = context
        self._run: Run = context._run
        self._fail_fast = fail_fast
        self._name = name
        self._path = ""
        self._nursery: trio.Nursery | None = None
        self._branches: list[Branch[Any]] = []
        self._seen = {BODY: 1}
        self._end: Any = None
        self._failed: Branch[Any] | None = None  # the one that cancelled the others
        self._bug: Exception | None = None
        self._passing: BaseException | None = None  # goes through everything

    async def __aenter__(self) -> Self:
        """Begin; a checkpoint, unless something of it is recorded."""
        if self._path:
            raise WorkflowStateError(f"the scope {self._path!r} is used a second time")
        context = self._context
        self._outer = context._scope
        with context._issue(self._name, A_PARALLEL) as issued:
            if issued.recorded is None or (issued.was_cut and not issued.recorded.parts):
                await issued.begin()
            self._cut_end = issued.cut_end()
        self._issued = issued
        self._path = issued.path
        self._recorded = issued.recorded
        entry = None if issued.recorded is None else issued.recorded.last(SCOPE)
        self._end = None if entry is None else entry.value
        self._ended_at = 0.0 if entry is None else entry.at
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._body = context._scope = self._scope_of(BODY)
        return self

    def start(
        self,
        fn: Callable[[WorkflowContext, *Ts], Awaitable[T]],
        *args: *Ts,
        name: str | None = None,
    ) -> Branch[T]:
        """Begin a branch: `await fn(ctx, *args)`, where `ctx` is a context of its own.

        Args:
            name: Its name in the journal; the function's own when None. Of those with one name the
                later are numbered, so start them in the same order every time.

        Raises:
            WorkflowStateError: The block has ended, or not begun.
        """
        if self._nursery is None:
            raise WorkflowStateError("a branch is started inside of `async with ctx.parallel()`")
        part = part_of(name if name is not None else str(getattr(fn, "__name__", "branch")))
        count = self._seen[part] = self._seen.get(part, 0) + 1
        segment = part if count == 1 else f"{part}#{count}"
        branch: Branch[T] = Branch(joined(self._path, segment), segment)
        self._branches.append(branch)
        self._nursery.start_soon(self._run_branch, branch, fn, args, name=branch.path)
        return branch

    def _scope_of(self, segment: str) -> Scope:
        """Return the scope of a branch, at its beginning."""
        recorded = None if self._recorded is None else self._recorded.parts.get(segment)
        end = self._cut_end
        if self._end is not None:
            failed = self._end.get(FAILED)
            end = End(failed is not None, is_cause=failed == segment, at=self._ended_at)
        place = joined(self._path, segment)
        # What cancelled it fails again by itself.
        cutter = Cutter(self._path, self._is_stopped, lambda: None)
        return Scope(place, recorded, self._outer, at=self._outer.at, end=end, cutter=cutter)

    def _is_stopped(self) -> bool:
        return self._nursery is not None and self._nursery.cancel_scope.cancel_called

    async def _run_branch(
        self, branch: Branch[Any], fn: Callable[..., Awaitable[Any]], args: Sequence[Any]
    ) -> None:
        scope = self._scope_of(branch.segment)
        context = type(self._context)(self._run, scope)
        try:
            result = as_result(await fn(context, *args))
            scope.check_ended()
        except (Suspended, ContinueAsNew) as passing:
            self._passing = passing
            self._stop()
            return
        except Exception as error:  # noqa: BLE001 - judged, and raised where the block ends
            self._judge(branch, error)
            return
        except trio.Cancelled as cancelled:  # noqa: ASYNC103 - of this task, it is raised
            if not is_stray(cancelled):
                raise
            self._judge(branch, stray_cancellation(f"branch {branch.path!r}"))
            return  # noqa: ASYNC104
        finally:
            self._outer.at = max(self._outer.at, scope.at)
        if isinstance(result, Err):
            self._judge(branch, failed_with(result.error), is_outcome=True)
        else:
            branch._result = result

    def _judge(self, branch: Branch[Any], error: Exception, *, is_outcome: bool = False) -> None:
        """Decide what follows from a failure of a branch."""
        if trio.current_effective_deadline() == -inf and came_of_cancellation(error):
            # Raised instead of the cancellation, it would hide it.
            logger.error("branch %r failed while it was cancelled", branch.path, exc_info=error)
            self._stop()
            return
        failure = error if is_outcome else business_failure(error)
        if failure is None:
            if self._bug is None:
                self._bug = error
            self._stop()
            return
        branch._result = Err(failure)
        if self._fail_fast and self._is_expected(branch) and self._failed is None:
            self._failed = branch
            self._stop()

    def _is_expected(self, branch: Branch[Any]) -> bool:
        """Say whether it may cancel the others: in a replay, whether it was this one that did."""
        recorded = None if self._end is None else self._end.get(FAILED)
        return recorded is None or recorded == branch.segment

    def _stop(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, bool]:
        """Wait for the branches, record the end, and raise what they failed with."""
        return self._leave(error)

    async def _leave(self, error: BaseException | None) -> bool:
        cancelled, failure = (None, None) if error is None else split_cancelled(error)
        if failure is None and error is not None and is_stray(error):
            failure = stray_cancellation(f"the block of {self._path!r}")
        with Held(self._context, self._path):
            self._end_body(error)
            was_stopped = await self._close(error, cancelled)
            if self._passing is not None:
                raise self._passing
            if self._bug is not None:
                raise self._bug
            if failure is not None:
                return await self._fail_by_body(failure, cancelled)
            if was_stopped:
                await checkpoint_if_cancelled()  # it may be that it came from outside
                self._outer.cut_off = None
            await self._conclude()
            return cancelled is not None

    def _end_body(self, error: BaseException | None) -> None:
        """Let the context's commands stand outside again, and judge those of the block."""
        self._context._scope = self._outer
        if error is not None:
            self._stop()
            return
        try:
            self._body.check_ended()
        except NonDeterminismError as bug:
            self._bug = bug
            self._stop()

    async def _close(self, error: BaseException | None, cancelled: BaseException | None) -> bool:
        """Wait until no branch is left; say whether they were cancelled from here."""
        assert self._nursery is not None
        if cancelled is not None:
            self._issued.leave(cancelled)  # until it is known that the cause was here
        try:
            await leave_nursery(self._manager, error)
        except trio.Cancelled as outside:
            self._issued.leave(outside)
            raise
        finally:
            was_stopped = self._nursery.cancel_scope.cancel_called
            self._nursery = None
            self._outer.at = max(self._outer.at, self._body.at)
        return was_stopped

    async def _fail_by_body(self, failure: BaseException, cancelled: BaseException | None) -> bool:
        """Record that the block failed, and cancelled its branches; it raises by itself."""
        outcome = None
        if isinstance(failure, Exception):
            if came_of_cancellation(failure):
                await give_way(f"scope {self._path!r}", failure)
            outcome = business_failure(failure)
        if outcome is not None and self._branches:
            self._outer.cut_off = None
            await self._record({FAILED: BODY})
        if cancelled is not None:
            raise sole_error(failure)
        return False

    async def _conclude(self) -> None:
        """Record the end, and raise what the branches failed with."""
        if self._end is not None and FAILED in self._end and self._failed is None:
            raise NonDeterminismError(
                joined(self._path, self._end[FAILED]), "a failure", "an end without one"
            )
        if self._failed is not None:
            await self._record({FAILED: self._failed.segment})
            raise cast("Err[Exception]", self._failed.result()).error
        if self._is_open:
            # It may be that nothing stands below this path; what follows has to find something.
            self._run.journal.later(self._path, SCOPE, {})
        failures = [
            branch._result.error for branch in self._branches if isinstance(branch._result, Err)
        ]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup(f"{len(failures)} branches of {self._path!r} failed", failures)

    @property
    def _is_open(self) -> bool:
        """Whether its end is not recorded, nor that of a scope around it that cut it off."""
        return self._end is None and self._outer.fate() is not Fate.CUT

    async def _record(self, value: dict[str, Any]) -> None:
        if self._is_open:
            await self._run.journal.append(self._path, SCOPE, value)
