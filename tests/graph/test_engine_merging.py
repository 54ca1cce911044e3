"""What a node sees, and what becomes of writes to one key."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import StateConflictError
from lexigram_actors.graph.models import Command, Send
from tests.graph.graphs import (
    Log,
    State,
    Step,
    concat,
    counts,
    executed,
    failure,
    graph,
    names_of,
    outcome,
    success,
)

STRICT = GraphConfig(on_conflict="error")


# --- causal views --------------------------------------------------------------------------


async def test_a_node_never_sees_what_a_concurrent_branch_wrote_earlier(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = graph(
        "a -> b -> e, a -> c -> d -> e",
        {"b": Step({"from_b": 1}), "c": Step(delay=10)},
        log=log,
    )
    result = await success(engine)
    assert log.the("d").started == 10
    assert "from_b" not in log.saw("d")
    assert log.saw("e")["from_b"] == 1
    assert result.final_state["from_b"] == 1


async def test_an_edge_is_not_asked_with_what_a_concurrent_branch_wrote(
    autojump_clock: MockClock,
) -> None:
    engine = graph(
        "a -> b, a -> c -> d, c -> e",
        {"b": Step({"x": 1}), "c": Step(delay=10)},
        when={("c", "d"): lambda state: state["x"] == 1, ("c", "e"): lambda s: "x" not in s},
    )
    assert executed(await success(engine)) == ["a", "b", "c", "e"]


async def test_a_value_of_the_past_is_overwritten_in_one_branch_alone(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = graph(
        "a -> b -> d, a -> c",
        {"a": Step({"x": "a"}), "b": Step({"x": "b"}), "c": Step(delay=5)},
        log=log,
    )
    await success(engine)
    assert (log.saw("c")["x"], log.saw("d")["x"]) == ("a", "b")


# --- merge order ---------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["b", "c"])
async def test_of_writes_side_by_side_the_later_registered_wins(
    slow: str, autojump_clock: MockClock
) -> None:
    log = Log()
    nodes = {"b": Step({"x": "b"}), "c": Step({"x": "c"})}
    nodes[slow].delay = 10
    result = await success(graph("a -> b -> d, a -> c -> d", nodes, log=log))
    assert (log.saw("d")["x"], result.final_state["x"]) == ("c", "c")


@pytest.mark.parametrize("slow", ["b", "z"])
async def test_of_writes_side_by_side_the_deeper_wins(slow: str, autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step({"x": "b"}), "z": Step({"x": "z"})}
    nodes[slow].delay = 10
    engine = graph("a -> c -> b -> d, a -> z -> d", nodes, log=log)
    await success(engine)
    assert log.saw("d")["x"] == "b"


async def test_registration_decides_and_not_the_order_of_edges(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> c, a -> b, c -> d, b -> d",
        {"a": None, "b": Step({"x": "b"}), "c": Step({"x": "c"})},
        log=log,
    )
    await success(engine)
    assert log.saw("d")["x"] == "b"  # "c" stands before "b" in the shape


async def test_a_later_node_overwrites_an_earlier() -> None:
    engine = graph("a -> b -> c", {"a": Step({"x": 1}), "b": Step({"x": 2})})
    assert (await success(engine)).final_state["x"] == 2


async def test_a_short_branch_does_not_undo_what_was_written_after_it() -> None:
    log = Log()
    engine = graph(
        "a -> d, a -> b -> c -> d",
        {"a": Step({"x": "a"}), "c": Step({"x": "c"})},
        log=log,
    )
    await success(engine)
    assert log.saw("d")["x"] == "c"


async def test_output_follows_the_merge_order(autojump_clock: MockClock) -> None:
    nodes = {"b": Step({"output": "b"}, delay=10), "c": Step({"output": "c"})}
    assert (await success(graph("a -> b, a -> c", nodes))).output == "c"


async def test_branches_that_never_join_merge_at_the_end(autojump_clock: MockClock) -> None:
    nodes = {
        "b": Step({"trail": ["b"]}, delay=10),
        "c": Step({"trail": ["c"]}),
        "d": Step({"trail": ["d"]}),
    }
    engine = graph("a -> b, a -> c -> d", nodes, reducers={"trail": concat})
    result = await success(engine)
    assert result.final_state["trail"] == ["b", "c", "d"]
    assert [name for name, _ in result.final_state["_history"]] == ["a", "b", "c", "d"]


# --- reducers ------------------------------------------------------------------------------


async def test_a_reducer_combines_writes_side_by_side(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {"b": Step({"x": ["b"]}, delay=10), "c": Step({"x": ["c"]})}
    engine = graph("a -> b -> d, a -> c -> d", nodes, reducers={"x": concat}, log=log)
    await success(engine)
    assert log.saw("d")["x"] == ["b", "c"]


async def test_a_reducer_combines_writes_one_after_another() -> None:
    nodes = {"a": Step({"x": 1}), "b": Step({"x": 10}), "c": Step({"x": 100})}
    engine = graph("a -> b -> c", nodes, reducers={"x": lambda earlier, later: earlier + later})
    assert (await success(engine)).final_state["x"] == 111


async def test_each_write_counts_once_however_many_ways_carry_it() -> None:
    log = Log()
    engine = graph(
        "a -> b -> d -> g, a -> c -> d, a -> e -> g, d -> f -> g",
        {name: Step({"trail": [name]}) for name in "abcdefg"},
        reducers={"trail": concat},
        log=log,
    )
    result = await success(engine)
    # Registered a, b, d, g, c, e, f.
    assert log.saw("d")["trail"] == ["a", "b", "c"]
    assert log.saw("g")["trail"] == ["a", "b", "c", "e", "d", "f"]
    assert result.final_state["trail"] == ["a", "b", "c", "e", "d", "f", "g"]


async def test_a_single_write_is_not_reduced() -> None:
    def never(earlier: Any, later: Any) -> Any:
        raise AssertionError((earlier, later))

    engine = graph("a -> b", {"a": Step({"x": 1})}, reducers={"x": never})
    assert (await success(engine)).final_state["x"] == 1


async def test_an_initial_value_counts_as_the_first_write() -> None:
    nodes = {"a": Step({"x": ["a"]})}
    engine = graph("a", nodes, reducers={"x": concat})
    assert (await success(engine, state={"x": ["start"]})).final_state["x"] == ["start", "a"]


async def test_an_initial_value_counts_once_where_branches_join() -> None:
    log = Log()
    nodes = {"b": Step({"x": ["b"]}), "c": Step({"x": ["c"]})}
    engine = graph("a -> b -> d, a -> c -> d", nodes, reducers={"x": concat}, log=log)
    await success(engine, state={"x": ["start"]})
    assert log.saw("d")["x"] == ["start", "b", "c"]


async def test_the_empty_output_at_the_start_is_no_write() -> None:
    nodes = {"a": Step({"output": ["a"]}), "b": Step({"output": ["b"]})}
    engine = graph("a -> b", nodes, reducers={"output": concat})
    assert (await success(engine)).output == ["a", "b"]


async def test_an_output_in_the_initial_state_is_a_write() -> None:
    engine = graph("a", {"a": Step({"output": ["a"]})}, reducers={"output": concat})
    assert (await success(engine, state={"output": ["start"]})).output == ["start", "a"]


async def test_a_reducer_sees_the_earlier_value_first() -> None:
    pairs = []

    def note(earlier: Any, later: Any) -> Any:
        pairs.append((earlier, later))
        return later

    nodes = {"a": Step({"x": "a"}), "b": Step({"x": "b"})}
    await success(graph("a -> b", nodes, reducers={"x": note}))
    assert set(pairs) == {("a", "b")}


async def test_a_reducer_that_raises_is_an_err() -> None:
    def broken(earlier: Any, later: Any) -> Any:
        raise ZeroDivisionError

    nodes = {"a": Step({"x": 1}), "b": Step({"x": 2})}
    error = await failure(graph("a -> b -> c", nodes, reducers={"x": broken}))
    assert "'x'" in str(error)
    assert isinstance(error.cause, ZeroDivisionError)


async def test_a_reducer_that_raises_at_the_end_of_the_run_is_an_err() -> None:
    def broken(earlier: Any, later: Any) -> Any:
        raise ZeroDivisionError

    nodes = {"b": Step({"x": 1}), "c": Step({"x": 2})}
    error = await failure(graph("a -> b, a -> c", nodes, reducers={"x": broken}))
    assert "'x'" in str(error)


# --- conflicts -----------------------------------------------------------------------------


async def test_writes_side_by_side_are_a_conflict_where_that_was_asked_for(
    autojump_clock: MockClock,
) -> None:
    nodes = {"b": Step({"x": 1}, delay=5), "c": Step({"x": 2})}
    error = await failure(graph("a -> b -> d, a -> c -> d", nodes, config=STRICT))
    assert isinstance(error, StateConflictError)
    assert (error.key, sorted(error.writers)) == ("x", ["b", "c"])


async def test_a_conflict_is_found_where_branches_never_join(autojump_clock: MockClock) -> None:
    nodes = {"b": Step({"x": 1}, delay=5), "c": Step({"x": 2})}
    error = await failure(graph("a -> b, a -> c", nodes, config=STRICT))
    assert isinstance(error, StateConflictError)
    assert error.key == "x"


async def test_a_conflict_is_found_between_branches_of_unequal_length() -> None:
    nodes = {"b": Step({"x": 1}), "d": Step({"x": 2})}
    error = await failure(graph("a -> b -> e, a -> c -> d -> e", nodes, config=STRICT))
    assert isinstance(error, StateConflictError)


async def test_writes_one_after_another_are_no_conflict() -> None:
    nodes = {"a": Step({"x": 1}), "b": Step({"x": 2}), "d": Step({"x": 3})}
    result = await success(graph("a -> b -> d, a -> c -> d", nodes, config=STRICT))
    assert result.final_state["x"] == 3


async def test_a_write_over_the_initial_state_is_no_conflict() -> None:
    engine = graph("a -> b", {"b": Step({"x": 1, "input": 2})}, config=STRICT)
    assert (await success(engine, state={"x": 0})).final_state["x"] == 1


async def test_a_loop_that_writes_again_is_no_conflict() -> None:
    engine = graph(
        "a -> a, a -> b",
        {"a": Step(counts("n"))},
        when={("a", "a"): lambda s: s["n"] < 3, ("a", "b"): lambda s: s["n"] >= 3},
        config=STRICT,
    )
    assert (await success(engine)).final_state["n"] == 3


async def test_a_reducer_settles_a_conflict() -> None:
    nodes = {"b": Step({"x": ["b"]}), "c": Step({"x": ["c"]})}
    engine = graph("a -> b -> d, a -> c -> d", nodes, reducers={"x": concat}, config=STRICT)
    assert (await success(engine)).final_state["x"] == ["b", "c"]


async def test_sends_that_write_one_key_conflict() -> None:
    node = Step(Command(send=[Send("w", {"i": 1}), Send("w", {"i": 2})]))
    engine = graph("a -> w -> end", {"a": node, "w": Step(lambda s: {"x": s["i"]})}, config=STRICT)
    error = await failure(engine)
    assert isinstance(error, StateConflictError)
    assert set(error.writers) == {"w"}


async def test_a_conflict_is_the_same_whichever_branch_is_faster(autojump_clock: MockClock) -> None:
    found = []
    for slow in "bc":
        nodes = {"b": Step({"x": 1, "y": 1}), "c": Step({"y": 2, "x": 2})}
        nodes[slow].delay = 5
        error = await failure(graph("a -> b -> d, a -> c -> d", nodes, config=STRICT))
        found.append((error.key, error.writers))
    assert found[0] == found[1]


async def test_without_a_wish_a_conflict_is_none() -> None:
    nodes = {"b": Step({"x": 1}), "c": Step({"x": 2})}
    assert (await success(graph("a -> b -> d, a -> c -> d", nodes))).final_state["x"] == 2


# --- cost ----------------------------------------------------------------------------------


class Counting:
    """A reducer that counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, earlier: Any, later: Any) -> Any:
        self.calls += 1
        return later


