"""A graph that asks a person: pausing, answering, and what goes on in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    AnswerInvalidError,
    CycleDetectedError,
    GraphTimeoutError,
    HumanInputRequiredError,
    NodeExecutionError,
    StateConflictError,
    WorkflowStateError,
    WorkflowTimeoutError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import Command, GraphResult, NodeType, Send
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.result import Err, Ok
from tests.graph.graphs import (
    LONG,
    CustomError,
    Log,
    State,
    Step,
    concat,
    counts,
    done,
    executed,
    graph,
    outcome,
    success,
)

Travel = Callable[[State], State]


@pytest.fixture(params=["in one process", "through JSON"])
def travel(request: pytest.FixtureRequest) -> Travel:
    """How a checkpoint gets from the pause to the answer."""
    if request.param == "through JSON":
        return lambda state: json.loads(json.dumps(state))
    return lambda state: state


def ask(name: str = "ask", **options: Any) -> HumanNode:
    return HumanNode(name, **options)


async def pause(engine: WorkflowEngine, input: Any = "in", **options: Any) -> Any:
    """Run the graph to its pause, and return the error."""
    with trio.fail_after(LONG), pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute(input, **options)
    return caught.value


async def answer(engine: WorkflowEngine, state: State, response: Any, **options: Any) -> Any:
    with trio.fail_after(LONG):
        return await engine.resume(state, response, **options)


async def answered(
    engine: WorkflowEngine, state: State, response: Any, **options: Any
) -> GraphResult:
    """Answer, which has to lead to a good end."""
    result = await answer(engine, state, response, **options)
    assert isinstance(result, Ok), result
    assert isinstance(result.value, GraphResult)
    return result.value


async def pause_again(
    engine: WorkflowEngine, state: State, response: Any, **options: Any
) -> HumanInputRequiredError:
    """Answer, which has to lead to a further pause."""
    with pytest.raises(HumanInputRequiredError) as caught:
        await answer(engine, state, response, **options)
    return caught.value


def questions(error: HumanInputRequiredError) -> list[str]:
    return [question.node for question in error.pending]


# --- one question --------------------------------------------------------------------------


async def test_a_human_node_pauses_the_run() -> None:
    error = await pause(graph("a -> ask -> b", {"ask": ask(prompt="Approve {input}?")}), "order 7")
    assert (error.prompt, error.node, error.checkpoint_id) == ("Approve order 7?", "ask", "ask")
    assert [tuple(question) for question in error.pending] == [
        ("ask", "Approve order 7?", "ask", None)
    ]


async def test_the_builders_human_prompt_pauses_too() -> None:
    engine = (
        WorkflowBuilder("g")
        .add_node("ask", human_prompt="Well, {input}?", output_key="said")
        .set_entry("ask")
        .set_terminal("ask")
        .build()
    )
    error = await pause(engine, "then")
    assert (error.node, error.prompt) == ("ask", "Well, then?")
    assert (await answered(engine, error.state, "yes")).final_state["said"] == "yes"


async def test_an_answer_continues_at_the_paused_node(travel: Travel) -> None:
    log = Log()
    engine = graph("a -> ask -> b", {"a": Step({"x": 1}), "ask": ask()}, log=log)
    error = await pause(engine)
    result = await answered(engine, travel(error.state), "yes")
    assert log.names() == ["a", "b"]
    assert (log.saw("b")["x"], log.saw("b")["human_response"]) == (1, "yes")
    assert executed(result) == ["a", "ask", "b"]
    assert (result.iterations, result.terminated_at) == (3, "b")
    assert result.final_state["human_response"] == "yes"
    assert [name for name, _ in result.final_state["_history"]] == ["a", "ask", "b"]


async def test_the_state_of_a_pause_is_json() -> None:
    error = await pause(graph("a -> ask -> b", {"ask": ask()}), state={"x": [1, {"y": None}]})
    assert json.loads(json.dumps(error.state)) == error.state


async def test_the_answer_is_stored_under_the_output_key(travel: Travel) -> None:
    engine = graph("ask", {"ask": ask(output_key="verdict", resume_key="raw")})
    error = await pause(engine)
    final = (await answered(engine, travel(error.state), "fine")).final_state
    assert final["verdict"] == "fine"
    assert "raw" not in final


@pytest.mark.parametrize("response", ["yes", "", 0, False, {"a": [1]}, ["x"]], ids=repr)
async def test_any_answer_is_an_answer(response: Any, travel: Travel) -> None:
    engine = graph("ask", {"ask": ask(output_key="said")})
    error = await pause(engine)
    assert (await answered(engine, travel(error.state), response)).final_state["said"] == response


async def test_only_the_asked_node_sees_the_answer_itself(travel: Travel) -> None:
    log = Log()
    node = ask(output_key="said", resume_key="raw")
    engine = graph("a -> ask -> b, a -> c -> b", {"ask": node, "c": Step()}, log=log)
    error = await pause(engine)
    await answered(engine, travel(error.state), "yes")
    assert all("raw" not in visit.state for visit in log.visits)
    assert log.saw("b")["said"] == "yes"


async def test_one_checkpoint_may_be_answered_more_than_once(travel: Travel) -> None:
    engine = graph("a -> ask -> b", {"ask": ask(output_key="said")})
    state = travel((await pause(engine)).state)
    kept = json.dumps(state)
    for response in ("yes", "no"):
        assert (await answered(engine, state, response)).final_state["said"] == response
    assert json.dumps(state) == kept


async def test_the_way_behind_an_answer_is_chosen_by_it(travel: Travel) -> None:
    engine = graph(
        "ask -> ship, ask -> refuse",
        {"ask": ask(output_key="said")},
        when={
            ("ask", "ship"): lambda s: s["said"] == "yes",
            ("ask", "refuse"): lambda s: s["said"] == "no",
        },
    )
    state = travel((await pause(engine)).state)
    assert executed(await answered(engine, state, "no")) == ["ask", "refuse"]
    assert executed(await answered(engine, state, "yes")) == ["ask", "ship"]


async def test_the_input_and_the_initial_state_survive_the_pause(travel: Travel) -> None:
    log = Log()
    engine = graph("ask -> b", {"ask": ask()}, log=log)
    error = await pause(engine, "the input", state={"x": {"y": 1}})
    await answered(engine, travel(error.state), "yes")
    assert (log.saw("b")["input"], log.saw("b")["x"]) == ("the input", {"y": 1})


async def test_a_run_with_an_id_names_it_in_the_checkpoint_id() -> None:
    engine = graph("ask", {"ask": ask()})
    assert (await pause(engine, run_id="order-7")).checkpoint_id == "order-7/ask"


async def test_the_run_id_survives_the_pause(travel: Travel) -> None:
    engine = graph("one -> two", {"one": ask(), "two": ask()})
    error = await pause(engine, run_id="order-7")
    again = await pause_again(engine, travel(error.state), "yes")
    assert again.checkpoint_id == "order-7/two"


async def test_the_registered_name_counts_and_not_the_nodes_own() -> None:
    error = await pause(graph("approve", {"approve": ask("something")}))
    assert (error.node, error.checkpoint_id, questions(error)) == (
        "approve",
        "approve",
        ["approve"],
    )


async def test_one_node_under_two_names_asks_twice(travel: Travel) -> None:
    node = ask("own", resume_key="raw")
    engine = graph("one -> two", {"one": node, "two": node})
    error = await pause(engine)
    again = await pause_again(engine, travel(error.state), "first")
    assert again.node == "two"


class Asking(AbstractWorkflowNode):
    """Asks once it has worked, without being a `HumanNode`."""

    def __init__(self, kind: NodeType = NodeType.CUSTOM, **attributes: Any) -> None:
        super().__init__("asking", kind)
        self.seen: list[State] = []
        for name, value in attributes.items():
            setattr(self, name, value)

    async def execute(self, state: State) -> State:
        self.seen.append(dict(state))
        key = getattr(self, "resume_key", None) or "human_response"
        if key not in state:
            raise HumanInputRequiredError("own question", node="whatever", checkpoint_id="whatever")
        return {"said": state[key]}


async def test_any_node_may_ask(travel: Travel) -> None:
    node = Asking()
    engine = graph("a -> ask -> b", {"ask": node})
    error = await pause(engine)
    assert (error.prompt, error.node, error.checkpoint_id) == ("own question", "ask", "ask")
    result = await answered(engine, travel(error.state), "yes")
    assert result.final_state["said"] == "yes"
    assert len(node.seen) == 2


async def test_a_node_names_the_key_of_its_answer(travel: Travel) -> None:
    engine = graph("ask", {"ask": Asking(resume_key="mine")})
    error = await pause(engine)
    assert (await answered(engine, travel(error.state), "yes")).final_state["said"] == "yes"


async def test_a_custom_node_is_not_answered_by_what_others_wrote(travel: Travel) -> None:
    node = Asking(NodeType.HUMAN, resume_key="mine")
    nodes = {"one": ask(output_key="mine"), "two": node}
    engine = graph("one -> two", nodes)
    error = await pause(engine)
    again = await pause_again(engine, travel(error.state), "first")
    assert again.node == "two"
    result = await answered(engine, travel(again.state), "second")
    assert result.final_state["said"] == "second"


async def test_the_answer_of_a_custom_node_is_seen_by_no_other(travel: Travel) -> None:
    log = Log()
    engine = graph("ask -> b", {"ask": Asking()}, log=log)
    error = await pause(engine)
    result = await answered(engine, travel(error.state), "yes")
    assert "human_response" not in log.saw("b")
    assert "human_response" not in result.final_state


async def test_an_answer_side_by_side_with_another_write_is_a_conflict(travel: Travel) -> None:
    engine = graph(
        "a -> ask -> j, a -> b -> j",
        {"ask": ask(output_key="x"), "b": Step({"x": 1})},
        config=GraphConfig(on_conflict="error"),
    )
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result, Err)
    assert isinstance(result.error, StateConflictError)


async def test_a_stopping_terminal_behind_an_answer_closes_the_other_questions(
    travel: Travel,
) -> None:
    engine = graph("a -> one -> b, a -> two", {"one": ask(), "two": ask()}, stops=["b"])
    error = await pause(engine)
    result = await answered(engine, travel(error.state), "yes", node="one")
    assert result.terminated_at == "b"


# --- branches beside a question ------------------------------------------------------------


async def test_a_pause_lets_the_other_branches_go_on(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> ask, a -> b -> c", {"ask": ask(), "b": Step(delay=10)}, log=log)
    await pause(engine)
    assert log.finished() == ["a", "b", "c"]
    assert trio.current_time() == 10


async def test_an_open_question_counts_as_running_for_joins(travel: Travel) -> None:
    log = Log()
    engine = graph("a -> ask -> j, a -> b -> j", {"ask": ask(), "b": Step({"b": 1})}, log=log)
    error = await pause(engine)
    assert log.names() == ["a", "b"]
    await answered(engine, travel(error.state), "yes")
    assert (log.saw("j")["b"], log.saw("j")["human_response"]) == (1, "yes")


async def test_finished_nodes_never_run_again(travel: Travel) -> None:
    log = Log()
    engine = graph("a -> ask -> j, a -> b -> c -> j, j -> d", {"ask": ask()}, log=log)
    error = await pause(engine)
    await answered(engine, travel(error.state), "yes")
    assert sorted(log.names()) == ["a", "b", "c", "d", "j"]


async def test_what_was_written_side_by_side_merges_as_without_a_pause(travel: Travel) -> None:
    nodes = {
        "ask": ask(output_key="x"),
        "b": Step({"x": "b", "trail": ["b"]}),
        "c": Step({"trail": ["c"]}),
        "j": Step({"trail": ["j"]}),
    }
    log = Log()
    engine = graph("a -> c -> ask -> j, a -> b -> j", nodes, reducers={"trail": concat}, log=log)
    error = await pause(engine, state={"trail": ["start"]})
    result = await answered(engine, travel(error.state), "said")
    assert log.saw("j")["trail"] == ["start", "c", "b", "j"][:-1]
    assert result.final_state["trail"] == ["start", "c", "b", "j"]
    assert result.final_state["x"] == "said"  # deeper than "b"
    assert executed(result) == ["a", "c", "b", "ask", "j"]


async def test_the_outcome_is_that_of_a_run_without_a_pause(travel: Travel) -> None:
    def build(node: Any) -> WorkflowEngine:
        nodes = {name: Step({"trail": [name], "last": name}) for name in "abcde"}
        return graph(
            "a -> b -> ask -> d -> e, a -> c -> d, c -> e",
            {**nodes, "ask": node},
            reducers={"trail": concat},
        )

    plain = await success(build(Step({"human_response": "yes"})))
    engine = build(ask())
    result = await answered(engine, travel((await pause(engine)).state), "yes")
    assert result.final_state == plain.final_state
    assert executed(result) == executed(plain)
    assert (result.iterations, result.terminated_at) == (plain.iterations, plain.terminated_at)


async def test_a_terminal_that_was_reached_before_the_pause_is_remembered(travel: Travel) -> None:
    engine = graph("a -> b, a -> ask -> c", {"ask": ask()}, when={("ask", "c"): lambda s: False})
    error = await pause(engine)
    assert (await answered(engine, travel(error.state), "yes")).terminated_at == "b"


async def test_a_stopping_terminal_ends_the_run_in_spite_of_a_question(
    autojump_clock: MockClock,
) -> None:
    engine = graph("a -> ask -> c, a -> b", {"ask": ask(), "b": Step(delay=5)}, stops=["b"])
    result = await success(engine)
    assert result.terminated_at == "b"


async def test_a_question_takes_no_place_of_those_that_run(autojump_clock: MockClock) -> None:
    log = Log()
    config = GraphConfig(max_parallel_branches=1)
    engine = graph("a -> ask, a -> b -> c", {"ask": ask()}, config=config, log=log)
    await pause(engine)
    assert log.finished() == ["a", "b", "c"]


async def test_a_failure_after_the_answer_is_an_err_with_all_that_was_done(travel: Travel) -> None:
    engine = graph("a -> ask -> b", {"ask": ask(), "b": Step(error=CustomError())})
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result, Err)
    assert (type(result.error), result.error.node) == (NodeExecutionError, "b")
    assert done(result.error) == ["a", "ask"]


async def test_a_send_that_asks_keeps_its_overlay_over_the_pause(travel: Travel) -> None:
    sends = Command(send=[Send("ask", {"who": name}) for name in ("Ann", "Bob")])
    engine = graph(
        "a -> ask -> end",
        {"a": Step(sends), "ask": ask(prompt="{who}?", output_key="said")},
    )
    error = await pause(engine)
    assert [question.prompt for question in error.pending] == ["Ann?", "Bob?"]


# --- several questions ---------------------------------------------------------------------


def two_questions(log: Log) -> WorkflowEngine:
    nodes = {
        "left": ask(prompt="Left?", output_key="l", resume_key="raw"),
        "right": ask(prompt="Right?", output_key="r", resume_key="raw"),
    }
    return graph("a -> left -> b -> j, a -> right -> c -> j", nodes, log=log)


async def test_all_open_questions_are_listed_and_the_first_in_merge_order_is_raised() -> None:
    error = await pause(two_questions(Log()))
    assert (error.node, error.prompt) == ("left", "Left?")
    assert [(question.node, question.prompt) for question in error.pending] == [
        ("left", "Left?"),
        ("right", "Right?"),
    ]


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
async def test_questions_are_answered_in_any_order(order: tuple[str, str], travel: Travel) -> None:
    log = Log()
    engine = two_questions(log)
    first, second = order
    error = await pause(engine)
    again = await pause_again(engine, travel(error.state), f"to {first}", node=first)
    assert (again.node, questions(again)) == (second, [second])
    assert log.names() == ["a", {"left": "b", "right": "c"}[first]]
    result = await answered(engine, travel(again.state), f"to {second}", node=second)
    assert (result.final_state["l"], result.final_state["r"]) == ("to left", "to right")
    assert executed(result) == ["a", "left", "right", "b", "c", "j"]
    assert sorted(log.names()) == ["a", "b", "c", "j"]


async def test_the_last_open_question_needs_no_name(travel: Travel) -> None:
    engine = two_questions(Log())
    again = await pause_again(engine, travel((await pause(engine)).state), 1, node="right")
    assert (await answered(engine, travel(again.state), 2)).final_state["l"] == 2


async def test_an_answer_without_a_name_is_refused_where_several_are_open(travel: Travel) -> None:
    engine = two_questions(Log())
    error = await pause(engine)
    with pytest.raises(WorkflowStateError, match=r"(?s)left.*right"):
        await answer(engine, travel(error.state), "to whom?")


@pytest.mark.parametrize("name", ["nobody", "a", "b", "", "left/right"])
async def test_an_answer_to_no_open_question_is_refused(name: str, travel: Travel) -> None:
    log = Log()
    engine = two_questions(log)
    error = await pause(engine)
    with pytest.raises(WorkflowStateError, match=r"(?s)left.*right"):
        await answer(engine, travel(error.state), "to whom?", node=name)
    assert log.names() == ["a"]


async def test_a_question_answered_is_open_no_more(travel: Travel) -> None:
    engine = two_questions(Log())
    again = await pause_again(engine, travel((await pause(engine)).state), 1, node="left")
    with pytest.raises(WorkflowStateError, match="right"):
        await answer(engine, travel(again.state), 2, node="left")


async def test_two_human_nodes_in_a_row_each_pause(travel: Travel) -> None:
    engine = graph("one -> two", {"one": ask(), "two": ask()})
    error = await pause(engine)
    again = await pause_again(engine, travel(error.state), "first")
    assert (again.node, questions(again)) == ("two", ["two"])
    result = await answered(engine, travel(again.state), "second")
    assert executed(result) == ["one", "two"]
    assert [node.output for node in result.node_results] == [
        {"human_response": "first"},
        {"human_response": "second"},
    ]


async def test_a_human_node_in_a_loop_asks_at_every_visit(travel: Travel) -> None:
    log = Log()
    engine = graph(
        "ask -> b -> ask, b -> end",
        {"ask": ask(), "b": Step(counts("n"))},
        when={("b", "ask"): lambda s: s["n"] < 3, ("b", "end"): lambda s: s["n"] >= 3},
        log=log,
    )
    error: Any = await pause(engine)
    for number in (1, 2):
        error = await pause_again(engine, travel(error.state), f"answer {number}")
    result = await answered(engine, travel(error.state), "answer 3")
    assert [visit.state["human_response"] for visit in log.of("b")] == [
        "answer 1",
        "answer 2",
        "answer 3",
    ]
    assert executed(result) == [*["ask", "b"] * 3, "end"]


async def test_questions_of_many_sends_are_all_answered(travel: Travel) -> None:
    """The same node asks several times at once; each answer closes one of its questions."""
    sends = Command(send=[Send("ask", {"who": name}) for name in "xyz"])
    engine = graph(
        "a -> ask -> end",
        {"a": Step(sends), "ask": ask(prompt="{who}?", output_key="said")},
        reducers={"said": lambda earlier, later: earlier + later},
    )
    error: Any = await pause(engine)
    for left in (2, 1):
        name = error.pending[0].node
        error = await pause_again(engine, travel(error.state), error.prompt, node=name)
        assert len(error.pending) == left
    result = await answered(engine, travel(error.state), error.prompt, node=error.pending[0].node)
    assert result.final_state["said"] == "x?y?z?"


# --- answers that are there from the start -------------------------------------------------


async def test_a_value_in_the_initial_state_answers_the_first_visit() -> None:
    engine = graph("ask -> b", {"ask": ask(output_key="said", resume_key="raw")})
    result = await success(engine, state={"raw": "yes"})
    assert result.final_state["said"] == "yes"


async def test_a_value_in_the_initial_state_answers_no_second_visit() -> None:
    engine = graph(
        "ask -> b -> ask, b -> end",
        {"ask": ask(resume_key="raw"), "b": Step(counts("n"))},
        when={("b", "ask"): lambda s: s["n"] < 3, ("b", "end"): lambda s: s["n"] >= 3},
    )
    error = await pause(engine, state={"raw": "yes"})
    assert done(error) == ["ask", "b"]


@pytest.mark.parametrize("key", ["output", "input"])
async def test_a_key_of_the_engines_own_is_no_answer(key: str) -> None:
    """The caller gave no state: the empty `output` at the start is not from there."""
    assert (await pause(graph("a -> ask", {"ask": ask(output_key=key)}))).node == "ask"
    assert (await pause(graph("ask", {"ask": ask(output_key=key)}))).node == "ask"


async def test_the_builders_human_prompt_pauses_under_its_default_key_too(travel: Travel) -> None:
    made = WorkflowBuilder("g").add_node("ask", human_prompt="Well?")
    engine = made.set_entry("ask").set_terminal("ask").build()
    error = await pause(engine)
    assert (await answered(engine, travel(error.state), "yes")).succeeded


async def test_an_output_in_the_callers_state_answers_a_node_that_waits_for_it() -> None:
    engine = graph("ask", {"ask": ask(output_key="output")})
    assert (await success(engine, state={"output": "given"})).output == "given"


async def test_a_value_that_a_node_wrote_is_no_answer() -> None:
    engine = graph("a -> ask", {"a": Step({"raw": "sly"}), "ask": ask(resume_key="raw")})
    assert (await pause(engine)).node == "ask"


async def test_the_answer_of_one_human_node_is_none_for_the_next() -> None:
    nodes = {"one": ask(output_key="raw", resume_key="raw"), "two": ask(resume_key="raw")}
    engine = graph("one -> two", nodes)
    error = await pause(engine)
    assert (await pause_again(engine, error.state, "yes")).node == "two"


# --- inside subworkflows -------------------------------------------------------------------


def nested(log: Log, inner: WorkflowEngine, **options: Any) -> WorkflowEngine:
    made = WorkflowBuilder("outer graph")
    for name, node in {"a": Step(), "z": Step()}.items():
        node.label, node.log = name, log
        made.add_node(name, node=node)
    made.add_node("outer", subworkflow=inner, output_key="nested", **options)
    made.add_edge("a", "outer").add_edge("outer", "z").set_entry("a").set_terminal("z")
    return made.build()


def inner_graph(log: Log, name: str = "inner graph") -> WorkflowEngine:
    node = ask(output_key="output", resume_key="verdict", prompt="Inner {input}?")
    nodes = {"first": Step(), "ask": node}
    return graph("first -> ask -> last", {**nodes}, log=log, name=name)


async def test_a_question_inside_surfaces_with_the_way_to_it() -> None:
    error = await pause(nested(Log(), inner_graph(Log())), "in")
    assert (error.node, error.prompt) == ("outer/ask", "Inner in?")
    assert questions(error) == ["outer/ask"]


async def test_an_answer_goes_on_inside(travel: Travel) -> None:
    outside, inside = Log(), Log()
    engine = nested(outside, inner_graph(inside))
    error = await pause(engine)
    result = await answered(engine, travel(error.state), "yes", node="outer/ask")
    assert inside.names() == ["first", "last"]
    assert outside.names() == ["a", "z"]
    assert result.final_state["nested"] == "yes"
    assert executed(result) == ["a", "outer", "z"]


async def test_a_single_question_inside_needs_no_name(travel: Travel) -> None:
    engine = nested(Log(), inner_graph(Log()))
    result = await answered(engine, travel((await pause(engine)).state), "yes")
    assert result.final_state["nested"] == "yes"


async def test_a_question_two_levels_down_has_a_longer_way(travel: Travel) -> None:
    deep = Log()
    middle = nested(Log(), inner_graph(deep))
    made = WorkflowBuilder("top").add_node("top", subworkflow=middle, output_key="nested")
    engine = made.set_entry("top").set_terminal("top").build()
    error = await pause(engine)
    assert error.node == "top/outer/ask"
    result = await answered(engine, travel(error.state), "yes", node="top/outer/ask")
    assert result.succeeded
    assert deep.names() == ["first", "last"]


async def test_two_questions_inside_are_answered_one_by_one(travel: Travel) -> None:
    inside = Log()
    inner = graph(
        "s -> one -> e, s -> two -> e",
        {"one": ask(output_key="1"), "two": ask(output_key="2")},
        log=inside,
        name="inner",
    )
    engine = nested(Log(), inner)
    error = await pause(engine)
    assert questions(error) == ["outer/one", "outer/two"]
    again = await pause_again(engine, travel(error.state), "b", node="outer/two")
    assert questions(again) == ["outer/one"]
    result = await answered(engine, travel(again.state), "a")
    assert result.succeeded
    assert inside.names() == ["s", "e"]
    assert (inside.saw("e")["1"], inside.saw("e")["2"]) == ("a", "b")


async def test_two_subworkflows_ask_side_by_side(travel: Travel) -> None:
    inside = Log()
    inner = inner_graph(inside)
    made = WorkflowBuilder("both").add_node("s", node=Step()).add_node("e", node=Step())
    for name in ("left", "right"):
        made.add_node(name, subworkflow=inner, output_key=name)
        made.add_edge("s", name).add_edge(name, "e")
    engine = made.set_entry("s").set_terminal("e").build()
    error = await pause(engine)
    assert questions(error) == ["left/ask", "right/ask"]
    again = await pause_again(engine, travel(error.state), "R", node="right/ask")
    assert questions(again) == ["left/ask"]
    result = await answered(engine, travel(again.state), "L")
    assert (result.final_state["left"], result.final_state["right"]) == ("L", "R")
    assert len(inside.of("first")) == 2


async def test_a_failure_inside_after_the_answer_fails_the_node(travel: Travel) -> None:
    inner = graph("ask -> bad", {"ask": ask(), "bad": Step(error=CustomError())}, name="inner")
    engine = nested(Log(), inner, on_error="raise")
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result, Err)
    assert (type(result.error), result.error.node) == (NodeExecutionError, "outer")


async def test_an_answer_for_outside_is_none_inside() -> None:
    """A value that answers a human node outside does not answer one inside under the same key."""
    inner = graph("ask", {"ask": ask(resume_key="raw", output_key="output")}, name="inner")
    engine = nested(Log(), inner)
    error = await pause(engine, state={"raw": "outer answer"})
    assert error.node == "outer/ask"


async def test_a_question_inside_expires_too(autojump_clock: MockClock) -> None:
    node = ask(expires_after=5, default_answer="no", output_key="output", resume_key="verdict")
    inner = graph("s -> ask, s -> w", {"ask": node, "w": Step(delay=60)}, name="inner")
    result = await success(nested(Log(), inner))
    assert result.final_state["nested"] == "no"


async def test_another_version_of_the_graph_inside_is_refused(travel: Travel) -> None:
    def build(version: int) -> WorkflowEngine:
        inner = graph("ask -> e", {"ask": ask()}, name="inner", version=version)
        return nested(Log(), inner)

    error = await pause(build(1))
    with pytest.raises(WorkflowVersionMismatchError):
        await answer(build(2), travel(error.state), "yes")


async def test_a_reducer_inside_takes_the_empty_output_outside_for_no_write() -> None:
    nodes = {"s": Step({"output": ["s"]}), "e": Step({"output": ["e"]})}
    inner = graph("s -> e", nodes, reducers={"output": concat}, name="inner")
    result = await success(nested(Log(), inner, on_error="raise"))
    assert result.final_state["nested"] == ["s", "e"]


# --- time ----------------------------------------------------------------------------------


async def test_iterations_and_durations_span_the_pause(
    travel: Travel, autojump_clock: MockClock
) -> None:
    engine = graph("a -> ask -> b", {"a": Step(delay=2), "ask": ask(), "b": Step(delay=3)})
    error = await pause(engine)
    await trio.sleep(1000)
    result = await answered(engine, travel(error.state), "yes")
    assert result.iterations == 3
    assert result.duration_ms == pytest.approx(5000)
    assert result.node_results[0].duration_ms == pytest.approx(2000)
    assert result.node_results[2].started_ms == pytest.approx(2000)


async def test_the_limit_of_executions_spans_the_pause(travel: Travel) -> None:
    engine = graph("a -> ask -> b -> c", {"ask": ask()}, config=GraphConfig(max_iterations=3))
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result.error, CycleDetectedError)
    assert (result.error.iterations, result.error.node) == (3, "c")


async def test_the_total_time_counts_running_time_only(
    travel: Travel, autojump_clock: MockClock
) -> None:
    nodes = {"a": Step(delay=6), "ask": ask(), "b": Step(delay=3)}
    engine = graph("a -> ask -> b", nodes, config=GraphConfig(total_timeout=10))
    error = await pause(engine)
    await trio.sleep(1000)
    await answered(engine, travel(error.state), "yes")


async def test_the_total_time_spans_the_pause(travel: Travel, autojump_clock: MockClock) -> None:
    nodes = {"a": Step(delay=6), "ask": ask(), "b": Step(delay=6)}
    engine = graph("a -> ask -> b", nodes, config=GraphConfig(total_timeout=10))
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result.error, GraphTimeoutError)
    assert trio.current_time() == 10


async def test_a_configuration_may_be_given_with_the_answer(travel: Travel) -> None:
    engine = graph("a -> ask -> b", {"ask": ask()})
    error = await pause(engine)
    result = await answer(engine, travel(error.state), "yes", config=GraphConfig(max_iterations=2))
    assert isinstance(result.error, CycleDetectedError)


async def test_the_default_is_taken_when_the_time_for_an_answer_is_over(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    node = ask(expires_after=5, default_answer="no", output_key="said")
    engine = graph("a -> ask -> b, a -> c", {"ask": node, "c": Step(delay=60)}, log=log)
    result = await success(engine)
    assert (log.the("b").started, log.saw("b")["said"]) == (5, "no")
    assert executed(result) == ["a", "ask", "c", "b"]


async def test_a_question_whose_time_is_over_fails_without_a_default(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {"ask": ask(expires_after=5), "c": Step(delay=60)}
    result = await outcome(graph("a -> ask -> b, a -> c", nodes, log=log))
    assert isinstance(result, Err)
    assert (type(result.error), result.error.node) == (NodeExecutionError, "ask")
    assert isinstance(result.error.cause, WorkflowTimeoutError)
    assert (trio.current_time(), log.the("c").how) == (5, "cleaned up")


async def test_a_pause_does_not_wait_for_the_time_of_its_questions(
    autojump_clock: MockClock,
) -> None:
    node = ask(expires_after=50, default_answer="no")
    await pause(graph("a -> ask, a -> b", {"ask": node, "b": Step(delay=10)}))
    assert trio.current_time() == 10
    await pause(graph("a -> ask", {"ask": node}))
    assert trio.current_time() == 10


async def test_a_default_may_be_empty(autojump_clock: MockClock) -> None:
    node = ask(expires_after=5, default_answer="", output_key="said")
    result = await success(graph("a -> ask, a -> c", {"ask": node, "c": Step(delay=60)}))
    assert result.final_state["said"] == ""


async def test_an_answer_in_time_is_taken(travel: Travel, autojump_clock: MockClock) -> None:
    engine = graph("ask", {"ask": ask(expires_after=50, default_answer="no", output_key="said")})
    error = await pause(engine)
    await trio.sleep(10)
    assert (await answered(engine, travel(error.state), "yes")).final_state["said"] == "yes"


async def test_an_answer_that_comes_too_late_gives_way_to_the_default(
    travel: Travel, autojump_clock: MockClock
) -> None:
    engine = graph("ask", {"ask": ask(expires_after=50, default_answer="no", output_key="said")})
    error = await pause(engine)
    await trio.sleep(100)
    assert (await answered(engine, travel(error.state), "yes")).final_state["said"] == "no"


async def test_an_answer_that_comes_too_late_without_a_default_is_a_time_out(
    travel: Travel, autojump_clock: MockClock
) -> None:
    engine = graph("ask", {"ask": ask(expires_after=50)})
    error = await pause(engine)
    await trio.sleep(100)
    result = await answer(engine, travel(error.state), "yes")
    assert isinstance(result, Err)
    assert isinstance(result.error.cause, WorkflowTimeoutError)


async def test_an_open_question_uses_up_no_time_of_its_node(autojump_clock: MockClock) -> None:
    nodes = {"ask": ask(), "b": Step(delay=4), "c": Step(delay=4)}
    await pause(graph("a -> ask, a -> b -> c", nodes, config=GraphConfig(node_timeout=5)))
    assert trio.current_time() == 8


# --- schemas -------------------------------------------------------------------------------


@frozen
class Refund:
    amount: int
    reason: str = ""


async def refused(engine: WorkflowEngine, state: State, response: Any, **options: Any) -> Any:
    """Answer with what does not fit, and return the error."""
    with pytest.raises(AnswerInvalidError) as caught:
        await answer(engine, state, response, **options)
    return caught.value


async def test_a_schema_is_shown_with_the_question() -> None:
    error = await pause(graph("ask", {"ask": ask(schema=int)}))
    assert error.pending[0].schema is int


async def test_an_answer_is_structured_to_the_schema(travel: Travel) -> None:
    pytest.importorskip("cattrs")
    engine = graph("ask", {"ask": ask(schema=Refund, output_key="refund")})
    error = await pause(engine)
    result = await answered(engine, travel(error.state), {"amount": 3})
    assert result.final_state["refund"] == Refund(3)


@pytest.mark.parametrize("bad", ["many", {"reason": "no amount"}, {"amount": "x"}], ids=repr)
async def test_an_answer_that_does_not_fit_leaves_the_question_open(
    bad: Any, travel: Travel
) -> None:
    pytest.importorskip("cattrs")
    log = Log()
    engine = graph("a -> ask -> b", {"ask": ask(schema=Refund, output_key="refund")}, log=log)
    state = travel((await pause(engine)).state)
    error = await refused(engine, state, bad)
    assert isinstance(error, ValueError)
    assert error.node == "ask"
    assert log.names() == ["a"]
    result = await answered(engine, state, {"amount": 3})
    assert result.final_state["refund"] == Refund(3)


async def test_a_schema_of_a_plain_type_refuses_what_is_none() -> None:
    pytest.importorskip("cattrs")
    engine = graph("ask", {"ask": ask(schema=int, output_key="n")})
    error = await pause(engine)
    await refused(engine, error.state, "seven")
    assert (await answered(engine, error.state, 7)).final_state["n"] == 7


async def test_a_structured_answer_survives_a_further_pause(travel: Travel) -> None:
    pytest.importorskip("cattrs")
    engine = graph("one -> two", {"one": ask(schema=list[int], output_key="n"), "two": ask()})
    error = await pause(engine)
    again = await pause_again(engine, travel(error.state), [1, 2])
    assert (await answered(engine, travel(again.state), "yes")).final_state["n"] == [1, 2]


async def test_a_bad_answer_beside_other_questions_leaves_all_open(travel: Travel) -> None:
    pytest.importorskip("cattrs")
    nodes = {"one": ask(schema=int, output_key="n"), "two": ask()}
    engine = graph("a -> one, a -> two", nodes)
    state = travel((await pause(engine)).state)
    await refused(engine, state, "x", node="one")
    again = await pause_again(engine, state, 5, node="one")
    assert questions(again) == ["two"]


# --- checkpoints that do not fit -----------------------------------------------------------


async def test_another_version_is_refused(travel: Travel) -> None:
    log = Log()
    error = await pause(graph("ask -> b", {"ask": ask()}, version=1))
    newer = graph("ask -> b", {"ask": ask()}, version=2, log=log)
    with pytest.raises(WorkflowVersionMismatchError) as caught:
        await answer(newer, travel(error.state), "yes")
    assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
    assert log.names() == []


async def test_a_checkpoint_of_another_graph_is_refused(travel: Travel) -> None:
    error = await pause(graph("ask -> b", {"ask": ask()}, name="orders"))
    with pytest.raises(WorkflowStateError, match="orders"):
        await answer(graph("ask -> b", {"ask": ask()}, name="refunds"), travel(error.state), "yes")


async def test_a_checkpoint_with_nodes_that_are_no_more_is_refused(travel: Travel) -> None:
    error = await pause(graph("a -> ask -> b", {"ask": ask()}))
    with pytest.raises(WorkflowStateError):
        await answer(graph("x -> wonder -> b", {"wonder": ask()}), travel(error.state), "yes")


@pytest.mark.parametrize(
    "rubbish",
    [{}, {"input": "in"}, {"version": 1}, {"x": {"y": 1}}, None, [], "text", 7, {1: 2}],
    ids=repr,
)
async def test_rubbish_is_no_checkpoint(rubbish: Any) -> None:
    with pytest.raises(WorkflowStateError):
        await answer(graph("ask -> b", {"ask": ask()}), rubbish, "yes")


@pytest.mark.parametrize("rubbish", [{}, {"x": 1}, "text", 7, [], True], ids=repr)
async def test_rubbish_inside_is_no_checkpoint(rubbish: Any) -> None:
    outside, inside = Log(), Log()
    engine = nested(outside, inner_graph(inside))
    state = json.loads(json.dumps((await pause(engine)).state))
    spoilt = replaced(state, "nested", rubbish)
    assert spoilt != state
    with pytest.raises(WorkflowStateError):
        await answer(engine, spoilt, "yes", node="outer/ask")
    assert (outside.names(), inside.names()) == (["a"], ["first"])


def replaced(value: Any, key: str, new: Any) -> Any:
    """Put something else under a key, wherever it stands."""
    if isinstance(value, list):
        return [replaced(item, key, new) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: new if name == key else replaced(item, key, new) for name, item in value.items()}


async def test_nodes_inside_count_their_own_iterations() -> None:
    inside = Log()
    await success(nested(Log(), graph("first -> last", log=inside, name="inner")))
    assert [visit.state["_iteration"] for visit in inside.visits] == [0, 1]


async def test_the_state_of_a_finished_run_is_no_checkpoint() -> None:
    engine = graph("a -> b")
    final = (await success(engine)).final_state
    with pytest.raises(WorkflowStateError):
        await answer(engine, final, "yes")


async def test_a_value_that_no_checkpoint_can_hold_is_said_at_the_pause() -> None:
    """Nothing is lost in silence: the pause cannot be made, and the error names the key."""
    engine = graph("a -> ask", {"a": Step({"thing": object()}), "ask": ask()})
    try:
        result = await outcome(engine)
    except HumanInputRequiredError as error:
        pytest.fail(f"the state was {error.state}")
    except Exception as error:
        assert "thing" in str(error)
    else:
        assert isinstance(result, Err)
        assert "thing" in str(result.error)


async def test_a_cancelled_answer_may_be_given_again(
    travel: Travel, autojump_clock: MockClock
) -> None:
    engine = graph("ask -> b", {"ask": ask(output_key="said"), "b": Step(delay=10)})
    state = travel((await pause(engine)).state)
    with trio.move_on_after(5) as scope:
        await engine.resume(state, "yes")
    assert scope.cancelled_caught
    assert (await answered(engine, state, "yes")).final_state["said"] == "yes"
