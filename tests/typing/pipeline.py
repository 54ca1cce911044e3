"""Read by type checkers, never run: what pipelines, steps and their helpers look like to users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.pipeline import (
    ConditionalStep,
    FunctionStep,
    ParallelStep,
    Pipeline,
    PipelineContext,
    PipelineProtocol,
    PipelineStep,
    ResiliencePipelineProtocol,
    StepExecutionResult,
    StepStatus,
    conditional,
    parallel,
    pipeline_step,
    step,
)
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage import CacheBackendProtocol, MemoryStore, Store


def load(context: PipelineContext) -> list[int]:
    return [3, 1, 2]


async def order(context: PipelineContext) -> Result[list[int], Exception]:
    return Ok(sorted(context.get_step_result("load")))


def is_large(context: PipelineContext) -> bool:
    return len(context.step_results) > 1


async def recover(context: PipelineContext, error: Exception) -> str:
    return str(error)


def no_context(number: int) -> int:
    return number


class Double(PipelineStep):
    async def execute(self, context: PipelineContext) -> Result[int, Exception]:
        return Ok(2 * context.get_metadata("input"))

    async def cleanup(self, context: PipelineContext) -> Result[None, Exception]:
        return Ok(None)


class Once:
    def add(self, pattern: object) -> Once:
        return self

    async def execute(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await func(*args, **kwargs)


@pipeline_step(["load"])
def count(context: PipelineContext) -> int:
    return len(context.get_step_result("load"))


@pipeline_step()
async def later(context: PipelineContext) -> Result[int, str]:
    return Err("no stock")


def helpers() -> None:
    assert_type(step("load", load), FunctionStep)
    assert_type(step("order", order, ["load"], timeout=2.5), FunctionStep)
    assert_type(step("any", lambda context: context.duration), FunctionStep)
    assert_type(conditional("size", is_large, step("a", load), Double("b")), ConditionalStep)
    assert_type(parallel("both", [count, later, Double("b")], fail_fast=False), ParallelStep)
    assert_type(count, FunctionStep)
    assert_type(later, FunctionStep)
    assert_type(count.name, str)
    assert_type(count.timeout, float | None)
    assert_type(count.dependencies, list[str])
    resilience: ResiliencePipelineProtocol = Once()
    FunctionStep(
        "save",
        load,
        skip_condition=is_large,
        error_handler=recover,
        cleanup_func=load,
        resilience=resilience,
    )
    step("load", no_context)  # type: ignore[arg-type]
    step("load", 3)  # type: ignore[arg-type]
    step("load", load, "other")  # type: ignore[arg-type]
    pipeline_step(count)  # type: ignore[arg-type]
    pipeline_step(["load"])(no_context)  # type: ignore[arg-type]
    PipelineStep("abstract")  # type: ignore[abstract]


async def runs() -> None:
    pipeline = Pipeline("numbers", [step("load", load), count])
    outcome = await pipeline.execute(fail_fast=False, run_id="today")
    assert_type(outcome, Ok[PipelineContext] | Err[Exception])
    match outcome:
        case Ok(context):
            assert_type(context, PipelineContext)
        case Err(error):
            assert_type(error, Exception)
    context = outcome.unwrap()
    assert_type(context.step_results, dict[str, Any])
    assert_type(context.duration, float)
    assert_type(context.start_time, float | None)
    assert_type(context.failed_steps, list[StepExecutionResult[Any]])
    assert_type(context.failed_steps[0].status, StepStatus)
    assert_type(context.failed_steps[0].error, Exception | None)
    assert_type(await pipeline.run(RunContext(input=1)), Ok[dict[str, Any]] | Err[Exception])
    await pipeline.execute({})  # type: ignore[arg-type]
    await pipeline.execute(run_id=None)  # type: ignore[arg-type]


def nesting() -> None:
    inner = Pipeline("inner")
    assert_type(inner.as_step("doubled", ["load"]), FunctionStep)
    assert_type(inner.steps, list[PipelineStep])
    assert_type(inner.to_mermaid(), str)
    runnable: Runnable = inner
    fits: PipelineProtocol = inner
    Pipeline("outer", [inner, step("inside", inner)])
    step("inside", runnable)
    fits.add_step(inner)


def stores(store: Store, cache: CacheBackendProtocol) -> None:
    Pipeline("kept", [], store)
    Pipeline("kept", [], cache)
    Pipeline("kept", [], checkpoint_store=MemoryStore())
    Pipeline("kept", [], MemoryStore().cache)
    Pipeline("kept", [], "sqlite:///runs.db")  # type: ignore[arg-type]


def records() -> None:
    record = StepExecutionResult("load", StepStatus.COMPLETED, [1])
    assert_type(record.result, list[int] | None)
    record.result = None  # type: ignore[misc]
