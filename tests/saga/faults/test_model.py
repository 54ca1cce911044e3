"""The machine that judges: it accepts what is predicted, and nothing of what is wrong."""

from __future__ import annotations

import pytest

from tests.saga.faults.checking import check_i4
from tests.saga.faults.grids import ROWS, cut_while_undoing, plain, with_failing_undos
from tests.saga.faults.model import Refused
from tests.saga.faults.plans import NAMES, Case, Fault
from tests.saga.faults.predicting import predict
from tests.saga.faults.states import Event


def cases_in_a_row(variant: str) -> list[Case]:
    cases = [Case(variant), *plain(variant)]
    return [*cases, *with_failing_undos(plain(variant)), *cut_while_undoing(variant)]


@pytest.mark.parametrize("variant", ROWS)
def test_what_is_predicted_is_accepted(variant: str) -> None:
    for case in cases_in_a_row(variant):
        check_i4(predict(case), case)


@pytest.mark.parametrize("variant", ROWS)
def test_no_event_can_be_left_out_nor_come_twice(variant: str) -> None:
    faults: tuple[Fault, ...] = ("err", "late", "cancel")
    for fault in faults:
        for at in NAMES:
            case = Case(variant, fault, at)
            events = predict(case)
            for place in range(1, len(events)):
                refuse([*events[:place], *events[place + 1 :]], case)
                if events[place].what != "end":
                    refuse([*events[:place], events[place], *events[place:]], case)


def test_undos_cannot_change_places() -> None:
    case = Case("all", "err", "d")
    events = predict(case)
    for place, event in enumerate(events):
        if event.what == "undo" and events[place + 2].what == "undo":
            pair, behind = events[place : place + 2], events[place + 2 : place + 4]
            refuse([*events[:place], *behind, *pair, *events[place + 4 :]], case)


def test_what_may_run_once_does_not_run_again_after_a_crash() -> None:
    case = Case("none", "err", "c")
    forward = predict(case)[: predict(case).index(Event("undo", "b"))]
    crash = [Event("undo", "b"), Event("crash"), Event("start")]
    rest = [Event("undo", "a"), Event("undid", "a", "ok")]
    again = [Event("undo", "b"), Event("undid", "b", "ok")]
    check_i4([*forward, *crash, *rest, Event("end", "c", "err", frozenset("b"))], case)
    refuse([*forward, *crash, *rest, Event("end", "c", "err")], case)
    refuse([*forward, *crash, *again, *rest, Event("end", "c", "err")], case)


def test_what_is_recorded_does_not_run_again_after_a_crash() -> None:
    case = Case("all")
    one = [Event("start"), Event("do", "a"), Event("did", "a", "ok")]
    crash = [Event("crash"), Event("start")]
    rest = predict(case)[3:]
    check_i4([*one, *crash, *rest], case)
    check_i4([*one, *crash, *one[1:], *rest], case)
    refuse([*one, *rest[:1], *crash, *one[1:], *rest], case)


def test_what_was_at_work_at_a_crash_is_in_doubt_where_it_does_not_run_again() -> None:
    case = Case("none", "cancel", "b")
    begun = [Event("start"), Event("do", "a"), Event("did", "a", "ok"), Event("do", "b")]
    rest = [Event("crash"), Event("start"), Event("undo", "a"), Event("undid", "a", "ok")]
    check_i4([*begun, *rest, Event("end", "", "cancelled", frozenset("b"))], case)
    refuse([*begun, *rest, Event("end", "", "cancelled")], case)


def refuse(events: list[Event], case: Case) -> None:
    with pytest.raises(AssertionError):
        check_i4(events, case)
    assert issubclass(Refused, AssertionError)
