"""Diagrams of any text: read back, they say what was put in, and nothing more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lexigram_actors.drawing import (
    Diagram,
    DiagramEdge,
    DiagramNode,
    Line,
    Shape,
    Tone,
    dot_id,
    lines_of,
    to_dot,
    to_mermaid,
)
from tests.diagrams import HOSTILE, as_key, needs_graphviz, read_dot, read_mermaid

characters = st.characters(exclude_categories=())
texts = st.one_of(
    st.text(characters),
    st.text(st.sampled_from('\\"nN<>&;#%\n\r[]{}|`_- \x00\u202e\ud800a')),
    st.sampled_from(HOSTILE),
)


@st.composite
def diagrams(draw: st.DrawFn) -> Diagram:
    keys = draw(st.lists(texts, min_size=1, max_size=6, unique=True))
    nodes = [
        DiagramNode(
            key,
            draw(texts),
            notes=draw(st.lists(texts, max_size=2)),
            shape=draw(st.sampled_from(Shape)),
            tone=draw(st.sampled_from(Tone)),
            entry=draw(st.booleans()),
            terminal=draw(st.booleans()),
        )
        for key in keys
    ]
    ends = st.sampled_from(keys)
    edges = st.builds(DiagramEdge, ends, ends, texts, st.sampled_from(Line))
    return Diagram(draw(texts), nodes, draw(st.lists(edges, max_size=6)))


def drawn_lines(text: str, notes: list[str] | None = None) -> list[str]:
    """Graphviz draws no blank lines, and Mermaid trims."""
    return [line for line in lines_of(text, notes or []) if line]


@given(st.lists(texts, unique=True))
def test_different_keys_never_have_the_same_id(keys: list[str]):
    ids = [dot_id(key) for key in keys]
    assert len(set(ids)) == len(keys)
    assert [as_key(each[1:-1].replace(r"\"", '"')) for each in ids] == keys


@needs_graphviz
@settings(max_examples=40)  # each starts a process
@given(diagrams())
def test_graphviz_reads_back_what_was_drawn(diagram: Diagram):
    graph = read_dot(to_dot(diagram))
    assert graph.title == diagram.title
    assert graph.labels == {
        node.key: drawn_lines(node.label, list(node.notes)) for node in diagram.nodes
    }
    assert sorted(graph.edges) == sorted(
        (edge.source, edge.target, drawn_lines(edge.label)) for edge in diagram.edges
    )


@given(diagrams())
def test_a_flowchart_says_what_was_drawn(diagram: Diagram):
    graph = read_mermaid(to_mermaid(diagram))
    ids = {node.key: f"n{position}" for position, node in enumerate(diagram.nodes)}
    for node in diagram.nodes:
        expected = lines_of(node.label, node.notes)
        assert graph.labels[ids[node.key]] == (expected if expected != [""] else [" "])
        assert (ids[node.key] in graph.classes.get("entry", ())) is node.entry
        assert (ids[node.key] in graph.classes.get("terminal", ())) is node.terminal
    assert len(graph.labels) == len(diagram.nodes)
    assert [(source, target) for source, _, target, _ in graph.edges] == [
        (ids[edge.source], ids[edge.target]) for edge in diagram.edges
    ]
