"""Reads diagrams back: DOT by Graphviz itself, Mermaid by a small grammar every line must match."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from typing import Any, NamedTuple

import pytest

DOT = shutil.which("dot")

needs_graphviz = pytest.mark.skipif(DOT is None, reason="Graphviz (`dot`) is not installed")

HOSTILE = [
    "",
    " ",
    "plain",
    'a "quoted" name',
    "'",
    "back\\slash",
    "trailing\\",
    "\\",
    "\\\\",
    '\\"',
    "\\N\\G\\E\\T\\H\\L\\l\\r\\n",
    "two\nlines",
    "two\r\nlines",
    "line\\\ncontinued",
    "separated\u2028by\u2029others",
    '"];evil[',
    '"]; evil [label="',
    "<b>bold</b>",
    "<<table></table>>",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "&amp; &lt; &#34; &",
    "#quot; #35; ;#",
    "%%",
    "%% comment",
    "%1",
    "%%{init: {'theme': 'dark'}}%%",
    "end",
    "click",
    "subgraph",
    "strict",
    "node",
    "graph TD",
    'click n0 href "javascript:alert(1)"',
    "style a:b#c; d",
    "-->",
    "a --> b",
    "->",
    "a:b:c",
    "{a|b}",
    "()[]{}",
    "`code`",
    "**bold** __bold__",
    "1. list",
    "- list",
    "---",
    "$$x$$",
    "fa:fa-car",
    "@{ shape: circle }",
    "ﬂ°°60¶ß",
    "// comment",
    "/* comment */",
    "#include",
    "nul\x00",
    "\\x00",
    "bell\x07 tab\t escape\x1b[31m",
    "\x85\x9b",
    "\ud800",
    "\\ud800",
    "turned\u202eback",
    "\ufeffmark",
    "\uffff",
    "日本語",
    "🜁 e\u0301",
    "x" * 10_000,
    "x" * 9_999 + "y",
    '"' * 10_000,
    "n0",
    "n1",
]


class DotGraph(NamedTuple):
    """What Graphviz understood."""

    title: str
    labels: dict[str, list[str]]
    """The lines that are drawn, by the name of their node; blank ones are not drawn."""
    edges: list[tuple[str, str, list[str]]]
    attributes: dict[str, dict[str, Any]]


def read_dot(source: str) -> DotGraph:
    """Return what Graphviz draws of it; any complaint of Graphviz is an error."""
    assert DOT is not None
    ended = subprocess.run([DOT, "-Tjson"], input=source.encode(), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    graph = json.loads(ended.stdout)
    nodes = graph.get("objects", [])
    names = [as_key(node["name"]) for node in nodes]
    return DotGraph(
        as_key(graph["name"]),
        {name: drawn(node) for name, node in zip(names, nodes, strict=True)},
        [(names[e["tail"]], names[e["head"]], drawn(e)) for e in graph.get("edges", [])],
        dict(zip(names, nodes, strict=True)),
    )


def drawn(part: dict[str, Any]) -> list[str]:
    return [step["text"] for step in part.get("_ldraw_", []) if step["op"] == "T"]


def as_key(name: str) -> str:
    """Return the key that an id in DOT stands for: it holds escapes as Python has them."""
    raw = re.sub(
        r"\\(\\|x..|u....|[nrt])|[^\\]",
        lambda found: found[0] if found[1] else as_code(found[0]),
        name,
    )
    return raw.encode("ascii").decode("unicode_escape")


def as_code(character: str) -> str:
    return f"\\U{ord(character):08x}"


class MermaidGraph(NamedTuple):
    """What a Mermaid flowchart says."""

    title: str
    labels: dict[str, list[str]]
    edges: list[tuple[str, str, str, list[str]]]
    """Source, arrow, target and the lines of the label."""
    classes: dict[str, set[str]]
    dotted: set[int]


PLAIN = r"(?![°¶ﬂ_])[\w \x80-\U0010ffff]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])"
TEXT = rf'"((?:{PLAIN}|#(?:\d+|quot|lt|gt|amp);|<br/>)+)"'
NODE = re.compile(
    rf"  (n\d+)(\[|\(|\(\[|\{{|\{{\{{|\[\[|\[/){TEXT}(\]|\)|\]\)|\}}|\}}\}}|\]\]|/\])"
)
EDGE = re.compile(rf"  (n\d+) (-->|-\.->)(?:\|{TEXT}\|)? (n\d+)")
CLASS = re.compile(r"  class (n\d+(?:,n\d+)*) ([a-z]+)")
CLASS_DEFINITION = re.compile(r"  classDef ([a-z]+) ([a-z-]+:[#\w]+(?:,[a-z-]+:[#\w]+)*)")
LINK_STYLE = re.compile(r"  linkStyle (\d+(?:,\d+)*) stroke-dasharray:1 4")
TITLE = re.compile(r'title: "((?:[\w \x80-\U0010ffff]|\\x[0-9a-f]{2})+)"')


def read_mermaid(source: str) -> MermaidGraph:
    """Return what a flowchart says. A line that is none of those we write is an error."""
    lines = source.split("\n")
    assert lines.pop() == ""
    title = ""
    if lines[0] == "---":
        found = TITLE.fullmatch(lines[1])
        assert found, lines[1]
        assert lines[2] == "---"
        title = re.sub(r"\\x(..)", lambda code: chr(int(code[1], 16)), found[1])
        del lines[:3]
    assert lines.pop(0) in ("flowchart TB", "flowchart LR")
    graph = MermaidGraph(title, {}, [], {}, set())
    for line in lines:
        read_line(line, graph)
    return graph


def read_line(line: str, graph: MermaidGraph) -> None:
    if found := NODE.fullmatch(line):
        assert found[1] not in graph.labels
        graph.labels[found[1]] = label_lines(found[3])
    elif found := EDGE.fullmatch(line):
        graph.edges.append((found[1], found[2], found[4], label_lines(found[3] or "")))
    elif found := CLASS.fullmatch(line):
        graph.classes[found[2]] = set(found[1].split(","))
    elif found := LINK_STYLE.fullmatch(line):
        graph.dotted.update(map(int, found[1].split(",")))
    else:
        assert CLASS_DEFINITION.fullmatch(line), line


def label_lines(label: str) -> list[str]:
    return [shown(line) for line in label.split("<br/>")]


def shown(line: str) -> str:
    """Return what a browser shows: Mermaid turns its codes into entities of HTML."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", re.sub(r"#([a-z]+);", r"&\1;", line)))
