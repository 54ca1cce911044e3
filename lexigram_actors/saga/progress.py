"""How far a saga is: plain data, and what each thing that happened does to it.

The same whether it is kept whole, in a store of sagas, or as entries, in the journal of an
instance: `Progress.note` is both what happens now and what is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, cast, final

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.host.compensation import (
    AGAIN,
    BEGAN,
    COMPENSATING,
    DONE,
    FORCED,
    PROBED,
    RESUMED,
    SKIPPED,
    STUCK,
    UNDOING,
    UNDONE,
)
from lexigram_actors.saga.models import SagaState


@final
class Progress:
    """What is known of a saga.

    Attributes:
        version: Of the class that began it.
        epoch: How often it was taken up.
        deadline: Unix seconds when its time is over; None: never.
        done: Results by step, in the order the steps ended.
        undone: Steps that are undone, by their compensation or by hand.
        in_doubt: Steps that were cut off, and of which nobody knows whether they happened.
        failure: `{"step", "error"}`: why it went backwards; None while it does not.
        undoing: The step whose undo has begun and not ended.
        stuck: Steps that could not be undone, with `{"reason", "error"}`.
        skipped: Steps whose undo a person has given up.
        again: Steps that a person wants undone once more.
        rounds: How often a person had it go on that had come to its end.
        unstorable: Steps whose result was changed once it was recorded: it has no stored form.
        is_ahead: Whether a store that failed knows less, and the saga went on all the same.
        news: What happened since it was last recorded: kind, step, value.
    """

    __slots__ = (
        "again",
        "deadline",
        "done",
        "epoch",
        "failure",
        "in_doubt",
        "is_ahead",
        "news",
        "rounds",
        "skipped",
        "state",
        "stuck",
        "undoing",
        "undone",
        "unstorable",
        "version",
    )

    def __init__(self, version: int) -> None:
        self.state = SagaState.PENDING
        self.version = version
        self.epoch = 0
        self.deadline: float | None = None
        self.done: dict[str, Any] = {}
        self.undone: dict[str, None] = {}
        self.in_doubt: dict[str, None] = {}
        self.failure: Mapping[str, Any] | None = None
        self.undoing: str | None = None
        self.stuck: dict[str, Any] = {}
        self.skipped: dict[str, None] = {}
        self.again: dict[str, None] = {}
        self.rounds = 0
        self.unstorable: set[str] = set()
        self.is_ahead = False
        self.news: list[tuple[str, str, Any]] = []

    def note(self, kind: str, step: str = "", value: Any = None) -> None:
        """Let something have happened, and be news."""
        self.apply(kind, step, value)
        self.news.append((kind, step, value))

    def apply(self, kind: str, step: str, value: Any) -> None:
        """Let something have happened."""
        APPLY[kind](self, step, value)

    def begin(self, step: str, value: Any) -> None:
        self.state = SagaState.RUNNING
        if value is not None:
            self.deadline = value

    def complete_step(self, step: str, value: Any) -> None:
        self.done[step] = value["value"]
        self.undone.pop(step, None)  # a mark from before says nothing of it
        self.in_doubt.pop(step, None)

    def compensate(self, step: str, value: Any) -> None:
        self.state = SagaState.COMPENSATING
        self.failure = {"step": value["step"], "error": value["error"]}
        self.in_doubt.update(dict.fromkeys(value["in_doubt"]))

    def settle(self, step: str, value: Any) -> None:
        self.in_doubt.pop(step, None)
        if value:
            self.done[step] = None

    def begin_undo(self, step: str, value: Any) -> None:
        self.undoing = step

    def undo(self, step: str, value: Any) -> None:
        self.undone[step] = None
        self._end_undo(step)

    def get_stuck(self, step: str, value: Any) -> None:
        self._end_undo(step)
        self.stuck[step] = value

    def skip(self, step: str, value: Any) -> None:
        self._end_undo(step)
        self.skipped[step] = None

    def want_again(self, step: str, value: Any) -> None:
        self._end_undo(step)
        self.again[step] = None
        self.rounds += 1
        self.state = SagaState.COMPENSATING

    def resume(self, step: str, value: Any) -> None:
        self.state = SagaState.RUNNING
        self.failure = None
        self.rounds += 1
        self.in_doubt.clear()

    def _end_undo(self, step: str) -> None:
        self.stuck.pop(step, None)
        self.again.pop(step, None)
        if self.undoing == step:
            self.undoing = None

    @property
    def left(self) -> set[str]:
        """Steps that are not undone now: stuck, or given up."""
        return {*self.stuck, *self.skipped}

    # --- as plain data

    def as_data(self) -> dict[str, Any]:
        """Return it as a store of sagas keeps it."""
        return {
            "version": self.version,
            "epoch": self.epoch,
            "deadline": self.deadline,
            "done": [
                [name, None if name in self.unstorable else result]
                for name, result in self.done.items()
            ],
            "undone": list(self.undone),
            "in_doubt": list(self.in_doubt),
            "failure": None if self.failure is None else dict(self.failure),
            "undoing": self.undoing,
            "stuck": dict(self.stuck),
            "skipped": list(self.skipped),
            "again": list(self.again),
        }


APPLY = {
    BEGAN: Progress.begin,
    DONE: Progress.complete_step,
    COMPENSATING: Progress.compensate,
    PROBED: Progress.settle,
    UNDOING: Progress.begin_undo,
    UNDONE: Progress.undo,
    STUCK: Progress.get_stuck,
    AGAIN: Progress.want_again,
    SKIPPED: Progress.skip,
    FORCED: Progress.undo,
    RESUMED: Progress.resume,
}


def stored_version(data: object) -> int:
    """Return the version under which stored data was written; 1 where it does not say.

    Raises:
        StoreCorruptedError: It is no data of a saga.
    """
    version = data.get("version", 1) if isinstance(data, Mapping) else None
    if type(version) is not int:
        raise damaged("it names no version")
    return version


def progress_from(state: str, data: Mapping[str, Any]) -> Progress:
    """Return the progress that is stored; what an older record leaves out has not happened.

    Raises:
        StoreCorruptedError: It makes no sense.
    """
    progress = Progress(stored_version(data))
    try:
        progress.state = SagaState(state)
    except ValueError as error:
        raise damaged(f"{state!r:.80} is no state") from error
    progress.epoch = taken(data, "epoch", 0, is_count)
    progress.deadline = taken(data, "deadline", None, is_time)
    progress.done = dict(taken(data, "done", [], are_results))
    for names in ("undone", "in_doubt", "skipped", "again"):
        setattr(progress, names, dict.fromkeys(taken(data, names, [], are_names)))
    progress.stuck = dict(taken(data, "stuck", {}, are_stuck))
    progress.failure = taken(data, "failure", None, is_failure)
    progress.undoing = taken(data, "undoing", None, is_name)
    return progress


def taken(data: Mapping[str, Any], name: str, default: Any, fits: Callable[[Any], bool]) -> Any:
    """Return a part of what is stored; what is left out has not happened.

    Raises:
        StoreCorruptedError: It is not what stands there.
    """
    value = data.get(name, default)
    if not fits(value):
        raise damaged(f"its {name!r} is {value!r:.80}")
    return value


def is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def is_time(value: object) -> bool:
    return value is None or (type(value) in (int, float) and isfinite(cast("float", value)))


def is_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def are_results(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str)
        for each in value
    )


def are_stuck(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str)
        and isinstance(why, Mapping)
        and isinstance(why.get("error"), Mapping | None)
        for name, why in value.items()
    )


def is_failure(value: object) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and isinstance(value.get("step"), str)
        and isinstance(value.get("error"), Mapping)
    )


def damaged(problem: str) -> StoreCorruptedError:
    """Return the error for a record that makes no sense."""
    return StoreCorruptedError(
        f"the record of a saga is damaged: {problem}",
        hint="restore the store from a backup, or delete the record once its steps are settled",
    )
