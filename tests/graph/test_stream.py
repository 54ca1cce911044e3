"""`astream`: what a run tells on its way, and what becomes of it when nobody listens any more."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    GraphValidationError,
    HumanInputRequiredError,
    NodeExecutionError,
    WorkflowStateError,
)
from lexigram_actors.errors.base import sole_error
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import (
    GraphResult,
    NodeFinished,
    NodeStarted,
    RunFinished,
    StateUpdated,
    TokenEmitted,
)
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.graph.tokens import emit_token, is_watched
from lexigram_actors.result import Err, Ok
from tests.graph.graphs import (
    LONG,
    CustomError,
    Log,
    State,
    Step,
    executed,
    graph,
    success,
)
from tests.leaks import no_task_left


async def events(engine: WorkflowEngine, input: Any = "in", **options: Any) -> list[Any]:
    with trio.fail_after(LONG):
        async with engine.astream(input, **options) as stream:
            return [event async for event in stream]


def brief(event: Any) -> str:
    match event:
        case NodeStarted(node=node, depth=depth):
            return f"start {node} {depth}"
        case NodeFinished(result=result):
            return f"finish {result.node_name}"
        case StateUpdated(node=node, update=update):
            return f"update {node} {update}"
        case TokenEmitted(node=node, text=text):
            return f"token {node} {text}"
        case RunFinished(result=result):
            return "end ok" if isinstance(result, Ok) else "end err"
    raise AssertionError(event)


async def test_events_tell_a_run_in_order() -> None:
    engine = graph("a -> b", {"a": Step({"x": 1}), "b": Step({"y": 2})})
    assert [brief(event) for event in await events(engine)] == [
        "start a 1",
        "finish a",
        "update a {'x': 1}",
        "start b 2",
        "finish b",
        "update b {'y': 2}",
        "end ok",
    ]


async def test_the_last_event_is_what_execute_returns() -> None:
    engine = graph("a -> b -> d, a -> c -> d", {"a": Step({"x": 1})})
    last = (await events(engine))[-1]
    assert isinstance(last, RunFinished)
    assert isinstance(last.result.unwrap(), GraphResult)
    plain = await success(engine)
    assert last.result.unwrap().final_state == plain.final_state
    assert executed(last.result.unwrap()) == executed(plain)


async def test_events_of_branches_come_as_they_happen(autojump_clock: MockClock) -> None:
    nodes = {"b": Step(delay=5), "c": Step(delay=1), "d": Step(delay=1)}
    seen = []
    async for event in graph("a -> b, a -> c -> d", nodes).astream("in"):
        if isinstance(event, NodeFinished):
            seen.append((event.result.node_name, trio.current_time()))
    assert seen == [("a", 0), ("c", 1), ("d", 2), ("b", 5)]


async def test_an_event_is_there_before_the_run_goes_on(autojump_clock: MockClock) -> None:
    seen = []
    async for event in graph("a", {"a": Step(delay=10)}).astream("in"):
        seen.append((type(event).__name__, trio.current_time()))
    assert seen[0] == ("NodeStarted", 0)
    assert seen[1] == ("NodeFinished", 10)


async def test_a_finished_node_is_told_with_its_result(autojump_clock: MockClock) -> None:
    seen = await events(graph("a", {"a": Step({"x": 1}, delay=2)}))
    (finished,) = [event.result for event in seen if isinstance(event, NodeFinished)]
    assert (finished.node_name, finished.output) == ("a", {"x": 1})
    assert finished.duration_ms == pytest.approx(2000)


async def test_the_state_and_the_configuration_may_be_given() -> None:
    log = Log()
    await events(graph("a", log=log), "in", state={"x": 1}, run_id="r")
    assert log.saw("a")["x"] == 1
    last = (await events(graph("a -> b"), config=GraphConfig(max_iterations=1)))[-1]
    assert last.result.is_err()


async def test_keys_that_are_dropped_are_not_told() -> None:
    seen = await events(graph("a", {"a": Step({"_own": 1, "x": 2})}))
    assert [event.update for event in seen if isinstance(event, StateUpdated)] == [{"x": 2}]


async def test_pieces_of_output_are_told_as_they_come(autojump_clock: MockClock) -> None:
    async def talk(state: State) -> State:
        assert is_watched()
        for word in ("one", "two"):
            await trio.sleep(1)
            emit_token(word)
        return {"output": "one two"}

    seen = await events(graph("a", {"a": talk}))
    assert [brief(event) for event in seen][:3] == ["start a 1", "token a one", "token a two"]


async def test_pieces_are_told_under_the_node_that_made_them(autojump_clock: MockClock) -> None:
    async def talk(state: State) -> State:
        await trio.sleep(1)
        emit_token("piece")
        return {}

    seen = await events(graph("a -> b, a -> c", {"b": talk, "c": talk}))
    assert {event.node for event in seen if isinstance(event, TokenEmitted)} == {"b", "c"}


async def test_nobody_watches_an_execute() -> None:
    async def talk(state: State) -> State:
        emit_token("into the wind")
        return {"watched": is_watched()}

    assert (await success(graph("a", {"a": talk}))).final_state["watched"] is False


# --- failures ------------------------------------------------------------------------------


async def test_a_failed_run_ends_with_its_err() -> None:
    seen = await events(graph("a -> b -> c", {"b": Step(error=CustomError("no"))}))
    last = seen[-1]
    assert isinstance(last, RunFinished)
    assert isinstance(last.result, Err)
    assert isinstance(last.result.error, NodeExecutionError)
    failed = [e.result for e in seen if isinstance(e, NodeFinished) and e.result.error]
    assert [result.node_name for result in failed] == ["b"]
    assert not any(isinstance(event, StateUpdated) and event.node == "b" for event in seen)


async def test_a_pause_is_raised_from_the_iteration() -> None:
    seen = []
    engine = graph("a -> ask", {"ask": HumanNode("ask", output_key="said")})
    with pytest.raises(HumanInputRequiredError) as caught:
        async for event in engine.astream("in"):
            seen.append(event)
    assert "finish a" in [brief(event) for event in seen]
    result = await engine.resume(caught.value.state, "yes")
    assert result.unwrap().final_state["said"] == "yes"


async def test_a_pause_is_raised_out_of_the_block_as_it_is() -> None:
    engine = graph("ask", {"ask": HumanNode("ask")})
    with pytest.raises(HumanInputRequiredError):
        async with engine.astream("in") as stream:
            async for _ in stream:
                pass


async def test_misuse_is_raised() -> None:
    engine = WorkflowEngine("bare", {"a": Step()}, [], "nowhere", {})
    with pytest.raises(GraphValidationError):
        await events(engine)


async def test_an_iteration_that_ended_stays_ended() -> None:
    async with graph("a").astream("in") as stream:
        seen = [event async for event in stream]
        assert len(seen) == 4
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_passes_the_block(kind: type[BaseException]) -> None:
    engine = graph("a -> b, a -> c", {"b": Step(error=kind()), "c": Step(delay=100)})
    with pytest.raises((kind, BaseExceptionGroup)) as caught:
        async with engine.astream("in") as stream:
            async for _ in stream:
                pass
    assert isinstance(sole_error(caught.value), kind)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_passes_a_plain_loop(kind: type[BaseException]) -> None:
    engine = graph("a -> b", {"b": Step(error=kind())})
    with pytest.raises((kind, BaseExceptionGroup)) as caught:
        async for _ in engine.astream("in"):
            pass
    assert isinstance(sole_error(caught.value), kind)


# --- leaving early -------------------------------------------------------------------------


def slow(log: Log) -> WorkflowEngine:
    nodes = {"b": Step(delay=10), "c": Step(delay=20, cleanup=1), "d": Step(delay=10)}
    return graph("a -> b -> d, a -> c", nodes, log=log)


async def test_breaking_out_of_a_plain_loop_stops_the_run(autojump_clock: MockClock) -> None:
    log = Log()
    with no_task_left():
        async for event in slow(log).astream("in"):
            if isinstance(event, NodeStarted) and event.node == "c":
                break
        await trio.sleep(5)
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}
    await trio.sleep(100)
    assert "d" not in log.names()


async def test_an_error_in_a_plain_loop_stops_the_run(autojump_clock: MockClock) -> None:
    log = Log()
    with no_task_left():
        with pytest.raises(ZeroDivisionError) as caught:
            async for _ in slow(log).astream("in"):
                raise ZeroDivisionError
        del caught
        await trio.sleep(5)
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}


async def test_leaving_the_block_stops_the_run_and_waits_for_it(autojump_clock: MockClock) -> None:
    log = Log()
    with no_task_left():
        async with slow(log).astream("in") as stream:
            async for event in stream:
                if isinstance(event, NodeFinished) and event.result.node_name == "b":
                    break
        assert trio.current_time() == 11
        assert log.the("c").how == "cleaned up"


async def test_an_error_in_the_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    log = Log()
    with pytest.raises(ZeroDivisionError), no_task_left():
        async with slow(log).astream("in") as stream:
            await anext(stream)
            raise ZeroDivisionError
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}


async def test_leaving_the_block_may_be_cancelled_and_waits_all_the_same(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    with no_task_left():
        with trio.move_on_after(0.5) as scope:
            async with slow(log).astream("in") as stream:
                async for event in stream:
                    if isinstance(event, NodeStarted) and event.node == "c":
                        await wait_all_tasks_blocked()
                        break
        assert scope.cancelled_caught
    assert trio.current_time() == 1
    assert log.the("c").how == "cleaned up"


async def test_a_node_that_fails_while_the_block_is_left_is_not_raised(
    autojump_clock: MockClock,
) -> None:
    nodes = {"b": Step(delay=10, cleanup_error=CustomError()), "c": Step(delay=10)}
    async with graph("a -> b, a -> c", nodes).astream("in") as stream:
        await anext(stream)
        await trio.sleep(1)


async def test_the_end_of_the_program_while_the_block_is_left_passes(
    autojump_clock: MockClock,
) -> None:
    async def interrupted(state: State) -> State:
        try:
            await trio.sleep(100)
        finally:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        async with graph("a -> b, a -> c", {"b": interrupted, "c": Step(delay=10)}).astream(
            "in"
        ) as stream:
            await anext(stream)
            await trio.sleep(1)
    assert isinstance(sole_error(caught.value), KeyboardInterrupt)


async def test_a_cancelled_iteration_leaves_nothing(autojump_clock: MockClock) -> None:
    log = Log()
    with no_task_left():
        with trio.move_on_after(5) as scope:
            async with slow(log).astream("in") as stream:
                async for _ in stream:
                    pass
        assert scope.cancelled_caught
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}


async def test_a_plain_iteration_that_is_cancelled_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    with no_task_left():
        with trio.move_on_after(5) as scope:
            async for _ in slow(log).astream("in"):
                pass
        assert scope.cancelled_caught
        await trio.sleep(5)
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}


async def test_a_stream_that_was_never_begun_runs_nothing() -> None:
    log = Log()
    stream = slow(log).astream("in")
    await wait_all_tasks_blocked()
    del stream
    await wait_all_tasks_blocked()
    assert log.visits == []


async def test_a_slow_listener_loses_no_event(autojump_clock: MockClock) -> None:
    names = [f"n{number}" for number in range(20)]
    seen = []
    async for event in graph(" -> ".join(names)).astream("in"):
        await trio.sleep(1)
        seen.append(event)
    assert [e.node for e in seen if isinstance(e, NodeStarted)] == names
    assert [e.result.node_name for e in seen if isinstance(e, NodeFinished)] == names


async def test_a_nested_break_stops_the_inner_run_alone(autojump_clock: MockClock) -> None:
    inner, outer = Log(), Log()
    async for event in graph("x -> y", {"x": Step(delay=1)}, log=outer).astream("in"):
        if isinstance(event, NodeStarted) and event.node == "x":
            async for _ in slow(inner).astream("in"):
                break
    assert outer.finished() == ["x", "y"]
    await trio.sleep(5)
    assert {visit.how for visit in inner.visits} <= {"finished", "cleaned up"}


async def test_two_streams_of_one_engine_do_not_meet(autojump_clock: MockClock) -> None:
    engine = graph("a -> b", {"a": Step(lambda s: {"who": s["input"]}, delay=1)})
    seen: dict[str, list[Any]] = {}

    async def watch(name: str) -> None:
        seen[name] = await events(engine, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, "one")
        nursery.start_soon(watch, "two")
    for name, told in seen.items():
        assert len(told) == 7
        assert next(e.update for e in told if isinstance(e, StateUpdated)) == {"who": name}


async def test_a_run_that_goes_on_after_a_question_is_watched_too() -> None:
    builder = WorkflowBuilder("g").add_node("first", node=lambda state: {"first": 1})
    builder.add_node("ask", human_prompt="Really?").add_edge("first", "ask")
    builder.add_node("last", node=lambda state: {"last": state["output"]}).add_edge("ask", "last")
    engine = builder.set_entry("first").set_terminal("last").build()
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute("in")
    events = [event async for event in engine.astream_resume(caught.value.state, "yes")]
    assert [event.node for event in events if isinstance(event, NodeStarted)] == ["ask", "last"]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result.unwrap().final_state["last"] == "yes"
    with pytest.raises(WorkflowStateError):
        async for _ in engine.astream_resume({}, "yes"):
            pass
