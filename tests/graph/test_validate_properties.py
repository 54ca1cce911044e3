"""Whatever a definition holds, it is judged; sound ones pass, and one mistake is enough."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.validate import problems_of


class Node(AbstractWorkflowNode):
    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        return {}


NODE = Node("node")


def always(state: dict[str, Any]) -> bool:
    return True


# --- anything --------------------------------------------------------------------------------

hashable = st.one_of(
    st.sampled_from(["a", "b", "c", "a/b", "_a"]), st.text(), st.none(), st.integers(), st.binary()
)
anything = st.one_of(hashable, st.lists(hashable), st.dictionaries(hashable, hashable))
functions = st.one_of(st.none(), st.just(always), anything)
any_edge = st.one_of(st.builds(WorkflowEdge, anything, anything, functions), anything)

definitions = st.builds(
    GraphDefinition,
    name=anything,
    nodes=st.dictionaries(hashable, st.one_of(st.just(NODE), anything)),
    edges=st.lists(any_edge),
    entry=anything,
    terminals=st.dictionaries(hashable, functions),
    run_terminals=st.frozensets(hashable),
    gotos=st.dictionaries(hashable, anything),
    joins=st.dictionaries(hashable, anything),
    reducers=st.dictionaries(hashable, functions),
    version=anything,
)


@given(definitions, st.booleans())
def test_any_definition_is_judged_and_judged_the_same_again(
    definition: GraphDefinition, terminals_needed: bool
) -> None:
    found = problems_of(definition, terminals_needed=terminals_needed)
    assert found == problems_of(definition, terminals_needed=terminals_needed)
    assert all(isinstance(each, str) and "\n" not in each for each in found)


# --- sound graphs ----------------------------------------------------------------------------


@st.composite
def sound_graphs(draw: st.DrawFn) -> GraphDefinition:
    """Draw a graph in which a tree leads to every node and each leaf is a terminal.

    A node hangs on an earlier one by an edge or a goto; further ways go anywhere.
    """
    count = draw(st.integers(1, 12))
    names = [f"n{number}" for number in range(count)]
    edges: dict[tuple[str, str], WorkflowEdge] = {}
    gotos: dict[str, list[str]] = {}
    inner: set[str] = set()
    for number in range(1, count):
        parent = names[draw(st.integers(0, number - 1))]
        inner.add(parent)
        if draw(st.booleans()):
            edges[parent, names[number]] = WorkflowEdge(parent, names[number])
        else:
            gotos.setdefault(parent, []).append(names[number])
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
    for source, target in draw(st.lists(pairs, max_size=8)):
        condition = draw(st.sampled_from([None, always]))
        edges[source, target] = WorkflowEdge(source, target, condition)
    leaves = {name: draw(st.sampled_from([None, always])) for name in names if name not in inner}
    return GraphDefinition(
        name="g",
        nodes=dict.fromkeys(draw(st.permutations(names)), NODE),
        edges=draw(st.permutations(list(edges.values()))),
        entry=names[0],
        terminals=leaves,
        run_terminals=draw(st.frozensets(st.sampled_from(sorted(leaves)))),
        gotos=gotos,
        joins=draw(st.dictionaries(st.sampled_from(names), st.sampled_from(["all", "any"]))),
        reducers=draw(st.dictionaries(st.sampled_from(["output", "notes"]), st.just(max))),
    )


@given(sound_graphs(), st.booleans())
def test_a_sound_graph_has_no_problem(definition: GraphDefinition, terminals_needed: bool) -> None:
    assert problems_of(definition, terminals_needed=terminals_needed) == []


# --- one mistake -----------------------------------------------------------------------------


def without_a_node(definition: GraphDefinition, name: str) -> dict[str, Any]:
    return {"nodes": {key: node for key, node in definition.nodes.items() if key != name}}


def with_a_stray_node(definition: GraphDefinition, name: str) -> dict[str, Any]:
    return {"nodes": {**definition.nodes, "stray": NODE}}


def with_a_trap(definition: GraphDefinition, name: str) -> dict[str, Any]:
    return {**with_a_stray_node(definition, name), **with_edge(definition, name, "stray")}


def with_an_island(definition: GraphDefinition, name: str) -> dict[str, Any]:
    return {**with_a_stray_node(definition, name), **with_edge(definition, "stray", name)}


def with_edge(definition: GraphDefinition, source: str, target: str) -> dict[str, Any]:
    return {"edges": [*definition.edges, WorkflowEdge(source, target)]}


def with_the_edge_twice(definition: GraphDefinition, name: str) -> dict[str, Any]:
    twin = WorkflowEdge(name, name)
    return {"edges": [*definition.edges, twin, twin]}


MISTAKES: list[Any] = [
    without_a_node,
    with_a_stray_node,
    with_a_trap,
    with_an_island,
    with_the_edge_twice,
    lambda definition, name: with_edge(definition, name, "unknown"),
    lambda definition, name: with_edge(definition, "unknown", name),
    lambda definition, name: {"nodes": {**definition.nodes, name: object()}},
    lambda definition, name: {"entry": None},
    lambda definition, name: {"entry": name.upper()},
    lambda definition, name: {"terminals": {}},
    lambda definition, name: {"terminals": {**definition.terminals, "unknown": None}},
    lambda definition, name: {"terminals": {**definition.terminals, name: "no function"}},
    lambda definition, name: {"run_terminals": {"unknown"}},
    lambda definition, name: {"gotos": {**definition.gotos, name: ["unknown"]}},
    lambda definition, name: {"gotos": {**definition.gotos, "unknown": [name]}},
    lambda definition, name: {"joins": {**definition.joins, name: "some"}},
    lambda definition, name: {"joins": {**definition.joins, "unknown": "any"}},
    lambda definition, name: {"reducers": {"_history": max}},
    lambda definition, name: {"reducers": {"notes": 5}},
]


@given(sound_graphs(), st.sampled_from(MISTAKES), st.data())
def test_one_mistake_is_found_and_named(
    definition: GraphDefinition, mistake: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(definition.nodes)))
    mistaken = attrs.evolve(definition, **mistake(definition, name))
    assert problems_of(mistaken, terminals_needed=True) != []
