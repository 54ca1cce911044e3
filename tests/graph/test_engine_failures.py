"""What a failure of a node, an edge or a terminal condition becomes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.errors import (
    GraphExecutionError,
    HumanInputRequiredError,
    NodeExecutionError,
)
from lexigram_actors.result import Err
from tests.graph.graphs import (
    CustomError,
    Log,
    MuteError,
    State,
    Step,
    done,
    executed,
    failure,
    graph,
    outcome,
)

# --- nodes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("bad"),
        CustomError("own"),
        MuteError(),
        AssertionError(),
        KeyError("key"),
        StopIteration(),
        StopAsyncIteration(),
        MemoryError(),
        RecursionError(),
        TimeoutError("slow"),
        trio.TooSlowError(),
        trio.ClosedResourceError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        GraphExecutionError("of the graph's own class"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_node_raises_is_its_failure(raised: Exception) -> None:
    error = await failure(graph("a -> b -> c", {"b": Step(error=raised)}))
    assert type(error) is NodeExecutionError
    assert error.node == "b"
    assert "'b'" in str(error)
    if isinstance(raised, StopIteration):
        assert isinstance(error.cause, RuntimeError)  # as Python has it for coroutines
    else:
        assert error.cause is raised


async def test_a_group_of_one_is_unwrapped() -> None:
    inner = CustomError("one")
    raised = ExceptionGroup("outer", [ExceptionGroup("inner", [inner])])
    error = await failure(graph("a", {"a": Step(error=raised)}))
    assert error.cause is inner


async def test_a_nursery_in_a_node_fails_with_the_one_error() -> None:
    async def node(state: State) -> State:
        async def fail() -> None:
            raise CustomError("inside")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)
        return {}

    error = await failure(graph("a", {"a": node}))
    assert isinstance(error.cause, CustomError)


async def test_a_group_of_several_is_the_cause_as_it_is() -> None:
    raised = ExceptionGroup("two", [ValueError("1"), CustomError("2")])
    error = await failure(graph("a", {"a": Step(error=raised)}))
    assert error.cause is raised


@pytest.mark.parametrize("rubbish", [42, "text", ["x"], object(), True, 0, "", {"x"}], ids=repr)
async def test_a_node_that_returns_rubbish_fails(rubbish: Any) -> None:
    error = await failure(graph("a -> b", {"a": Step(rubbish)}))
    assert type(error) is NodeExecutionError
    assert error.node == "a"
    assert repr(rubbish) in str(error) or type(rubbish).__name__ in str(error)


async def test_a_node_that_returns_an_err_fails() -> None:
    cause = CustomError("returned")
    error = await failure(graph("a -> b", {"a": Step(Err(cause))}))
    assert (type(error), error.node, error.cause) == (NodeExecutionError, "a", cause)


async def test_a_node_may_fail_with_any_value() -> None:
    error = await failure(graph("a -> b", {"a": Step(Err("out of stock"))}))
    assert (type(error), error.node) == (NodeExecutionError, "a")
    assert "out of stock" in str(error)


async def test_the_message_tells_what_was_raised() -> None:
    error = await failure(graph("a", {"a": Step(error=CustomError("the reason"))}))
    assert "the reason" in str(error)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_passes(kind: type[BaseException]) -> None:
    engine = graph("a -> b, a -> c", {"b": Step(error=kind()), "c": Step(delay=100)})
    with pytest.raises(kind):
        await engine.execute("in")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_cancels_the_siblings(
    kind: type[BaseException], autojump_clock: MockClock
) -> None:
    log = Log()
    nodes = {"b": Step(error=kind(), delay=1), "c": Step(delay=100)}
    with pytest.raises(kind):
        await graph("a -> b, a -> c", nodes, log=log).execute("in")
    assert (log.the("c").how, trio.current_time()) == ("cleaned up", 1)


# --- siblings ------------------------------------------------------------------------------


async def test_a_failing_node_cancels_its_siblings_at_once(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(error=CustomError(), delay=1), "c": Step(delay=100), "d": Step(delay=50)}
    error = await failure(graph("a -> b, a -> c, a -> d", nodes, log=log))
    assert error.node == "b"
    assert trio.current_time() == 1
    assert [(log.the(n).how, log.the(n).ended) for n in "cd"] == [("cleaned up", 1)] * 2


async def test_siblings_are_cancelled_also_when_the_second_to_finish_fails(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {"b": Step(delay=1), "c": Step(error=CustomError(), delay=2), "d": Step(delay=100)}
    error = await failure(graph("a -> b -> e, a -> c, a -> d", nodes, log=log))
    assert error.node == "c"
    assert (trio.current_time(), log.the("d").how) == (2, "cleaned up")


async def test_siblings_are_cancelled_before_they_take_another_step() -> None:
    steps = 0

    async def busy(state: State) -> State:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    async def fail(state: State) -> State:
        nonlocal steps
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        steps = 0
        raise CustomError

    error = await failure(graph("a -> b, a -> c", {"b": busy, "c": fail}))
    assert error.node == "c"
    assert steps <= 1


async def test_nothing_starts_after_a_failure() -> None:
    log = Log()
    nodes = {"b": Step(error=CustomError())}
    await failure(graph("a -> b, a -> c -> d -> e -> f -> g", nodes, log=log))
    assert "g" not in log.names()


async def test_the_clean_up_of_siblings_runs_to_its_end(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(error=CustomError(), delay=1), "c": Step(delay=100, cleanup=5)}
    await failure(graph("a -> b, a -> c", nodes, log=log))
    assert (log.the("c").how, trio.current_time()) == ("cleaned up", 6)


async def test_a_sibling_that_fails_in_its_clean_up_does_not_hide_the_first(
    autojump_clock: MockClock,
) -> None:
    first = CustomError("first")
    nodes = {
        "b": Step(error=first, delay=1),
        "c": Step(delay=100, cleanup_error=ValueError("second")),
    }
    error = await failure(graph("a -> c, a -> b", nodes))
    assert (error.node, error.cause) == ("b", first)


async def test_of_two_that_fail_at_once_one_is_reported(autojump_clock: MockClock) -> None:
    nodes = {"b": Step(error=CustomError("b"), delay=1), "c": Step(error=CustomError("c"), delay=1)}
    error = await failure(graph("a -> b, a -> c", nodes))
    assert type(error) is NodeExecutionError
    assert error.node in ("b", "c")
    assert isinstance(error.cause, CustomError)


async def test_a_failure_wins_over_a_question_that_is_open(autojump_clock: MockClock) -> None:
    question = HumanInputRequiredError("why?", node="b", checkpoint_id="b")
    nodes = {"b": Step(error=question), "c": Step(error=CustomError(), delay=5)}
    error = await failure(graph("a -> b, a -> c", nodes))
    assert error.node == "c"


async def test_the_error_tells_what_was_done_in_merge_order(autojump_clock: MockClock) -> None:
    nodes = {
        "b": Step({"x": 1}, delay=3),
        "c": Step(delay=1),
        "d": Step(error=CustomError("late"), delay=5),
        "e": Step(delay=100),
    }
    error = await failure(graph("a -> b, a -> c -> d, a -> e", nodes))
    assert done(error) == ["a", "b", "c"]
    assert error.node_results[1].output == {"x": 1}


async def test_the_error_tells_how_the_failed_node_went(autojump_clock: MockClock) -> None:
    nodes = {"b": Step(error=CustomError("reason"), delay=2)}
    error = await failure(graph("a -> b", nodes))
    assert executed(error) == ["a", "b"]
    last = error.node_results[-1]
    assert "reason" in last.error
    assert last.duration_ms == pytest.approx(2000)
    assert not last.succeeded


async def test_a_run_after_a_failed_one_is_untouched_by_it() -> None:
    failing = Step(error=CustomError())
    engine = graph("a -> b", {"b": failing})
    assert (await outcome(engine)).is_err()
    failing.error = None
    assert (await outcome(engine)).is_ok()


# --- edges and terminals -------------------------------------------------------------------


def broken(error: Exception) -> Any:
    def predicate(state: State) -> bool:
        raise error

    return predicate


async def test_a_key_that_is_not_there_makes_an_edge_inactive() -> None:
    result = await outcome(graph("a -> b, a -> c", when={("a", "b"): lambda s: s["missing"]}))
    assert executed(result.unwrap()) == ["a", "c"]


@pytest.mark.parametrize(
    "raised",
    [ValueError("bad"), TypeError(), CustomError(), MuteError(), IndexError(), StopIteration()],
    ids=lambda error: type(error).__name__,
)
async def test_an_edge_whose_condition_raises_is_an_error_that_names_it(raised: Exception) -> None:
    error = await failure(graph("a -> b -> c", when={("b", "c"): broken(raised)}))
    assert isinstance(error, GraphExecutionError)
    assert "'b'" in str(error)
    assert "'c'" in str(error)
    assert error.cause is raised
    assert "a" in done(error)


async def test_a_terminal_condition_that_misses_a_key_says_no() -> None:
    engine = graph("a -> b", ends={"a": lambda s: s["missing"], "b": None})
    assert executed((await outcome(engine)).unwrap()) == ["a", "b"]


async def test_a_terminal_condition_that_raises_is_an_error_that_names_the_node() -> None:
    raised = CustomError("bad")
    error = await failure(graph("a -> b", ends={"a": broken(raised), "b": None}))
    assert isinstance(error, GraphExecutionError)
    assert "'a'" in str(error)
    assert (error.node, error.cause) == ("a", raised)


async def test_a_condition_that_raises_cancels_what_runs(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step(delay=1), "c": Step(delay=100)}
    when = {("b", "d"): broken(CustomError())}
    await failure(graph("a -> b -> d, a -> c", nodes, when=when, log=log))
    assert (log.the("c").how, trio.current_time()) == ("cleaned up", 1)
