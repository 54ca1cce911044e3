"""What sagas are tried, and what is done to them. Plain data: a case can be written in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from attrs import frozen

Fault = Literal["", "once", "mended", "err", "raise", "late", "overdue", "cancel", "wait"]
"""What becomes of one step.

| | |
| --- | --- |
| `""` | nothing |
| `"once"` | its first attempt is an `Err`, the next succeeds |
| `"mended"` | it fails for good, and succeeds when it is tried after that |
| `"err"`, `"raise"` | every attempt is an `Err`, or raises |
| `"late"` | every attempt takes longer than the step may |
| `"overdue"` | it takes longer than the saga may |
| `"cancel"` | the saga is cancelled while it is at work |
| `"wait"` | its first attempt is an `Err`, and the saga is cancelled before the next |
"""

UndoFault = Literal["", "raise", "err", "late"]

ATTEMPTS: Final = 2
STEP_TIMEOUT: Final = 50.0
SAGA_TIMEOUT: Final = 500.0
UNDO_TIMEOUT: Final = 30.0
FOREVER: Final = 1e5


@frozen
class StepPlan:
    """One step.

    Attributes:
        stage: Steps of one stage run side by side.
        undo: Whether it has an undo.
        seconds: How long its action takes.
        attempts: How often the action is tried, in all.
    """

    name: str
    stage: int
    undo: bool = True
    idempotent: bool = False
    pivot: bool = False
    seconds: float = 1.0
    attempts: int = ATTEMPTS
    undo_attempts: int = 3


NAMES: Final = "abcde"


def in_a_row(idempotent: str = "", without: str = "", pivot: str = "") -> tuple[StepPlan, ...]:
    """Return five steps one after another."""
    return tuple(
        StepPlan(
            name,
            stage,
            undo=name not in without,
            idempotent=name in idempotent,
            pivot=name in pivot,
        )
        for stage, name in enumerate(NAMES)
    )


VARIANTS: Final[Mapping[str, tuple[StepPlan, ...]]] = {
    "all": in_a_row(idempotent=NAMES),
    "none": in_a_row(),
    "mixed": in_a_row(idempotent="ad"),
    "without": in_a_row(idempotent="abe", without="c"),
    "pivot": in_a_row(idempotent="ade", pivot="c"),
    "group": (
        StepPlan("a", 0),
        StepPlan("b", 1, idempotent=True, seconds=1),
        StepPlan("c", 1, seconds=2.25),
        StepPlan("d", 1, idempotent=True, seconds=3.5),
        StepPlan("e", 2, idempotent=True),
    ),
    "probes": in_a_row(idempotent="bd"),
}


@frozen
class Case:
    """A saga, and what goes wrong with it.

    Attributes:
        at: The step that the fault meets.
        undo: How the undos of the steps in `failing` fail.
        heals: After so many failures each of them works; 0: never.
        cut_at: The saga is cancelled while this step is undone.
        probe: What the probes say.
    """

    variant: str
    fault: Fault = ""
    at: str = ""
    undo: UndoFault = ""
    failing: str = ""
    heals: int = 0
    cut_at: str = ""
    probe: Literal["yes", "no", "raise"] = "yes"

    @property
    def steps(self) -> tuple[StepPlan, ...]:
        return VARIANTS[self.variant]

    @property
    def probes(self) -> bool:
        """Whether a step in doubt is asked after."""
        return self.variant == "probes"

    @property
    def late(self) -> frozenset[str]:
        """The steps whose attempts end by their own time limit."""
        return frozenset(self.at if self.fault == "late" else "")

    @property
    def is_cut(self) -> bool:
        """Whether the saga as a whole is cancelled, or comes to its time limit."""
        return self.fault in ("overdue", "cancel", "wait") or bool(self.cut_at)

    def action(self, name: str, attempt: int) -> str:
        """Return what an attempt does, counted from 1 over all lives: `"ok"`, `"err"`, ..."""
        if name != self.at or self.fault in ("", "cancel"):
            return "ok"
        if self.fault == "mended":
            return "err" if attempt <= ATTEMPTS else "ok"
        if self.fault in ("once", "wait"):
            return "err" if attempt == 1 else "ok"
        return {"late": "hang", "overdue": "hang"}.get(self.fault, self.fault)

    def compensation(self, name: str, failures: int) -> str:
        """Return what an undo does after so many failures."""
        if name not in self.failing or (self.heals and failures >= self.heals):
            return "ok"
        return {"late": "hang"}.get(self.undo, self.undo)
