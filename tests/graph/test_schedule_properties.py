"""Random graphs, finished in random orders: what starts is the same, and every count is true.

`Play` does with a `Schedule` what a run does with it, and beside it keeps lists that it searches
from the beginning each time. Where an execution leads is decided by a hash of what it is: the node
and all that arrived, and never by when.
"""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.graph.compiled import components, reachability
from lexigram_actors.graph.schedule import Schedule

Edges = list[set[int]]


def edges(most: int = 6, *, forward: bool = False) -> st.SearchStrategy[Edges]:
    """Draw where each node leads; with `forward` to later nodes only, so that there is no loop."""

    def targets(nodes: int) -> st.SearchStrategy[Edges]:
        return st.tuples(*(leading(node, nodes) for node in range(nodes))).map(list)

    def leading(node: int, nodes: int) -> st.SearchStrategy[set[int]]:
        first = node + 1 if forward else 0
        return st.sets(st.sampled_from(range(first, nodes))) if first < nodes else st.just(set())

    return st.integers(1, most).flatmap(targets)


def reached(successors: Edges, node: int) -> set[int]:
    """Where ways from the node lead, in one step or more."""
    found: set[int] = set()
    waiting = list(successors[node])
    while waiting:
        if (target := waiting.pop()) not in found:
            found.add(target)
            waiting += successors[target]
    return found


class Started(NamedTuple):
    """An execution: its node, how deep it lies, and a digest of all that led to it."""

    node: int
    depth: int
    digest: str


def started(node: int, arrivals: list[tuple[Started, int]]) -> Started:
    told = sorted((parent.digest, slot) for parent, slot in arrivals)
    depth = 1 + max((parent.depth for parent, _ in arrivals), default=0)
    return Started(node, depth, sha256(repr((node, told)).encode()).hexdigest()[:16])


class Play:
    """A run without nodes: what is active is finished in an order of somebody's choice.

    Args:
        any_joins: Nodes at which nothing is held.
        chance: Decides, with what an execution is, where it leads; None: along every edge.
    """

    def __init__(
        self, successors: Edges, any_joins: set[int], chance: int | None, *, deepest: int = 8
    ) -> None:
        self.successors = successors
        self.reach = [reached(successors, node) for node in range(len(successors))]
        self.schedule: Schedule[Any] = Schedule(reachability(successors))
        self.any_joins = any_joins
        self.chance = chance
        self.deepest = deepest
        self.active: list[Started] = []
        self.held: dict[int, list[tuple[Started, int]]] = {}
        self.seen: Counter[Started] = Counter()
        self.schedule.begin(0)
        self.start(started(0, []))

    def start(self, execution: Started) -> None:
        self.active.append(execution)
        self.seen[execution] += 1

    def routes(self, execution: Started) -> list[int]:
        targets = sorted(self.successors[execution.node])
        if execution.depth >= self.deepest:
            return []
        if self.chance is None:
            return targets
        chance = random.Random(f"{self.chance}{execution.digest}")
        return [target for target in targets if chance.random() < 0.7]

    def finish(self, place: int) -> None:
        execution = self.active.pop(place)
        routes = self.routes(execution)
        self.schedule.end(execution.node)
        if len(routes) > 1 and self.schedule.try_begin(routes):
            assert not self.held
            for slot, target in enumerate(routes):
                self.start(started(target, [(execution, slot)]))
            self.check()
            return
        for slot, target in enumerate(routes):
            arrival = (execution, slot)
            if target in self.any_joins:
                self.schedule.begin(target)
                self.start(started(target, [arrival]))
            else:
                self.schedule.hold(target, arrival, execution.depth)
                self.held.setdefault(target, []).append(arrival)
        self.check()
        self.release()
        self.check()

    def release(self) -> None:
        expected = self.due()
        found = dict(self.schedule.release())
        assert found.keys() == expected
        for node, arrivals in found.items():
            assert arrivals == self.held.pop(node)
            self.start(started(node, arrivals))

    def due(self) -> set[int]:
        """Say by the rule alone which of the held nodes start."""
        free = [node for node in self.held if not self.blockers(node)]
        starting = set()
        for node in free:
            before = [other for other in free if other != node and node in self.reach[other]]
            in_circle = all(other in self.reach[node] for other in before)
            if in_circle and all(self.rank(node) < self.rank(other) for other in before):
                starting.add(node)
        return starting

    def rank(self, node: int) -> tuple[int, int]:
        return max(parent.depth for parent, _ in self.held[node]), node

    def blockers(self, node: int) -> int:
        return sum(node in self.reach[execution.node] for execution in self.active)

    def check(self) -> None:
        schedule = self.schedule
        assert schedule.active == Counter(execution.node for execution in self.active)
        assert schedule.total == len(self.active)
        assert schedule.held.keys() == self.held.keys()
        for node, held in schedule.held.items():
            assert held.blockers == self.blockers(node)
            assert held.arrivals == self.held[node]
            assert held.depth == self.rank(node)[0]
        assert schedule.free == sum(not held.blockers for held in schedule.held.values())

    def to_the_end(self, order: random.Random) -> Counter[Started]:
        finished = 0
        while self.active and finished < 400:
            self.finish(order.randrange(len(self.active)))
            assert self.active or not self.held, "what is held waits for ever"
            assert not self.schedule.free, "what nothing can reach is held"
            finished += 1
        return self.seen


