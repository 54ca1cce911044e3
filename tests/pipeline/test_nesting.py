from __future__ import annotations

from typing import Any

from lexigram_actors import Err, HumanInputRequiredError, Ok, PipelineExecutionError
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.pipeline import (
    ConditionalStep,
    FunctionStep,
    ParallelStep,
    Pipeline,
    PipelineContext,
    step,
)


class Echo:
    """A `Runnable` that returns what it was given."""

    kind = "echo"
    name = "echo"
    version = 1

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome

    async def run(self, context: RunContext) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Ok((context.input, context.run_id, dict(context.state)))


def child() -> Pipeline:
    return Pipeline("child", [step("x", lambda context: dict(context.metadata))])


async def test_a_pipeline_is_a_runnable() -> None:
    pipeline = Pipeline("p", [step("a", lambda c: c.get_metadata("input") + 1)], version=3)
    assert isinstance(pipeline, Runnable)
    assert (pipeline.kind, pipeline.name, pipeline.version) == ("pipeline", "p", 3)
    assert await pipeline.run(RunContext(input=1)) == Ok({"a": 2})
    failing = Pipeline("p", [step("a", lambda _: Err(KeyError()))])
    assert isinstance((await failing.run(RunContext())).unwrap_err(), PipelineExecutionError)


async def test_a_nested_pipeline_has_a_context_of_its_own() -> None:
    outer = Pipeline("outer", [step("before", lambda _: 1), child()])
    context = PipelineContext("outer", metadata={"input": "in"})
    assert (await outer.execute(context, run_id="r")).is_ok()
    seen = context.get_step_result("child")["x"]
    assert seen["input"] == "in"
    assert seen["parent"] == {"before": 1}
    assert seen["run_id"] == "r/outer/child"
    assert "x" not in context.step_results


async def test_as_step_takes_a_name_and_dependencies() -> None:
    nested = child().as_step("other", ["before"])
    assert (nested.name, nested.dependencies) == ("other", ["before"])
    assert child().as_step().name == "child"
    outer = Pipeline("outer", [nested, step("before", lambda _: 1)])
    context = (await outer.execute(run_id="r")).unwrap()
    assert context.get_step_result("other")["x"]["run_id"] == "r/outer/other"


async def test_a_runnable_is_taken_wherever_a_step_or_its_function_is() -> None:
    context = PipelineContext("p", metadata={"input": 5})
    inner_pipeline = Pipeline("nested", [step("z", lambda _: "z")])
    outer = Pipeline(
        "p",
        [
            step("first", lambda _: 1),
            Echo(),
            FunctionStep("named", Echo()),
            ParallelStep("par", [inner_pipeline]),
            ConditionalStep("c", lambda _: False, step("t", lambda _: 0), step("f", Echo())),
        ],
    )
    outer.add_step(FunctionStep("last", Echo(), timeout=5))
    assert (await outer.execute(context)).is_ok()
    assert context.get_step_result("echo") == (5, "default/p/echo", {"first": 1})
    assert context.get_step_result("named")[1] == "default/p/named"
    assert context.get_step_result("par") == [{"z": "z"}]
    assert context.get_step_result("c")[1] == "default/p/f"
    assert context.get_step_result("last")[0] == 5


async def test_a_failure_of_a_nested_pipeline_is_the_error_of_its_step() -> None:
    error = KeyError()
    nested = Pipeline("nested", [step("bad", lambda _: Err(error))])
    failure = (await Pipeline("outer", [nested]).execute()).unwrap_err()
    assert failure.step_name == "nested"
    assert isinstance(failure.error, PipelineExecutionError)
    assert (failure.error.step_name, failure.error.error) == ("bad", error)


async def test_a_question_to_a_person_is_an_error_like_any_other() -> None:
    question = HumanInputRequiredError("approve?")
    failure = (await Pipeline("outer", [Echo(question)]).execute()).unwrap_err()
    assert failure.error is question


async def test_side_by_side_nested_pipelines_keep_apart() -> None:
    shared = child()
    outer = Pipeline("outer", [shared.as_step("one"), shared.as_step("two")], max_concurrency=2)
    context = (await outer.execute(run_id="r")).unwrap()
    assert context.get_step_result("one")["x"]["run_id"] == "r/outer/one"
    assert context.get_step_result("two")["x"]["run_id"] == "r/outer/two"