async def calls_in(rounds: int, shape: str) -> int:
    reducer = Counting()
    engine = graph(
        shape,
        {"s": Step(lambda s: {"n": s.get("n", 0) + 1, "x": 1})}
        | {name: Step({"x": 1}) for name in names_of(shape) if name in "bcj"},
        when={("j", "s"): lambda s: s["n"] < rounds, ("j", "end"): lambda s: s["n"] >= rounds},
        reducers={"x": reducer},
        config=GraphConfig(max_iterations=10_000),
    )
    await success(engine)
    return reducer.calls


@pytest.mark.parametrize(
    "shape",
    ["s -> j -> s, j -> end", "s -> b -> j -> s, s -> c -> j -> end"],
    ids=["a loop", "a loop with a join"],
)
async def test_the_cost_of_a_node_does_not_grow_with_the_run(shape: str) -> None:
    few, many = await calls_in(50, shape), await calls_in(200, shape)
    assert many <= 5 * few


async def test_the_cost_of_a_branch_does_not_grow_with_its_sibling() -> None:
    async def calls(rounds: int) -> int:
        reducer = Counting()
        when = {("b", "b"): lambda s: s["n"] < rounds, ("b", "j"): lambda s: s["n"] >= rounds}
        engine = graph(
            "a -> b -> b, b -> j, a -> c -> j",
            {"b": Step(lambda s: {"n": s.get("n", 0) + 1, "x": 1}), "c": Step({"x": 1})},
            when=when,
            reducers={"x": reducer},
            config=GraphConfig(max_iterations=10_000),
        )
        await success(engine)
        return reducer.calls

    assert await calls(200) <= 5 * await calls(50)


async def test_a_value_is_handed_on_and_not_copied() -> None:
    class Heavy:
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

        __copy__ = __reduce__ = __deepcopy__  # type: ignore[assignment]

    heavy = Heavy()
    log = Log()
    result = await success(graph("a -> b -> d, a -> c -> d", {"a": Step({"h": heavy})}, log=log))
    assert result.final_state["h"] is heavy
    assert log.saw("d")["h"] is heavy


async def test_the_outcome_is_an_ok_also_where_states_hold_anything() -> None:
    def hold(state: State) -> State:
        return {"fn": hold}

    assert (await outcome(graph("a -> b", {"a": hold}))).is_ok()
