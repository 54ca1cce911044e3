"""A durable function as a `Runnable`: what is around the calls of the function itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, final

import trio
from attrs import evolve, frozen

from lexigram_actors.errors import WorkflowTimeoutError
from lexigram_actors.host.cancelling import came_of_cancellation, passing
from lexigram_actors.host.journal import VOID
from lexigram_actors.host.observing import observed
from lexigram_actors.host.outcomes import paths_behind
from lexigram_actors.host.retrying import DEADLINE, RETRY, voided_by_function
from lexigram_actors.host.seam import RunContext
from lexigram_actors.host.steps import failure_record, give_way, is_stray, stray_cancellation
from lexigram_actors.host.surroundings import ContinueAsNew
from lexigram_actors.invoking import as_result
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.workflow.alone import journal_of_nothing
from lexigram_actors.workflow.context import WorkflowContext
from lexigram_actors.workflow.failures import business_failure, failed_with
from lexigram_actors.workflow.replay import (
    Cutter,
    Recorded,
    Scope,
    mark_at,
    recorded_at,
)
from lexigram_actors.workflow.running import Run

Outcome = Result[Any, Exception]


@final
@frozen(eq=False)
class DurableFunction:
    """A function whose commands are recorded; made by `@workflow`.

    In a host it survives crashes. Without one `run` works all the same, and records nothing.

    Attributes:
        fn: `async def f(ctx)` or `async def f(ctx, input)`.
        takes_input: Whether it is the second.
        timeout: Seconds for the whole run, from its first start, also while it is down; None: no
            limit.
        retries: How often it is called again after it has failed.
    """

    fn: Callable[..., Any]
    name: str
    version: int
    takes_input: bool
    timeout: float | None = None
    retries: int = 0

    @property
    def tells_its_work(self) -> bool:
        """That it says itself when it is at work and when it waits."""
        return True

    @property
    def kind(self) -> str:
        """`"workflow"`."""
        return "workflow"

    async def run(self, context: RunContext, /) -> Outcome:
        """Run to the end: `Ok` of what the function returns, or `Err` of what it failed with.

        An error of this library that it raises is a failure like an `Err` it returns. Any other is
        a bug, and raised, as is `NonDeterminismError`. Cancelled, no task of it is left.
        """
        if context.journal is None:
            return await observed(context.run_id, self.name, self._run_alone, context)
        journal = context.journal
        run = Run(journal, context.run_id, context.place, is_hosted=True)
        recorded = recorded_at(journal.entries, context.place)
        return await self._limited(run, context.input, recorded, None)

    async def run_part(
        self, context: RunContext, run: Run, recorded: Recorded | None, outer: Scope
    ) -> Outcome:
        """Run as a part of another durable function."""
        part = evolve(run, run_id=context.run_id, place=context.place)
        return await self._limited(part, context.input, recorded or Recorded(), outer)

    async def _run_alone(self, context: RunContext) -> Outcome:
        """Run without a host: begun again as a new run, the function has the new input."""
        input = context.input
        for times in count():
            journal, copies = journal_of_nothing(self, context.run_id, times)
            run = Run(journal, context.run_id, "", is_hosted=False, copies=copies)
            try:
                return await self._limited(run, input, Recorded(), None)
            except ContinueAsNew as again:
                input = again.input
                await trio.lowlevel.checkpoint()
        raise AssertionError("unreachable")

    async def _limited(
        self, run: Run, input: Any, recorded: Recorded, outer: Scope | None
    ) -> Outcome:
        """Run within the time, if there is a limit."""
        if self.timeout is None:
            return await self._with_retries(run, input, recorded, outer)
        left = self._deadline(run, recorded, self.timeout) - run.journal.clock()
        with trio.move_on_after(max(0.0, left)) as limit:
            place = mark_at(run.place, DEADLINE)
            cutter = Cutter(place, lambda: limit.cancel_called, limit.cancel)
            return await self._with_retries(run, input, recorded, outer, cutter)
        return Err(
            WorkflowTimeoutError(
                f"workflow {self.name!r} was stopped: it took longer than {self.timeout:g} s",
                step_name=self.name,
                details={"path": mark_at(run.place, DEADLINE), "timeout": self.timeout},
            )
        )

    def _deadline(self, run: Run, recorded: Recorded, timeout: float) -> float:
        """Return when the time is over, recorded the first time."""
        path = mark_at(run.place, DEADLINE)
        mark = recorded.parts.get(path.rpartition("/")[2])
        if mark is not None and not run.was_given(mark.entries[-1]):
            at: float = mark.entries[-1].value
            return at
        at = run.journal.clock() + timeout
        run.journal.later(path, DEADLINE, at)
        return at

    async def _with_retries(
        self,
        run: Run,
        input: Any,
        recorded: Recorded,
        outer: Scope | None,
        cutter: Cutter | None = None,
    ) -> Outcome:
        place = mark_at(run.place, RETRY)
        mark = recorded.parts.get(place.rpartition("/")[2])
        retried = 0 if mark is None else sum(entry.kind == RETRY for entry in mark.entries)
        if self.retries and run.copies is not None:
            run.copies.are_kept = True
        while True:
            result = await self._call(run, input, recorded, outer, cutter)
            if not isinstance(result, Err) or retried >= self.retries:
                return result
            retried += 1
            await take_back(run, place, retried, result.error)
            recorded = recorded_at(run.journal.entries, run.place)

    async def _call(
        self,
        run: Run,
        input: Any,
        recorded: Recorded,
        outer: Scope | None,
        cutter: Cutter | None,
    ) -> Outcome:
        """Call the function once, from its beginning."""
        at = run.journal.instance.created_at if outer is None else outer.at
        scope = Scope(run.place, recorded, outer, at=at, cutter=cutter)
        context = WorkflowContext(run, scope)
        raised: Exception | None = None
        result: Outcome = Ok(None)
        try:
            value = await (self.fn(context, input) if self.takes_input else self.fn(context))
            result = as_result(value)
        except Exception as error:  # noqa: BLE001 - judged below
            raised = error
        except trio.Cancelled as cancelled:  # noqa: ASYNC103 - of this task, it is raised
            if not is_stray(cancelled):
                raise
            raised = stray_cancellation(f"workflow {self.name!r}")
        except BaseExceptionGroup as group:  # noqa: ASYNC103 - as above
            passed = passing(group, f"workflow {self.name!r}")
            if not is_stray(passed):
                raise passed from None  # noqa: ASYNC104
            raised = stray_cancellation(f"workflow {self.name!r}")
        if raised is not None:
            result = Err(await self._outcome_of(raised))
        elif isinstance(result, Err):
            result = Err(failed_with(result.error))
        scope.check_ended()
        return result

    async def _outcome_of(self, error: Exception) -> Exception:
        """Return the failure that an exception stands for; raise it where it is a bug."""
        if came_of_cancellation(error):
            await give_way(f"workflow {self.name!r}", error)
        failure = business_failure(error)
        if failure is None:
            raise error
        return failure


async def take_back(run: Run, place: str, retried: int, error: Exception) -> None:
    """Record that the function is called again, and that its failure does not stand."""
    journal = run.journal
    positions = voided_by_function(journal.entries, run.place, paths_behind(error))
    value = {"retry": retried, "error": failure_record(error)}
    if positions:
        journal.later(place, RETRY, value)
        await journal.append(place, VOID, positions)
    else:
        await journal.append(place, RETRY, value)
    await journal.reload()
    if run.copies is not None:
        journal.entries = run.copies.of(journal.entries)
