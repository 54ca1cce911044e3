"""Diagrams in DOT and Mermaid: what is drawn, and that no name can break out of its place."""

from __future__ import annotations

import itertools

import attrs
import pytest

from lexigram_actors.drawing import (
    SHOWN,
    Diagram,
    DiagramEdge,
    DiagramNode,
    Line,
    Shape,
    Tone,
    dot_id,
    lines_of,
    shortened,
    to_dot,
    to_mermaid,
    visible,
)
from tests.diagrams import HOSTILE, needs_graphviz, read_dot, read_mermaid

hostile_chain = Diagram(
    "all of them",
    [DiagramNode(name, name, shape=shape) for name, shape in zip(HOSTILE, itertools.cycle(Shape))],
    [DiagramEdge(a, b, label=b) for a, b in itertools.pairwise(HOSTILE)],
)


def not_blank(lines: list[str]) -> list[str]:
    return [line for line in lines if line]


# --- DOT -----------------------------------------------------------------------------------------


@needs_graphviz
def test_graphviz_reads_back_every_hostile_name_label_and_edge():
    graph = read_dot(to_dot(hostile_chain))
    assert list(graph.labels) == HOSTILE
    assert graph.labels == {name: not_blank(lines_of(name)) for name in HOSTILE}
    assert sorted(graph.edges) == sorted(
        (a, b, not_blank(lines_of(b))) for a, b in itertools.pairwise(HOSTILE)
    )


@needs_graphviz
@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
def test_graphviz_reads_back_every_hostile_title(title):
    graph = read_dot(to_dot(Diagram(title, [DiagramNode("a", "a")])))
    assert graph.title == title
    assert graph.labels == {"a": ["a"]}


@needs_graphviz
def test_shapes_colours_and_marks_reach_graphviz():
    nodes = [
        DiagramNode("start", "start", shape=Shape.DIAMOND, tone=Tone.SUCCESS, entry=True),
        DiagramNode("end", "end", notes=["twice", "& more"], tone=Tone.FAILURE, terminal=True),
    ]
    graph = read_dot(to_dot(Diagram("marks", nodes)))
    start, end = graph.attributes["start"], graph.attributes["end"]
    assert (start["shape"], start["penwidth"]) == ("diamond", "3")
    assert (end["shape"], end["peripheries"]) == ("box", "2")
    assert start["fillcolor"] != end["fillcolor"]
    assert graph.labels["end"] == ["end", "twice", "& more"]


def test_a_backslash_before_an_escape_is_told_from_the_escape():
    assert dot_id("\n") == r'"\n"'
    assert dot_id("\\n") == r'"\\n"'


def test_an_edge_has_its_style_and_its_label_in_dot():
    written = to_dot(Diagram("", [], [DiagramEdge("a", "b", 'if "x"', Line.DASHED)]))
    assert r'"a" -> "b" [style=dashed, label="if \"x\""];' in written


# --- Mermaid -------------------------------------------------------------------------------------


def test_every_line_of_a_hostile_flowchart_is_one_of_those_we_write():
    graph = read_mermaid(to_mermaid(hostile_chain))
    ids = {name: f"n{position}" for position, name in enumerate(HOSTILE)}
    assert graph.labels == {ids[name]: lines_of(name) if name else [" "] for name in HOSTILE}
    assert graph.edges == [
        (ids[a], "-->", ids[b], lines_of(b)) for a, b in itertools.pairwise(HOSTILE)
    ]


@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_title_stays_in_its_line(title):
    graph = read_mermaid(to_mermaid(Diagram(title, [])))
    assert graph.title == visible(shortened(title))


def test_a_diagram_without_a_title_has_no_front_matter():
    assert to_mermaid(Diagram("", [])) == "flowchart TB\n"


def test_shapes_colours_and_marks_reach_mermaid():
    nodes = [
        DiagramNode("start", "start", shape=Shape.DIAMOND, tone=Tone.SUCCESS, entry=True),
        DiagramNode("end", "end", notes=["twice"], tone=Tone.FAILURE, terminal=True),
    ]
    written = to_mermaid(Diagram("marks", nodes, direction="LR"))
    assert "flowchart LR\n" in written
    assert '  n0{"start"}\n  n1["end<br/>twice"]\n' in written
    assert read_mermaid(written).classes == {
        "success": {"n0"},
        "failure": {"n1"},
        "entry": {"n0"},
        "terminal": {"n1"},
    }


def test_dashed_and_dotted_edges_differ_in_mermaid():
    edges = [DiagramEdge("a", "a", line=line) for line in (Line.SOLID, Line.DASHED, Line.DOTTED)]
    graph = read_mermaid(to_mermaid(Diagram("", [], edges)))
    assert [arrow for _, arrow, _, _ in graph.edges] == ["-->", "-.->", "-.->"]
    assert graph.dotted == {2}


# --- both ----------------------------------------------------------------------------------------


def test_a_key_that_only_an_edge_names_is_drawn_as_unknown():
    diagram = Diagram(
        "", [DiagramNode("a", "a")], [DiagramEdge("a", "gone"), DiagramEdge("x", "a")]
    )
    assert [node.key for node in diagram.drawn_nodes()] == ["a", "gone", "x"]
    graph = read_mermaid(to_mermaid(diagram))
    assert graph.labels == {"n0": ["a"], "n1": ["gone", "unknown"], "n2": ["x", "unknown"]}
    assert graph.classes["unknown"] == {"n1", "n2"}
    assert r'"gone" [label="gone\nunknown"' in to_dot(diagram)


def test_of_two_nodes_with_one_key_the_first_is_drawn():
    diagram = Diagram("", [DiagramNode("a", "first"), DiagramNode("a", "second")])
    assert read_mermaid(to_mermaid(diagram)).labels == {"n0": ["first"]}
    assert "second" not in to_dot(diagram)


def test_a_long_label_is_cut_and_its_notes_are_kept():
    node = DiagramNode("x" * 500, "x" * 500, notes=["entry"])
    [label, note] = read_mermaid(to_mermaid(Diagram("", [node]))).labels["n0"]
    assert (len(label), label[-1], note) == (SHOWN, "…", "entry")
    assert "x" * 500 in to_dot(Diagram("", [node]))


def test_what_cannot_be_seen_is_shown_as_an_escape():
    assert lines_of("a\x00\u202e\ud800\ufeff") == [r"a\x00\u202e\ud800\ufeff"]


@pytest.mark.parametrize("writer", [to_dot, to_mermaid])
def test_equal_diagrams_are_written_alike_and_can_be_stored_as_utf_8(writer):
    again = attrs.evolve(hostile_chain, nodes=list(hostile_chain.nodes))
    assert writer(hostile_chain) == writer(again)
    assert writer(hostile_chain).encode("utf-8").isascii() is False
