"""Where a durable function is in what it did before: plain decisions about recorded entries.

A function issues commands: steps, waits, runs, scopes. Each has a **path**: the scope it stands
in, its name, and how often the scope had that name before (`charge`, `charge#2`,
`parallel/ship/label`). Paths do not depend on what ended first. So branches that run side by side
may be recorded in any order, and each still finds its own.

One scope is sequential: it issues its commands in the order in which it recorded them. What comes
in another order, or is of another kind, or is new while something recorded was not reached yet, is
no replay of the same function: `NonDeterminismError`.

What a command recorded may be less than all of it (a sleep records when it ends; a step that was in
flight nothing at all). What became of the rest is told by what stands around it:

| `Fate` | because | then |
| --- | --- | --- |
| `OPEN` | nothing recorded came later | it goes on |
| `OVER` | something later in this scope, or one around it, is recorded | it had ended |
| `CUT` | the scope had ended by cancelling what was in it | it waits to be cancelled again |

Where something was cut off and the function went on, to clean up, its path has an entry `cut`. Its
value says where the end is recorded of the scope that did it: a limit of time, the branches around
it, the time of a function. In a replay the command waits there, and is cut off by the same again.

A segment that begins with `#` is no command but a **mark**: no name becomes one, since there a `#`
is escaped. A mark that nobody asks for any more is no mismatch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, final

from lexigram_actors.errors import ConfigurationError, NonDeterminismError
from lexigram_actors.host.asking import ANSWERED, ASKED, PAUSED, REFUSED
from lexigram_actors.host.journal import VOID
from lexigram_actors.host.record import RECORD
from lexigram_actors.host.retrying import CUT, LIMIT, MARK_SIGN, SCOPE
from lexigram_actors.host.seam import escaped
from lexigram_actors.host.steps import ATTEMPT, STEP
from lexigram_actors.storage.instances import Entry

SLEEP: Final = "sleep"
UNTIL: Final = "until"
SIGNAL: Final = "signal"
CHILD: Final = "child"
MARK: Final = "mark"

LONGEST_NAME: Final = 256

CLOCK_ERROR: Final = 0.001
"""Seconds by which a wait may seem to have ended before its time: clocks run apart a little."""


class Command(NamedTuple):
    """A sort of command, by what it records.

    Attributes:
        noun: For messages.
        kinds: Of the entries at its path.
        holds: Whether entries may stand below its path.
    """

    noun: str
    kinds: frozenset[str]
    holds: bool = False


A_STEP: Final = Command("step", frozenset({STEP, ATTEMPT, CUT}))
A_RUN: Final = Command("run", frozenset({STEP, PAUSED, ANSWERED, CUT}), holds=True)
A_SLEEP: Final = Command("sleep", frozenset({SLEEP, CUT}))
A_SIGNAL: Final = Command("signal", frozenset({UNTIL, SIGNAL, CUT}))
A_QUESTION: Final = Command("question", frozenset({ASKED, REFUSED, ANSWERED, CUT}))
A_CHILD: Final = Command("child", frozenset({CHILD, CUT}))
A_CHILD_RESULT: Final = Command("result of child", frozenset({STEP, CUT}))
A_LIMIT: Final = Command("time limit", frozenset({LIMIT, SCOPE, CUT}), holds=True)
A_PARALLEL: Final = Command("parallel scope", frozenset({SCOPE, CUT}), holds=True)

NOUNS: Final[Mapping[str, str]] = {
    STEP: "step",
    ATTEMPT: "step",
    SLEEP: "sleep",
    UNTIL: "signal",
    SIGNAL: "signal",
    ASKED: "question",
    REFUSED: "question",
    ANSWERED: "question",
    PAUSED: "run",
    CHILD: "child",
    LIMIT: "time limit",
    SCOPE: "scope",
}


class Fate(Enum):
    """What became of a command whose end is not recorded."""

    OPEN = auto()
    OVER = auto()
    CUT = auto()


class End(NamedTuple):
    """How a scope is recorded to have ended.

    Attributes:
        cancelled: Whether what was in it was cancelled then.
        is_cause: Whether that was because *this* branch of it failed.
        by: Where the end is recorded of what cancelled it from further out; None: it was cancelled
            by itself, or with the whole instance.
        at: When that was recorded, in unix seconds.
    """

    cancelled: bool
    is_cause: bool = False
    by: str | None = None
    at: float = 0.0


class Cutter(NamedTuple):
    """What may cut off what is in a scope: its limit of time, a failure beside it.

    Attributes:
        path: Where its end is recorded.
        is_called: Says whether it has cut it off, in this life.
        call: Cuts it off, where it did in an earlier life; does nothing where the cause comes again
            by itself.
    """

    path: str
    is_called: Callable[[], bool]
    call: Callable[[], object]


@final
class Recorded:
    """What is recorded at one path, and below it.

    Attributes:
        first: The position of the first of it all.
        is_copied: Whether that was copied from the instance that this one is a fork of.
        entries: Those at the path itself, in order.
        parts: What is below, by segment, in the order of the first entry of each.
    """

    __slots__ = ("entries", "first", "is_copied", "parts")

    def __init__(self, first: int = 0, *, is_copied: bool = False) -> None:
        self.first = first
        self.is_copied = is_copied
        self.entries: list[Entry] = []
        self.parts: dict[str, Recorded] = {}

    def last(self, kind: str) -> Entry | None:
        """Return the last entry of a kind at the path itself."""
        return next((entry for entry in reversed(self.entries) if entry.kind == kind), None)


def recorded_at(entries: Sequence[Entry], place: str = "") -> Recorded:
    """Return what is recorded below a place."""
    root = Recorded()
    above = f"{place}/" if place else ""
    for entry in entries:
        path = entry.path
        if entry.kind == RECORD or entry.kind == VOID or not path or not path.startswith(above):
            continue
        node = root
        for segment in path[len(above) :].split("/"):
            part = node.parts.get(segment)
            if part is None:
                # A copied entry is of no owner that this instance had.
                part = Recorded(entry.position, is_copied=entry.epoch == 0)
                node.parts[segment] = part
            node = part
        node.entries.append(entry)
    return root


def joined(place: str, segment: str) -> str:
    """Return the path of a segment at a place."""
    return f"{place}/{segment}" if place else segment


def mark_at(place: str, name: str) -> str:
    """Return the path of a mark."""
    return joined(place, f"{MARK_SIGN}{name}")


def part_of(name: str) -> str:
    """Return a name as one part of a path.

    Raises:
        ConfigurationError: It is no string, empty, or over 256 characters.
    """
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        said = f"{len(name)} characters" if isinstance(name, str) else repr(name)
        raise ConfigurationError(
            f"a name must be a string of 1 to {LONGEST_NAME} characters, and has {said}"
            if isinstance(name, str)
            else f"a name must be a string, and is {said}",
            hint="give it a name: name='charge'",
        )
    if name.isidentifier() and name.isascii():
        return name
    plain = escaped(name).replace("#", "%23").replace("\0", "%00")
    return plain.encode("utf-8", "backslashreplace").decode()


@final
class Scope:
    """How far one sequential part of a function has come in what it recorded.

    Attributes:
        place: Its path.
        parent: The scope in which the command stands that this is a part of.
        end: How the command around it ended, if that is recorded.
        cutter: What may cut it off, and is not further out.
        at: When the last thing was recorded that has been reached, in unix seconds.
        cut_off: The path of the last command, where a cancellation ended it, and what cut it off:
            None where that is nothing in the function.
        is_cleaning_up: Whether a command before this was cut off, in the past too.
    """

    __slots__ = (
        "_draws",
        "_last",
        "_marks",
        "_seen",
        "at",
        "cut_off",
        "cutter",
        "end",
        "is_cleaning_up",
        "parent",
        "place",
        "remaining",
    )

    def __init__(
        self,
        place: str,
        recorded: Recorded | None = None,
        parent: Scope | None = None,
        *,
        at: float = 0.0,
        end: End | None = None,
        cutter: Cutter | None = None,
    ) -> None:
        self.place = place
        self.parent = parent
        self.end = end
        self.cutter = cutter
        self.at = at
        self.cut_off: tuple[str, str | None] | None = None
        self.is_cleaning_up = False
        self.remaining: deque[tuple[str, Recorded]] = deque()  # of commands, not reached yet
        self._marks: dict[str, int] = {}  # positions, by segment
        self._seen: dict[str, int] = {}
        self._last = ""
        self._draws = 0
        if recorded is not None:
            for segment, part in recorded.parts.items():
                if segment.startswith(MARK_SIGN):
                    self._marks[segment] = part.first
                else:
                    self.remaining.append((segment, part))

    def issue(self, name: str, command: Command) -> tuple[str, Recorded | None]:
        """Return the path of the next command, and what is recorded of it.

        Raises:
            NonDeterminismError: Something else was recorded next.
        """
        part = part_of(name)
        count = self._seen[part] = self._seen.get(part, 0) + 1
        segment = part if count == 1 else f"{part}#{count}"
        path = joined(self.place, segment)
        self._last = segment
        self._draws = 0
        if not self.remaining:
            return path, None
        expected, node = self.remaining[0]
        if expected != segment or not fits(node, command):
            raise NonDeterminismError(
                path, described(expected, node), f"{command.noun} {segment!r}"
            )
        self.remaining.popleft()
        return path, node

    def fate(self) -> Fate:
        """Say what became of the command that was reached last, if its end is not recorded."""
        scope: Scope | None = self
        while scope is not None:
            if scope.remaining:
                return Fate.OVER
            if scope.end is not None:
                return Fate.CUT if scope.end.cancelled and not scope.end.is_cause else Fate.OVER
            scope = scope.parent
        return Fate.OPEN

    def had_ended(self, at: float) -> bool:
        """Say whether the command that was reached last had ended, which was to end at that time.

        It had not where it was cut off before. What is done after a cancellation, under a shield,
        is not cut off by it; nobody would end a second wait for it there.
        """
        fate = self.fate()
        if fate is not Fate.CUT:
            return fate is Fate.OVER
        scope: Scope | None = self
        while scope is not None:
            if scope.is_cleaning_up:
                return True
            if scope.end is not None:
                return at <= scope.end.at + CLOCK_ERROR
            scope = scope.parent
        return False

    def cut(self) -> None:
        """Cut off what is in the scope that had ended by cancelling: its end is reached."""
        scope: Scope | None = self
        while scope is not None and scope.end is None:
            scope = scope.parent
        if scope is None or scope.end is None:
            return
        cutter = scope.cutter if scope.end.by is None else scope.cutter_at(scope.end.by)
        if cutter is not None:
            cutter.call()

    def cutter_at(self, path: str | None) -> Cutter | None:
        """Return what may cut this off, here or further out, by where its end is recorded."""
        return next((each for each in self._cutters() if each.path == path), None)

    def note_cut_off(self, path: str) -> None:
        """Remember that a cancellation has ended a command, and where it came from."""
        called = (each.path for each in self._cutters() if each.is_called())
        self.cut_off = path, next(called, None)

    def _cutters(self) -> Iterator[Cutter]:
        """Yield what may cut this off, the innermost first."""
        scope: Scope | None = self
        while scope is not None:
            if scope.cutter is not None:
                yield scope.cutter
            scope = scope.parent

    def check_ended(self) -> None:
        """Refuse an end before everything was reached that is recorded.

        Raises:
            NonDeterminismError: Something was not.
        """
        if self.remaining:
            segment, node = self.remaining[0]
            raise NonDeterminismError(
                joined(self.place, segment), described(segment, node), "the end of the scope"
            )

    # --- marks and draws

    def has_mark(self, segment: str) -> bool:
        """Say whether the mark is recorded in this scope."""
        return segment in self._marks

    def is_at_mark(self, segment: str) -> bool:
        """Say whether the mark is recorded, and everything before it was reached."""
        position = self._marks.get(segment)
        if position is None:
            return False
        return not self.remaining or self.remaining[0][1].first > position

    def add_mark(self, segment: str, position: int) -> None:
        """Remember a mark that was made now."""
        self._marks[segment] = position

    def is_in_copied_past(self) -> bool:
        """Say whether the next thing, here or further out, is one that a fork was given."""
        scope: Scope | None = self
        while scope is not None:
            if scope.remaining and scope.remaining[0][1].is_copied:
                return True
            scope = scope.parent
        return False

    def draw(self) -> tuple[str, str, int]:
        """Return what tells the next draw from every other of the run."""
        self._draws += 1
        return self.place, self._last, self._draws


def fits(node: Recorded, command: Command) -> bool:
    """Say whether what is recorded can be of that sort of command."""
    if node.parts and not command.holds:
        return False
    return all(entry.kind in command.kinds for entry in node.entries)


def described(segment: str, node: Recorded) -> str:
    """Return what is recorded as a message shows it."""
    kinds = [entry.kind for entry in node.entries]
    if CUT in kinds and len(kinds) == 1:
        return f"{segment!r}, which was cut off"
    noun = NOUNS.get(kinds[0], kinds[0]) if kinds else "scope"
    return f"{noun} {segment!r}"
