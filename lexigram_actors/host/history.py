"""What the journal of an instance tells a person, and what follows from it. Plain functions.

| | |
| --- | --- |
| `history_of` | everything that was recorded, a row each |
| `open_questions` | what a person is asked |
| `voided_by_retry` | what has to be taken back so that a failed instance goes on |
| `fork_position` | where a fork that begins again at some step leaves the journal |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

from attrs import frozen

from lexigram_actors.errors import NonDeterminismError, NotStorableError, WorkflowStateError
from lexigram_actors.errors.base import json_safe
from lexigram_actors.host.asking import ASKED, REFUSED
from lexigram_actors.host.journal import VOID, Question, standing
from lexigram_actors.host.record import RECORD
from lexigram_actors.storage.instances import Entry

SHOWN: Final = 120
"""Characters of a value in a row."""

PATHS_SHOWN: Final = 10

SCOPE: Final = "scope"
LIMIT: Final = "limit"
WORKFLOW: Final = "workflow"
"""The kind of definition whose commands come one after another."""

NOT_FAILED_THERE: Final = frozenset({NonDeterminismError.code, NotStorableError.code})
"""Errors that name a path at which what is recorded is right, or none of the instance at all."""


@final
@frozen
class HistoryEntry:
    """A row of what an instance did.

    Attributes:
        position: Its place in the journal.
        path: Where in the definition.
        kind: Which sort: `"step"`, `"sleep"`, `"signal"`, ...
        at: Unix seconds.
        outcome: What was recorded, in short.
        mail: The `seq` of the mail that was taken; 0: none.
        is_void: Whether a retry has taken it back.
    """

    position: int
    path: str
    kind: str
    at: float
    outcome: str
    mail: int = 0
    is_void: bool = False


def history_of(entries: Sequence[Entry]) -> list[HistoryEntry]:
    """Return a row for each entry, in order, what was taken back too."""
    stands = {entry.position for entry in standing(entries)}
    return [
        HistoryEntry(
            entry.position,
            entry.path,
            entry.kind,
            entry.at,
            outcome_text(entry.value),
            entry.mail,
            is_void=entry.kind != VOID and entry.position not in stands,
        )
        for entry in entries
    ]


def outcome_text(value: object) -> str:
    """Return what was recorded as one short line."""
    failure = failure_in(value)
    if failure is not None:
        return shortened(f"failed: {failure.get('message', '')}")
    if value is None:
        return ""
    if isinstance(value, Mapping) and list(value) == ["value"]:
        return short_text(value["value"])
    return short_text(value)


def short_text(value: object) -> str:
    """Return a value as one short line of JSON."""
    return shortened(json.dumps(json_safe(value), ensure_ascii=False))


def shortened(text: str, longest: int = SHOWN) -> str:
    """Return a text cut where it is long."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def failure_in(value: object) -> Mapping[str, Any] | None:
    """Return the error that an entry or an outcome records; None where it records none."""
    if isinstance(value, Mapping) and isinstance(value.get("error"), Mapping):
        found: Mapping[str, Any] = value["error"]
        return found
    return None


# --- questions -------------------------------------------------------------------------------


def open_questions(entries: Sequence[Entry]) -> list[Question]:
    """Return what is asked and neither answered nor withdrawn, in the order it was asked."""
    latest = {entry.path: entry.kind for entry in standing(entries)}
    asked = {entry.path: entry for entry in standing(entries) if entry.kind == ASKED}
    return [
        Question(
            path,
            str(entry.value["prompt"]),
            entry.value.get("schema"),
            entry.value.get("expires_at"),
        )
        for path, entry in asked.items()
        if latest[path] in (ASKED, REFUSED)
    ]


# --- trying again ----------------------------------------------------------------------------


