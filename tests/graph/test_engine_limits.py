"""How many nodes run at once, how many in all, and how long."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    CycleDetectedError,
    GraphTimeoutError,
    NodeExecutionError,
    WorkflowTimeoutError,
)
from tests.graph.graphs import (
    LONG,
    Log,
    Step,
    counts,
    done,
    executed,
    failure,
    graph,
    outcome,
    success,
)

ONE_BY_ONE = GraphConfig(parallel_branches=False)


# --- how many at once ----------------------------------------------------------------------


async def test_branches_run_side_by_side(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {name: Step(delay=5) for name in "bcd"}
    await success(graph("a -> b, a -> c, a -> d", nodes, log=log))
    assert trio.current_time() == 5


async def test_without_parallel_branches_ready_nodes_run_one_at_a_time_in_order(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {name: Step(delay=5) for name in "bcdx"}
    engine = graph("a -> b -> x, a -> c, a -> d", nodes, config=ONE_BY_ONE, log=log)
    await success(engine)
    assert log.most_at_once() == 1
    assert [n for n in log.names() if n != "x"] == ["a", "b", "c", "d"]
    assert trio.current_time() == 20


async def test_one_at_a_time_follows_the_merge_order(autojump_clock: MockClock) -> None:
    log = Log()
    await success(graph("a -> b -> x, a -> c -> y, a -> d", config=ONE_BY_ONE, log=log))
    assert log.names() == ["a", "b", "c", "d", "x", "y"]


async def test_a_parallel_edge_is_followed_side_by_side_all_the_same(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {name: Step(delay=5) for name in "bc"}
    await success(graph("a => b, a => c", nodes, config=ONE_BY_ONE, log=log))
    assert log.most_at_once() == 2
    assert trio.current_time() == 5


async def test_one_at_a_time_joins_as_ever(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b -> j, a -> c -> d -> j", config=ONE_BY_ONE, log=log)
    await success(engine)
    assert log.names() == ["a", "b", "c", "d", "j"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_limit_holds_and_drops_no_branch(limit: int, autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {f"n{i}": Step(delay=1 + i % 3) for i in range(10)}
    shape = ", ".join(f"a -> n{i} -> j" for i in range(10))
    config = GraphConfig(max_parallel_branches=limit)
    await success(graph(shape, nodes, config=config, log=log))
    assert log.most_at_once() == limit
    assert {f"n{i}" for i in range(10)} <= set(log.names())
    assert len(log.of("j")) == 1


async def test_a_limit_counts_what_runs_and_not_what_waits(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> j, a -> c -> d -> j",
        {"b": Step(delay=1), "c": Step(delay=5), "d": Step(delay=1)},
        config=GraphConfig(max_parallel_branches=1),
        log=log,
    )
    await success(engine)
    assert log.names() == ["a", "b", "c", "d", "j"]


# --- how many in all -----------------------------------------------------------------------


async def test_as_many_executions_as_allowed_may_run() -> None:
    assert (await outcome(graph("a -> b -> c", config=GraphConfig(max_iterations=3)))).is_ok()


async def test_the_execution_over_the_limit_does_not_start() -> None:
    log = Log()
    error = await failure(graph("a -> b -> c", config=GraphConfig(max_iterations=2), log=log))
    assert isinstance(error, CycleDetectedError)
    assert (error.iterations, error.node) == (2, "c")
    assert log.names() == ["a", "b"]
    assert done(error) == ["a", "b"]


async def test_a_loop_that_does_not_end_is_noticed() -> None:
    log = Log()
    error = await failure(graph("a -> b -> a, b -> c", when=NEVER_OUT, log=log))
    assert isinstance(error, CycleDetectedError)
    assert error.iterations == 25
    assert len(log.visits) == 25


NEVER_OUT = {("b", "c"): lambda state: False}


async def test_side_by_side_executions_count_each() -> None:
    log = Log()
    config = GraphConfig(max_iterations=3)
    error = await failure(graph("a -> b, a -> c, a -> d", config=config, log=log))
    assert isinstance(error, CycleDetectedError)
    assert error.iterations == 3
    assert len(log.visits) <= 3


async def test_a_run_over_the_limit_cancels_what_runs(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"slow": Step(delay=100), "l": Step(counts("n"), delay=1)}
    engine = graph(
        "a -> slow, a -> l -> l, l -> end",
        nodes,
        when={("l", "end"): lambda state: False},
        config=GraphConfig(max_iterations=5),
        log=log,
    )
    error = await failure(engine)
    assert isinstance(error, CycleDetectedError)
    assert log.the("slow").how == "cleaned up"
    assert trio.current_time() == 3


async def test_a_run_that_ends_at_the_limit_is_fine() -> None:
    engine = graph(
        "a -> a, a -> b",
        {"a": Step(counts("n"))},
        when={("a", "a"): lambda s: s["n"] < 4, ("a", "b"): lambda s: s["n"] >= 4},
        config=GraphConfig(max_iterations=5),
    )
    assert (await success(engine)).iterations == 5


# --- how long ------------------------------------------------------------------------------


async def test_a_node_that_takes_too_long_fails_exactly_then(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b", {"b": Step(delay=100)}, config=GraphConfig(node_timeout=7), log=log)
    error = await failure(engine)
    assert type(error) is NodeExecutionError
    assert error.node == "b"
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert trio.current_time() == 7
    assert log.the("b").how == "cleaned up"
    assert done(error) == ["a"]


async def test_a_node_time_out_cancels_the_siblings(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(delay=9.5), "c": Step(delay=1), "d": Step(delay=9.5)}
    config = GraphConfig(node_timeout=9)
    error = await failure(graph("a -> b, a -> c -> d", nodes, config=config, log=log))
    assert error.node == "b"
    assert log.the("d").how == "cleaned up"
    assert 9 <= log.the("d").ended <= 9.0011  # at most 1 ms late


async def test_a_node_that_ends_in_time_is_not_hit_by_an_earlier_deadline(
    autojump_clock: MockClock,
) -> None:
    nodes = {"b": Step(delay=4), "c": Step(delay=4.9), "d": Step(delay=4.9), "e": Step(delay=4.9)}
    engine = graph("a -> b -> c, a -> d -> e -> f", nodes, config=GraphConfig(node_timeout=5))
    assert executed(await success(engine)) == ["a", "b", "d", "c", "e", "f"]


async def test_each_execution_has_its_own_time(autojump_clock: MockClock) -> None:
    engine = graph(
        "a -> a, a -> b",
        {"a": Step(counts("n"), delay=4)},
        when={("a", "a"): lambda s: s["n"] < 5, ("a", "b"): lambda s: s["n"] >= 5},
        config=GraphConfig(node_timeout=5),
    )
    await success(engine)
    assert trio.current_time() == 20


async def test_waiting_for_a_free_place_is_no_time_of_a_node(autojump_clock: MockClock) -> None:
    nodes = {name: Step(delay=4) for name in "bcde"}
    config = GraphConfig(node_timeout=5, max_parallel_branches=1)
    await success(graph("a -> b, a -> c, a -> d, a -> e", nodes, config=config))
    assert trio.current_time() == 16


@pytest.mark.parametrize("none", [0, float("inf")])
async def test_no_limit_is_no_limit(none: float, autojump_clock: MockClock) -> None:
    config = GraphConfig(node_timeout=none, total_timeout=none)
    await success(graph("a", {"a": Step(delay=LONG / 2)}, config=config))
    assert trio.current_time() == LONG / 2


async def test_a_time_out_of_the_nodes_own_is_no_time_out_of_the_engine() -> None:
    error = await failure(graph("a", {"a": Step(error=trio.TooSlowError())}))
    assert type(error) is NodeExecutionError
    assert isinstance(error.cause, trio.TooSlowError)


async def test_a_run_that_takes_too_long_fails_exactly_then(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {name: Step(delay=4) for name in "abc"}
    engine = graph("a -> b -> c", nodes, config=GraphConfig(total_timeout=10), log=log)
    error = await failure(engine)
    assert isinstance(error, GraphTimeoutError)
    assert error.timeout == 10
    assert trio.current_time() == 10
    assert log.the("c").how == "cleaned up"
    assert done(error) == ["a", "b"]


async def test_a_time_out_waits_for_the_clean_up(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"a": Step(delay=100, cleanup=3)}
    error = await failure(graph("a", nodes, config=GraphConfig(total_timeout=10), log=log))
    assert isinstance(error, GraphTimeoutError)
    assert trio.current_time() == 13
    assert log.the("a").how == "cleaned up"


async def test_a_run_that_ends_in_time_is_fine(autojump_clock: MockClock) -> None:
    nodes = {"a": Step(delay=4), "b": Step(delay=5)}
    await success(graph("a -> b", nodes, config=GraphConfig(total_timeout=9.5)))


async def test_the_shorter_of_both_times_counts(autojump_clock: MockClock) -> None:
    config = GraphConfig(node_timeout=5, total_timeout=7)
    error = await failure(graph("a", {"a": Step(delay=100)}, config=config))
    assert type(error) is NodeExecutionError
    nodes = {"a": Step(delay=4), "b": Step(delay=100)}
    assert isinstance(await failure(graph("a -> b", nodes, config=config)), GraphTimeoutError)


async def test_a_node_that_hides_from_its_time_out_by_raising_is_still_a_time_out_or_its_failure(
    autojump_clock: MockClock,
) -> None:
    nodes = {"a": Step(delay=100, cleanup_error=ValueError("in clean-up"))}
    error = await failure(graph("a", nodes, config=GraphConfig(node_timeout=5)))
    assert (type(error), error.node) == (NodeExecutionError, "a")
    assert trio.current_time() == 5


async def test_a_deadline_of_the_caller_is_no_time_out_of_the_run(
    autojump_clock: MockClock,
) -> None:
    engine = graph("a", {"a": Step(delay=100)}, config=GraphConfig(total_timeout=50))
    with trio.move_on_after(10) as scope:
        await engine.execute("in")
        pytest.fail("it was cancelled")
    assert scope.cancelled_caught
