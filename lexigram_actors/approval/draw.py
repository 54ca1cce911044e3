"""The states of a request as a diagram: its levels, and the three ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lexigram_actors import drawing
from lexigram_actors.approval.levels import ApprovalLevel
from lexigram_actors.approval.models import ApprovalPolicy, OnExpiry
from lexigram_actors.drawing import Diagram, DiagramEdge, DiagramNode, Line, Shape, Tone

ENDS = {"approved": Tone.SUCCESS, "rejected": Tone.FAILURE, "expired": Tone.IDLE}


def to_mermaid(name: str, levels: Sequence[ApprovalLevel]) -> str:
    """Return a chain as a Mermaid flowchart."""
    return drawing.to_mermaid(diagram_of(name, levels))


def to_dot(name: str, levels: Sequence[ApprovalLevel]) -> str:
    """Return a chain as DOT."""
    return drawing.to_dot(diagram_of(name, levels))


def diagram_of(name: str, levels: Sequence[ApprovalLevel]) -> Diagram:
    """Return the diagram of a chain; levels that are passed over are not drawn as ways."""
    nodes = [
        DiagramNode(f"level {place}", level.name, notes=notes_of(level), entry=place == 0)
        for place, level in enumerate(levels)
    ]
    ends = [
        DiagramNode(end, end, shape=Shape.STADIUM, tone=tone, terminal=True)
        for end, tone in ENDS.items()
    ]
    edges = [edge for place in range(len(levels)) for edge in edges_from(levels, place)]
    return Diagram(name, [*nodes, *ends], edges)


def edges_from(levels: Sequence[ApprovalLevel], place: int) -> Iterator[DiagramEdge]:
    """Return the ways out of a level."""
    level, here = levels[place], f"level {place}"
    following = f"level {place + 1}" if place + 1 < len(levels) else "approved"
    yield DiagramEdge(here, following, "approved")
    yield DiagramEdge(here, "rejected", "rejected", Line.DASHED)
    if level.expires_after is None:
        return
    label = f"expired, after {level.expires_after:g} s"
    escalates = level.on_expiry is OnExpiry.ESCALATE
    target = "expired" if level.on_expiry is OnExpiry.REJECT else following
    yield DiagramEdge(here, target, f"{label}: escalated" if escalates else label, Line.DOTTED)


def notes_of(level: ApprovalLevel) -> list[str]:
    """Return who is asked, and when, in words."""
    needed = level.required
    notes = [f"{needed.value if isinstance(needed, ApprovalPolicy) else needed} of {who(level)}"]
    if level.minimum is not None:
        notes.append(f"from {level.minimum}")
    if level.when is not None:
        notes.append("where it is wanted")
    return notes


def who(level: ApprovalLevel) -> str:
    """Return who is asked at a level."""
    people = ["somebody"] if callable(level.approvers) else list(level.approvers)
    return ", ".join([*people, *level.roles])[:60]
