"""What the journal of an instance tells a person, and what follows from it. Plain functions.

| | |
| --- | --- |
| `history_of` | everything that was recorded, a row each |
| `open_questions` | what a person is asked |
| `fork_position` | where a fork that begins again at some step leaves the journal |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, final

from attrs import frozen

from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.errors.base import json_safe
from lexigram_actors.host.asking import ASKED, REFUSED
from lexigram_actors.host.journal import VOID, standing
from lexigram_actors.host.retrying import failure_in
from lexigram_actors.host.surroundings import Question
from lexigram_actors.storage.instances import Entry

SHOWN: Final = 120
"""Characters of a value in a row."""

PATHS_SHOWN: Final = 10


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
