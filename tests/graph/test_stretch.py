"""Who works, when the time is up, and what is recorded: where several of these meet.

The plain cases are in `test_engine_flow.py`, `test_engine_limits.py` and `test_stream.py`; here a
store or a reader is slow, a deadline falls between two nodes, or several things happen in one tick.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    AbstractWorkflowNode,
    Command,
    Err,
    GraphConfig,
    GraphTimeoutError,
    HumanInputRequiredError,
    HumanNode,
    NodeExecutionError,
    Ok,
    RunFinished,
    Send,
    WorkflowEngine,
    WorkflowRunner,
    WorkflowTimeoutError,
    open_store,
)
from tests.graph.graphs import State, Step, concat, executed, graph, success
from tests.graph.stepping import SlowCache, World, whole

# --- a store that takes its time -------------------------------------------------------------


async def test_the_time_in_which_a_node_is_recorded_is_not_the_next_nodes(
    autojump_clock: MockClock,
) -> None:
    nodes = {"a": lambda state: {}, "b": Step(delay=0.5), "c": lambda state: {}}
    engine = graph("a -> b -> c", nodes, config=GraphConfig(node_timeout=1))
    async with open_store("memory:") as store:
        runner = WorkflowRunner(engine, checkpoint=SlowCache(store.cache, 2))
        result = await runner.run("in", run_id="r")
    assert isinstance(result, Ok), result
    assert [node.duration_ms for node in result.value.node_results] == [0, 500, 0]
    assert trio.current_time() >= 6.5


class Asking(AbstractWorkflowNode):
    async def execute(self, state: State) -> State:
        await trio.sleep(0.5)
        raise HumanInputRequiredError("Sure?", node=self.name, checkpoint_id=self.name)


async def test_a_deadline_of_a_node_that_has_ended_does_not_fire_while_it_is_recorded(
    autojump_clock: MockClock,
) -> None:
    nodes = {"a": World().work("a", seconds=0.1), "ask": Asking("ask")}
    engine = graph("e -> a -> z, e -> ask -> z", nodes, config=GraphConfig(node_timeout=1))
    async with open_store("memory:") as store:
        runner = WorkflowRunner(engine, checkpoint=SlowCache(store.cache, 5))
        with pytest.raises(HumanInputRequiredError):
            await runner.run("in", run_id="r")
    assert trio.current_time() > 5


async def test_a_deadline_of_a_node_that_has_ended_does_not_fire_while_a_reader_is_slow(
    autojump_clock: MockClock,
) -> None:
    quick = [f"q{number}" for number in range(60)]
    shape = ", ".join(f"e -> {name}" for name in quick) + ", e -> slow -> end"
    nodes = {"slow": World().work("slow")}
    engine = graph(shape, nodes, config=GraphConfig(node_timeout=1, max_iterations=100))
    async with engine.astream("in") as events:
        await trio.sleep(30)
        found = [event async for event in events]
    assert isinstance(found[-1], RunFinished)
    assert isinstance(found[-1].result, Ok), found[-1].result


@pytest.mark.parametrize("shape", ["a -> b -> c -> d", "a -> b -> d, a -> c -> e, c -> d"])
async def test_a_time_limit_while_nodes_are_recorded_is_the_runs_and_loses_none_of_them(
    shape: str, autojump_clock: MockClock
) -> None:
    world = World()
    nodes = {name: world.work(name, seconds=0.1) for name in "abcde" if name in shape}
    engine = graph(shape, nodes, config=GraphConfig(total_timeout=3))
    errors: list[Any] = []
    async with open_store("memory:") as store:
        cache = SlowCache(store.cache, 2)
        for _ in range(10):
            result = await WorkflowRunner(engine, checkpoint=cache).run("in", run_id="r")
            if result.is_ok():
                break
            errors.append(result.unwrap_err())
    assert errors
    assert all(type(error) is GraphTimeoutError for error in errors), errors
    assert sorted(world.finished) == sorted(nodes)
    assert whole(result)[1] == sorted(nodes)


async def test_two_branches_recorded_when_the_time_is_up_lead_on_once_each(
    autojump_clock: MockClock,
) -> None:
    world = World()
    nodes = {"a": world.work("a", seconds=0.2), "b": world.work("b", seconds=0.5)}
    nodes |= {name: world.work(name, seconds=0) for name in ("a2", "b2")}
    config = GraphConfig(total_timeout=3)
    engine = graph("e -> a -> a2, e -> b -> b2", nodes, config=config)
    async with open_store("memory:") as store:
        cache = SlowCache(store.cache, 2)
        late = await WorkflowRunner(engine, checkpoint=cache).run("in", run_id="r")
        assert isinstance(late, Err)
        assert isinstance(late.error, GraphTimeoutError)
        assert executed(late.error) == ["e", "a", "b"]
        cache.seconds = 0
        result = await WorkflowRunner(engine, checkpoint=cache).run("in", run_id="r")
    assert whole(result)[1] == ["e", "a", "b", "a2", "b2"]
    assert sorted(world.finished) == ["a", "a2", "b", "b2"]


# --- nodes that end too late, as the last ----------------------------------------------------

LIMITS = {
    "of the run": GraphConfig(total_timeout=1),
    "of the node": GraphConfig(node_timeout=1),
    "of both": GraphConfig(node_timeout=1, total_timeout=1),
}


async def swallowing(state: State) -> State:
    with suppress(trio.Cancelled):
        await trio.sleep(10)
    return {}


async def shielded(state: State) -> State:
    with trio.CancelScope(shield=True):
        await trio.sleep(10)
    return {}


@pytest.mark.parametrize("node", [swallowing, shielded])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("shape", ["late", "a -> late", "a -> late, a -> b"])
async def test_a_last_node_that_swallows_the_end_of_its_time_is_late_all_the_same(
    shape: str, limit: str, node: Any, autojump_clock: MockClock
) -> None:
    result = await graph(shape, {"late": node}, config=LIMITS[limit]).execute("in")
    assert isinstance(result, Err)
    if limit == "of the node":
        assert isinstance(result.error, NodeExecutionError)
        assert isinstance(result.error.cause, WorkflowTimeoutError)
        assert result.error.node == "late"
    else:
        assert isinstance(result.error, GraphTimeoutError)


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_last_node_that_never_waits_is_late_too(
    limit: str, autojump_clock: MockClock
) -> None:
    async def busy(state: State) -> State:
        autojump_clock.jump(2)
        return {}

    result = await graph("a -> busy", {"busy": busy}, config=LIMITS[limit]).execute("in")
    assert isinstance(result, Err)
    expected = NodeExecutionError if limit == "of the node" else GraphTimeoutError
    assert isinstance(result.error, expected)


# --- the end of the whole run ----------------------------------------------------------------


async def test_nothing_starts_after_the_terminal_that_stops_the_run() -> None:
    ran, woken = [], trio.Event()

    async def stop(state: State) -> None:
        await wait_all_tasks_blocked()
        woken.set()  # the sibling ends in the same tick, and cannot be cancelled any more
        ran.append("stop")

    async def sibling(state: State) -> None:
        await woken.wait()
        ran.append("sibling")

    nodes = {"stop": stop, "sibling": sibling}
    shape = "a -> stop, a -> sibling -> c -> d"
    nodes |= {name: lambda state, name=name: ran.append(name) for name in "cd"}
    engine = graph(shape, nodes, ends=["stop", "d"], stops=["stop"])
    result = await success(engine)
    assert result.terminated_at == "stop"
    assert ran in (["stop", "sibling"], ["stop"])
    assert set(executed(result)) <= {"a", "stop", "sibling"}


# --- helpers ---------------------------------------------------------------------------------


def fan(first: Any, **options: Any) -> WorkflowEngine:
    names = [f"n{number}" for number in range(6)]
    nodes = {name: Step(delay=1) for name in names} | {"n0": first}
    return graph(", ".join(f"e -> {name}" for name in names), nodes, **options)


class Bounded(trio.abc.Instrument):
    """Counts task steps; after a thousand it takes away what is ready, so that even a loop ends."""

    def __init__(self) -> None:
        self.steps = 0
        self.execution: Any = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == 1000 and self.execution is not None:
            self.execution.ready.clear()


def steps_of(engine: WorkflowEngine) -> tuple[Any, int]:
    """Run the graph; return the result and the task steps it took."""
    instrument, results, execution_of = Bounded(), [], engine.execution

    def watched(*args: Any) -> Any:
        instrument.execution = execution_of(*args)
        return instrument.execution

    async def main() -> None:
        results.append(await engine.execute("in"))

    engine.execution = watched  # type: ignore[method-assign]
    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    return results[0], instrument.steps


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
def test_while_a_limit_holds_nodes_back_no_task_turns_in_circles(limit: int) -> None:
    config = GraphConfig(max_parallel_branches=limit)
    result, steps = steps_of(fan(Step(delay=1), config=config))
    assert isinstance(result, Ok)
    assert steps < 60


@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_after_a_failure_with_nodes_still_ready_the_run_ends(limit: int) -> None:
    config = GraphConfig(max_parallel_branches=limit)
    result, steps = steps_of(fan(Step(error=OSError("bad")), config=config))
    assert isinstance(result, Err)
    assert result.error.node == "n0"
    assert steps < 60


# --- streams ---------------------------------------------------------------------------------


async def test_a_stream_that_was_closed_before_it_began_never_begins() -> None:
    world = World()
    stream = graph("a", {"a": world.work("a", seconds=0)}).astream("in")
    await stream.aclose()
    assert [event async for event in stream] == []
    await stream.aclose()
    assert world.finished == []


# --- whom an answer is for -------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (1, 1)])
async def test_which_visit_finds_the_answer_given_at_the_start_does_not_depend_on_time(
    a: float, b: float, autojump_clock: MockClock
) -> None:
    nodes = {
        "a": Step({"who": "a"}, delay=a),
        "b": Step({"who": "b"}, delay=b),
        "ask": HumanNode("ask"),
    }
    engine = graph("e -> a -> ask, e -> b -> ask", nodes, joins={"ask": "any"})
    result = await success(engine, state={"human_response": "yes"})
    assert executed(result) == ["e", "a", "b", "ask", "ask"]
    assert [node.output for node in result.node_results[3:]] == [{"human_response": "yes"}] * 2


async def test_a_second_visit_on_the_same_way_asks_again() -> None:
    looping = graph("ask -> turn -> ask, turn -> end", {"ask": HumanNode("ask")})
    with pytest.raises(HumanInputRequiredError) as caught:
        await looping.execute("in", state={"human_response": "yes"})
    assert [node.node_name for node in caught.value.node_results][:2] == ["ask", "turn"]


# --- merge order -----------------------------------------------------------------------------


async def test_visits_of_one_node_right_after_the_start_have_an_order() -> None:
    nodes = {
        "a": lambda state: Command(send=[Send("w", {"i": 2}), Send("w", {"i": 1})]),
        "w": lambda state: {"log": [state["i"]]},
    }
    result = await success(graph("a -> w -> z", nodes, reducers={"log": concat}))
    assert result.final_state["log"] == [2, 1]
    assert executed(result) == ["a", "w", "w", "z"]


@pytest.mark.parametrize("shape", ["a -> b -> j, a -> j", "a -> j, a -> b -> c -> j, b -> j"])
async def test_a_join_of_a_long_and_a_short_way_counts_every_write_once(shape: str) -> None:
    names = [name for name in "abcj" if name in shape]
    nodes = {name: Step({"log": [name]}) for name in names}
    log: list[Any] = []
    nodes["j"] = Step(lambda state: log.append(state["log"]) or {"log": ["j"]})
    result = await success(graph(shape, nodes, reducers={"log": concat}))
    assert result.final_state["log"] == names
    assert log == [names[:-1]]


async def test_the_start_is_written_once_where_ways_of_any_length_lead_back_to_it() -> None:
    nodes = {name: Step({"log": [name]}) for name in "abc"}
    engine = graph("a -> b, a -> c", nodes, reducers={"log": concat})
    result = await success(engine, state={"log": ["given"]})
    assert result.final_state["log"] == ["given", "a", "b", "c"]
