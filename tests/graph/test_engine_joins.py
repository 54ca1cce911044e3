"""When a node with several ways in starts, and what it gets."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.graph.models import Command, Send
from tests.graph.graphs import Log, Step, concat, counts, executed, graph, success


async def test_a_join_fires_once_with_all_that_arrived(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b -> d, a -> c -> d", {"b": Step({"b": 1}, delay=5)}, log=log)
    result = await success(engine)
    assert executed(result) == ["a", "b", "c", "d"]
    assert log.saw("d")["b"] == 1
    assert log.saw("d")["c"] is True
    assert log.the("d").started == 5


@pytest.mark.parametrize("slow", ["b", "e"])
async def test_branches_of_unequal_length_join(slow: str, autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b -> j, a -> c -> d -> e -> j", {slow: Step(delay=10)}, log=log)
    await success(engine)
    assert len(log.of("j")) == 1
    assert {"c", "d"} <= set(log.saw("j"))
    assert log.the("j").started == 10


async def test_an_edge_and_a_longer_way_join() -> None:
    log = Log()
    await success(graph("a -> j, a -> b -> j", log=log))
    assert log.names() == ["a", "b", "j"]


async def test_a_join_does_not_wait_for_a_branch_that_was_not_taken() -> None:
    log = Log()
    when = {("a", "c"): lambda state: False}
    await success(graph("a -> b -> d, a -> c -> d", when=when, log=log))
    assert log.names() == ["a", "b", "d"]


async def test_a_join_starts_as_soon_as_a_branch_has_turned_away(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> j, a -> c -> j, c -> other",
        {"b": Step(delay=1), "c": Step(delay=5), "other": Step(delay=50)},
        when={("c", "j"): lambda state: False},
        log=log,
    )
    await success(engine)
    assert log.the("j").started == 5


async def test_a_join_waits_for_no_branch_that_cannot_reach_it(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> b -> j, a -> c -> j, a -> x -> y", {"x": Step(delay=50)}, log=log)
    await success(engine)
    assert log.the("j").started == 0


async def test_fan_outs_and_joins_nest(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> d -> f -> h, b -> e -> f, a -> c -> g -> h",
        {
            name: Step({name: 1}, delay=seconds)
            for name, seconds in {"b": 1, "c": 7, "d": 2, "e": 5, "g": 1}.items()
        },
        log=log,
    )
    await success(engine)
    assert {name: len(log.of(name)) for name in "abcdefgh"} == dict.fromkeys("abcdefgh", 1)
    assert log.the("f").started == 6
    assert log.the("h").started == 8


async def test_a_join_in_a_loop_fires_once_in_each_round(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "s -> b -> j, s -> c -> j, j -> s, j -> end",
        {
            "s": Step(counts("n")),
            "b": Step(lambda s: {"trail": [f"b{s['n']}"]}, delay=3),
            "c": Step(lambda s: {"trail": [f"c{s['n']}"]}, delay=1),
        },
        when={("j", "s"): lambda s: s["n"] < 3, ("j", "end"): lambda s: s["n"] >= 3},
        reducers={"trail": concat},
        log=log,
    )
    await success(engine)
    assert [len(visit.state["trail"]) for visit in log.of("j")] == [2, 4, 6]
    assert log.saw("end")["trail"] == ["b1", "c1", "b2", "c2", "b3", "c3"]


async def test_a_loop_does_not_wait_for_itself() -> None:
    log = Log()
    engine = graph(
        "a -> b -> c -> b, c -> d",
        {"b": Step(counts("n"))},
        when={("c", "b"): lambda s: s["n"] < 4, ("c", "d"): lambda s: s["n"] >= 4},
        log=log,
    )
    await success(engine)
    assert log.names() == ["a", *"bc" * 4, "d"]


async def test_the_entry_may_be_inside_a_loop() -> None:
    log = Log()
    engine = graph(
        "a -> b -> a, b -> c",
        {"a": Step(counts("n"))},
        when={("b", "a"): lambda s: s["n"] < 3, ("b", "c"): lambda s: s["n"] >= 3},
        log=log,
    )
    await success(engine)
    assert log.names() == [*"ab" * 3, "c"]


async def test_a_branch_waits_for_a_loop_that_can_reach_it(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> l -> l, l -> j, a -> b -> j",
        {"l": Step(counts("n"), delay=2)},
        when={("l", "l"): lambda s: s["n"] < 3, ("l", "j"): lambda s: s["n"] >= 3},
        log=log,
    )
    await success(engine)
    assert len(log.of("j")) == 1
    assert (log.the("j").started, log.saw("j")["n"]) == (6, 3)


async def test_of_two_joins_that_can_reach_each_other_the_first_in_merge_order_starts(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = graph(
        "a -> x, a -> y, x -> y, y -> x, x -> end, y -> end",
        {"x": Step({"x": 1}, delay=9), "y": Step({"y": 1})},
        when={("x", "y"): lambda s: "y" not in s, ("y", "x"): lambda s: "x" not in s},
        log=log,
    )
    await success(engine)
    assert log.names() == ["a", "x", "y", "end"]
    assert log.saw("y")["x"] == 1


async def test_of_two_joins_the_one_that_no_other_can_reach_starts() -> None:
    log = Log()
    await success(graph("a -> late, a -> early -> late", log=log))
    assert log.names() == ["a", "early", "late"]


async def test_a_join_behind_another_waits_for_it(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> j, a -> c -> j -> k, a -> d -> k",
        {"b": Step(delay=4), "c": Step(delay=2), "j": Step(delay=3)},
        log=log,
    )
    await success(engine)
    assert (log.the("j").started, log.the("k").started) == (4, 7)


async def test_with_join_any_every_arrival_fires(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> j, a -> c -> j",
        {"b": Step({"b": 1}, delay=5), "c": Step({"c": 1}, delay=1)},
        joins={"j": "any"},
        log=log,
    )
    result = await success(engine)
    first, second = log.of("j")
    assert (first.started, second.started) == (1, 5)
    assert ("b" in first.state, "c" in first.state) == (False, True)
    assert ("b" in second.state, "c" in second.state) == (True, False)
    assert executed(result) == ["a", "b", "c", "j", "j"]


async def test_executions_of_one_node_merge_in_the_order_of_their_parents(
    autojump_clock: MockClock,
) -> None:
    engine = graph(
        "a -> b -> j, a -> c -> j",
        {
            "b": Step({"me": "b"}, delay=5),
            "c": Step({"me": "c"}, delay=1),
            "j": Step(lambda s: {"trail": [s["me"]]}),
        },
        joins={"j": "any"},
        reducers={"trail": concat},
    )
    result = await success(engine)
    assert result.final_state["trail"] == ["b", "c"]
    assert [node.output for node in result.node_results[-2:]] == [
        {"trail": ["b"]},
        {"trail": ["c"]},
    ]


async def test_a_join_all_gathers_behind_a_join_any(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph(
        "a -> b -> j, a -> c -> j -> end",
        {"b": Step(delay=5), "j": Step(delay=1)},
        joins={"j": "any"},
        log=log,
    )
    await success(engine)
    assert len(log.of("j")) == 2
    assert log.the("end").started == 6


async def test_sends_inside_sends_are_all_awaited(autojump_clock: MockClock) -> None:
    log = Log()

    def spread(state: dict) -> Command:
        return Command(send=[Send("leaf", {"leaf": f"{state['part']}{n}"}) for n in (1, 2)])

    engine = graph(
        "plan -> part -> leaf -> collect",
        {
            "plan": Step(Command(send=[Send("part", {"part": p}) for p in "xyz"])),
            "part": Step(spread, delay=lambda s: {"x": 5, "y": 1, "z": 3}[s["part"]]),
            "leaf": Step(lambda s: {"leaves": [s["leaf"]]}),
        },
        reducers={"leaves": concat},
        log=log,
    )
    await success(engine)
    assert log.saw("collect")["leaves"] == ["x1", "x2", "y1", "y2", "z1", "z2"]
    assert log.the("collect").started == 5


async def test_an_arrival_and_a_send_at_one_node_are_all_executed() -> None:
    log = Log()
    node = Step(Command(goto="w", send=[Send("w", {"x": 1})]))
    engine = graph("a -> w -> end", {"a": node}, log=log)
    await success(engine)
    assert len(log.of("w")) == 2
    assert len(log.of("end")) == 1


async def test_a_wide_fan_out_joins(autojump_clock: MockClock) -> None:
    names = [f"n{number}" for number in range(200)]
    shape = ", ".join(f"a -> {name} -> j" for name in names)
    log = Log()
    nodes = {name: Step({"trail": [name]}, delay=200 - i) for i, name in enumerate(names)}
    engine = graph(
        shape,
        {"a": None, **nodes},
        reducers={"trail": concat},
        log=log,
        config=GraphConfig(max_iterations=300, node_timeout=0),
    )
    await success(engine)
    assert log.saw("j")["trail"] == names
    assert trio.current_time() == 200
