"""`WorkflowCheckpoint`: states of runs, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from lexigram_actors.checks import require, whole
from lexigram_actors.graph.state import HISTORY, WorkflowState

Record = dict[str, Any]


class WorkflowCheckpoint:
    """Keeps states in memory, each under an id, the newest so many of them.

    A `WorkflowRunner` that is given one keeps its runs in it, each under its run id, and goes on
    from there. Nothing survives the process; give the runner a store for that.

    Args:
        max_size: How many are kept; one more, and the one saved first goes. 0: no limit.

    Plain calls. One object may serve any number of runners in one Trio run.

    Raises:
        ConfigurationError: `max_size` is negative or no whole number.
    """

    def __init__(self, max_size: int = 512) -> None:
        require("max_size", max_size, whole(least=0))
        self._max_size = max_size
        self._kept: dict[str, Record | Progress] = {}

    def save(self, checkpoint_id: str, state: WorkflowState) -> None:
        """Keep a copy of the state, in place of any other under this id."""
        self._keep(checkpoint_id, {**state.as_dict(), HISTORY: state.history})

    def load(self, checkpoint_id: str) -> dict[str, object] | None:
        """Return a copy of the state under this id; None where there is none.

        Of a runner's run it is a state that `WorkflowEngine.resume` takes where a person was asked.
        """
        kept = self._kept.get(checkpoint_id)
        if kept is None:
            return None
        return kept.snapshot(kept) if isinstance(kept, Progress) else dict(kept)

    def delete(self, checkpoint_id: str) -> bool:
        """Forget it; say whether it was there."""
        return self._kept.pop(checkpoint_id, None) is not None

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, checkpoint_id: object) -> bool:
        return checkpoint_id in self._kept

    def keep_progress(self, checkpoint_id: str, progress: Progress) -> None:
        """Keep a run that is under way; it grows as the run does."""
        self._keep(checkpoint_id, progress)

    def progress(self, checkpoint_id: str) -> Progress | None:
        """Return the run kept under this id; None where there is none."""
        kept = self._kept.get(checkpoint_id)
        return kept if isinstance(kept, Progress) else None

    def _keep(self, checkpoint_id: str, kept: Record | Progress) -> None:
        if self._max_size and checkpoint_id not in self._kept:
            while len(self._kept) >= self._max_size:
                del self._kept[next(iter(self._kept))]
        self._kept[checkpoint_id] = kept


@final
class Progress:
    """What a run recorded: a header, a record for each visit that finished, open questions.

    Attributes:
        continued: In a host, what names the pauses, with their answers, that it went on from.
        snapshot: Makes a state of it that a person can read, and an engine resume.
    """

    __slots__ = ("continued", "header", "questions", "records", "snapshot")

    def __init__(self, header: Record, snapshot: Callable[[Progress], Record]) -> None:
        self.header = header
        self.records: list[Record] = []
        self.questions: list[Record] = []
        self.continued: list[str] = []
        self.snapshot = snapshot

    def copy(self) -> Progress:
        """Return a copy that does not grow with the run."""
        twin = Progress(self.header, self.snapshot)
        twin.records = list(self.records)
        twin.questions = list(self.questions)
        twin.continued = list(self.continued)
        return twin