sets_of_nodes = st.sets(st.integers(0, 5))
seeds = st.integers(0, 2**32)


@given(edges(), sets_of_nodes, seeds, seeds)
def test_every_count_is_what_a_recount_gives(
    successors: Edges, any_joins: set[int], chance: int, order: int
) -> None:
    Play(successors, any_joins, chance).to_the_end(random.Random(order))


@given(edges(), seeds, st.lists(seeds, min_size=2, max_size=4))
def test_what_starts_is_the_same_in_every_order_of_finishing(
    successors: Edges, chance: int, orders: list[int]
) -> None:
    first, *others = (
        Play(successors, set(), chance, deepest=6).to_the_end(random.Random(order))
        for order in orders
    )
    assert all(other == first for other in others)


@given(edges(most=5), sets_of_nodes, seeds, st.lists(seeds, min_size=2, max_size=3))
def test_it_is_the_same_with_nodes_that_wait_for_nobody(
    successors: Edges, any_joins: set[int], chance: int, orders: list[int]
) -> None:
    plays = [Play(successors, any_joins, chance, deepest=4) for _ in orders]
    found = [
        play.to_the_end(random.Random(order)) for play, order in zip(plays, orders, strict=True)
    ]
    if any(play.active for play in plays):
        return  # it grew beyond what is followed to the end
    assert all(other == found[0] for other in found)


@given(edges(most=8, forward=True), seeds)
def test_without_loops_every_node_that_can_be_reached_starts_once(
    successors: Edges, order: int
) -> None:
    seen = Play(successors, set(), None, deepest=100).to_the_end(random.Random(order))
    nodes = Counter(execution.node for execution in seen.elements())
    assert nodes == Counter({0} | reached(successors, 0))


@given(edges(most=8, forward=True), seeds, seeds)
def test_without_loops_a_join_starts_once_whatever_branches_there_are(
    successors: Edges, chance: int, order: int
) -> None:
    seen = Play(successors, set(), chance, deepest=100).to_the_end(random.Random(order))
    nodes = Counter(execution.node for execution in seen.elements())
    assert set(nodes.values()) == {1}


# --- circles ---------------------------------------------------------------------------------


@given(st.permutations(range(5)), st.lists(st.integers(1, 3), min_size=5, max_size=5))
def test_of_a_circle_of_held_nodes_only_the_first_in_merge_order_starts(
    order: list[int], depths: list[int]
) -> None:
    schedule: Schedule[str] = Schedule(reachability([{(node + 1) % 5} for node in range(5)]))
    for node in order:
        schedule.hold(node, f"to {node}", depths[node])
    first = min(range(5), key=lambda node: (depths[node], node))
    assert schedule.release() == [(first, [f"to {first}"])]
    assert schedule.active == {first: 1}
    assert schedule.held.keys() == set(range(5)) - {first}
    assert schedule.free == 0


