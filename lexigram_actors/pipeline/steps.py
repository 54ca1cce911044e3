"""The steps of a pipeline: what a user subclasses, and a step made of a function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeGuard, final

from lexigram_actors.checks import number, require, text
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.pipeline.attempts import caught, within_timeout
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.protocols import ResilienceProtocol
from lexigram_actors.result import Ok, Result


class PipelineStep(ABC):
    """One step of a pipeline; made for subclassing.

    Every method may be sync or async, and return a plain value or a `Result`. An `Exception` of
    any class that one raises is a failure, as an `Err` is; `cleanup`'s are only logged.

    Args:
        name: The step's name; results are kept by it.
        dependencies: Names of the steps that have to end first. One that was skipped by its
            condition has ended; one that failed makes this one be skipped.
        timeout: Seconds that `execute` may take, 0 or more; None or `inf`: no limit. It is stopped
            at most 1 ms late (a hundredth of the limit, where that is less), and only where it
            waits. The other methods are not limited by it.
        resilience: Calls `execute`, as often as it likes. The time limit is for each call. None:
            it is called once.

    Raises:
        ConfigurationError: The name is no text, or the timeout no number of at least 0.
        TypeError: The dependencies are not a list of names.
    """

    def __init__(
        self,
        name: str,
        dependencies: list[str] | None = None,
        timeout: float | None = None,
        resilience: ResilienceProtocol | None = None,
    ) -> None:
        require("name", name, text())
        require("timeout", timeout, number(least=0, optional=True, unbounded=True))
        self.name = name
        self.dependencies = checked_dependencies(name, dependencies)
        self.timeout = timeout
        self.resilience = resilience

    @abstractmethod
    async def execute(self, context: PipelineContext) -> Result[Any, Exception]:
        """Do the work of the step."""

    async def should_skip(self, context: PipelineContext) -> Result[bool, Exception]:
        """Say whether to skip the step: no, unless overridden. An error fails the step."""
        return Ok(False)

    async def on_error(self, context: PipelineContext, error: Exception) -> Any:
        """Deal with what `execute` failed with: raise it again, unless overridden.

        What it returns is the step's result in place of a failure, unless it is an `Err`.
        """
        raise error

    async def cleanup(self, context: PipelineContext) -> Result[None, Exception]:
        """Release what `execute` took: nothing, unless overridden.

        Called once for every step that started, also after failure, time-out and cancellation;
        shielded from cancellation, for the pipeline's `cleanup_timeout` seconds at most.
        """
        return Ok(None)


class FunctionStep(PipelineStep):
    """A step that calls a function with the context.

    Each function may be sync or async and return a plain value or a `Result`.

    Args:
        name: The step's name.
        func: The work; or a `Runnable` (a graph, a saga, another pipeline), which is run with the
            metadata `"input"` as its input, the results so far as its state, and a run id made of
            that of the pipeline, the pipeline's name and the step's: `"default/orders/mail"`.
        dependencies: As for `PipelineStep`.
        skip_condition: Given the context; true skips the step.
        error_handler: Given the context and the error; what it returns is the step's result. If
            it fails, the step fails with its error.
        cleanup_func: Given the context, whenever the step started and ended.
        timeout: As for `PipelineStep`.
        resilience: As for `PipelineStep`.
    """

    def __init__(
        self,
        name: str,
        func: Callable[[PipelineContext], Any] | Runnable,
        dependencies: list[str] | None = None,
        skip_condition: Callable[[PipelineContext], Any] | None = None,
        error_handler: Callable[[PipelineContext, Exception], Any] | None = None,
        cleanup_func: Callable[[PipelineContext], Any] | None = None,
        timeout: float | None = None,
        *,
        resilience: ResilienceProtocol | None = None,
    ) -> None:
        super().__init__(name, dependencies, timeout, resilience)
        if is_runnable(func):
            func = RunnableFunction(name, func)
        elif not callable(func):
            raise TypeError(
                f"step {name!r}: func must be a function or a Runnable, and is {func!r}"
            )
        self.func: Callable[[PipelineContext], Any] = func
        self.skip_condition = skip_condition
        self.error_handler = error_handler
        self.cleanup_func = cleanup_func

    async def execute(self, context: PipelineContext) -> Result[Any, Exception]:
        """Return what the function returns; what it raises, and a time-out, as an `Err`."""
        return await within_timeout(self, caught(self.func), context)

    async def should_skip(self, context: PipelineContext) -> Result[bool, Exception]:
        """Return what the skip condition says; without one, that it is not to be skipped."""
        if self.skip_condition is None:
            return Ok(False)
        return as_result(await invoke(self.skip_condition, context))

    async def on_error(self, context: PipelineContext, error: Exception) -> Result[Any, Exception]:
        """Return what the error handler does; without one the error is raised again."""
        if self.error_handler is None:
            raise error
        return as_result(await invoke(self.error_handler, context, error))

    async def cleanup(self, context: PipelineContext) -> Result[None, Exception]:
        """Call the cleanup function, if there is one."""
        if self.cleanup_func is None:
            return Ok(None)
        return as_result(await invoke(self.cleanup_func, context))


RunGroup = Callable[[int, bool], Awaitable[Result[list[Any], Exception]]]
"""Runs one of a step's groups, by its number, side by side; the flag: the first failure ends it.