def voided_by_retry(entries: Sequence[Entry], outcome: object, kind: str) -> list[int]:
    """Return the positions of what has to be taken back so that a failed instance goes on.

    That is the failure that ended it, with all its attempts, the ends of the scopes around it, and
    what these did after it: the definition may not come there again. Everything else stands: what
    succeeded before it, or beside it, does not run again.

    Where the outcome names no path there is none: the instance was ended by something that is not
    recorded, and meets it again if it is still there.

    Args:
        kind: Of the definition.
    """
    stands = [e for e in standing(entries) if e.kind != RECORD and e.path]
    first = first_positions(stands)
    scopes = {entry.path for entry in stands if entry.kind == SCOPE}
    # What else is recorded of a scope with a limit of time is when that is over.
    concurrent = scopes - {entry.path for entry in stands if entry.kind == LIMIT}
    if kind != WORKFLOW:
        concurrent.add("")
    found: set[int] = set()
    for path in failed_paths(outcome):
        scope = ""
        for part in parts_of(innermost(stands, path)):
            if part not in first:
                break
            found.update(e.position for e in stands if e.path == part)
            if scope not in concurrent and not is_mark(part):
                found.update(positions_after(stands, first, scope, first[part]))
            scope = part
    return sorted(found)


def failed_paths(value: object) -> list[str]:
    """Return where it failed, as an entry or an outcome says; none where it does not."""
    failure = failure_in(value) or {}
    details = failure.get("details")
    if not isinstance(details, Mapping) or failure.get("code") in NOT_FAILED_THERE:
        return []
    several = details.get("paths")
    named = [details.get("path"), *(several if isinstance(several, list) else ())]
    return [path for path in named if isinstance(path, str)]


def innermost(entries: Sequence[Entry], path: str) -> str:
    """Return where a failure began: a run that failed may name a path further in."""
    while True:
        last = next((e for e in reversed(entries) if e.path == path), None)
        # Only below: what a child failed at is a path of the child's own journal.
        inner = [each for each in failed_paths(last and last.value) if each.startswith(f"{path}/")]
        if not inner:
            return path
        path = inner[0]


def first_positions(entries: Sequence[Entry]) -> dict[str, int]:
    """Return by path, of every scope too, where the first of it is in the journal."""
    first: dict[str, int] = {}
    for entry in entries:
        for part in parts_of(entry.path):
            first.setdefault(part, entry.position)
    return first


def positions_after(
    entries: Sequence[Entry], first: Mapping[str, int], scope: str, position: int
) -> Iterator[int]:
    """Yield the positions of everything in a scope that it began after a position."""
    start = len(scope) + 1 if scope else 0
    for entry in entries:
        if scope and not entry.path.startswith(f"{scope}/"):
            continue
        end = entry.path.find("/", start)
        part = entry.path if end < 0 else entry.path[:end]
        if first[part] > position and not is_mark(part):
            yield entry.position


def parts_of(path: str) -> list[str]:
    """Return a path and those of the scopes around it, the outermost first."""
    segments = path.split("/")
    return ["/".join(segments[:end]) for end in range(1, len(segments) + 1)]


def is_mark(path: str) -> bool:
    """Say whether what stands there is no command: a limit of time, a count of retries."""
    return path.rpartition("/")[2].startswith("#")


# --- forking ---------------------------------------------------------------------------------


def fork_position(entries: Sequence[Entry], step: str | None) -> int:
    """Return the position before which everything is kept when an instance is forked at a step.

    Where a later retry had taken something back that lies before the step, it is left out as well:
    copied without the retry it would stand again.

    Args:
        step: The path of something recorded; None: nothing is kept.

    Raises:
        WorkflowStateError: Nothing is recorded at that path.
    """
    if step is None:
        return 1
    stands = standing(entries)
    at_step = [e.position for e in stands if e.path == step or e.path.startswith(f"{step}/")]
    if not at_step:
        raise WorkflowStateError(
            f"nothing is recorded at {step!r}",
            details={"step": step, "recorded": recorded_paths(stands)},
            hint=f"recorded are: {', '.join(recorded_paths(stands)) or 'no steps yet'}",
        )
    before = min(at_step)
    voids = [entry for entry in entries if entry.kind == VOID]
    while lost := [
        position
        for entry in voids
        if entry.position >= before
        for position in entry.value
        if position < before
    ]:
        before = min(lost)
    return before


def recorded_paths(entries: Sequence[Entry]) -> list[str]:
    """Return the first paths at which something is recorded, each once."""
    paths = dict.fromkeys(repr(entry.path) for entry in entries if entry.path)
    return list(paths)[:PATHS_SHOWN]
