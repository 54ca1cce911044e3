"""Writes diagrams as DOT (Graphviz) and as Mermaid, whatever the names in them are. Pure.

Names come from anywhere, so each text is written in one of three forms:

- An **id in DOT** is told apart by its exact characters, and the language has one escape, `\"`;
  every other backslash stays in the id. So backslashes are doubled, and what DOT cannot hold is
  written as an escape with a single one. Different keys give different ids.
- A **label** is shown to people: characters that cannot be seen, or that turn the direction of
  writing, stand as an escape; line breaks break the line; long text is cut.
- In **Mermaid** an id is never a user's text but `n0`, `n1`, ...; in labels everything but letters,
  digits and spaces is an entity code. That is more than the language asks for: its preprocessors
  (comments, directives, Markdown, `style ...: #...;`) look into quoted labels too.

Rejected: HTML-like labels in DOT, which would need a second escaping, and records, where `{`, `|`
and `>` have a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

from attrs import field, frozen

SHOWN = 80
"""Characters of a label that are drawn; the rest is cut."""

LINE_BREAKS = re.compile("\r\n|[\r\n\v\f\x85\u2028\u2029]")

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff]"
)
"""What is not seen, what turns the direction of writing, and what UTF-8 or XML cannot hold."""

ENTITIES = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?![ \w])[\x00-\x7f]|[\xb0\xb6\ufb02]")
"""What stands in Mermaid as an entity code; the last three are how it marks those codes itself."""

NAMED_ENTITIES = {'"': "quot", "<": "lt", ">": "gt", "&": "amp"}


class Shape(StrEnum):
    """The outline of a node."""

    BOX = "box"
    ROUNDED = "rounded"
    STADIUM = "stadium"
    DIAMOND = "diamond"
    HEXAGON = "hexagon"
    FRAMED = "framed"
    SLANTED = "slanted"


class Tone(StrEnum):
    """The class of colour of a node."""

    PLAIN = "plain"
    SUCCESS = "success"
    FAILURE = "failure"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Line(StrEnum):
    """How an edge is drawn."""

    SOLID = "solid"
    DASHED = "dashed"
    DOTTED = "dotted"


@frozen
class DiagramNode:
    """A node of a diagram.

    Attributes:
        key: Tells it apart from the others, and is what edges name.
        label: What it shows; cut where it is long.
        notes: Lines below the label.
        entry: Whether to mark it as a place to start: with a thick border.
        terminal: Whether to mark it as a place to end: with a double border; where there is none,
            with a thicker one.
    """

    key: str
    label: str
    notes: Sequence[str] = field(default=(), kw_only=True)
    shape: Shape = field(default=Shape.BOX, kw_only=True)
    tone: Tone = field(default=Tone.PLAIN, kw_only=True)
    entry: bool = field(default=False, kw_only=True)
    terminal: bool = field(default=False, kw_only=True)


@frozen
class DiagramEdge:
    """An arrow between two nodes, which are named by their keys."""

    source: str
    target: str
    label: str = ""
    line: Line = Line.SOLID


@frozen
class Diagram:
    """Nodes and edges, in the order in which they are written.

    A key that an edge names and no node has is drawn as a node marked unknown. Of several nodes
    with the same key the first is drawn.
    """

    title: str
    nodes: Sequence[DiagramNode]
    edges: Sequence[DiagramEdge] = ()
    direction: Literal["TB", "LR"] = "TB"

    def drawn_nodes(self) -> list[DiagramNode]:
        """Return every node that is drawn, the unknown ones last."""
        found: dict[str, DiagramNode] = {}
        for node in self.nodes:
            found.setdefault(node.key, node)
        for edge in self.edges:
            for key in (edge.source, edge.target):
                found.setdefault(key, unknown_node(key))
        return list(found.values())


def unknown_node(key: str) -> DiagramNode:
    """Return the node that stands for a key nobody registered."""
    return DiagramNode(key, key, notes=("unknown",), tone=Tone.UNKNOWN)


# --- text ------------------------------------------------------------------------------------


def escape_code(character: str) -> str:
    """Return a character as Python would write it, as `\\x00` or `\\u202e`."""
    return character.encode("unicode_escape").decode("ascii")


def visible(text: str) -> str:
    """Return the text with escapes for what cannot be shown, line breaks among it."""
    return HIDDEN.sub(lambda match: escape_code(match[0]), text)


def shortened(text: str) -> str:
    """Return the text, cut where it is long."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}\u2026"


