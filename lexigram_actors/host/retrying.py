"""What is taken back so that something that failed is tried again. Plain decisions about entries.

An operator retries an instance, and a durable function calls itself again (`retries`): for both
the journal must look as if the failure had not happened, and as if everything that had succeeded
had. Nothing is removed for it: an entry of the kind `void` lists what does not stand any more.

| goes | because |
| --- | --- |
| the failure, with its attempts, its time limit, its question | it is tried again, from anew |
| the ends of the runs, scopes and limits of time around it | they go on |
| what came after it where commands come one after another | it may not come there again |
| what a scope did when that failure, or the end of its time, cut it off | it goes on instead |
| deadlines and counts of retries of the functions around it | they are called again |

| stands | because |
| --- | --- |
| what came before it | it succeeded, or was handled |
| what ran beside it: other branches, other steps of a pipeline | it has nothing to do with it |

Where a failure began is told by its record, which may name a path further in, and so on. Only
paths below are followed: an error may have come from another instance, and name a place there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, final

from lexigram_actors.errors import NonDeterminismError, NotStorableError
from lexigram_actors.host.asking import PAUSED
from lexigram_actors.host.journal import standing
from lexigram_actors.host.record import RECORD
from lexigram_actors.storage.instances import Entry

STEP: Final = "step"
SCOPE: Final = "scope"
LIMIT: Final = "limit"
CUT: Final = "cut"
DEADLINE: Final = "deadline"
RETRY: Final = "retry"

WORKFLOW: Final = "workflow"
"""The kind of definition whose commands come one after another."""

MARK_SIGN: Final = "#"
HEADER_SIGN: Final = "%"
"""What the record of a part begins with whose steps need not come one after another."""

NOT_FAILED_THERE: Final = frozenset({NonDeterminismError.code, NotStorableError.code})
"""Errors that name a path at which what is recorded is right, or none of the instance at all."""


def voided_by_retry(
    entries: Sequence[Entry], outcome: object, kind: str, stuck: Iterable[str] = ()
) -> list[int]:
    """Return the positions of what is taken back where an operator retries an instance.

    None where the outcome names no path: the instance was ended by something that is not recorded,
    and meets it again if it is still there.

    Args:
        kind: Of the definition.
        stuck: Paths of steps whose undo is tried again: what their sagas ended with is taken back,
            also where that was handled.
    """
    past = Past(entries, is_sequential=kind == WORKFLOW)
    sagas = {path.rpartition("/")[0] for path in stuck} - {""}
    return past.taken_back([*failed_paths(outcome), *sagas], is_called_again=True)


def voided_by_function(entries: Sequence[Entry], place: str, failed: Iterable[str]) -> list[int]:
    """Return the positions of what is taken back where a durable function calls itself again.

    Its own deadline stands, and so does its count.

    Args:
        place: Of the function; nothing outside is taken back.
        failed: Where it failed.
    """
    return Past(entries, place).taken_back(failed)


def failure_in(value: object) -> Mapping[str, Any] | None:
    """Return the error that an entry or an outcome records; None where it records none."""
    if isinstance(value, Mapping) and isinstance(value.get("error"), Mapping):
        found: Mapping[str, Any] = value["error"]
        return found
    return None


def failed_paths(value: object) -> list[str]:
    """Return where it failed, as an entry or an outcome says; none where it does not."""
    failure = failure_in(value) or {}
    details = failure.get("details")
    if not isinstance(details, Mapping) or failure.get("code") in NOT_FAILED_THERE:
        return []
    several = details.get("paths")
    named = [details.get("path"), *(several if isinstance(several, list) else ())]
    return [path for path in named if isinstance(path, str)]


@final
class Past:
    """What stands in the journal below a place.

    Attributes:
        place: The path of the function, or the instance, that is tried again.
        entries: Everything that stands below the place, in order.
        at: The same by path, without what pipelines, graphs and bulk operations record.
        records: These, by path.
        first: By path, of every scope too: where the first of it is in the journal.
        parts: The paths right below a scope, in the order of the first of each.
        concurrent: The paths of the scopes whose parts do not come one after another.
    """

    __slots__ = ("at", "concurrent", "entries", "first", "parts", "place", "records")

    def __init__(
        self, entries: Sequence[Entry], place: str = "", *, is_sequential: bool = True
    ) -> None:
        above = f"{place}/" if place else ""
        self.place = place
        self.entries = [e for e in standing(entries) if e.path and e.path.startswith(above)]
        self.at: dict[str, list[Entry]] = {}
        self.records: dict[str, list[Entry]] = {}
        self.first: dict[str, int] = {}
        self.parts: dict[str, list[str]] = {}
        self.concurrent: set[str] = set() if is_sequential else {place}
        limits: set[str] = set()
        for entry in self.entries:
            path = entry.path
            self._note_first(entry)
            if entry.kind == RECORD:
                scope, _, key = path.rpartition("/")
                if key.startswith(HEADER_SIGN):
                    self.concurrent.add(scope)
                self.records.setdefault(path, []).append(entry)
                continue
            self.at.setdefault(path, []).append(entry)
            if entry.kind == SCOPE:
                self.concurrent.add(path)
            elif entry.kind == LIMIT:
                limits.add(path)
        # What else is recorded of a scope with a limit of time is when that is over.
        self.concurrent -= limits

    def _note_first(self, entry: Entry) -> None:
        part = entry.path
        while part != self.place and part not in self.first:
            self.first[part] = entry.position
            scope = part.rpartition("/")[0]
            self.parts.setdefault(scope, []).append(part)
            part = scope

    def taken_back(self, failed: Iterable[str], *, is_called_again: bool = False) -> list[int]:
        """Return the positions of what is taken back for these failures.

        Args:
            is_called_again: Whether what is at the place itself has its time from anew.
        """
        origins = [origin for path in failed for origin in self.origins(path)]
        gone: dict[int, Entry] = {}
        for origin in origins:
            gone.update((e.position, e) for e in self.undone(origin, self.place))
            for scope in scopes_of(origin, self.place)[not is_called_again :]:
                gone.update((e.position, e) for e in self.time_of(scope))
        ends = {entry.path for entry in gone.values() if entry.kind in (SCOPE, DEADLINE)}
        for cut in self.entries:
            if cut.kind == CUT and cut.value in ends:
                below = place_of(cut.value)
                gone.update((e.position, e) for e in self.undone(cut.path, below))
        return sorted(gone)

    def origins(self, path: str) -> Iterator[str]:
        """Yield where a failure began; nothing where none is recorded at the path."""
        if not self.has_failed(path):
            return
        waiting = [path]
        while waiting:
            path = waiting.pop()
            inner = [
                each
                for each in failed_paths(self.at[path][-1].value)
                if each.startswith(f"{path}/") and self.has_failed(each)
            ]
            if inner:
                waiting += inner
            else:
                yield path

    def has_failed(self, path: str) -> bool:
        """Say whether what stands at a path is a failure, or the time of a function."""
        entries = self.at.get(path)
        if entries is None:
            return False
        return entries[-1].kind == DEADLINE or failure_in(entries[-1].value) is not None

    def undone(self, path: str, place: str) -> Iterator[Entry]:
        """Yield what goes so that what is at a path, below a place, happens again."""
        scope = place
        for part in parts_of(path, place):
            if part not in self.first:
                return
            yield from own_of(self.at.get(part, ()))
            if scope not in self.concurrent and not is_mark(part):
                yield from self.after(part, scope)
            scope = part

    def after(self, part: str, scope: str) -> Iterator[Entry]:
        """Yield everything in a scope that it began after a part of it."""
        reached = self.first[part]
        waiting = [
            other
            for other in self.parts[scope]
            if self.first[other] > reached and not is_mark(other)
        ]
        # A record that stands in no part of the scope tells nothing of its order.
        nearest = set(waiting)
        while waiting:
            other = waiting.pop()
            yield from self.at.get(other, ())
            if other not in nearest:
                yield from self.records.get(other, ())
            waiting += self.parts.get(other, ())

    def time_of(self, scope: str) -> Iterator[Entry]:
        """Yield the deadline and the count of retries of a function."""
        above = f"{scope}/" if scope else ""
        for name, kind in ((DEADLINE, DEADLINE), (RETRY, RETRY)):
            entries = self.at.get(f"{above}{MARK_SIGN}{name}", ())
            yield from (entry for entry in entries if entry.kind == kind)


def own_of(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield what goes of what is recorded at the path of a failure, or around it.

    A run that asked a person goes on with the answer: nobody is asked the same a second time.
    """
    has_asked = any(entry.kind == PAUSED for entry in entries)
    yield from (entry for entry in entries if not has_asked or entry.kind in (STEP, CUT))


def parts_of(path: str, place: str = "") -> list[str]:
    """Return a path and those of the scopes around it that are below a place, outermost first."""
    parts: list[str] = []
    while path != place:
        parts.append(path)
        path = path.rpartition("/")[0]
    return parts[::-1]


def scopes_of(path: str, place: str) -> list[str]:
    """Return a place, and the scopes below it around a path, the outermost first."""
    return [place, *parts_of(path, place)[:-1]]


def place_of(end: str) -> str:
    """Return the scope that ended where this is recorded: itself, or what it is a mark in."""
    return end.rpartition("/")[0] if is_mark(end) else end


def is_mark(path: str) -> bool:
    """Say whether what stands there is no command: a limit of time, a count of retries."""
    return path.rpartition("/")[2].startswith(MARK_SIGN)
