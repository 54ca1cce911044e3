"""How an instance ended: recorded, and told, the same before and after a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import (
    GraphExecutionError,
    LexigramError,
    NonDeterminismError,
    NotStorableError,
    PipelineExecutionError,
    StoreCorruptedError,
    WorkflowCancelledError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowStepError,
    WorkflowTimeoutError,
    describe,
)
from lexigram_actors.host.outcomes import (
    LARGEST_DETAILS,
    LONGEST_TEXT,
    outcome_of,
    recorded_error,
    result_of,
)
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage.codec import Codec


def told(error: object) -> Any:
    """Return an error as it is told after it was recorded, and read by a store."""
    codec = Codec()
    recorded = codec.loads(codec.dumps(outcome_of(Err(error))))
    return result_of(recorded).unwrap_err()


@pytest.mark.parametrize("value", [None, 0, "", {"ok": 1}, {"error": {}}, (1, 2), [None]])
def test_a_value_is_told_as_it_was(value: Any) -> None:
    assert result_of(outcome_of(Ok(value))) == Ok(value)


def test_a_failed_step_is_told_with_its_fields() -> None:
    error = WorkflowStepError(
        "charge",
        "declined",
        path="pay/charge#2",
        error_type="CardError",
        hint="another card",
        cause=KeyError("x"),
    )
    found = told(error)
    assert type(found) is WorkflowStepError
    assert (found.step_name, found.reason) == ("charge", "declined")
    assert (found.path, found.error_type) == ("pay/charge#2", "CardError")
    assert (found.message, found.hint) == (error.message, "another card")
    assert found.details["path"] == "pay/charge#2"


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (WorkflowTimeoutError("30 s are over", step_name="load"), ["step_name"]),
        (NonDeterminismError("a/b", "step 'x'", "step 'y'"), ["path", "recorded", "found"]),
        (NotStorableError("an open file", path="$.log"), ["reason", "path"]),
        (WorkflowCancelledError("no longer wanted"), ["reason"]),
    ],
)
def test_these_are_told_as_what_they_were(error: LexigramError, fields: list[str]) -> None:
    found = told(error)
    assert type(found) is type(error)
    assert [getattr(found, each) for each in fields] == [getattr(error, each) for each in fields]
    assert (found.message, found.code) == (error.message, error.code)


def test_a_message_of_ones_own_is_kept() -> None:
    error = WorkflowStepError("charge", "declined")
    error.message = "not today"
    assert str(told(error)) == "not today"


@pytest.mark.parametrize(
    ("error", "name", "code"),
    [
        (ValueError("no"), "ValueError", None),
        (GraphExecutionError("no way", details={"node": "a"}), "GraphExecutionError", "WF_011"),
        (PipelineExecutionError("load", OSError("full")), "PipelineExecutionError", "PIPE_001"),
        (WorkflowTimeoutError("over", code="MY_1"), "WorkflowTimeoutError", "MY_1"),
        ("no stock", "str", None),
    ],
)
def test_any_other_failure_is_told_plainly(error: object, name: str, code: str | None) -> None:
    found = told(error)
    assert type(found) is WorkflowFailedError
    assert found.error_type == name
    assert str(found.details.get("code")).endswith(code or "None")
    assert found.message == (error.message if isinstance(error, LexigramError) else describe(error))


def test_an_error_without_a_message_is_told_by_its_class() -> None:
    assert str(told(KeyboardInterrupt())) == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "details",
    [
        {"nul": "a\0b", "in": [{"k\0": ("x\0",)}]},
        {"surrogate": "\ud800", "huge": 2**80, "large": 2**63, "nan": float("nan"), "set": {1}},
        {"object": object(), 3: 4, "error": ValueError("x")},
        {"big": ["x" * 1000] * 1000},
    ],
)
def test_whatever_an_error_holds_it_can_be_recorded(details: dict[Any, Any]) -> None:
    found = told(WorkflowStepError("s", "r", details=details))
    assert type(found) is WorkflowStepError


def test_texts_no_store_takes_are_escaped_and_long_ones_cut() -> None:
    found = told(WorkflowStepError("s\0", "r\ud800" + "x" * 2 * LONGEST_TEXT, hint="\0"))
    assert found.step_name == "s\\x00"
    assert found.hint == "\\x00"
    assert len(found.message) < LONGEST_TEXT + 10


def test_details_that_are_too_large_are_left_out_and_said_to_be() -> None:
    found = told(GraphExecutionError("no", details={"all": "x" * LARGEST_DETAILS}))
    assert "all" not in found.details
    assert "too many" in found.details["left_out"]
    assert found.details["code"] == GraphExecutionError.code


def test_an_error_that_came_of_failed_steps_tells_where_they_are() -> None:
    def failed(path: str) -> WorkflowStepError:
        return WorkflowStepError("s", "r", path=path, details={"path": path})

    group = ExceptionGroup("two", [failed("a/s"), failed("b/s"), failed("a/s")])
    outer = GraphExecutionError("no way", cause=WorkflowError("2 failures", error=group))
    assert told(outer).details["paths"] == ["a/s", "b/s"]
    assert "paths" not in told(failed("a")).details
    loop = GraphExecutionError("no way")
    loop.cause = loop
    assert "paths" not in told(loop).details


texts = st.text(st.characters(exclude_categories=()), max_size=20)
errors = st.one_of(
    st.builds(WorkflowStepError, texts, texts, hint=st.none() | texts),
    st.builds(WorkflowTimeoutError, texts),
    st.builds(NonDeterminismError, texts, texts, texts),
    st.builds(WorkflowCancelledError, texts),
    st.builds(GraphExecutionError, texts, details=st.dictionaries(texts, st.integers() | texts)),
    st.builds(ValueError, texts),
)


@given(errors)
def test_told_again_it_is_recorded_the_same(error: Exception) -> None:
    once = outcome_of(Err(error))
    Codec().dumps(once)
    assert outcome_of(result_of(once)) == once


@pytest.mark.parametrize(
    "outcome", [None, {}, [], {"ok": 1, "error": {}}, {"error": "no"}, {"else": 1}, "ok"]
)
def test_what_is_no_outcome_is_refused(outcome: object) -> None:
    with pytest.raises(StoreCorruptedError, match="neither a value nor an error"):
        result_of(outcome)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"code": 3, "details": [], "message": None, "hint": 5},
        {"code": WorkflowStepError.code, "details": {"step_name": 3}, "message": "m"},
        {"code": "lexigram_actors.errors.LexigramError", "type": "os.system", "message": "rm"},
    ],
)
def test_a_strange_record_of_an_error_is_told_as_a_failure(record: dict[str, Any]) -> None:
    assert type(recorded_error(record)) is WorkflowFailedError
