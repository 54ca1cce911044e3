"""The outcome of a run never depends on timing: random graphs under random delays.

Every execution writes a label made of its node and of all it saw, so that equal labels mean equal
inputs, and a reducer strings the labels together. From that trail alone a naive model finds the
causal past of each execution, its depth and its place in merge order, and with them what it had to
see. A second model runs the graph one node at a time, in any order that the rule for joins allows.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

import trio
import trio.testing
from attrs import define, field, frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import HumanInputRequiredError, StateConflictError
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import Command, GraphResult, Send
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes.human import HumanNode
from tests.graph.graphs import State, concat

MANY = 400
LOOPS_END_AT = 12


# --- random graphs -------------------------------------------------------------------------


@frozen
class Shape:
    """A graph: nodes by number in topological order, apart from the edges that lead back."""

    size: int
    registered: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    back: tuple[tuple[int, int], ...]
    conditional: frozenset[tuple[int, int]]
    joins_any: frozenset[int]
    senders: dict[int, tuple[int, int]]
    asking: frozenset[int]
    salt: int

    def order(self, name: str) -> int:
        return self.registered.index(number(name))

    def active(self, source: int, target: int, label: str, past: int) -> bool:
        """Whether the edge is followed by the execution with that label and so much before it."""
        luck = crc32(f"{self.salt} {source} {target} {label}".encode()) % 8
        if (source, target) in self.back:
            return past < LOOPS_END_AT and luck < 5
        return (source, target) not in self.conditional or luck < 5

    def ends(self, node: int) -> bool:
        return not any(source == node for source, _ in self.edges)

    def ways(self) -> list[tuple[int, int]]:
        return [*self.edges, *self.back]


def name_of(node: int) -> str:
    return f"n{node}"


def number(name: str) -> int:
    return int(name.partition(":")[0][1:])


@st.composite
def shapes(
    draw: Callable[..., Any], *, loops: bool = True, fanning: bool = False, asking: bool = False
) -> Shape:
    size = draw(st.integers(2, 8))
    edges = {(draw(st.integers(0, node - 1)), node) for node in range(1, size)}
    pairs = [(low, high) for high in range(1, size) for low in range(high)]
    edges |= set(draw(st.lists(st.sampled_from(pairs), max_size=2 * size)))
    inner = sorted({source for source, _ in edges})
    back: set[tuple[int, int]] = set()
    if loops:
        for source in draw(st.lists(st.sampled_from(inner), max_size=3)):
            back.add((source, draw(st.integers(0, source))))
    senders = {}
    if fanning:
        for source in draw(st.lists(st.sampled_from(inner), max_size=1)):
            target = draw(st.sampled_from([high for low, high in sorted(edges) if low == source]))
            senders[source] = (target, draw(st.integers(1, 3)))
    nodes = st.sampled_from(range(size))
    return Shape(
        size,
        tuple(draw(st.permutations(range(size)))),
        tuple(sorted(edges)),
        tuple(sorted(back)),
        frozenset(draw(st.lists(st.sampled_from(sorted(edges)), max_size=size))),
        frozenset(draw(st.lists(nodes, max_size=2))) if fanning else frozenset(),
        senders,
        frozenset(draw(st.lists(nodes, min_size=1, max_size=3))) if asking else frozenset(),
        draw(st.integers(0, 1000)),
    )


# --- running them --------------------------------------------------------------------------


@frozen
class Seen:
    """What one execution saw."""

    label: str
    trail: tuple[str, ...]
    last: str | None
    iteration: int
    item: int


def label_of(name: str, trail: tuple[str, ...] | list[str], item: int = 0) -> str:
    return f"{name}:{crc32(repr((tuple(trail), item)).encode()):08x}"


class Watcher(AbstractWorkflowNode):
    """Sleeps as long as the seed says for what it saw, and writes its label."""

    def __init__(self, shape: Shape, node: int, seen: list[Seen], seed: int) -> None:
        super().__init__(name_of(node))
        self.shape, self.node, self.seen, self.seed = shape, node, seen, seed

    async def execute(self, state: State) -> Any:
        trail = tuple(state.get("trail", ()))
        item = state.get("item", 0)
        label = label_of(self.name, trail, item)
        self.seen.append(Seen(label, trail, state.get("last"), state["_iteration"], item))
        await trio.sleep(random.Random(f"{self.seed} {label}").choice([0, 0, 1, 2, 3, 7]))
        update = {"trail": [label], "last": label}
        if self.node not in self.shape.senders:
            return update
        target, many = self.shape.senders[self.node]
        sends = [Send(name_of(target), {"item": index + 1}) for index in range(many)]
        return Command(update=update, send=sends)


def build(
    shape: Shape,
    seen: list[Seen],
    seed: int,
    make: Callable[..., AbstractWorkflowNode] = Watcher,
    config: GraphConfig | None = None,
) -> WorkflowEngine:
    made = WorkflowBuilder("random", config).add_reducer("trail", concat)
    for node in shape.registered:
        join = "any" if node in shape.joins_any else "all"
        body: Any = make(shape, node, seen, seed)
        if node in shape.asking:
            body = HumanNode(name_of(node), output_key=f"said by {node}")
        made.add_node(name_of(node), node=body, join=join)
    for source, target in shape.ways():
        made.add_edge(name_of(source), name_of(target), condition=condition(shape, source, target))
    for node in range(shape.size):
        if shape.ends(node):
            made.set_terminal(name_of(node))
    return made.set_entry(name_of(0)).build()


def condition(shape: Shape, source: int, target: int) -> Callable[[State], bool] | None:
    if (source, target) not in shape.conditional and (source, target) not in shape.back:
        return None

    def asked(state: State) -> bool:
        trail = state.get("trail", [])
        return shape.active(source, target, trail[-1] if trail else "", len(trail))

    return asked


@define
class Outcome:
    result: GraphResult
    seen: list[Seen] = field(factory=list)

    def key(self) -> Any:
        final = {key: value for key, value in self.result.final_state.items() if key != "_history"}
        return (
            final,
            [(name, output) for name, output in self.result.final_state["_history"]],
            [(node.node_name, node.output) for node in self.result.node_results],
            self.result.iterations,
            self.result.terminated_at,
            Counter(self.seen),
        )


async def once(shape: Shape, seed: int, config: GraphConfig) -> Outcome | None:
    seen: list[Seen] = []
    with trio.fail_after(1_000_000):
        result = await build(shape, seen, seed).execute("in", config=config)
    if result.is_err():
        assert "max_iterations" in str(result.unwrap_err()), result
        return None
    return Outcome(result.unwrap(), seen)


def settled(shape: Shape, seed: int = 0, **options: Any) -> Outcome:
    config = GraphConfig(max_iterations=MANY, node_timeout=0, **options)
    clock = trio.testing.MockClock(autojump_threshold=0)
    outcome = trio.run(once, shape, seed, config, clock=clock)
    assume(outcome is not None)
    assert outcome is not None
    return outcome


# --- the models ----------------------------------------------------------------------------


class Model:
    """Depths and places of executions, found from their causal pasts alone."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.past: dict[str, frozenset[str]] = {}
        self.depth: dict[str, int] = {}
        self.item: dict[str, int] = {}

    def add(self, label: str, past: frozenset[str], item: int = 0) -> None:
        self.past[label] = past
        self.item[label] = item
        self.depth[label] = 1 + max((self.depth[one] for one in past), default=0)

    def parents(self, label: str) -> list[str]:
        """Those that led to it: an execution for one arrival has one, the last of its past."""
        past, node = self.past[label], number(label)
        if self.item[label] or node in self.shape.joins_any:
            return [one for one in past if not any(one in self.past[other] for other in past)]
        rounds = [other for other in past if number(other) == node and not self.item[other]]
        earlier = frozenset().union(*(self.past[other] for other in rounds))
        return [one for one in past - earlier if self.leads(one, node)]

    def leads(self, label: str, target: int) -> bool:
        """Whether the execution followed an edge to the target."""
        source = number(label)
        if (source, target) not in self.shape.ways() or source in self.shape.senders:
            return False
        return self.shape.active(source, target, label, len(self.past[label]) + 1)

    def ordered(self) -> list[str]:
        """All executions in merge order."""
        place: dict[str, int] = {}
        for depth in sorted(set(self.depth.values())):
            layer = [label for label in self.depth if self.depth[label] == depth]
            keys = {
                label: (
                    self.shape.order(label),
                    sorted(place[parent] for parent in self.parents(label)),
                    self.item[label],
                )
                for label in layer
            }
            for label in sorted(layer, key=keys.__getitem__):
                place[label] = len(place)
        return sorted(place, key=place.__getitem__)


