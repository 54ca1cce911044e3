"""Shows outcomes: as aligned text, as Markdown, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness import Outcome

HEADINGS = ("workload", "ours", "raw", "unit", "judged", "must", "goal", "met", "peers")


def row_of(outcome: Outcome) -> tuple[str, ...]:
    """The cells of one outcome, in the order of `HEADINGS`."""
    workload, budget = outcome.workload, outcome.workload.budget
    peers = [name for name in outcome.rounds if name not in ("ours", "raw")]
    return (
        workload.name,
        _cell(outcome, "ours"),
        _cell(outcome, "raw"),
        workload.unit,
        _judged_text(outcome),
        budget.show(budget.must) if budget else "",
        budget.show(budget.goal) if budget else "",
        _verdict(outcome),
        ", ".join(_peer_text(outcome, name) for name in peers),
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(outcome: Outcome, name: str) -> str:
    return "failed" if name in outcome.failed else _number(outcome.median(name))


def _judged_text(outcome: Outcome) -> str:
    budget, judged = outcome.workload.budget, outcome.judged
    if budget is None or judged is None:
        return ""
    return _number(judged) + (" x" if budget.kind in ("ratio", "speedup") else "")


def _verdict(outcome: Outcome) -> str:
    must, goal = outcome.meets("must"), outcome.meets("goal")
    if goal:
        return "goal"
    if must is None:
        return "" if goal is None else "below goal"
    return "must" if must else "NO"


def _peer_text(outcome: Outcome, name: str) -> str:
    times = outcome.against_ours(name)
    if times is None:
        return f"{name} {_cell(outcome, name)}"
    return f"{name} {_number(outcome.median(name))} ({_number(times)} x ours)"


def table(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as aligned plain text."""
    rows = [HEADINGS, *(row_of(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(
        [lines[0], "-" * max(len(line) for line in lines), *lines[1:], *_notes(outcomes)]
    )


def markdown(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as a Markdown table."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(row_of(outcome) for outcome in outcomes)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _notes(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.workload.note:
            yield f"{outcome.workload.name}: {outcome.workload.note}"
        for name, error in outcome.failed.items():
            yield f"{outcome.workload.name}, {name} failed: {error}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One outcome with every round, for a file that later runs are compared with."""
    workload, budget = outcome.workload, outcome.workload.budget
    return {
        "workload": workload.name,
        "unit": workload.unit,
        "rounds": {name: list(numbers) for name, numbers in outcome.rounds.items()},
        "median": {name: outcome.median(name) for name in outcome.rounds},
        "failed": dict(outcome.failed),
        "judged": outcome.judged,
        "budget": None
        if budget is None
        else {
            "kind": budget.kind,
            "must": budget.must,
            "goal": budget.goal,
        },
        "meets_must": outcome.meets("must"),
        "meets_goal": outcome.meets("goal"),
    }
