"""Steps with steps inside: side by side, or one of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.invoking import invoke
from lexigram_actors.pipeline.attempts import outcome_of
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.plan import duplicate_problems
from lexigram_actors.pipeline.protocols import ResilienceProtocol
from lexigram_actors.pipeline.run import run_alone
from lexigram_actors.pipeline.steps import CompositeStep, PipelineStep, RunGroup, as_step
from lexigram_actors.pipeline.tree import outline_of
from lexigram_actors.result import Err, Ok, Result


class ParallelStep(CompositeStep):
    """Runs steps side by side, all that are ready at once.

    Its result is a list with one result per step, in the order they are given; None for one that
    was skipped. Each step has its own record in the run, and a name that no other step of the
    pipeline has. They may depend on each other, and on what the parallel step depends on.

    Args:
        name: The step's name.
        steps: What runs inside: steps, or `Runnable`s. None at all is fine: the result is `[]`.
        dependencies: As for `PipelineStep`.
        fail_fast: True: the first failure cancels the others at once. False: all run to their end,
            and what depends on one that failed is skipped.
        timeout: Seconds for all of it together.
        resilience: As for `PipelineStep`; each of its calls runs every step again, and the
            records and results of the last count.

    Raises:
        ConfigurationError: Two of the steps have the same name, or a step stands inside more
            than 32 others.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Any],
        dependencies: list[str] | None = None,
        *,
        fail_fast: bool = True,
        timeout: float | None = None,
        resilience: ResilienceProtocol | None = None,
    ) -> None:
        super().__init__(name, dependencies, timeout, resilience)
        self.steps: list[PipelineStep] = [as_step(each) for each in steps]
        self.fail_fast = fail_fast
        check_names(self)

    async def execute(self, context: PipelineContext) -> Result[list[Any], Exception]:
        """Run the steps; `Err(PipelineExecutionError)` names the first of those that failed.

        What they depend on outside is taken to have ended.
        """
        return await run_alone(self, context)

    async def perform(
        self, context: PipelineContext, run_group: RunGroup
    ) -> Result[list[Any], Exception]:
        """Run the steps by `run_group`."""
        return await run_group(0, self.fail_fast)

    def alternatives(self) -> tuple[tuple[PipelineStep, ...], ...]:
        """Return the steps, as one group."""
        return (tuple(self.steps),)

    def is_overridden(self) -> bool:
        """Say whether a subclass has another `execute`."""
        return type(self).execute is not ParallelStep.execute


class ConditionalStep(CompositeStep):
    """Runs one of two steps, as a condition says.

    Its result is that of the step that ran; None where there is none for a false condition, or
    where it was skipped. The step that runs has its own record in the run; since one run takes
    one of them, the two may have the same name.

    Args:
        name: The step's name.
        condition: Given the context; sync or async, a plain value or a `Result`.
        true_step: Runs where the condition is true: a step, or a `Runnable`.
        false_step: Runs where it is false; None: nothing does.
        dependencies: As for `PipelineStep`.
        timeout: Seconds for the condition and the step together.
        resilience: As for `PipelineStep`.
    """

    def __init__(
        self,
        name: str,
        condition: Callable[[PipelineContext], Any],
        true_step: Any,
        false_step: Any | None = None,
        dependencies: list[str] | None = None,
        timeout: float | None = None,
        *,
        resilience: ResilienceProtocol | None = None,
    ) -> None:
        super().__init__(name, dependencies, timeout, resilience)
        if not callable(condition):
            raise TypeError(f"step {name!r}: condition must be a function, and is {condition!r}")
        self.condition = condition
        self.true_step = as_step(true_step)
        self.false_step = None if false_step is None else as_step(false_step)
        check_names(self)

    async def execute(self, context: PipelineContext) -> Result[Any, Exception]:
        """Run the step that the condition says."""
        return await run_alone(self, context)

    async def perform(
        self, context: PipelineContext, run_group: RunGroup
    ) -> Result[Any, Exception]:
        """Run the step that the condition says by `run_group`."""
        answer = outcome_of(await invoke(self.condition, context))
        if isinstance(answer, Err):
            return answer
        if not answer.value and self.false_step is None:
            return Ok(None)
        result = await run_group(0 if answer.value else 1, True)
        return result.map_sync(lambda results: results[0])

    async def should_skip(self, context: PipelineContext) -> Result[bool, Exception]:
        """Say no: the condition decides what runs, not whether."""
        return Ok(False)

    def alternatives(self) -> tuple[tuple[PipelineStep, ...], ...]:
        """Return the branches, the true one first."""
        branches = (
            [self.true_step] if self.false_step is None else [self.true_step, self.false_step]
        )
        return tuple((branch,) for branch in branches)

    def is_overridden(self) -> bool:
        """Say whether a subclass has another `execute`."""
        return type(self).execute is not ConditionalStep.execute


def check_names(step: CompositeStep) -> None:
    """Refuse a step with steps inside whose results would stand under the same name.

    Raises:
        ConfigurationError: There are such; all are listed.
    """
    problems = duplicate_problems([outline_of(step)])
    if problems:
        raise ConfigurationError(f"step {step.name!r} cannot run", problems=problems)
