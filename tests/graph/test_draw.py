"""Drawings of graphs: their structure, and what a run did in them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lexigram_actors.drawing import Line, Shape, Tone
from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.draw import diagram_of, to_dot, to_mermaid
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.models import GraphResult, NodeResult, NodeType
from lexigram_actors.graph.node import AbstractWorkflowNode
from tests.diagrams import HOSTILE, needs_graphviz, read_dot, read_mermaid


class Still(AbstractWorkflowNode):
    """Does nothing; only its type is drawn."""

    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        return state


def always(state: dict[str, Any]) -> bool:
    return True


def graph(
    *names: str, edges=(), entry=None, terminals=None, name="flow", **rest
) -> GraphDefinition:
    return GraphDefinition(
        name,
        {each: Still(each) for each in names},
        [WorkflowEdge(*edge) for edge in edges],
        entry,
        terminals or {},
        **rest,
    )


def by_name(definition: GraphDefinition, result: GraphResult | None = None):
    return {node.key: node for node in diagram_of(definition, result).drawn_nodes()}


def ran(*results: NodeResult) -> GraphResult:
    return GraphResult({}, list(results))


# --- structure -----------------------------------------------------------------------------------


def test_nodes_stand_in_their_order_under_the_name_they_are_registered_with():
    definition = GraphDefinition("flow", {"b": Still("own"), "a": Still("own")}, [], None, {})
    assert [(node.key, node.label) for node in diagram_of(definition).nodes] == [
        ("b", "b"),
        ("a", "a"),
    ]


def test_each_type_of_node_has_a_shape_of_its_own():
    nodes = {str(kind): Still(str(kind), kind) for kind in NodeType}
    shapes = [node.shape for node in diagram_of(GraphDefinition("", nodes, [], None, {})).nodes]
    assert len(set(shapes)) == len(NodeType)
    assert shapes[list(NodeType).index(NodeType.GATE)] is Shape.DIAMOND


def test_entry_and_terminals_are_marked():
    definition = graph(
        "a",
        "b",
        "c",
        "d",
        entry="a",
        terminals={"b": None, "c": always, "d": None},
        run_terminals={"d"},
    )
    nodes = by_name(definition)
    assert [(node.entry, node.terminal, list(node.notes)) for node in nodes.values()] == [
        (True, False, ["entry"]),
        (False, True, ["terminal"]),
        (False, True, ["terminal on a condition"]),
        (False, True, ["ends the run"]),
    ]


def test_only_a_join_of_any_is_shown():
    nodes = by_name(graph("a", "b", "c", joins={"a": "any", "b": "all"}))
    assert [list(node.notes) for node in nodes.values()] == [["joins any"], [], []]


def test_conditional_edges_are_dashed_and_gotos_dotted():
    definition = graph(
        "a",
        "b",
        edges=[("a", "b"), ("a", "b", always, "if big"), ("b", "a", None, "again")],
        gotos={"a": ["b", "a"]},
    )
    assert [(e.source, e.target, e.label, e.line) for e in diagram_of(definition).edges] == [
        ("a", "b", "", Line.SOLID),
        ("a", "b", "if big", Line.DASHED),
        ("b", "a", "again", Line.SOLID),
        ("a", "b", "", Line.DOTTED),
        ("a", "a", "", Line.DOTTED),
    ]


def test_names_that_no_node_has_are_drawn_as_unknown():
    definition = graph(
        "a",
        edges=[("a", "target"), ("source", "a")],
        entry="start",
        terminals={"finish": None},
        gotos={"a": ["jump"]},
    )
    for result in (None, ran(NodeResult("a", {}))):
        nodes = by_name(definition, result)
        unknown = [name for name, node in nodes.items() if node.tone is Tone.UNKNOWN]
        assert unknown == ["start", "finish", "target", "source", "jump"]
        assert all("unknown" in node.notes[0] for name, node in nodes.items() if name != "a")
        assert nodes["start"].entry
        assert nodes["finish"].terminal


def test_an_empty_graph_is_drawn():
    assert read_mermaid(to_mermaid(graph())).labels == {}
    assert to_dot(graph()).startswith('digraph "flow" {\n')


def test_what_is_no_node_at_all_is_drawn_as_a_box():
    [node] = diagram_of(GraphDefinition("", {"a": object()}, [], None, {})).nodes  # type: ignore[dict-item]
    assert node.shape is Shape.BOX


# --- with a result -------------------------------------------------------------------------------


def test_a_result_colours_what_ran_what_failed_and_what_was_not_reached():
    definition = graph("a", "b", "c", edges=[("a", "b", None, "way")], entry="a")
    result = ran(NodeResult("a", {}), NodeResult("b", {}, error="no stock"))
    nodes = by_name(definition, result)
    assert [(node.tone, list(node.notes)) for node in nodes.values()] == [
        (Tone.SUCCESS, ["entry"]),
        (Tone.FAILURE, ["failed"]),
        (Tone.IDLE, ["not reached"]),
    ]
    assert diagram_of(definition, result).edges == diagram_of(definition).edges


def test_without_a_result_nothing_is_coloured():
    assert {node.tone for node in by_name(graph("a", "b", entry="a")).values()} == {Tone.PLAIN}


def test_a_node_that_ran_more_than_once_says_how_often():
    result = ran(NodeResult("a", {}), NodeResult("a", {}), NodeResult("a", {}, error="late"))
    node = by_name(graph("a"), result)["a"]
    assert (node.tone, list(node.notes)) == (Tone.FAILURE, ["failed, 3 times"])


def test_a_node_that_was_only_passed_over_was_not_reached():
    node = by_name(graph("a"), ran(NodeResult("a", {}, skipped=True)))["a"]
    assert (node.tone, list(node.notes)) == (Tone.IDLE, ["not reached"])


@pytest.mark.parametrize("writer", [to_dot, to_mermaid])
def test_neither_outputs_nor_errors_are_drawn(writer):
    result = ran(NodeResult("a", {"token": "s3cret"}, error="s3cret was refused"))
    assert "s3cret" not in writer(graph("a"), result)


# --- hostile names -------------------------------------------------------------------------------


def chain_of_hostile_names() -> GraphDefinition:
    ways = [(a, b, always, b) for a, b in itertools.pairwise(HOSTILE)]
    return graph(*HOSTILE, edges=ways, entry=HOSTILE[0], name=HOSTILE[3])


@needs_graphviz
def test_graphviz_tells_hostile_names_apart():
    drawn = read_dot(to_dot(chain_of_hostile_names()))
    assert list(drawn.labels) == HOSTILE
    assert len(drawn.edges) == len(HOSTILE) - 1


def test_hostile_names_stay_in_their_place_in_mermaid():
    drawn = read_mermaid(to_mermaid(chain_of_hostile_names()))
    assert list(drawn.labels) == [f"n{position}" for position in range(len(HOSTILE))]
    assert len(drawn.edges) == len(HOSTILE) - 1
