"""Which nodes run, in which order, and where a run ends."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import GraphExecutionError, GraphValidationError
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import Command, Send
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok
from tests.graph.graphs import (
    Log,
    State,
    Step,
    concat,
    counts,
    done,
    executed,
    failure,
    graph,
    outcome,
    success,
)

# --- one after another ---------------------------------------------------------------------


async def test_nodes_in_a_line_run_in_order() -> None:
    log = Log()
    result = await success(graph("a -> b -> c", log=log))
    assert log.names() == ["a", "b", "c"]
    assert executed(result) == ["a", "b", "c"]
    assert (result.iterations, result.terminated_at) == (3, "c")
    assert result.succeeded


async def test_a_node_sees_the_input_and_what_was_written_before_it() -> None:
    log = Log()
    await success(graph("a -> b", {"a": Step({"x": 1, "output": "from a"})}, log=log), "hello")
    assert log.saw("a") == {"input": "hello", "output": "", "_iteration": 0}
    assert log.saw("b") == {"input": "hello", "output": "from a", "_iteration": 1, "x": 1}


async def test_the_final_state_holds_what_was_written_and_the_history() -> None:
    engine = graph("a -> b", {"a": Step({"x": 1}), "b": Step({"output": "end"})})
    result = await success(engine, "hello")
    assert result.output == "end"
    assert result.final_state == {
        "input": "hello",
        "output": "end",
        "x": 1,
        "_iteration": 2,
        "_history": [("a", {"x": 1}), ("b", {"output": "end"})],
    }


async def test_a_plain_function_is_a_node_sync_or_async() -> None:
    async def later(state: State) -> State:
        await trio.lowlevel.checkpoint()
        return {"b": state["a"] + 1}

    result = await success(graph("a -> b", {"a": lambda state: {"a": 1}, "b": later}))
    assert result.final_state["b"] == 2


async def test_a_node_may_return_nothing_or_a_result() -> None:
    engine = graph(
        "a -> b -> c -> d",
        {
            "a": lambda state: None,
            "b": lambda state: Ok({"b": 1}),
            "c": lambda state: Ok(Command(update={"c": 2})),
            "d": lambda state: {},
        },
    )
    final = (await success(engine)).final_state
    assert (final["b"], final["c"]) == (1, 2)


async def test_one_node_alone_is_a_graph() -> None:
    result = await success(graph("a", {"a": Step({"output": 1})}))
    assert (result.output, result.terminated_at, result.iterations) == (1, "a", 1)


async def test_a_long_line_runs_to_its_end() -> None:
    names = [f"n{number}" for number in range(2000)]
    result = await success(graph(" -> ".join(names), config=GraphConfig(max_iterations=2000)))
    assert result.terminated_at == "n1999"


async def test_changes_to_what_a_node_sees_are_lost() -> None:
    def meddle(state: State) -> State:
        state["input"] = "changed"
        state["extra"] = 1
        return {}

    log = Log()
    result = await success(graph("a -> b", {"a": meddle}, log=log), "given")
    assert log.saw("b")["input"] == "given"
    assert "extra" not in result.final_state


async def test_keys_with_a_leading_underscore_are_dropped() -> None:
    log = Log()
    node = Step({"_iteration": 99, "_history": "gone", "_own": 1, "kept": 2})
    result = await success(graph("a -> b", {"a": node}, log=log))
    assert "_own" not in log.saw("b")
    assert log.saw("b")["_iteration"] == 1
    assert "_own" not in result.final_state
    assert (result.final_state["_iteration"], result.final_state["kept"]) == (2, 2)
    assert len(result.final_state["_history"]) == 2


# --- what a run starts with ----------------------------------------------------------------


async def test_the_state_given_is_what_the_entry_sees() -> None:
    log = Log()
    given = {"x": [1]}
    result = await success(graph("a", log=log), "in", state=given)
    assert log.saw("a")["x"] == [1]
    assert result.final_state["x"] == [1]
    assert given == {"x": [1]}


async def test_an_input_in_the_state_given_wins_over_the_argument() -> None:
    log = Log()
    await success(graph("a", log=log), "argument", state={"input": "state"})
    assert log.saw("a")["input"] == "state"


async def test_an_output_in_the_state_given_is_kept_until_it_is_written() -> None:
    result = await success(graph("a"), state={"output": "old"})
    assert result.output == "old"


async def test_the_input_may_be_any_value() -> None:
    log = Log()
    await success(graph("a", log=log), {"order": 1})
    assert log.saw("a")["input"] == {"order": 1}


async def test_a_configuration_given_to_a_call_holds_for_that_call_alone() -> None:
    engine = graph("a -> b")
    assert (await outcome(engine, config=GraphConfig(max_iterations=1))).is_err()
    assert (await outcome(engine)).is_ok()


async def test_an_engine_runs_again_and_again_without_memory() -> None:
    engine = graph("a -> a, a -> b", {"a": Step(counts("n"))}, when=LOOP_TO_3)
    first, second = await success(engine), await success(engine)
    assert first.final_state == second.final_state
    assert executed(first) == executed(second)


async def test_two_runs_of_one_engine_at_once_do_not_meet(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> c, a -> d -> c",
        {"a": Step(lambda s: {"who": s["input"]}, delay=lambda s: s["input"])},
        log=log,
    )
    results: dict[int, Any] = {}

    async def run(number: int) -> None:
        results[number] = await success(engine, number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(run, number)
    for number in range(5):
        assert results[number].final_state["who"] == number
        assert executed(results[number]) == ["a", "b", "d", "c"]
    assert all(visit.state["who"] == visit.state["input"] for visit in log.of("c"))


def test_an_engine_serves_one_trio_run_after_another() -> None:
    engine = graph("a -> b -> d, a -> c -> d")
    for _ in range(2):
        clock = MockClock(autojump_threshold=0)
        assert executed(trio.run(success, engine, clock=clock)) == ["a", "b", "c", "d"]


async def test_an_engine_serves_two_trio_runs_at_once() -> None:
    engine = graph("a -> a, a -> b", {"a": Step(counts("n"))}, when=LOOP_TO_3)
    results = []

    async def elsewhere() -> None:
        results.append(await trio.to_thread.run_sync(trio.run, success, engine))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(elsewhere)
        nursery.start_soon(elsewhere)
    assert [result.final_state["n"] for result in results] == [3, 3]


async def test_a_graph_is_runnable_inside_others() -> None:
    engine = graph("a", {"a": lambda s: {"output": f"{s['input']} {s['x']}"}}, name="inner")
    assert (engine.kind, engine.name, engine.version) == ("graph", "inner", 1)
    result = await engine.run(RunContext(input="in", state={"x": 1}))
    final = result.unwrap()
    assert type(final) is dict
    assert final["output"] == "in 1"


async def test_a_graph_run_inside_others_fails_with_an_err() -> None:
    result = await graph("a", {"a": Step(error=ValueError("no"))}).run(RunContext(input="in"))
    assert isinstance(result, Err)
    assert isinstance(result.error, GraphExecutionError)


async def test_an_engine_without_terminals_runs_until_no_edge_is_left() -> None:
    engine = WorkflowEngine("bare", {"a": Step({"x": 1})}, [], "a", {})
    result = await success(engine)
    assert (result.terminated_at, result.final_state["x"]) == ("a", 1)


async def test_an_engine_with_a_broken_structure_says_so() -> None:
    engine = WorkflowEngine("bare", {"a": Step()}, [], "nowhere", {})
    with pytest.raises(GraphValidationError, match="nowhere"):
        engine.validate()


# --- loops and routing ---------------------------------------------------------------------


def below(limit: int) -> Any:
    return lambda state: state["n"] < limit


def reached(limit: int) -> Any:
    return lambda state: state["n"] >= limit


LOOP_TO_3 = {("a", "a"): below(3), ("a", "b"): reached(3)}


async def test_a_node_that_leads_to_itself_loops() -> None:
    result = await success(graph("a -> a, a -> b", {"a": Step(counts("n"))}, when=LOOP_TO_3))
    assert executed(result) == ["a", "a", "a", "b"]
    assert result.final_state["n"] == 3


async def test_a_loop_of_several_nodes_goes_round() -> None:
    when = {("c", "a"): below(3), ("c", "d"): reached(3)}
    engine = graph("a -> b -> c -> a, c -> d", {"b": Step(counts("n"))}, when=when)
    result = await success(engine)
    assert executed(result) == [*"abc" * 3, "d"]
    assert result.final_state["_iteration"] == 10


async def test_only_active_edges_are_followed() -> None:
    log = Log()
    when = {("a", "b"): lambda s: s["x"] > 1, ("a", "c"): lambda s: s["x"] <= 1}
    result = await success(
        graph("a -> b -> d, a -> c -> d", {"a": Step({"x": 1})}, when=when, log=log)
    )
    assert executed(result) == ["a", "c", "d"]
    assert log.names() == ["a", "c", "d"]


async def test_several_active_edges_are_all_followed() -> None:
    when = {("a", name): (lambda s, name=name: name in s["go"]) for name in "bcd"}
    engine = graph("a -> b, a -> c, a -> d", {"a": Step({"go": "bd"})}, when=when)
    assert executed(await success(engine)) == ["a", "b", "d"]


async def test_an_edge_is_asked_with_what_its_source_saw_and_wrote() -> None:
    asked = []
    when = {("b", "c"): lambda state: asked.append(dict(state)) or True}
    engine = graph("a -> b -> c", {"a": Step({"x": 1}), "b": Step({"y": 2})}, when=when)
    await success(engine, "in")
    (state,) = asked
    assert (state["input"], state["x"], state["y"]) == ("in", 1, 2)


async def test_a_truthy_value_makes_an_edge_active() -> None:
    when = {("a", "b"): lambda state: "yes", ("a", "c"): lambda state: []}
    assert executed(await success(graph("a -> b, a -> c", when=when))) == ["a", "b"]


async def test_a_gate_leads_to_its_routes() -> None:
    made = graph_with_gate(lambda s: s["x"] == 1, lambda s: s["x"] == 2)
    assert executed(await success(made, state={"x": 2})) == ["gate", "right"]
    assert executed(await success(made, state={"x": 1})) == ["gate", "left"]


def graph_with_gate(left: Any, right: Any) -> WorkflowEngine:
    from lexigram_actors.graph.builder import WorkflowBuilder

    return (
        WorkflowBuilder("gated")
        .add_gate("gate", {"left": left, "right": right})
        .add_node("left", node=Step())
        .add_node("right", node=Step())
        .set_entry("gate")
        .set_terminal("left")
        .set_terminal("right")
        .build()
    )


async def test_a_fast_branch_finishes_three_nodes_while_its_sibling_sleeps(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = graph(
        "a -> slow -> end, a -> b -> c -> d -> end",
        {"slow": Step(delay=10), **{name: Step(delay=1) for name in "bcd"}},
        log=log,
    )
    await success(engine)
    assert log.finished() == ["a", "b", "c", "d", "slow", "end"]
    assert [log.the(name).ended for name in ("b", "c", "d", "slow")] == [1, 2, 3, 10]


# --- commands ------------------------------------------------------------------------------


async def test_goto_replaces_the_edges() -> None:
    engine = graph("a -> b, a -> c", {"a": Step(Command(update={"x": 1}, goto="c"))})
    result = await success(engine)
    assert executed(result) == ["a", "c"]
    assert result.final_state["x"] == 1


async def test_goto_follows_an_edge_whose_condition_says_no() -> None:
    engine = graph(
        "a -> b, a -> c",
        {"a": Step(Command(goto="b"))},
        when={("a", "b"): lambda state: False},
    )
    assert executed(await success(engine)) == ["a", "b"]


async def test_goto_reaches_a_target_that_was_declared_without_an_edge() -> None:
    engine = graph("a -> b", {"a": Step(Command(goto="c")), "c": Step()}, gotos={"a": ["c"]})
    assert executed(await success(engine)) == ["a", "c"]


async def test_goto_several_is_a_fan_out() -> None:
    engine = graph("a -> b -> e, a -> c -> e, a -> d", {"a": Step(Command(goto=["b", "c"]))})
    assert executed(await success(engine)) == ["a", "b", "c", "e"]


async def test_an_empty_goto_ends_the_branch() -> None:
    result = await success(graph("a -> b", {"a": Step(Command(update={"x": 1}, goto=()))}))
    assert executed(result) == ["a"]
    assert (result.terminated_at, result.final_state["x"]) == ("a", 1)


async def test_a_command_without_a_goto_follows_the_edges() -> None:
    result = await success(graph("a -> b, a -> c", {"a": Step(Command(update={"x": 1}))}))
    assert executed(result) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "command",
    [Command(goto="c"), Command(goto=["b", "c"]), Command(send=Send("c")), Command(goto="nobody")],
)
async def test_a_target_that_was_not_declared_is_an_error(command: Command) -> None:
    engine = graph("a -> b -> c", {"a": Step(command)})
    error = await failure(engine)
    assert error.node == "a"
    assert "'a'" in str(error)
    assert "'c'" in str(error) or "'nobody'" in str(error)


async def test_no_node_starts_behind_a_target_that_was_not_declared() -> None:
    log = Log()
    await failure(graph("a -> b -> c", {"a": Step(Command(goto=["b", "c"]))}, log=log))
    assert log.names() == ["a"]


# --- sends ---------------------------------------------------------------------------------


def fan_out(items: list[Any], log: Log, **options: Any) -> WorkflowEngine:
    """One visit of `work` for each item, and `collect` behind."""
    return graph(
        "plan -> work -> collect",
        {
            "plan": Step(Command(update={"p": 1}, send=[Send("work", {"item": i}) for i in items])),
            "work": Step(
                lambda state: {"results": [state["item"]]}, delay=lambda state: 10 - state["item"]
            ),
        },
        reducers={"results": concat},
        log=log,
        **options,
    )


async def test_each_send_is_an_execution_with_a_state_of_its_own(autojump_clock: MockClock) -> None:
    log = Log()
    result = await success(fan_out([1, 2, 3], log))
    assert [visit.state["item"] for visit in log.of("work")] == [1, 2, 3]
    assert all(visit.state["p"] == 1 for visit in log.of("work"))
    assert executed(result) == ["plan", "work", "work", "work", "collect"]
    assert trio.current_time() == 9


async def test_sends_merge_in_the_order_of_their_list(autojump_clock: MockClock) -> None:
    log = Log()
    result = await success(fan_out([1, 5, 2, 9], log))
    assert log.saw("collect")["results"] == [1, 5, 2, 9]
    assert [node.output["results"] for node in result.node_results[1:5]] == [[1], [5], [2], [9]]


async def test_a_send_overlays_that_execution_alone(autojump_clock: MockClock) -> None:
    log = Log()
    result = await success(fan_out([1, 2], log))
    assert "item" not in log.saw("collect")
    assert "item" not in result.final_state


async def test_one_send_is_enough(autojump_clock: MockClock) -> None:
    log = Log()
    await success(fan_out([4], log))
    assert log.saw("collect")["results"] == [4]


async def test_a_single_send_needs_no_list() -> None:
    log = Log()
    node = Step(Command(send=Send("b", {"x": 1})))
    await success(graph("a -> b, a -> c", {"a": node}, log=log))
    assert log.names() == ["a", "b"]


async def test_no_sends_follow_the_edges() -> None:
    log = Log()
    await success(graph("a -> b, a -> c", {"a": Step(Command(send=[]))}, log=log))
    assert log.names() == ["a", "b", "c"]


async def test_a_send_overlays_a_key_that_was_written() -> None:
    log = Log()
    node = Step(Command(update={"x": "written"}, send=[Send("b", {"x": "own"})]))
    result = await success(graph("a -> b -> c", {"a": node}, log=log))
    assert (log.saw("b")["x"], log.saw("c")["x"]) == ("own", "written")
    assert result.final_state["x"] == "written"


async def test_the_edges_behind_a_send_are_asked_with_its_overlay() -> None:
    node = Step(Command(send=[Send("b", {"x": 1}), Send("b", {"x": 2})]))
    log = Log()
    engine = graph(
        "a -> b -> c, b -> d",
        {"a": node},
        when={("b", "c"): lambda s: s["x"] == 1, ("b", "d"): lambda s: s["x"] == 2},
        log=log,
    )
    result = await success(engine)
    assert sorted(executed(result)) == ["a", "b", "b", "c", "d"]


async def test_sends_and_goto_go_together() -> None:
    node = Step(Command(goto="c", send=[Send("b", {"x": 1})]))
    result = await success(graph("a -> b, a -> c, a -> d", {"a": node}))
    assert sorted(executed(result)) == ["a", "b", "c"]


async def test_many_sends_all_run(autojump_clock: MockClock) -> None:
    log = Log()
    config = GraphConfig(max_iterations=1000, max_parallel_branches=7)
    items = [number % 10 for number in range(500)]
    await success(fan_out(items, log, config=config))
    assert log.saw("collect")["results"] == items
    assert log.most_at_once() <= 7


async def test_sends_to_different_nodes_merge_at_the_join_behind() -> None:
    log = Log()
    node = Step(Command(send=[Send("c", {"x": 1}), Send("b", {"x": 2}), Send("c", {"x": 3})]))
    engine = graph("a -> b -> d, a -> c -> d", {"a": node}, log=log)
    await success(engine)
    assert sorted(log.names()) == ["a", "b", "c", "c", "d"]
    assert [visit.state["x"] for visit in log.of("c")] == [1, 3]


# --- where a run ends ----------------------------------------------------------------------


async def test_a_terminal_node_ends_its_branch_and_the_others_go_on(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = graph("a -> b, a -> c -> d", {"c": Step(delay=5), "d": Step(delay=5)}, log=log)
    result = await success(engine)
    assert log.finished() == ["a", "b", "c", "d"]
    assert result.terminated_at == "d"


async def test_a_terminal_node_follows_no_edge() -> None:
    assert executed(await success(graph("a -> b -> c", ends=["b", "c"]))) == ["a", "b"]


async def test_a_terminal_condition_that_says_no_lets_the_branch_go_on() -> None:
    engine = graph(
        "a -> a",
        {"a": Step(counts("n"))},
        ends={"a": lambda state: state["n"] >= 3},
    )
    result = await success(engine)
    assert executed(result) == ["a", "a", "a"]
    assert result.terminated_at == "a"


async def test_a_command_of_a_terminal_node_leads_nowhere() -> None:
    engine = graph("a -> b", {"a": Step(Command(update={"x": 1}, goto="b"))}, ends=["a", "b"])
    result = await success(engine)
    assert executed(result) == ["a"]
    assert result.final_state["x"] == 1


async def test_terminated_at_is_the_last_terminal_in_merge_order(autojump_clock: MockClock) -> None:
    engine = graph("a -> b, a -> c", {"b": Step(delay=10), "c": Step(delay=1)})
    assert (await success(engine)).terminated_at == "c"
    engine = graph("a -> b, a -> c", {"b": Step(delay=1), "c": Step(delay=10)})
    assert (await success(engine)).terminated_at == "c"


async def test_terminated_at_prefers_the_deeper_terminal(autojump_clock: MockClock) -> None:
    engine = graph("a -> b -> c, a -> d", {"d": Step(delay=10)})
    assert (await success(engine)).terminated_at == "c"


async def test_a_run_with_no_active_edge_left_ends_well_at_the_last_node() -> None:
    engine = graph("a -> b -> c", when={("b", "c"): lambda state: False})
    result = await success(engine)
    assert (result.terminated_at, executed(result)) == ("b", ["a", "b"])


async def test_a_terminal_that_was_reached_counts_before_a_branch_without_an_end() -> None:
    engine = graph("a -> b, a -> c -> d -> e", when={("d", "e"): lambda state: False})
    result = await success(engine)
    assert result.terminated_at == "b"


async def test_a_terminal_may_end_the_whole_run(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b, a -> c -> d", {"b": Step(delay=1)} | SLEEPER, stops=["b"], log=log)
    result = await success(engine)
    assert trio.current_time() == 1
    assert (log.the("c").how, log.the("c").ended) == ("cleaned up", 1)
    assert log.of("d") == []
    assert result.terminated_at == "b"
    assert done(result) == ["a", "b"]
    assert result.succeeded


SLEEPER = {"c": Step(delay=100)}


async def test_a_run_that_is_stopped_waits_for_the_clean_up(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(delay=1), "c": Step(delay=100, cleanup=3)}
    await success(graph("a -> b, a -> c", nodes, stops=["b"], log=log))
    assert trio.current_time() == 4
    assert log.the("c").how == "cleaned up"


async def test_a_run_stopped_keeps_what_other_branches_wrote_before(
    autojump_clock: MockClock,
) -> None:
    nodes = {"b": Step({"b": 1}, delay=5), "d": Step(delay=100)}
    result = await success(graph("a -> b, a -> c -> d", nodes, stops=["b"]))
    assert result.final_state["c"] is True
    assert result.final_state["b"] == 1


async def test_a_stopping_terminal_whose_condition_says_no_stops_nothing(
    autojump_clock: MockClock,
) -> None:
    engine = graph(
        "a -> b, a -> c",
        {"c": Step(delay=100)},
        ends={"b": lambda state: False, "c": None},
        stops=["b"],
    )
    result = await success(engine)
    assert (trio.current_time(), result.terminated_at) == (100, "c")


# --- what a result tells -------------------------------------------------------------------


async def test_node_results_stand_in_merge_order(autojump_clock: MockClock) -> None:
    engine = graph(
        "a -> b -> e, a -> c -> d -> e",
        {"b": Step(delay=10), "c": Step(delay=1), "d": Step(delay=1)},
    )
    assert executed(await success(engine)) == ["a", "b", "c", "d", "e"]


async def test_a_node_result_tells_how_long_the_node_ran_and_when(
    autojump_clock: MockClock,
) -> None:
    result = await success(graph("a -> b", {"a": Step(delay=2), "b": Step({"x": 1}, delay=3)}))
    last = result.node_results[-1]
    assert last.duration_ms == pytest.approx(3000)
    assert last.started_ms == pytest.approx(2000)
    assert (last.output, last.error, last.skipped) == ({"x": 1}, None, False)
    assert result.duration_ms == pytest.approx(5000)


async def test_nodes_passed_by_are_not_among_the_results() -> None:
    engine = graph("a -> b, a -> c", when={("a", "c"): lambda state: False})
    assert executed(await success(engine)) == ["a", "b"]


async def test_the_iteration_a_node_sees_is_the_length_of_its_longest_way() -> None:
    log = Log()
    await success(graph("a -> b -> d, a -> c -> e -> d", log=log))
    assert {name: log.saw(name)["_iteration"] for name in "abced"} == {
        "a": 0,
        "b": 1,
        "c": 1,
        "e": 2,
        "d": 3,
    }
