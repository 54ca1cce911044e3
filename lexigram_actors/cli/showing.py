"""How instances are shown: as lines of text for people, as plain values for programs.

What comes from a store was written by anybody. It is shown with everything escaped that would
steer the terminal, on one line, and cut where it is long.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lexigram_actors.cli.errors import describe
from lexigram_actors.cli.summary import printable
from lexigram_actors.errors import text_of
from lexigram_actors.errors.base import json_safe
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.host.operator import InstanceTree
from lexigram_actors.host.surroundings import Question
from lexigram_actors.result import Ok, Result
from lexigram_actors.storage.instances import Instance, InstanceStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = 200
"""Characters of a value that people are shown."""

APPROVAL = "approval"

DECISION = (
    '{"by": ..., "verdict": "approved" | "rejected" | "delegated"}, with "to": ... if delegated'
)
"""What an approval takes for an answer."""

STATUS = "status"
ROOM = 40
"""Columns of the terminal that the id of an instance leaves to what stands beside it."""

STYLES = {
    InstanceStatus.COMPLETED: "green",
    InstanceStatus.FAILED: "red",
    InstanceStatus.CANCELLED: "yellow",
    InstanceStatus.COMPENSATION_STUCK: "bold red",
    InstanceStatus.WAITING: "cyan",
    InstanceStatus.PAUSED: "yellow",
}


# --- texts ------------------------------------------------------------------------------------


def one_line(text: str, longest: int = SHOWN) -> str:
    """Return a text as one line that does nothing to the terminal."""
    shown = printable(text).replace("\n", "\\n")
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def value_text(value: object) -> str:
    """Return a value as one line."""
    return one_line(whole_value(value))


def whole_value(value: object) -> str:
    """Return a value as JSON, however long; what JSON has no form for as its repr."""
    return json.dumps(json_safe(value), ensure_ascii=False)


def outcome_line(outcome: Result[Any, Exception]) -> str:
    """Return how an instance ended, as one line."""
    if isinstance(outcome, Ok):
        return value_text(outcome.unwrap())
    return one_line(text_of(outcome.unwrap_err()))


def time_text(at: float) -> str:
    """Return a time as it is where the reader is."""
    try:
        return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # a year that no calendar here has
        return f"{at:g}"


def definition_text(instance: Instance) -> str:
    """Return of what it is an instance."""
    definition = instance.definition
    return one_line(f"{definition.name} v{definition.version} ({definition.kind})")


# --- plain values -----------------------------------------------------------------------------


def instance_facts(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain values."""
    return {
        "id": instance.id,
        "kind": instance.definition.kind,
        "name": instance.definition.name,
        "version": instance.definition.version,
        "status": instance.status.value,
        "note": instance.note,
        "owner": instance.owner,
        "epoch": instance.epoch,
        "run": instance.run,
        "parent": instance.parent,
        "created_at": instance.created_at,
        "start_at": instance.start_at,
        "ended_at": instance.ended_at,
    }


def question_facts(question: Question) -> dict[str, Any]:
    """Return a question as plain values."""
    return {
        "id": question.id,
        "prompt": question.prompt,
        "schema": question.schema,
        "expires_at": question.expires_at,
    }


def entry_facts(entry: HistoryEntry) -> dict[str, Any]:
    """Return a row of the journal as plain values."""
    return {
        "position": entry.position,
        "path": entry.path,
        "kind": entry.kind,
        "at": entry.at,
        "outcome": entry.outcome,
        "mail": entry.mail,
        "void": entry.is_void,
    }


def stuck_facts(step: str, why: Any) -> dict[str, Any]:
    """Return why a step could not be undone as plain values."""
    recorded = why if isinstance(why, Mapping) else {}
    error = recorded.get("error")
    return {
        "step": step,
        "reason": str(recorded.get("reason", "")),
        "error": str(error.get("message", "")) if isinstance(error, Mapping) else None,
    }


def outcome_facts(outcome: Result[Any, Exception] | None) -> dict[str, Any] | None:
    """Return how an instance ended as plain values: `{"ok": ...}` or `{"error": {...}}`."""
    if outcome is None:
        return None
    if isinstance(outcome, Ok):
        return {"ok": outcome.unwrap()}
    return {"error": describe(outcome.unwrap_err())}


