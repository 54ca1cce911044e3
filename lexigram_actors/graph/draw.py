"""Draws graphs: their structure, and with a result what a run did in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lexigram_actors import drawing
from lexigram_actors.drawing import Diagram, DiagramEdge, DiagramNode, Line, Shape, Tone
from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.models import GraphResult, NodeResult, NodeType

SHAPES: Mapping[object, Shape] = {
    NodeType.AGENT: Shape.HEXAGON,
    NodeType.TOOL: Shape.SLANTED,
    NodeType.LLM: Shape.STADIUM,
    NodeType.GATE: Shape.DIAMOND,
    NodeType.HUMAN: Shape.ROUNDED,
    NodeType.SUBWORKFLOW: Shape.FRAMED,
    NodeType.CUSTOM: Shape.BOX,
}

Executions = Mapping[str, Sequence[NodeResult]]
"""By the name of the node."""


def to_dot(definition: GraphDefinition, result: GraphResult | None = None) -> str:
    """Return the graph as DOT, the language of Graphviz; see `diagram_of`."""
    return drawing.to_dot(diagram_of(definition, result))


def to_mermaid(definition: GraphDefinition, result: GraphResult | None = None) -> str:
    """Return the graph as a Mermaid flowchart; see `diagram_of`."""
    return drawing.to_mermaid(diagram_of(definition, result))


def diagram_of(definition: GraphDefinition, result: GraphResult | None = None) -> Diagram:
    """Return the diagram of a graph, whether it is valid or not.

    The shape tells what a node does. The entry has a thick border, a terminal a double one, and
    below the name stands what is special about the node. Edges are dashed where they have a
    condition, and dotted where a `Command` may go. Names that no node has are drawn as unknown.

    Args:
        definition: What to draw.
        result: What a run did in it, for colours: green ran, red failed, grey was not reached. A
            node that ran more than once says how often. Nothing of its values or errors is shown.
    """
    executions = None if result is None else by_node(result)
    return Diagram(
        definition.name,
        [drawn_node(definition, name, executions) for name in names_of(definition)],
        [*edges_of(definition)],
    )


def by_node(result: GraphResult) -> Executions:
    """Return what was executed, by the name of the node."""
    executions: dict[str, list[NodeResult]] = {}
    for each in result.node_results:
        executions.setdefault(each.node_name, []).append(each)
    return executions


def names_of(definition: GraphDefinition) -> list[str]:
    """Return the names of nodes, then those that only the entry or a terminal has."""
    entry = [] if definition.entry is None else [definition.entry]
    return list(dict.fromkeys([*definition.nodes, *entry, *definition.terminals]))


def drawn_node(
    definition: GraphDefinition, name: str, executions: Executions | None
) -> DiagramNode:
    """Return one node as it is drawn."""
    if name in definition.nodes:
        shape = SHAPES.get(getattr(definition.nodes[name], "node_type", None), Shape.BOX)
        tone, outcome = outcome_of(name, executions)
    else:
        shape, tone, outcome = Shape.BOX, Tone.UNKNOWN, ["unknown"]
    notes = [*marks_of(definition, name), *outcome]
    return DiagramNode(
        name,
        name,
        notes=[", ".join(notes)] if notes else [],
        shape=shape,
        tone=tone,
        entry=name == definition.entry,
        terminal=name in definition.terminals,
    )


def marks_of(definition: GraphDefinition, name: str) -> Iterator[str]:
    """Yield what is special about the node."""
    if name == definition.entry:
        yield "entry"
    if name in definition.terminals:
        ends = "ends the run" if name in definition.run_terminals else "terminal"
        yield ends if definition.terminals[name] is None else f"{ends} on a condition"
    if definition.joins.get(name) == "any":
        yield "joins any"


def outcome_of(name: str, executions: Executions | None) -> tuple[Tone, list[str]]:
    """Return the colour for what a run did with the node, and words for it."""
    if executions is None:
        return Tone.PLAIN, []
    ran = [each for each in executions.get(name, ()) if not each.skipped]
    if not ran:
        return Tone.IDLE, ["not reached"]
    often = [f"{len(ran)} times"] if len(ran) > 1 else []
    if all(each.succeeded for each in ran):
        return Tone.SUCCESS, often
    return Tone.FAILURE, ["failed", *often]


def edges_of(definition: GraphDefinition) -> Iterator[DiagramEdge]:
    """Yield the edges in their order, then the ways a `Command` may go."""
    for edge in definition.edges:
        line = Line.SOLID if edge.condition is None else Line.DASHED
        yield DiagramEdge(edge.source, edge.target, edge.label, line)
    for source, targets in definition.gotos.items():
        for target in targets:
            yield DiagramEdge(source, target, line=Line.DOTTED)
