"""What happens to a saga, and what can be known of it meanwhile."""

from __future__ import annotations

from typing import Literal, NamedTuple

from attrs import evolve, field, frozen

What = Literal[
    "start",
    "do",
    "did",
    "probe",
    "probed",
    "undo",
    "undid",
    "crash",
    "end",
    "retry",
    "skip",
    "force",
]


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        name: Of the step; of an end: the step that it failed at, as it says.
        how: The outcome: `"ok"`, `"err"`, `"raise"`, `"cut"`; of a probe `"yes"` or `"no"`; of an
            end `"ok"`, `"err"`, `"cancelled"`.
        stuck: Of an end, what it says could not be undone.
    """

    what: What
    name: str = ""
    how: str = ""
    stuck: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        told = " ".join(part for part in (self.what, self.name, self.how) if part)
        return f"{told} {set(self.stuck)}" if self.stuck else told


@frozen
class State:
    """What the saga knows, or the disk.

    Attributes:
        done: What has succeeded, in the order of the ends, and is not known not to stand.
        doubt: What may have happened.
        settled: What needs no undo any more: undone, given up, or said to be undone.
        flight: What is at work: `"do a"`, `"undo a"`, `"probe a"`.
        tries: How often each has failed in a row.
        failed: The step that ended it: one of these; none where it is not known.
        stops: Whether no new attempt may begin.
        maybe: What was at work at a crash, and has not begun again.
        unseen: What may have been at work when this was left on disk, for all that the disk says,
            and has not begun since it was read.
    """

    phase: Literal["running", "undoing", "halted", "completed"] = "running"
    done: tuple[str, ...] = ()
    doubt: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    flight: frozenset[str] = frozenset()
    tries: frozenset[tuple[str, int]] = frozenset()
    failed: frozenset[str] = frozenset()
    stops: bool = False
    maybe: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()

    def tried(self, what: str) -> int:
        return dict(self.tries).get(what, 0)

    def failing_again(self, what: str) -> State:
        tries = dict(self.tries)
        tries[what] = tries.get(what, 0) + 1
        return evolve(self, tries=frozenset(tries.items()), flight=self.flight - {what})


@frozen
class Known:
    """A state, and what else may be on disk in its place."""

    now: State = field(factory=State)
    disk: frozenset[State] = frozenset()

    def written(self, now: State) -> Known:
        """Return what is known once something was to be recorded: it may not be on disk yet."""
        return Known(now, self.disk | {self.now})
