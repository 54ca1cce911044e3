"""`SubworkflowNode`: whatever runs as a node, and questions asked inside it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    GraphValidationError,
    HumanInputRequiredError,
    MissingExtraError,
    NodeExecutionError,
    NotStorableError,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.models import GraphResult, NodeType, PendingQuestion
from lexigram_actors.graph.node import NestedAnswer, NestingNode
from lexigram_actors.graph.nodes import SubworkflowNode
from lexigram_actors.graph.nodes.subworkflow import is_misuse
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.result import Err, Ok, Result


class Inner:
    """A `Runnable` of any kind, which records the contexts it was run with."""

    name = "inner"
    version = 1

    def __init__(self, kind: str, outcome: Any) -> None:
        self.kind = kind
        self.outcome = outcome
        self.contexts: list[RunContext] = []

    async def run(self, context: RunContext) -> Result[Any, Exception]:
        self.contexts.append(context)
        await trio.lowlevel.checkpoint()
        return self.outcome


class Engine:
    """Has `execute(input, state=...)` and `resume`, and is no `Runnable`."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.calls: list[Any] = []

    async def execute(self, input: Any, *, state: dict[str, Any]) -> Any:
        self.calls.append((input, state))
        return self.outcome

    async def resume(self, checkpoint_state: Any, response: Any, *, node: str) -> Any:
        self.calls.append((checkpoint_state, response, node))
        await trio.lowlevel.checkpoint()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


ANSWER = NestedAnswer({"saved": 1}, "ask", "yes")


def test_it_can_hand_answers_on() -> None:
    node = SubworkflowNode("sub", workflow=Engine(None))
    assert isinstance(node, NestingNode)
    assert node.node_type is NodeType.SUBWORKFLOW
    assert isinstance(Inner("graph", None), Runnable)


async def test_of_a_graph_the_output_is_stored() -> None:
    inner = Inner("graph", Ok({"output": [1], "input": "x", "_history": []}))
    node = SubworkflowNode("sub", workflow=inner, output_key="result")
    assert await node.execute({"input": "x"}) == {"result": [1]}
    assert await SubworkflowNode("sub", workflow=Inner("graph", Ok({}))).execute({}) == {
        "output": None
    }


async def test_of_other_kinds_the_plain_value_is_stored() -> None:
    value = {"output": 1, "second": 2}
    node = SubworkflowNode("sub", workflow=Inner("pipeline", Ok(value)))
    assert await node.execute({"input": "x"}) == {"output": value}


async def test_a_runnable_gets_the_input_and_knows_the_state_around_it() -> None:
    inner = Inner("pipeline", Ok(None))
    node = SubworkflowNode("sub", workflow=inner, input_key="order")
    await node.execute({"order": 7, "input": "x"})
    await node.execute({"input": "x"})
    assert inner.contexts == [
        RunContext(input=7, state={"order": 7, "input": "x"}),
        RunContext(input="", state={"input": "x"}),
    ]


async def test_an_engine_is_called_with_the_input_in_the_state_too() -> None:
    engine = Engine(Ok(GraphResult({"output": "done"})))
    node = SubworkflowNode("sub", workflow=engine, input_key="order", output_key="result")
    state = {"order": 7, "input": "x", "note": "n"}
    assert await node.execute(state) == {"result": "done"}
    assert engine.calls == [(7, {"order": 7, "input": 7, "note": "n"})]
    assert state["input"] == "x"


async def test_a_result_without_an_output_is_stored_itself() -> None:
    assert await SubworkflowNode("sub", workflow=Engine("plain")).execute({}) == {"output": "plain"}


async def test_an_answer_goes_to_the_question_inside_and_the_output_is_stored() -> None:
    engine = Engine(Ok(GraphResult({"output": "approved"})))
    node = SubworkflowNode("sub", workflow=engine, output_key="result")
    assert await node.resume_nested({"input": "x"}, ANSWER) == {"result": "approved"}
    assert engine.calls == [({"saved": 1}, "yes", "ask")]


def test_it_tells_what_is_open_inside() -> None:
    question = PendingQuestion("ask", "who?", "ask", None)

    class Paused(Engine):
        def pending(self, checkpoint_state: Any) -> tuple[PendingQuestion, ...]:
            return (question,) if checkpoint_state == {"saved": 1} else ()

    assert SubworkflowNode("sub", workflow=Paused(None)).pending_nested({"saved": 1}) == [question]
    with pytest.raises(WorkflowStepError, match=r"Engine has no method pending\(\)"):
        SubworkflowNode("sub", workflow=Engine(None)).pending_nested({"saved": 1})