def modelled(shape: Shape, outcome: Outcome) -> Model:
    model = Model(shape)
    left = list(outcome.seen)
    while left:  # an execution comes after all of its past
        ready = [one for one in left if all(label in model.past for label in one.trail)]
        assert ready, "a node saw what was never written"
        for one in ready:
            model.add(one.label, frozenset(one.trail), one.item)
            left.remove(one)
    return model


def check_against_model(shape: Shape, outcome: Outcome) -> None:
    assert len({one.label for one in outcome.seen}) == len(outcome.seen)
    model = modelled(shape, outcome)
    order = model.ordered()
    for one in outcome.seen:
        expected = [label for label in order if label in model.past[one.label]]
        assert list(one.trail) == expected
        assert one.last == (expected[-1] if expected else None)
        assert one.iteration == model.depth[one.label] - 1
    result = outcome.result
    assert result.final_state.get("trail") == order
    assert result.final_state["last"] == order[-1]
    assert [node.output["trail"] for node in result.node_results] == [[label] for label in order]
    assert result.iterations == result.final_state["_iteration"] == len(order)
    ends = [label for label in order if shape.ends(number(label))] or order
    assert result.terminated_at == name_of(number(ends[-1]))


def reachable(shape: Shape) -> set[tuple[int, int]]:
    found = set(shape.ways())
    for middle in range(shape.size):
        for source in range(shape.size):
            for target in range(shape.size):
                if (source, middle) in found and (middle, target) in found:
                    found.add((source, target))
    return found