@given(st.permutations(range(4)), st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_a_circle_behind_another_waits_for_it(order: list[int], depths: list[int]) -> None:
    schedule: Schedule[int] = Schedule(reachability([{1}, {0, 2}, {3}, {2}]))
    for node in order:
        schedule.hold(node, node, depths[node])
    assert [node for node, _ in schedule.release()] == [min(0, 1, key=lambda n: (depths[n], n))]


@given(st.permutations(range(4)), st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_nodes_that_do_not_reach_each_other_all_start_in_merge_order(
    order: list[int], depths: list[int]
) -> None:
    schedule: Schedule[int] = Schedule([0, 0, 0, 0])
    for node in order:
        schedule.hold(node, node, depths[node])
    expected = sorted(range(4), key=lambda node: (depths[node], node))
    assert [node for node, _ in schedule.release()] == expected


def test_a_node_in_a_loop_does_not_wait_for_itself() -> None:
    schedule: Schedule[int] = Schedule(reachability([{0}]))
    schedule.hold(0, 1, 1)
    assert schedule.release() == [(0, [1])]


# --- the short ways --------------------------------------------------------------------------


@given(edges(), st.data())
def test_a_step_along_a_line_is_an_end_and_a_beginning(successors: Edges, data: Any) -> None:
    nodes = st.integers(0, len(successors) - 1)
    one, other = data.draw(nodes), data.draw(nodes)
    moved: Schedule[int] = Schedule(reachability(successors))
    stepped: Schedule[int] = Schedule(reachability(successors))
    for schedule in (moved, stepped):
        schedule.begin(one)
    moved.move(other)
    stepped.end(one)
    stepped.begin(other)
    assert (moved.active, moved.total) == (stepped.active, stepped.total)
    moved.clear()
    stepped.end(other)
    assert (moved.active, moved.total, moved.held) == (stepped.active, stepped.total, {})


@given(edges(), st.data())
def test_beginning_all_at_once_is_holding_and_releasing_all(successors: Edges, data: Any) -> None:
    nodes = data.draw(st.lists(st.integers(0, len(successors) - 1), min_size=1, max_size=4))
    at_once: Schedule[int] = Schedule(reachability(successors))
    one_by_one: Schedule[int] = Schedule(reachability(successors))
    for node in nodes:
        one_by_one.hold(node, node, 1)
    released = one_by_one.release()
    if at_once.try_begin(nodes):
        assert sorted(node for node, _ in released) == sorted(nodes)
        assert at_once.active == one_by_one.active
        assert at_once.total == one_by_one.total
    else:  # one might have to wait; it need not
        assert (at_once.active, at_once.total) == ({}, 0)


@given(edges(), st.data())
def test_passing_on_is_an_end_and_an_arrival_that_is_held(successors: Edges, data: Any) -> None:
    nodes = st.integers(0, len(successors) - 1)
    active = data.draw(st.lists(nodes, min_size=1, max_size=4))
    held = data.draw(st.lists(nodes, max_size=3))
    target = data.draw(nodes)
    at_once: Schedule[str] = Schedule(reachability(successors))
    in_two: Schedule[str] = Schedule(reachability(successors))
    for schedule in (at_once, in_two):
        for node in active:
            schedule.begin(node)
        for depth, node in enumerate(held):
            schedule.hold(node, "before", depth)
    at_once.pass_on(active[0], target, "it", 2)
    in_two.end(active[0])
    in_two.hold(target, "it", 2)
    assert counts(at_once) == counts(in_two)


def counts(schedule: Schedule[Any]) -> Any:
    held = {
        node: (each.arrivals, each.blockers, each.depth) for node, each in schedule.held.items()
    }
    return schedule.active, schedule.total, schedule.free, held


# --- reachability ----------------------------------------------------------------------------


@given(edges(most=9))
def test_reachability_is_what_a_search_from_each_node_finds(successors: Edges) -> None:
    bits = reachability(successors)
    for node in range(len(successors)):
        found = {other for other in range(len(successors)) if bits[node] >> other & 1}
        assert found == reached(successors, node)


@given(edges(most=9))
def test_components_are_the_nodes_that_reach_each_other_each_after_where_it_leads(
    successors: Edges,
) -> None:
    done: set[int] = set()
    for component in components(successors):
        members = set(component)
        assert len(members) == len(component)
        assert not members & done
        first = component[0]
        mutual = {
            other
            for other in range(len(successors))
            if other in reached(successors, first) and first in reached(successors, other)
        }
        assert members == mutual | {first}
        done |= members
        for node in members:
            assert successors[node] <= done
    assert done == set(range(len(successors)))


def test_a_very_long_line_needs_no_recursion() -> None:
    length = 5000
    bits = reachability([{node + 1} for node in range(length)] + [set()])
    assert bits[0].bit_count() == length
    assert bits[length] == 0