`Ok` has one result per step, in the order they were given; None for one that was skipped.
"""


class CompositeStep(PipelineStep):
    """A step with steps inside, which are full steps: each has its own record in the run."""

    @abstractmethod
    def alternatives(self) -> tuple[tuple[PipelineStep, ...], ...]:
        """Return the steps inside, by groups of which one run takes one."""

    @abstractmethod
    async def perform(
        self, context: PipelineContext, run_group: RunGroup
    ) -> Result[Any, Exception]:
        """Do the work of the step with its groups."""

    @abstractmethod
    def is_overridden(self) -> bool:
        """Say whether a subclass has put another `execute` in place of that of the class."""


@final
class RunnableFunction:
    """Runs a `Runnable` as the function of a step."""

    __slots__ = ("runnable", "step_name")

    def __init__(self, step_name: str, runnable: Runnable) -> None:
        self.step_name = step_name
        self.runnable = runnable

    async def __call__(self, context: PipelineContext) -> Result[Any, Exception]:
        """Run it and return its result; in a host, a question for a person is waited for.

        That wait counts for the time limits of the step, and of what it is inside of.
        """
        outer = context.hosted
        if outer is None:
            # With the pipeline's name: others may run the same Runnable, by steps of this name.
            name = context.get_metadata("pipeline", context.pipeline_name)
            outer = RunContext(run_id=context.get_metadata("run_id")).inside(name)
        inner = outer.inside(
            self.step_name,
            input=context.get_metadata("input"),
            state=dict(context.step_results),
        )
        if inner.journal is None:
            return await self.runnable.run(inner)
        return await run_asking(self.runnable, inner)

    def __repr__(self) -> str:
        return f"<run of {self.runnable.kind} {self.runnable.name!r}>"


def as_step(given: object) -> PipelineStep:
    """Return a step as it is, and a `Runnable` as a step of its name.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(given, PipelineStep):
        return given
    if is_runnable(given):
        return FunctionStep(given.name, given)
    hint = f"; write step(name, {given!r})" if callable(given) else ""
    raise TypeError(f"a step is a PipelineStep or a Runnable, and this is {given!r}{hint}")


def is_runnable(given: object) -> TypeGuard[Runnable]:
    """Say whether this is a `Runnable`: not a function that has any attribute it is asked for."""
    return hasattr(type(given), "run") and isinstance(given, Runnable)


def checked_dependencies(name: str, dependencies: Sequence[str] | None) -> list[str]:
    """Return the names as a list of their own; refuse what is no list of names."""
    if dependencies is None:
        return []
    if not isinstance(dependencies, list | tuple | set | frozenset) or not all(
        isinstance(each, str) for each in dependencies
    ):
        raise TypeError(
            f"step {name!r}: dependencies must be a list of names, and is {dependencies!r}"
        )
    return list(dependencies)