def lines_of(text: str, notes: Sequence[str] = ()) -> list[str]:
    """Return the lines of a label as they are shown; at least one, which may be empty."""
    parts = (shortened(text), *notes)
    return [visible(line) for part in parts for line in LINE_BREAKS.split(part)]


# --- DOT -------------------------------------------------------------------------------------

DOT_SHAPES = {
    Shape.BOX: "box",
    Shape.ROUNDED: "box",
    Shape.STADIUM: "ellipse",
    Shape.DIAMOND: "diamond",
    Shape.HEXAGON: "hexagon",
    Shape.FRAMED: "component",
    Shape.SLANTED: "parallelogram",
}

COLOURS = {
    Tone.PLAIN: ("#ffffff", "#424242"),
    Tone.SUCCESS: ("#d7f0da", "#2e7d32"),
    Tone.FAILURE: ("#fbd9d7", "#c62828"),
    Tone.IDLE: ("#eeeeee", "#9e9e9e"),
    Tone.UNKNOWN: ("#fff3c4", "#ef6c00"),
}
"""Fill and border."""


def to_dot(diagram: Diagram) -> str:
    """Return the diagram as DOT, the language of Graphviz; the same for equal diagrams."""
    title = dot_label(lines_of(diagram.title))
    lines = [
        f"digraph {dot_id(diagram.title)} {{",
        f"  graph [rankdir={diagram.direction}, labelloc=t, label={title}];",
        *(f"  {dot_node(node)};" for node in diagram.drawn_nodes()),
        *(f"  {dot_edge(edge)};" for edge in diagram.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def dot_id(key: str) -> str:
    """Return a key as a quoted id, never the same for two keys."""
    escaped = visible(key.replace("\\", r"\\"))
    if escaped.startswith("%"):  # so begin the names that Graphviz gives to what has none
        escaped = r"\x25" + escaped[1:]
    return '"' + escaped.replace('"', r"\"") + '"'


def dot_label(lines: Iterable[str]) -> str:
    """Return lines as a quoted label; `&` would begin an entity, `\\` an escape sequence."""
    return '"' + r"\n".join(map(dot_text, lines)) + '"'


def dot_text(line: str) -> str:
    """Return one line escaped for a label."""
    return line.replace("\\", r"\\").replace('"', r"\"").replace("&", "&amp;")


def dot_node(node: DiagramNode) -> str:
    """Return the statement that declares a node."""
    fill, border = COLOURS[node.tone]
    styles = "filled,rounded" if node.shape is Shape.ROUNDED else "filled"
    attributes = [
        f"label={dot_label(lines_of(node.label, node.notes))}",
        f"shape={DOT_SHAPES[node.shape]}",
        f'style="{styles}"',
        f'fillcolor="{fill}"',
        f'color="{border}"',
    ]
    if node.entry:
        attributes.append("penwidth=3")
    if node.terminal:
        attributes.append("peripheries=2")
    return f"{dot_id(node.key)} [{', '.join(attributes)}]"


def dot_edge(edge: DiagramEdge) -> str:
    """Return the statement that declares an edge."""
    attributes = [f"style={edge.line}"]
    if edge.label:
        attributes.append(f"label={dot_label(lines_of(edge.label))}")
    return f"{dot_id(edge.source)} -> {dot_id(edge.target)} [{', '.join(attributes)}]"


# --- Mermaid ---------------------------------------------------------------------------------

MERMAID_SHAPES = {
    Shape.BOX: ("[", "]"),
    Shape.ROUNDED: ("(", ")"),
    Shape.STADIUM: ("([", "])"),
    Shape.DIAMOND: ("{", "}"),
    Shape.HEXAGON: ("{{", "}}"),
    Shape.FRAMED: ("[[", "]]"),
    Shape.SLANTED: ("[/", "/]"),
}

MERMAID_ARROWS = {Line.SOLID: "-->", Line.DASHED: "-.->", Line.DOTTED: "-.->"}


def to_mermaid(diagram: Diagram) -> str:
    """Return the diagram as a Mermaid flowchart; the same for equal diagrams."""
    nodes = diagram.drawn_nodes()
    ids = {node.key: f"n{position}" for position, node in enumerate(nodes)}
    lines = [
        *mermaid_title(diagram.title),
        f"flowchart {diagram.direction}",
        *(f"  {ids[node.key]}{mermaid_shape(node)}" for node in nodes),
        *(
            f"  {ids[edge.source]} {mermaid_arrow(edge)} {ids[edge.target]}"
            for edge in diagram.edges
        ),
        *(f"  {line}" for line in mermaid_styles(nodes, ids, diagram.edges)),
    ]
    return "\n".join(lines) + "\n"


def mermaid_title(title: str) -> list[str]:
    """Return the front matter that holds the title, which is YAML; nothing for an empty one."""
    if not title:
        return []
    shown = visible(shortened(title))
    quoted = re.sub(r"(?![ \w])[\x00-\x7f]", lambda match: f"\\x{ord(match[0]):02x}", shown)
    return ["---", f'title: "{quoted}"', "---"]


def mermaid_label(lines: Iterable[str]) -> str:
    """Return lines as a quoted label; a blank for an empty one, which would be no label."""
    return f'"{"<br/>".join(map(mermaid_text, lines)) or " "}"'


def mermaid_text(line: str) -> str:
    """Return one line with entity codes for what Mermaid, Markdown or HTML might read."""
    return ENTITIES.sub(lambda match: f"#{NAMED_ENTITIES.get(match[0], str(ord(match[0])))};", line)


def mermaid_shape(node: DiagramNode) -> str:
    """Return the label of a node within the brackets that say its shape."""
    opening, closing = MERMAID_SHAPES[node.shape]
    return f"{opening}{mermaid_label(lines_of(node.label, node.notes))}{closing}"


def mermaid_arrow(edge: DiagramEdge) -> str:
    """Return an arrow with its label."""
    arrow = MERMAID_ARROWS[edge.line]
    return f"{arrow}|{mermaid_label(lines_of(edge.label))}|" if edge.label else arrow


def mermaid_styles(
    nodes: Sequence[DiagramNode], ids: dict[str, str], edges: Sequence[DiagramEdge]
) -> list[str]:
    """Return the classes of nodes, with who is in them, and the styles of dotted edges."""
    styles = {
        str(tone): f"fill:{fill},stroke:{border},color:#212121"
        for tone, (fill, border) in COLOURS.items()
        if tone is not Tone.PLAIN
    }
    styles |= {"entry": "stroke-width:3px", "terminal": "stroke-width:6px"}
    lines = []
    for name, style in styles.items():
        members = [ids[node.key] for node in nodes if name in classes_of(node)]
        if members:
            lines += [f"classDef {name} {style}", f"class {','.join(members)} {name}"]
    dotted = [str(index) for index, edge in enumerate(edges) if edge.line is Line.DOTTED]
    if dotted:
        lines.append(f"linkStyle {','.join(dotted)} stroke-dasharray:1 4")
    return lines


def classes_of(node: DiagramNode) -> set[str]:
    """Return the Mermaid classes that a node belongs to."""
    marks = {"entry": node.entry, "terminal": node.terminal}
    return {str(node.tone), *(name for name, holds in marks.items() if holds)}