@pytest.mark.parametrize("on_error", ["raise", "text"])
@pytest.mark.parametrize(
    "error",
    [
        HumanInputRequiredError("next?", node="second"),
        AnswerInvalidError("ask", "no number"),
        WorkflowStateError("no such question"),
        WorkflowVersionMismatchError("inner", 1, 2),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_concerns_the_answer_reaches_whoever_gave_it(
    error: Exception, on_error: Any
) -> None:
    node = SubworkflowNode("sub", workflow=Engine(error), on_error=on_error)
    with pytest.raises(type(error)) as caught:
        await node.resume_nested({}, ANSWER)
    assert caught.value is error


MISUSE = [
    ConfigurationError("no such setting"),
    GraphValidationError("no entry"),
    MissingExtraError("cattrs", "schemas"),
    NotStorableError("a socket"),
]
every_misuse = pytest.mark.parametrize("error", MISUSE, ids=lambda error: type(error).__name__)


def led_to(error: Exception) -> Exception:
    failed = NodeExecutionError("inner", node="inner", cause=error)
    return NodeExecutionError("outer", node="outer", cause=failed)


@every_misuse
@pytest.mark.parametrize(
    "around",
    [lambda error: error, led_to, lambda error: ExceptionGroup("two", [OSError(), led_to(error)])],
    ids=["itself", "as a cause", "in a group"],
)
async def test_misuse_inside_never_becomes_text(error: Exception, around: Any) -> None:
    class Raising(Engine):
        async def execute(self, input: Any, *, state: dict[str, Any]) -> Any:
            raise self.outcome

    misuse = around(error)
    for workflow in (Raising(misuse), Engine(Err(misuse)), Inner("graph", Err(misuse))):
        with pytest.raises(type(misuse)) as caught:
            await SubworkflowNode("sub", workflow=workflow, on_error="text").execute({})
        assert caught.value is misuse
    with pytest.raises(type(misuse)) as caught:
        await SubworkflowNode("sub", workflow=Engine(misuse)).resume_nested({}, ANSWER)
    assert caught.value is misuse


async def test_errors_that_cause_one_another_end_in_text() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    node = SubworkflowNode("sub", workflow=Engine(Err(first)), on_error="text")
    assert await node.execute({}) == {"output": "Subworkflow error: first"}


@pytest.mark.parametrize("levels", [1, 2])
async def test_an_approval_is_not_skipped_where_the_state_cannot_be_kept_for_it(
    levels: int,
) -> None:
    workflow: Any = (
        WorkflowBuilder("inner")
        .add_node("socket", node=lambda state: {"socket": object()})
        .add_node("approve", human_prompt="Pay?")
        .add_edge("socket", "approve")
        .set_entry("socket")
        .set_terminal("approve")
        .build()
    )
    paid: list[Any] = []
    for _ in range(levels):
        workflow = (
            WorkflowBuilder("outer")
            .add_node("approved", subworkflow=workflow)
            .add_node("pay", node=lambda state: paid.append(state) or {})
            .add_edge("approved", "pay")
            .set_entry("approved")
            .set_terminal("pay")
            .build()
        )
    outcome = await workflow.execute({"input": "x"})
    assert paid == []
    assert is_misuse(outcome.unwrap_err())


async def test_a_failure_after_the_answer_is_one_as_always() -> None:
    for outcome in (Err(ValueError("late")), ValueError("late")):
        node = SubworkflowNode("sub", workflow=Engine(outcome))
        assert await node.resume_nested({}, ANSWER) == {"output": "Subworkflow error: late"}
        node = SubworkflowNode("sub", workflow=Engine(outcome), on_error="raise")
        with pytest.raises(ValueError, match="late"):
            await node.resume_nested({}, ANSWER)


async def test_a_workflow_that_cannot_go_on_fails_the_node() -> None:
    node = SubworkflowNode("sub", workflow=Inner("pipeline", Ok(1)), on_error="raise")
    with pytest.raises(WorkflowStepError, match=r"Inner has no method resume\(\)"):
        await node.resume_nested({}, ANSWER)


async def test_a_cancellation_passes_while_it_goes_on_after_an_answer() -> None:
    class Slow(Engine):
        async def resume(self, *args: Any, **kwargs: Any) -> Any:
            await trio.sleep_forever()

    node = SubworkflowNode("sub", workflow=Slow(None), on_error="text")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.resume_nested, {}, ANSWER)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


async def test_a_synchronous_engine_will_do() -> None:
    @frozen
    class Output:
        output: Any

    class Plain:
        def execute(self, input: Any, *, state: dict[str, Any]) -> Output:
            return Output(input * 2)

    assert await SubworkflowNode("sub", workflow=Plain()).execute({"input": 4}) == {"output": 8}
