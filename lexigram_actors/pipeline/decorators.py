"""Short ways to make steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lexigram_actors.host.seam import Runnable
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.groups import ConditionalStep, ParallelStep
from lexigram_actors.pipeline.steps import FunctionStep


def step(
    name: str,
    func: Callable[[PipelineContext], Any] | Runnable,
    dependencies: list[str] | None = None,
    timeout: float | None = None,
) -> FunctionStep:
    """Return a step that calls a function, or runs a `Runnable`; see `FunctionStep`."""
    return FunctionStep(name, func, dependencies, timeout=timeout)


def conditional(
    name: str,
    condition: Callable[[PipelineContext], Any],
    true_step: Any,
    false_step: Any | None = None,
    dependencies: list[str] | None = None,
    timeout: float | None = None,
) -> ConditionalStep:
    """Return a step that runs one of two, as the condition says; see `ConditionalStep`."""
    return ConditionalStep(name, condition, true_step, false_step, dependencies, timeout)


def parallel(
    name: str,
    steps: Sequence[Any],
    dependencies: list[str] | None = None,
    *,
    fail_fast: bool = True,
    timeout: float | None = None,
) -> ParallelStep:
    """Return a step that runs steps side by side; see `ParallelStep`."""
    return ParallelStep(name, steps, dependencies, fail_fast=fail_fast, timeout=timeout)


def pipeline_step(
    dependencies: list[str] | None = None,
) -> Callable[[Callable[[PipelineContext], Any]], FunctionStep]:
    """Turn the function below into a step of its name: `@pipeline_step(["load"])`.

    Raises:
        TypeError: Written without brackets, as `@pipeline_step`.
    """
    if callable(dependencies):
        raise TypeError("write @pipeline_step() with brackets, above the function")

    def decorate(func: Callable[[PipelineContext], Any]) -> FunctionStep:
        return FunctionStep(func.__name__, func, dependencies)

    return decorate
