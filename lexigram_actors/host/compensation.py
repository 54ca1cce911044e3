"""What an instance did that is to be undone: the ledger of compensations in its journal.

| entry | value | it says |
| --- | --- | --- |
| `began` | when its time is over | a saga began; its mark stands at `#saga` |
| `step` | `{"value": ...}` | a step is done |
| `compensating` | the step, its error, what is in doubt | it goes backwards from here |
| `probed` | whether it happened | a step that was in doubt is not any more |
| `undoing` | | an undo begins that must not be done twice |
| `undone` | | a step is undone |
| `stuck` | why, and the error | a step could not be undone, and a person has to decide |
| `undo again` | | the person says: try again |
| `undo skipped` | | the person gives up on it |
| `undo forced` | | the person has undone it by hand |
| `resumed` | | a saga that is past its pivot goes on |

Whatever stands as `stuck` keeps the instance in the list of what an operator has to look after:
it ends COMPENSATION_STUCK, however its run ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.host.journal import standing
from lexigram_actors.host.retrying import failure_in
from lexigram_actors.host.seam import escaped
from lexigram_actors.storage.instances import Entry

BEGAN: Final = "began"
DONE: Final = "step"
COMPENSATING: Final = "compensating"
PROBED: Final = "probed"
UNDOING: Final = "undoing"
UNDONE: Final = "undone"
STUCK: Final = "stuck"
AGAIN: Final = "undo again"
SKIPPED: Final = "undo skipped"
FORCED: Final = "undo forced"
RESUMED: Final = "resumed"

LEDGER: Final = frozenset(
    {
        BEGAN,
        DONE,
        COMPENSATING,
        PROBED,
        UNDOING,
        UNDONE,
        STUCK,
        AGAIN,
        SKIPPED,
        FORCED,
        RESUMED,
    }
)

SETTLING: Final = frozenset({UNDONE, SKIPPED, FORCED})
"""After which a step is stuck no more."""


def part_of(step: str) -> str:
    """Return the name of a step as one part of a path, that is no mark."""
    return escaped(step).replace("#", "%23")


def step_of(part: str) -> str:
    """Return the name of the step of which this is the part of a path."""
    return part.replace("%2F", "/").replace("%23", "#").replace("%25", "%")


def stuck_in(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what could not be undone: by path, what is recorded of why."""
    stuck: dict[str, Any] = {}
    for entry in entries:
        if entry.kind == STUCK:
            stuck[entry.path] = entry.value
        elif entry.kind in SETTLING:
            stuck.pop(entry.path, None)
    return stuck


def has_begun(entries: Sequence[Entry]) -> bool:
    """Say whether something is recorded that may have to be undone."""
    return any(entry.kind == BEGAN for entry in entries)


def has_begun_inside(entries: Sequence[Entry]) -> bool:
    """Say whether that is so of a saga that is a part of something else."""
    return any(entry.kind == BEGAN and "/" in entry.path for entry in entries)


def settled_by(entries: Sequence[Entry], step: str, kind: str, at: float) -> Entry:
    """Return what records a person's decision on a step that is stuck.

    Args:
        step: Its name, or its path where several sagas of the instance have one of that name.
        kind: `SKIPPED` or `FORCED`.

    Raises:
        WorkflowStateError: No such step is stuck, or several are.
    """
    stuck = stuck_in(standing(entries))
    part = part_of(step)
    named = [path for path in stuck if path.rpartition("/")[2] == part]
    found = [step] if step in stuck else named
    if len(found) != 1:
        known = ", ".join(map(repr, stuck)) or "none"
        raise WorkflowStateError(
            f"{len(found)} steps {step!r} wait for a decision"
            if found
            else f"no step {step!r} waits for a decision",
            details={"stuck": list(stuck)},
            hint=f"these do: {known}",
        )
    return Entry(found[0], kind, position=last_position(entries) + 1, at=at)


def tried_again(entries: Sequence[Entry], at: float) -> list[Entry]:
    """Return what records that everything that is stuck is to be tried again."""
    first = last_position(entries) + 1
    stuck = stuck_in(standing(entries))
    return [Entry(path, AGAIN, position=first + i, at=at) for i, path in enumerate(stuck)]


def last_position(entries: Sequence[Entry]) -> int:
    """Return the last position in a journal."""
    return max((entry.position for entry in entries), default=0)


def details_of_stuck(stuck: Mapping[str, Any]) -> dict[str, Any]:
    """Return what could not be undone, and why, as the details of an error."""
    errors = {path: failure_in(value) for path, value in stuck.items()}
    return {
        "uncompensated": list(stuck),
        "compensation_errors": {p: str(e.get("message", "")) for p, e in errors.items() if e},
    }


def note_of_stuck(stuck: dict[str, Any]) -> str:
    """Return what could not be undone, in a line."""
    return f"not undone: {', '.join(stuck)}"