def foremost(waiting: Iterable[int], ways: set[tuple[int, int]]) -> list[int]:
    """Those that are reached only by what they can reach themselves.

    Where each waiting node is reached by another, some do so in a circle. One of a circle has to
    start; a node that is only behind it has nothing to start for.
    """
    return [
        node
        for node in waiting
        if all((node, other) in ways for other in waiting if (other, node) in ways)
    ]


def one_at_a_time(shape: Shape, luck: random.Random) -> Model | None:
    """Run the graph by the letter of the rule for joins, whichever free node is next."""
    model, ways = Model(shape), reachable(shape)
    waiting: dict[int, list[str]] = {0: []}
    while waiting:
        if len(model.past) >= MANY:
            return None
        free = [
            node
            for node in sorted(waiting)
            if not any((other, node) in ways for other in waiting if other != node)
        ]

        def first(node: int) -> tuple[int, int]:
            depths = [model.depth[parent] for parent in waiting[node]]
            return max(depths, default=0), shape.registered.index(node)

        node = luck.choice(free) if free else min(foremost(waiting, ways), key=first)
        parents = waiting.pop(node)
        past = frozenset(parents).union(*(model.past[parent] for parent in parents))
        trail = [label for label in model.ordered() if label in past]
        label = label_of(name_of(node), trail)
        model.add(label, past)
        for source, target in shape.ways():
            if source == node and shape.active(source, target, label, len(trail) + 1):
                waiting.setdefault(target, []).append(label)
    return model


# --- the properties ------------------------------------------------------------------------


@given(shapes(), st.integers(0, 1000))
def test_each_node_sees_its_causal_past_in_merge_order(shape: Shape, seed: int) -> None:
    check_against_model(shape, settled(shape, seed))


@given(shapes(fanning=True), st.integers(0, 1000))
def test_sends_and_single_arrivals_see_theirs_too(shape: Shape, seed: int) -> None:
    check_against_model(shape, settled(shape, seed))


@given(shapes(), st.lists(st.integers(1, 10_000), min_size=2, max_size=4))
def test_the_outcome_is_the_same_whatever_the_delays(shape: Shape, seeds: list[int]) -> None:
    expected = settled(shape, 0).key()
    for seed in seeds:
        assert settled(shape, seed).key() == expected


@given(shapes(loops=False, fanning=True), st.lists(st.integers(1, 10_000), min_size=2, max_size=4))
def test_the_outcome_of_sends_is_the_same_whatever_the_delays(
    shape: Shape, seeds: list[int]
) -> None:
    expected = settled(shape, 0).key()
    for seed in seeds:
        assert settled(shape, seed).key() == expected


@given(shapes(fanning=True), st.lists(st.integers(1, 10_000), min_size=2, max_size=4))
def test_the_outcome_of_sends_in_loops_is_the_same_whatever_the_delays(
    shape: Shape, seeds: list[int]
) -> None:
    expected = settled(shape, 0).key()
    for seed in seeds:
        assert settled(shape, seed).key() == expected


