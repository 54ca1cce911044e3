"""I4: a saga has done all, or undone exactly what there was to undo, or says what it could not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

from tests.saga.faults.model import Machine
from tests.saga.faults.plans import Case
from tests.saga.faults.states import Event


def check_i4(
    events: Sequence[Event],
    case: Case,
    *,
    is_cut: bool | None = None,
    hidden_crashes: int = 0,
) -> None:
    """Check all that happened to a saga, in however many lives, up to its end.

    First in plain terms, then each event in its place.
    """
    check_balance(events, case, hidden_crashes)
    Machine(case, is_cut=is_cut, hidden_crashes=hidden_crashes).read(events)


def check_balance(events: Sequence[Event], case: Case, hidden_crashes: int = 0) -> None:
    """Check what was done against what was undone, whatever the order."""
    end = next((event for event in reversed(events) if event.what == "end"), None)
    assert end is not None, "it has not ended"
    crashes = sum(event.what == "crash" for event in events) + hidden_crashes
    retries = sum(event.what == "retry" for event in events)
    did = {event.name for event in events if event.what == "did" and event.how == "ok"}
    undid = Counter(e.name for e in events if e.what == "undid" and e.how == "ok")
    begun = Counter(event.name for event in events if event.what == "undo")
    given_up = {event.name for event in events if event.what in ("skip", "force")}
    for step in case.steps:
        if not step.idempotent:
            most = 1 + retries
            assert begun[step.name] <= most, f"{step.name} may be undone once: {list(events)}"
        assert undid[step.name] <= 1 + crashes + retries, f"{step.name}: {list(events)}"
    if end.how == "ok":
        assert did == {step.name for step in case.steps}, "completed, and not all was done"
        assert not begun, f"completed, and undone: {dict(begun)}"
        assert not end.stuck
        return
    if end.how == "cancelled" and not begun and did == {step.name for step in case.steps}:
        return
    if any(step.pivot and step.name in did for step in case.steps):
        return
    needs = {step.name for step in case.steps if step.undo and step.name in did}
    accounted = set(undid) | end.stuck | given_up
    assert needs <= accounted, f"stand, and nobody says so: {needs - accounted}: {list(events)}"


def check_errors(events: Sequence[Event], stuck: Collection[str], errors: Collection[str]) -> None:
    """Check which steps have an error of their undo: those that are stuck because it failed.

    Where the process died right after the undo had failed, that it did is not known to anybody; and
    where it died in another try, how that ended.
    """
    last: dict[str, str] = {}
    for event, after in pairwise(events):
        if event.what == "undid":
            last[event.name] = "ok" if after.what == "crash" else event.how
        elif event.what == "retry":
            last.clear()
    failed = {name for name, how in last.items() if how != "ok" and name in stuck}
    assert failed <= set(errors) <= set(stuck), f"errors of {set(errors)}, not of {failed}"