# --- tables -----------------------------------------------------------------------------------


def print_facts(console: "Console", title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values side by side."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    console.print(table)


def print_instances(console: "Console", instances: Sequence[Instance]) -> None:
    """Print instances, a line each."""
    from rich.text import Text

    longest = max((len(one_line(each.id)) for each in instances), default=0)
    kept = {STATUS} if longest > console.width - ROOM else {"id", STATUS}
    table = plain_table("id", "definition", STATUS, "since", "note", no_wrap=kept)
    for instance in instances:
        table.add_row(
            Text(one_line(instance.id)),
            Text(definition_text(instance)),
            Text(instance.status.value, style=STYLES.get(instance.status, "")),
            time_text(instance.ended_at or instance.created_at),
            Text(one_line(instance.note)),
        )
    console.print(table)


def print_history(console: "Console", history: Sequence[HistoryEntry], left_out: int) -> None:
    """Print rows of a journal; what a retry took back is dim."""
    from rich.text import Text

    if left_out:
        console.print(f"the journal, without its first {left_out:,} entries (--limit):")
    table = plain_table("", "time", "kind", "path", "outcome")
    for entry in history:
        outcome = f"(taken back) {entry.outcome}" if entry.is_void else entry.outcome
        table.add_row(
            str(entry.position),
            time_text(entry.at),
            Text(one_line(entry.kind)),
            Text(one_line(entry.path)),
            Text(one_line(outcome)),
            style="dim" if entry.is_void else "",
        )
    console.print(table)


def print_questions(console: "Console", questions: Sequence[Question], kind: str) -> None:
    """Print what is asked, and what an answer looks like.

    Args:
        kind: Of the definition: an approval takes answers of one form, and has no schema for it.
    """
    for question in questions:
        say(console, f"asks {one_line(question.id)!r}: {one_line(question.prompt)}")
        if question.schema is not None:
            say(console, f"  expects {value_text(question.schema)}")
        elif kind == APPROVAL:
            say(console, f"  expects {DECISION}")
        if question.expires_at is not None:
            say(console, f"  until {time_text(question.expires_at)}")


def print_stuck(console: "Console", stuck: Mapping[str, Any]) -> None:
    """Print the steps that could not be undone, and why."""
    for step, why in stuck.items():
        facts = stuck_facts(step, why)
        error = "" if facts["error"] is None else f": {facts['error']}"
        say(console, f"not undone {one_line(step)!r}: {one_line(facts['reason'] + error)}")


def plain_table(*columns: str, no_wrap: Collection[str] = ()) -> "Table":
    """Return a table without a frame, whose columns are folded rather than cut.

    Args:
        no_wrap: Columns that stay on one line, so that they can be copied; others make room.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in no_wrap)
    return table


def say(console: "Console", line: str) -> None:
    """Print one line, not wrapped, so that it can be copied, and not coloured."""
    safe = printable(line).replace("\n", "\\n")
    console.print(safe, markup=False, highlight=False, soft_wrap=True)


# --- trees ------------------------------------------------------------------------------------


def tree_lines(tree: InstanceTree) -> list[str]:
    """Return a line for each instance of a tree, drawn as a tree."""
    lines: list[str] = []
    waiting = [(tree, "", "")]
    while waiting:
        node, before, below = waiting.pop()
        instance = node.instance
        lines.append(
            f"{before}{one_line(instance.id)}  {definition_text(instance)}  {instance.status.value}"
        )
        last = len(node.children) - 1
        waiting += [
            (
                child,
                f"{below}└─ " if at == last else f"{below}├─ ",
                below + ("   " if at == last else "│  "),
            )
            for at, child in reversed(list(enumerate(node.children)))
        ]
    return lines


def tree_instances(tree: InstanceTree) -> list[Instance]:
    """Return the instances of a tree, each before those it began."""
    found: list[Instance] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        found.append(node.instance)
        waiting += reversed(node.children)
    return found
