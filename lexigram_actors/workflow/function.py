"""A durable function as a `Runnable`: what is around the calls of the function itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final, final
from uuid import uuid4

import trio
from attrs import evolve, frozen

from lexigram_actors.errors import WorkflowTimeoutError
from lexigram_actors.host.cancelling import came_of_cancellation, passing
from lexigram_actors.host.journal import VOID, ContinueAsNew, Journal, standing
from lexigram_actors.host.seam import RunContext
from lexigram_actors.host.steps import failure_record, give_way, path_in
from lexigram_actors.invoking import as_result
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage.instances import Definition, Instance, InstanceStatus, Loaded
from lexigram_actors.workflow.context import WorkflowContext
from lexigram_actors.workflow.failures import business_failure, failed_with, leaves_of
from lexigram_actors.workflow.replay import (
    Recorded,
    Scope,
    innermost,
    mark_at,
    recorded_at,
    taken_back,
)
from lexigram_actors.workflow.running import Run

DEADLINE: Final = "deadline"
RETRY: Final = "retry"

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
            return await self._run_alone(context)
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
            journal = journal_of_nothing(self, context.run_id, input, times)
            run = Run(journal, context.run_id, "", is_hosted=False)
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
        with trio.move_on_after(max(0.0, left)):
            return await self._with_retries(run, input, recorded, outer)
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
        if mark is not None and mark.entries:
            at: float = mark.entries[-1].value
            return at
        at = run.journal.clock() + timeout
        run.journal.later(path, DEADLINE, at)
        return at

    async def _with_retries(
        self, run: Run, input: Any, recorded: Recorded, outer: Scope | None
    ) -> Outcome:
        place = mark_at(run.place, RETRY)
        mark = recorded.parts.get(place.rpartition("/")[2])
        retried = 0 if mark is None else sum(entry.kind == RETRY for entry in mark.entries)
        while True:
            result = await self._call(run, input, recorded, outer)
            if not isinstance(result, Err) or retried >= self.retries:
                return result
            retried += 1
            await take_back(run, place, retried, result.error)
            recorded = recorded_at(run.journal.entries, run.place)

    async def _call(self, run: Run, input: Any, recorded: Recorded, outer: Scope | None) -> Outcome:
        """Call the function once, from its beginning."""
        at = run.journal.instance.created_at if outer is None else outer.at
        scope = Scope(run.place, recorded, outer, at=at)
        context = WorkflowContext(run, scope)
        raised: Exception | None = None
        result: Outcome = Ok(None)
        try:
            value = await (self.fn(context, input) if self.takes_input else self.fn(context))
            result = as_result(value)
        except Exception as error:  # noqa: BLE001 - judged below
            raised = error
        except BaseExceptionGroup as group:
            raise passing(group, f"workflow {self.name!r}") from None
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
    """Record that the function is called again, and that its failure does not stand.

    Afterwards the journal has what the store has: values that a call was given may have been
    changed by it.
    """
    journal = run.journal
    positions: set[int] = set()
    for leaf in leaves_of(getattr(error, "error", error) if is_group(error) else error):
        path = path_in(leaf)
        if path is not None:
            path = innermost(journal.entries, path)
            positions |= taken_back(journal.entries, run.place, path, run.concurrent)
    value = {"retry": retried, "error": failure_record(error)}
    if positions:
        journal.later(place, RETRY, value)
        await journal.append(place, VOID, sorted(positions))
    else:
        await journal.append(place, RETRY, value)
    stored = list(await journal.stored(0))
    known = {entry.position for entry in stored}
    # Of what another branch has added meanwhile the store's copy may be missing.
    entries = [*stored, *(each for each in journal.entries if each.position not in known)]
    journal.entries = standing(sorted(entries, key=lambda entry: entry.position))


def is_group(error: Exception) -> bool:
    """Say whether an error stands for several."""
    return isinstance(getattr(error, "error", None), BaseExceptionGroup)


def journal_of_nothing(
    function: DurableFunction, run_id: str | None, input: Any, times: int
) -> Journal:
    """Return a journal that is kept by nobody, for a run without a host."""
    begun = time.time() - trio.current_time()

    def clock() -> float:
        # Waits are Trio's, and so must be the clock: in a test they pass in no time.
        return begun + trio.current_time()

    instance = Instance(
        id=uuid4().hex if run_id is None else run_id,
        definition=Definition(function.kind, function.name, function.version),
        status=InstanceStatus.RUNNING,
        run=times,
        seed=uuid4().hex,
        created_at=clock(),
    )
    return Journal(Loaded(instance=instance, input=input, entries=[], mail=[]), None, clock)
