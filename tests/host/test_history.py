"""What a journal tells, and what is taken back for a retry or left behind by a fork."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import (
    NonDeterminismError,
    WorkflowError,
    WorkflowStateError,
    WorkflowStepError,
)
from lexigram_actors.host.history import (
    fork_position,
    history_of,
    open_questions,
)
from lexigram_actors.host.journal import VOID, standing
from lexigram_actors.host.outcomes import outcome_of
from lexigram_actors.host.retrying import voided_by_function, voided_by_retry
from lexigram_actors.host.surroundings import Question
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage.instances import Entry

FAILURE = {"error": {"type": "ValueError", "message": "no"}}


def journal(*rows: tuple[str, str, Any]) -> list[Entry]:
    """Return entries of these paths, kinds and values, at the positions 1, 2, ..."""
    return [
        Entry(path, kind, value, position, at=float(position))
        for position, (path, kind, value) in enumerate(rows, 1)
    ]


def done(path: str) -> tuple[str, str, Any]:
    return path, "step", {"value": path}


def failed(path: str) -> tuple[str, str, Any]:
    return path, "step", FAILURE


def outcome_at(path: str) -> Any:
    return outcome_of(Err(WorkflowStepError("s", "no", path=path, details={"path": path})))


def voided(entries: list[Entry], path: str, kind: str = "workflow") -> list[int]:
    return voided_by_retry(entries, outcome_at(path), kind)


# --- rows --------------------------------------------------------------------------------------


def test_a_row_says_in_short_what_was_recorded() -> None:
    rows = history_of(
        journal(
            ("load", "step", {"value": [1, 2]}),
            failed("pay"),
            ("nap", "sleep", 12.5),
            ("", VOID, [2]),
            ("big", "step", {"value": "x" * 500}),
            ("mark", "mark", None),
        )
    )
    outcomes = [row.outcome for row in rows]
    assert outcomes[:4] == ["[1, 2]", "failed: no", "12.5", "[2]"]
    assert len(outcomes[4]) == 120
    assert outcomes[4].endswith("...")
    assert outcomes[5] == ""
    assert [row.is_void for row in rows] == [False, True, False, False, False, False]
    assert (rows[2].position, rows[2].path, rows[2].kind, rows[2].at) == (3, "nap", "sleep", 3.0)


# --- questions ---------------------------------------------------------------------------------


def asked(path: str, **facts: Any) -> tuple[str, str, Any]:
    return path, "asked", {"prompt": f"{path}?", "schema": None, "expires_at": None, **facts}


def test_a_question_is_open_until_it_is_answered() -> None:
    entries = journal(
        asked("a"),
        asked("b", schema="int", expires_at=9.0),
        ("a", "answered", {"value": 1}),
        ("b", "refused", {"problem": "no int"}),
    )
    assert open_questions(entries) == [Question("b", "b?", "int", 9.0)]


def test_a_question_that_was_withdrawn_or_taken_back_is_not_open() -> None:
    assert open_questions(journal(asked("a"), ("a", "answered", {"withdrawn": True}))) == []
    assert open_questions(journal(asked("a"), ("", VOID, [1]))) == []


def test_a_question_asked_again_is_open_again() -> None:
    entries = journal(asked("a"), ("a", "answered", {"value": 1}), asked("a", schema="bool"))
    assert open_questions(entries) == [Question("a", "a?", "bool", None)]


# --- retries -----------------------------------------------------------------------------------


def test_a_retry_takes_back_the_failed_step_with_its_attempts() -> None:
    entries = journal(done("load"), ("pay", "attempt", {"attempt": 1, **FAILURE}), failed("pay"))
    assert voided(entries, "pay") == [2, 3]


def test_a_retry_takes_back_what_the_function_did_after_the_failure() -> None:
    entries = journal(done("load"), failed("pay"), done("apologise"), ("#patch a", "mark", None))
    assert voided(entries, "pay") == [2, 3]


def test_a_retried_instance_has_its_whole_time_and_all_its_calls_again() -> None:
    entries = journal(
        ("#deadline", "deadline", 9.0),
        done("load"),
        failed("pay"),
        ("#retry", "retry", {"retry": 1}),
        ("#retry", VOID, [3]),
        failed("pay"),
    )
    assert voided(entries, "pay") == [1, 4, 6]
    assert voided_by_function(entries, "", ["pay"]) == [6]


def test_a_retry_lets_go_on_what_the_failure_beside_it_had_cut_off() -> None:
    entries = journal(
        done("parallel/b/load"),
        failed("parallel/a/pay"),
        ("parallel/b/send", "cut", "parallel"),
        done("parallel/b/undo"),
        ("parallel", "scope", {"failed": "a"}),
        ("parallel/c/send", "cut", "elsewhere"),
    )
    assert voided(entries, "parallel/a/pay") == [2, 3, 4, 5]


def test_a_retry_inside_of_a_pipeline_leaves_its_other_steps_and_its_record() -> None:
    entries = journal(
        ("etl/%pipeline:etl:1", "record", {"token": "t"}),
        ("etl/inner/load", "step", {"value": 1}),
        failed("etl/inner/pay"),
        done("etl/beside/x"),
        ("etl/t:1", "record", 1),
        ("etl", "step", {"error": {"message": "", "details": {"path": "etl/inner/pay"}}}),
        done("apologise"),
    )
    assert voided(entries, "etl") == [3, 6, 7]


def test_an_answered_question_of_a_run_that_failed_stands() -> None:
    entries = journal(
        ("review", "paused", {"state": {}, "questions": {}}),
        ("review", "answered", {"expired": True}),
        failed("review"),
    )
    assert voided(entries, "review") == [3]


def test_a_retry_takes_back_the_end_of_the_scope_and_leaves_the_siblings() -> None:
    entries = journal(
        done("parallel/a/x"),
        done("parallel/b/y"),
        failed("parallel/a/z"),
        done("parallel/c/y"),
        ("parallel", "scope", {"failed": "a"}),
    )
    assert voided(entries, "parallel/a/z") == [3, 5]


def test_a_retry_gives_a_limit_of_time_its_time_again() -> None:
    entries = journal(
        ("limit", "limit", 9.0), done("limit/a"), ("limit", "scope", {"fired": True, **FAILURE})
    )
    assert voided(entries, "limit") == [1, 3]


def test_a_retry_takes_back_a_deadline_that_was_missed() -> None:
    entries = journal(("#deadline", "deadline", 9.0), done("a"))
    assert voided(entries, "#deadline") == [1]


def test_a_failure_of_a_run_is_followed_to_where_it_began() -> None:
    inner = {"error": {"message": "no", "details": {"path": "sub/pay"}}}
    entries = journal(done("sub/load"), failed("sub/pay"), ("sub", "step", inner), done("sorry"))
    assert voided(entries, "sub") == [2, 3, 4]


def test_a_failure_of_a_child_is_not_looked_for_in_the_parents_journal() -> None:
    of_child = {"error": {"message": "no", "details": {"path": "pay"}}}
    entries = journal(done("pay"), ("child-result", "step", of_child))
    assert voided(entries, "child-result") == [2]


def test_failures_of_several_branches_are_all_taken_back() -> None:
    entries = journal(
        failed("parallel/a/x"),
        failed("parallel/b/x"),
        done("parallel/c"),
        ("parallel", "scope", {}),
    )
    errors = [
        WorkflowStepError("x", "no", details={"path": path})
        for path in ("parallel/a/x", "parallel/b/x")
    ]
    outcome = outcome_of(Err(WorkflowError("2 failures", error=ExceptionGroup("", errors))))
    assert voided_by_retry(entries, outcome, "workflow") == [1, 2, 4]


def test_outside_of_durable_functions_what_stands_beside_a_failure_is_left() -> None:
    entries = journal(failed("node/pay"), done("other/load"), ("key", "record", 1))
    assert voided(entries, "node/pay", "graph") == [1]


def test_what_is_taken_back_already_is_not_taken_back_again() -> None:
    entries = journal(failed("pay"), ("", VOID, [1]), failed("pay"))
    assert voided(entries, "pay") == [3]


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        outcome_of(Ok(1)),
        outcome_of(Err(ValueError("a bug"))),
        outcome_of(Err(NonDeterminismError("pay", "a", "b"))),
        outcome_at("elsewhere"),
        {"error": {"details": {"path": 3, "paths": "no"}}},
    ],
)
def test_where_nothing_is_known_to_have_failed_nothing_is_taken_back(outcome: Any) -> None:
    assert voided_by_retry(journal(done("load"), failed("pay")), outcome, "workflow") == []


# --- forks -------------------------------------------------------------------------------------


def test_a_fork_keeps_what_was_recorded_before_the_step() -> None:
    entries = journal(done("a"), done("b/x"), done("b/y"), done("b"), done("c"))
    assert fork_position(entries, "c") == 5
    assert fork_position(entries, "b") == 2
    assert fork_position(entries, "b/y") == 3
    assert fork_position(entries, None) == 1


def test_a_fork_at_a_step_that_was_retried_begins_at_the_retry() -> None:
    entries = journal(done("a"), failed("b"), ("", VOID, [2]), done("b"), done("c"))
    assert fork_position(entries, "b") == 4


def test_a_fork_leaves_out_a_failure_that_was_taken_back_later() -> None:
    entries = journal(done("a"), failed("p/b"), done("p/c"), ("", VOID, [2]), done("p/b"))
    assert fork_position(entries, "p/c") == 2


def test_a_fork_at_what_is_not_recorded_says_what_is() -> None:
    with pytest.raises(WorkflowStateError, match="nothing is recorded at 'x'") as caught:
        fork_position(journal(done("a"), done("b")), "x")
    assert "'a', 'b'" in (caught.value.hint or "")


paths = st.sampled_from(["a", "b", "p/a", "p/b"])


@given(st.lists(paths, min_size=1, max_size=12), st.data())
def test_what_a_fork_keeps_stands_in_it_as_in_the_original(
    steps: list[str], data: st.DataObject
) -> None:
    rows: list[tuple[str, str, Any]] = []
    for path in steps:
        rows.append(done(path))
        if data.draw(st.booleans()):
            at = data.draw(st.integers(1, len(rows)))
            rows.append(("", VOID, [at]))
    entries = journal(*rows)
    stands = standing(entries)
    if not stands:
        return
    before = fork_position(entries, data.draw(st.sampled_from(stands)).path)
    kept = [entry for entry in entries if entry.position < before]
    assert standing(kept) == [entry for entry in stands if entry.position < before]
