"""Pipelines of ten steps: shapes that ours and the reference have in common, and the reference.

A shape takes a library: a namespace with `Pipeline`, `ParallelStep`, `step`, `TransformPipe` and
`Ok`. Every step returns 1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from harness import now

STEPS = 10
Build = Callable[[Any], Any]


def _steps(library: Any, timeout: float | None = None, *, chained: bool = False) -> list[Any]:
    async def one(context: Any) -> Any:
        return library.Ok(1)

    return [
        library.step(
            f"s{number}",
            one,
            dependencies=[f"s{number - 1}"] if chained and number else [],
            timeout=timeout,
        )
        for number in range(STEPS)
    ]


def chain(library: Any, timeout: float | None = None) -> Any:
    """Each step depends on the one before."""
    return library.Pipeline("bench", _steps(library, timeout, chained=True))


def independent(library: Any, **options: Any) -> Any:
    """No step depends on another."""
    return library.Pipeline("bench", _steps(library), **options)


def parallel(library: Any) -> Any:
    """One step that runs ten side by side."""
    return library.Pipeline("bench", [library.ParallelStep("all", _steps(library))])


def transform(library: Any) -> Any:
    """Ten plain functions, each with the value of the one before."""
    pipe = library.TransformPipe()
    for _ in range(STEPS):
        pipe = pipe.pipe(add_one)
    return pipe


def add_one(value: int) -> int:
    """Return the number after this one."""
    return value + 1


def check(context: Any) -> None:
    """Raise unless all steps have a result, under their own names or that of the parallel step."""
    results = context.step_results
    assert len(results) >= STEPS or len(results["all"]) == STEPS


async def run(built: Any, count: int) -> float:
    """Seconds for so many runs of a pipeline, or of a pipe that starts from 0."""
    is_pipe = not hasattr(built, "add_step")
    start = now()
    for _ in range(count):
        if is_pipe:
            assert await built.execute(0) == STEPS
        else:
            check((await built.execute()).unwrap())
    return now() - start


def reference(count: int, build: Build) -> float:
    """``lexigram.workflow`` on asyncio, logs off; it runs independent steps one after the other."""
    import structlog
    from lexigram import workflow  # type: ignore[import-not-found, unused-ignore]
    from lexigram.result import Ok  # type: ignore[import-not-found, unused-ignore]

    # A line for every parallel step would go to standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    library = SimpleNamespace(
        Pipeline=workflow.Pipeline,
        ParallelStep=workflow.ParallelStep,
        TransformPipe=workflow.TransformPipe,
        step=workflow.step,
        Ok=Ok,
    )
    return asyncio.run(run(build(library), count))
