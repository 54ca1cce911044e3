"""What the nodes that call something do when the call fails, alike for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import (
    ConfigurationError,
    GraphValidationError,
    HumanInputRequiredError,
    LexigramError,
    WorkflowStepError,
)
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes import AgentNode, LLMNode, SubworkflowNode, ToolNode
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err

Behaviour = Callable[[], Any]


class Callee:
    """Everything a node may call; each call does the same."""

    name = "callee"
    version = 1

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def _do(self) -> Any:
        outcome = self._behaviour()
        return await outcome if hasattr(outcome, "__await__") else outcome

    async def complete(self, messages: Any, **options: Any) -> Any:
        return await self._do()

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await self._do()


class Agent(Callee):
    async def run(self, message: str) -> Any:
        return await self._do()


class Workflow(Callee):
    kind = "pipeline"

    async def run(self, context: RunContext) -> Any:
        return await self._do()


def llm(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return LLMNode("node", llm=Callee(behaviour), **settings)


def agent(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return AgentNode("node", agent=Agent(behaviour), **settings)


def executor(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return AgentNode("node", agent=object(), executor=Callee(behaviour), **settings)


def tool(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return ToolNode("node", tool=Callee(behaviour), **settings)


def engine(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return SubworkflowNode("node", workflow=Callee(behaviour), **settings)


def runnable(behaviour: Behaviour, **settings: Any) -> AbstractWorkflowNode:
    return SubworkflowNode("node", workflow=Workflow(behaviour), **settings)


PREFIXES = {
    llm: "LLM error",
    agent: "Agent error",
    executor: "Agent error",
    tool: "Tool error",
    engine: "Subworkflow error",
    runnable: "Subworkflow error",
}
every_node = pytest.mark.parametrize("make", PREFIXES)


class OwnError(Exception):
    pass


ERRORS = [
    RuntimeError("boom"),
    KeyError("total"),
    OwnError("own"),
    TimeoutError("late"),
    ZeroDivisionError("none"),
    RecursionError("deep"),
    LexigramError("ours", hint="look here"),
    ExceptionGroup("two", [ValueError("a"), ValueError("b")]),
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def raising(error: BaseException) -> Behaviour:
    def behaviour() -> Any:
        raise error

    return behaviour


@every_node
@every_error
async def test_an_exception_is_raised_as_it_is(make: Any, error: Exception) -> None:
    for behaviour in (raising(error), lambda: Err(error)):
        with pytest.raises(type(error)) as caught:
            await make(behaviour, on_error="raise").execute({"input": "x"})
        assert caught.value is error


@every_node
@every_error
async def test_with_text_an_exception_becomes_the_output(make: Any, error: Exception) -> None:
    for behaviour in (raising(error), lambda: Err(error)):
        node = make(behaviour, on_error="text", output_key="answer")
        said = error.message if isinstance(error, LexigramError) else str(error)
        assert await node.execute({"input": "x"}) == {"answer": f"{PREFIXES[make]}: {said}"}


@every_node
async def test_an_error_that_is_no_exception_is_a_failed_step(make: Any) -> None:
    with pytest.raises(WorkflowStepError) as caught:
        await make(lambda: Err("no quota"), on_error="raise").execute({})
    assert caught.value.reason == "no quota"
    assert caught.value.step_name == "node"
    text = await make(lambda: Err("no quota"), on_error="text").execute({})
    assert text == {"output": f"{PREFIXES[make]}: no quota"}


@every_node
async def test_an_error_without_words_is_named_by_its_class(make: Any) -> None:
    text = await make(raising(TimeoutError()), on_error="text").execute({})
    assert text == {"output": f"{PREFIXES[make]}: TimeoutError"}


@every_node
async def test_a_group_of_one_is_unwrapped(make: Any) -> None:
    inner = ValueError("inner")
    grouped = raising(ExceptionGroup("group", [ExceptionGroup("group", [inner])]))
    with pytest.raises(ValueError) as caught:
        await make(grouped, on_error="raise").execute({})
    assert caught.value is inner
    text = await make(grouped, on_error="text").execute({})
    assert text == {"output": f"{PREFIXES[make]}: inner"}


@every_node
async def test_an_exit_inside_an_err_does_not_end_the_program(make: Any) -> None:
    with pytest.raises(WorkflowStepError) as caught:
        await make(lambda: Err(SystemExit(3)), on_error="raise").execute({})
    assert isinstance(caught.value.cause, SystemExit)


@every_node
@pytest.mark.parametrize("on_error", ["raise", "text"])
async def test_a_question_for_a_person_always_passes(make: Any, on_error: str) -> None:
    question = HumanInputRequiredError("who?", node="inner", pending=[1], state={"a": 1})
    for error in (question, ExceptionGroup("of a nursery", [question])):
        with pytest.raises(HumanInputRequiredError) as caught:
            await make(raising(error), on_error=on_error).execute({})
        assert caught.value is question


@every_node
@pytest.mark.parametrize("on_error", ["raise", "text"])
async def test_a_cancellation_passes(
    make: Any, on_error: Any, autojump_clock: trio.testing.MockClock
) -> None:
    done: list[Any] = []

    async def run() -> None:
        done.append(await make(trio.sleep_forever, on_error=on_error).execute({"input": "x"}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert done == []


@every_node
@pytest.mark.parametrize("on_error", ["raise", "text"])
async def test_an_exit_passes(make: Any, on_error: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        await make(raising(KeyboardInterrupt()), on_error=on_error).execute({})


@every_node
@pytest.mark.parametrize("on_error", ["ignore", "", None, True])
def test_another_way_to_fail_is_refused(make: Any, on_error: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"on_error: .* must be 'raise' or 'text'"):
        make(lambda: None, on_error=on_error)
    with pytest.raises(ValueError):
        make(lambda: None, on_error=on_error)


async def test_only_a_subworkflow_goes_on_with_a_text_unless_told_otherwise() -> None:
    for make in (llm, agent, executor, tool):
        with pytest.raises(RuntimeError, match="boom"):
            await make(raising(RuntimeError("boom"))).execute({})
    for make in (engine, runnable):
        node = make(raising(RuntimeError("boom")))
        assert await node.execute({}) == {"output": "Subworkflow error: boom"}


@every_node
async def test_a_text_in_place_of_an_error_is_logged_without_what_it_says(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await make(raising(RuntimeError("canary")), on_error="text").execute({})
    assert "node 'node' failed with RuntimeError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (LLMNode("node", llm=object()), "object has no method complete()"),
        (AgentNode("node", agent=object()), "object has no method run()"),
        (ToolNode("node", tool=object()), "object has no method execute()"),
        (
            SubworkflowNode("node", workflow=object(), on_error="raise"),
            "object has no method execute()",
        ),
    ],
)
async def test_an_object_that_cannot_be_called_fails_the_node(
    node: AbstractWorkflowNode, said: str
) -> None:
    with pytest.raises(WorkflowStepError) as caught:
        await node.execute({"input": "x"})
    assert caught.value.reason == said


async def test_a_missing_method_becomes_a_text_where_that_is_wanted() -> None:
    node = AgentNode("node", agent=object(), on_error="text")
    assert await node.execute({}) == {"output": "Agent error: object has no method run()"}


@every_node
def test_the_key_it_writes_is_known_and_checked_when_a_graph_is_built(make: Any) -> None:
    assert make(lambda: None).output_key == "output"
    assert make(lambda: None, output_key="answer").output_key == "answer"
    builder = WorkflowBuilder("graph").add_node("node", node=make(lambda: None, output_key="_x"))
    with pytest.raises(GraphValidationError, match="its output_key '_x' would be dropped"):
        builder.set_entry("node").set_terminal("node").build()