@given(shapes(), st.integers(0, 1000))
def test_the_outcome_is_the_same_whatever_may_run_at_once(shape: Shape, seed: int) -> None:
    expected = settled(shape, seed).key()
    for limit in (1, 2):
        assert settled(shape, seed, max_parallel_branches=limit).key() == expected
    assert settled(shape, seed, parallel_branches=False).key() == expected


@given(shapes(fanning=True), st.integers(0, 1000))
def test_the_outcome_of_sends_is_the_same_whatever_may_run_at_once(shape: Shape, seed: int) -> None:
    expected = settled(shape, seed).key()
    for limit in (1, 2):
        assert settled(shape, seed, max_parallel_branches=limit).key() == expected


@given(shapes(), st.integers(0, 1000), st.integers(0, 1000))
def test_the_executions_are_those_of_the_rule_for_joins(shape: Shape, seed: int, luck: int) -> None:
    model = one_at_a_time(shape, random.Random(luck))
    assume(model is not None)
    assert model is not None
    outcome = settled(shape, seed)
    assert sorted(one.label for one in outcome.seen) == sorted(model.past)


@given(shapes(loops=False), st.integers(0, 1000))
def test_without_loops_each_node_that_is_reached_runs_once(shape: Shape, seed: int) -> None:
    outcome = settled(shape, seed)
    assert max(Counter(number(one.label) for one in outcome.seen).values()) == 1


class Writer(Watcher):
    """Writes one of three keys too, which no reducer combines."""

    async def execute(self, state: State) -> Any:
        await super().execute(state)
        label = label_of(self.name, state.get("trail", ()))
        return {"trail": [label], f"key {self.node % 3}": label}


def writes_side_by_side(model: Model) -> bool:
    """Whether two executions wrote one key, and neither is in the past of the other."""
    return any(
        number(one) % 3 == number(other) % 3
        and one not in model.past[other]
        and other not in model.past[one]
        for one in model.past
        for other in model.past
        if one != other
    )


@given(shapes(), st.lists(st.integers(0, 1000), min_size=2, max_size=3))
def test_exactly_writes_side_by_side_are_conflicts(shape: Shape, seeds: list[int]) -> None:
    async def ends_well(seed: int) -> bool:
        config = GraphConfig(max_iterations=MANY, node_timeout=0, on_conflict="error")
        result = await build(shape, [], seed, Writer).execute("in", config=config)
        if result.is_err():
            assert isinstance(result.unwrap_err(), StateConflictError)
        return result.is_ok()

    expected = not writes_side_by_side(modelled(shape, settled(shape)))
    for seed in seeds:
        clock = trio.testing.MockClock(autojump_threshold=0)
        assert trio.run(ends_well, seed, clock=clock) == expected


# --- with people in between ----------------------------------------------------------------


async def with_answers(shape: Shape, seed: int, luck: random.Random | None) -> Any:
    """Run to the end, answering open questions in the order of luck, or at once by a default."""
    seen: list[Seen] = []
    engine = build(shape, seen, seed)
    config = GraphConfig(max_iterations=60, node_timeout=0)
    run: Any = lambda: engine.execute("in", config=config)  # noqa: E731
    for _ in range(MANY):
        try:
            result = await run()
        except HumanInputRequiredError as error:
            names = [question.node for question in error.pending]
            assert names
            name = names[0] if luck is None else luck.choice(names)
            kept = error.state if luck is None else json.loads(json.dumps(error.state))
            run = lambda kept=kept, name=name: engine.resume(  # noqa: E731
                kept, f"answer of {name}", node=name, config=config
            )
        else:
            return None if result.is_err() else Outcome(result.unwrap(), seen)
    raise AssertionError("it asks for ever")


@settings(max_examples=60)
@given(shapes(asking=True, fanning=True), st.integers(0, 1000), st.integers(0, 1000))
def test_answers_in_any_order_lead_to_the_same_outcome(shape: Shape, seed: int, luck: int) -> None:
    def run(seed: int, luck: random.Random | None) -> Any:
        clock = trio.testing.MockClock(autojump_threshold=0)
        outcome = trio.run(with_answers, shape, seed, luck, clock=clock)
        assume(outcome is not None)
        return outcome.key()

    assert run(seed, random.Random(luck)) == run(0, None)
