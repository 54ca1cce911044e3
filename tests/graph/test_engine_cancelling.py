"""Cancelling a run from outside: nothing is left, and nothing is made of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import GraphTimeoutError, WorkflowTimeoutError
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.result import Err
from tests.graph.graphs import Log, State, Step, counts, graph
from tests.leaks import descendants, no_task_left


def nobody() -> set[trio.lowlevel.Task]:
    """The tasks below the one that asks."""
    me = trio.lowlevel.current_task()
    return set(descendants(me, leave_out=me))


async def cancelled_after(engine: WorkflowEngine, seconds: float, **options: Any) -> None:
    """Cancel the run then, and see that it was not turned into anything."""
    outcome = None
    with no_task_left():
        with trio.move_on_after(seconds) as scope:
            outcome = await engine.execute("in", **options)
        assert nobody() == set()
    assert outcome is None
    assert scope.cancelled_caught


def busy_graph(log: Log, **options: Any) -> WorkflowEngine:
    """Loops, joins and fans out for a long time."""
    return graph(
        "a -> b -> j, a -> c -> d -> j, j -> a, a -> s, j -> e",
        {
            "a": Step(counts("n"), delay=1),
            "b": Step(delay=3, cleanup=0.25),
            "c": Step(delay=0.5),
            "d": Step(delay=1),
            "s": Step(delay=20, cleanup=0.5),
        },
        when={("j", "e"): lambda state: state["n"] > 1000},
        config=GraphConfig(max_iterations=10_000, **options),
        log=log,
    )


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 1.5, 1.75, 2, 2.5, 3.5, 4, 4.5, 7, 11.25, 30])
@pytest.mark.parametrize("limit", [0, 1, 2])
async def test_a_run_may_be_cancelled_at_any_time(
    seconds: float, limit: int, autojump_clock: MockClock
) -> None:
    log = Log()
    await cancelled_after(busy_graph(log, max_parallel_branches=limit), seconds)
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}
    visits = len(log.visits)
    await trio.sleep(100)
    assert len(log.visits) == visits


@pytest.mark.parametrize("steps", range(40))
async def test_a_run_may_be_cancelled_after_any_number_of_steps(steps: int) -> None:
    log = Log()
    engine = graph(
        "a -> b -> d, a -> c -> d -> e, e -> a, e -> f", when=NEVER_F, log=log, config=MANY
    )
    ended = []

    async def run() -> None:
        ended.append(await engine.execute("in"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert ended == []
    assert {visit.how for visit in log.visits} <= {"finished", "cleaned up"}


NEVER_F = {("e", "f"): lambda state: False}
MANY = GraphConfig(max_iterations=10_000)


async def test_a_run_in_a_cancelled_scope_starts_no_work() -> None:
    log = Log()
    with trio.CancelScope() as scope:
        scope.cancel()
        await graph("a", {"a": Step(delay=1)}, log=log).execute("in")
        pytest.fail("it was cancelled")
    assert scope.cancelled_caught
    assert {visit.how for visit in log.visits} <= {"cleaned up"}


async def test_cancelling_waits_for_the_clean_up_of_every_node(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(delay=100, cleanup=2), "c": Step(delay=100, cleanup=5)}
    await cancelled_after(graph("a -> b, a -> c", nodes, log=log), 10)
    assert trio.current_time() == 15
    assert {log.the(name).how for name in "bc"} == {"cleaned up"}


async def test_a_node_that_fails_in_its_clean_up_makes_no_err_of_a_cancellation(
    autojump_clock: MockClock,
) -> None:
    nodes = {"b": Step(delay=100, cleanup_error=ValueError("clean-up")), "c": Step(delay=100)}
    await cancelled_after(graph("a -> b, a -> c", nodes), 10)


async def test_a_run_cancelled_while_siblings_clean_up_after_a_failure(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {"b": Step(error=ValueError(), delay=1), "c": Step(delay=100, cleanup=5)}
    with no_task_left(), trio.move_on_after(3):
        await graph("a -> b, a -> c", nodes, log=log).execute("in")
    assert log.the("c").how == "cleaned up"
    assert trio.current_time() == 6


async def test_a_node_that_cancels_the_run_and_goes_on_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    with trio.CancelScope() as scope:

        def stop(state: State) -> State:
            scope.cancel()
            return {"x": 1}

        with no_task_left():
            await graph("a -> b -> c", {"a": stop, "b": Step(delay=5)}, log=log).execute("in")
            pytest.fail("it was cancelled")
    assert {visit.how for visit in log.visits} <= {"cleaned up"}
    assert log.of("c") == []
    assert trio.current_time() == 0


async def test_an_edge_that_cancels_the_run_leaves_nothing(autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:

        def stop(state: State) -> bool:
            scope.cancel()
            return True

        await graph("a -> b", {"b": Step(delay=5)}, when={("a", "b"): stop}).execute("in")
        pytest.fail("it was cancelled")
    assert scope.cancelled_caught


async def test_cancelling_one_of_two_runs_leaves_the_other(autojump_clock: MockClock) -> None:
    engine = graph("a -> b", {"a": Step(delay=5), "b": Step({"x": 1}, delay=5)})
    results = []

    async def run(seconds: float) -> None:
        with trio.move_on_after(seconds):
            results.append(await engine.execute("in"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 7)
        nursery.start_soon(run, 20)
    (result,) = results
    assert result.unwrap().final_state["x"] == 1


async def test_an_engine_runs_again_after_it_was_cancelled(autojump_clock: MockClock) -> None:
    engine = graph("a -> b -> d, a -> c -> d", {"b": Step(delay=5), "c": Step(delay=3)})
    await cancelled_after(engine, 4)
    result = (await engine.execute("in")).unwrap()
    assert [node.node_name for node in result.node_results] == ["a", "b", "c", "d"]


async def test_a_cancelled_scope_inside_a_node_is_the_nodes_own(autojump_clock: MockClock) -> None:
    async def node(state: State) -> State:
        with trio.move_on_after(1):
            await trio.sleep(10)
        return {"went_on": True}

    result = await graph("a -> b", {"a": node}).execute("in")
    assert result.unwrap().final_state["went_on"] is True


async def test_while_a_run_waits_there_is_a_task_for_each_running_node_at_most() -> None:
    nodes = {name: Step(delay=float("inf")) for name in "bc"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(graph("a -> b, a -> c", nodes).execute, "in")
        await wait_all_tasks_blocked()
        # The run itself and the two nodes, with the few helpers of the engine's own.
        assert len(nobody()) <= 6
        nursery.cancel_scope.cancel()


# --- plain functions -----------------------------------------------------------------------


async def test_many_short_runs_in_a_row_let_other_tasks_work_and_be_cancelled() -> None:
    runs = 0
    engine = graph("a -> b", {"a": lambda s: {"x": 1}, "b": lambda s: None})

    async def keep_running() -> None:
        nonlocal runs
        while True:
            await engine.execute("in")
            runs += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 < runs < 100_000


async def test_a_run_of_plain_functions_lets_other_tasks_work_and_be_cancelled() -> None:
    rounds = 0

    def count(state: State) -> State:
        nonlocal rounds
        rounds += 1
        return {"n": rounds}

    engine = graph(
        "a -> b -> a, b -> c",
        {"a": count, "b": lambda s: {}},
        when={("b", "c"): lambda s: False},
        config=GraphConfig(max_iterations=1_000_000),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.execute, "in")
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 < rounds < 100_000


async def test_a_node_that_swallows_its_cancellation_holds_nothing_up(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(state: State) -> State:
        with suppress(trio.Cancelled):
            await trio.sleep(100)
        return {"x": 1}

    log = Log()
    await cancelled_after(graph("a -> b -> c", {"b": stubborn}, log=log), 10)
    assert log.of("c") == []


async def test_a_sibling_that_swallows_its_cancellation_changes_no_failure(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(state: State) -> State:
        with suppress(trio.Cancelled):
            await trio.sleep(100)
        return {"x": 1}

    log = Log()
    nodes = {"b": Step(error=ValueError("first"), delay=1), "c": stubborn}
    result = await graph("a -> b, a -> c -> d", nodes, log=log).execute("in")
    assert isinstance(result, Err)
    assert result.error.node == "b"
    assert log.of("d") == []


async def test_a_node_that_swallows_its_time_out_starts_nothing_late(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(state: State) -> State:
        with suppress(trio.Cancelled):
            await trio.sleep(100)
        return {"x": 1}

    engine = graph("a -> b -> c", {"b": stubborn}, config=GraphConfig(node_timeout=5))
    result = await engine.execute("in")
    assert trio.current_time() < 6
    assert isinstance(result, Err)
    assert result.error.node == "b"
    assert isinstance(result.error.cause, WorkflowTimeoutError)


async def test_a_node_that_swallows_the_time_out_of_the_run_does_not_save_it(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(state: State) -> State:
        with suppress(trio.Cancelled):
            await trio.sleep(100)
        return {"x": 1}

    log = Log()
    for shape in ("a -> b -> c", "a -> b -> c, a -> d"):
        engine = graph(shape, {"b": stubborn}, config=GraphConfig(total_timeout=5), log=log)
        began = trio.current_time()
        result = await engine.execute("in")
        assert isinstance(result, Err)
        assert isinstance(result.error, GraphTimeoutError)
        assert result.error.timeout == 5
        assert trio.current_time() - began == 5
    assert log.of("c") == []


async def test_a_group_with_the_end_of_the_program_inside_passes() -> None:
    raised = BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])
    engine = graph("a -> b, a -> c", {"b": Step(error=raised), "c": Step(delay=100)})
    with pytest.raises((BaseExceptionGroup, KeyboardInterrupt)) as caught:
        await engine.execute("in")
    found = caught.value
    if isinstance(found, BaseExceptionGroup):
        assert found.split(KeyboardInterrupt)[0] is not None


async def test_a_run_cancelled_while_it_pauses_asks_nothing(autojump_clock: MockClock) -> None:
    engine = graph("a -> ask, a -> b", {"ask": HumanNode("ask"), "b": Step(delay=50)})
    await cancelled_after(engine, 10)
