"""How an instance ended, as it is recorded and as it is told.

| recorded | told |
| --- | --- |
| `{"ok": value}` | `Ok(value)` |
| `{"error": {"type", "code", "message", "details", "hint"}}` | `Err` of an error |

A result goes through `outcome_of` and `result_of` also where nothing was lost in between, so that
it reads the same before and after a crash. What cannot travel is told plainly: of an error the
cause is left out, and one that the table below does not name comes back as `WorkflowFailedError`.

`result_of` never imports or calls what a record names: a class is found by its code, in the table.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final, TypedDict

from lexigram_actors.errors import (
    LexigramError,
    NonDeterminismError,
    NotStorableError,
    PipelineExecutionError,
    SagaError,
    SagaStepError,
    StoreCorruptedError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowStepError,
    WorkflowTimeoutError,
    describe,
    text_of,
)
from lexigram_actors.errors.base import json_safe
from lexigram_actors.result import Err, Ok, Result

LONGEST_TEXT: Final = 10_000
"""Characters of a message or hint that are recorded."""

LARGEST_DETAILS: Final = 100_000
"""Characters of JSON up to which details are recorded whole."""

FIELDS: Final = ("step_name", "reason", "path", "error_type", "recorded", "found")
"""What errors carry as fields, and their records among the details."""

LARGEST_INT: Final = 2**63 - 1

OPTIONAL_FIELDS: Final = frozenset({"path", "error_type"})

WITH_FIELDS: Final = (PipelineExecutionError, NotStorableError, SagaError)

FAILURES_WITH_A_PATH: Final = (WorkflowStepError, WorkflowTimeoutError)

MOST_PATHS: Final = 100


class ErrorRecord(TypedDict):
    """An error as plain data."""

    type: str
    code: str
    message: str
    details: dict[str, Any]
    hint: str | None


# --- to what is recorded ---------------------------------------------------------------------


def outcome_of(result: Result[Any, Any]) -> dict[str, Any]:
    """Return a result as it is recorded; an error's part can be stored whatever it holds."""
    if isinstance(result, Ok):
        return {"ok": result.unwrap()}
    return {"error": error_record(result.unwrap_err())}


def error_record(error: object) -> ErrorRecord:
    """Return an error as plain data that any store takes."""
    if isinstance(error, WorkflowFailedError):
        return _record_again(error)
    name = _text(type(error).__name__)
    if not isinstance(error, LexigramError):
        # With its class: that of a KeyError would be a key, and nothing else.
        return ErrorRecord(
            type=name, code="", message=_text(describe(error)), details={}, hint=None
        )
    message = _text(text_of(error)) or name
    code = _text(error.code)
    details = {**error.details, **_fields_of(error)}
    if not _is_rebuilt(code, details):
        details["code"] = code
    return ErrorRecord(
        type=name,
        code=code,
        message=message,
        details=_details(details),
        hint=None if error.hint is None else _text(error.hint),
    )


def _record_again(error: WorkflowFailedError) -> ErrorRecord:
    """Return what an error that was read is a record of."""
    code = error.details.get("code")
    return ErrorRecord(
        type=_text(error.error_type),
        code=_text(code) if isinstance(code, str) else "",
        message=_text(error.message),
        details=_details(error.details),
        hint=None if error.hint is None else _text(error.hint),
    )


def _fields_of(error: LexigramError) -> dict[str, Any]:
    names = FIELDS if isinstance(error, WITH_FIELDS) else ()
    found = {name: getattr(error, name, None) for name in names}
    fields: dict[str, Any] = {
        name: _text(value)
        for name, value in found.items()
        if isinstance(value, str) and (value or name not in OPTIONAL_FIELDS)
    }
    if isinstance(error, SagaError):
        fields |= _undos_of(error)
    paths = [] if "path" in error.details else paths_behind(error)
    return {**fields, "paths": paths} if paths else fields


def _undos_of(error: SagaError) -> dict[str, Any]:
    """Return why a saga failed, what could not be undone, and why not."""
    why = {_text(step): _text(describe(e)) for step, e in error.compensation_errors.items()}
    cause = {} if error.cause is None else {"cause": _text(describe(error.cause))}
    left = [_text(step) for step in error.uncompensated]
    return {**cause, "uncompensated": left, "compensation_errors": why}


def paths_behind(error: BaseException) -> list[str]:
    """Return where in the instance the failures began that led to an error, each path once."""
    paths: dict[str, None] = {}
    seen: set[int] = set()
    waiting: deque[object] = deque([error])
    while waiting:
        each = waiting.popleft()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        path = each.details.get("path") if isinstance(each, FAILURES_WITH_A_PATH) else None
        if isinstance(path, str):
            paths[_text(path)] = None
        elif isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        else:
            waiting += [_given(each, "error", None), _given(each, "cause", each.__cause__)]
    return list(paths)[:MOST_PATHS]


def _given(error: BaseException, name: str, default: object) -> object:
    """Return an attribute of any error; one that cannot be read has nothing to say."""
    try:
        return getattr(error, name, default)
    except Exception:  # noqa: BLE001 - a property of the user's own
        return default


def _text(text: object) -> str:
    plain = _without_nul(str(json_safe(text)))
    return plain if len(plain) <= LONGEST_TEXT else f"{plain[:LONGEST_TEXT]}..."


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        safe: dict[str, Any] = _clean(json_safe(dict(details)))
        length = len(json.dumps(safe, ensure_ascii=False))
    except Exception as error:  # noqa: BLE001 - code of the user's, in a class made like a dict
        return {**_kept(details), "left_out": f"they cannot be read: {_text(describe(error))}"}
    if length <= LARGEST_DETAILS:
        return safe
    return {**_kept(safe), "left_out": f"{length} characters, too many to be recorded"}


def _kept(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of details that as a whole are not."""
    kept: dict[str, Any] = {
        name: _text(details[name])
        for name in (*FIELDS, "code")
        if isinstance(details.get(name), str)
    }
    paths = details.get("paths")
    if type(paths) is list:
        texts = [_text(path) for path in paths[:MOST_PATHS] if isinstance(path, str)]
        room = accumulate(map(len, texts))
        kept["paths"] = [
            path for path, used in zip(texts, room, strict=True) if used <= LONGEST_TEXT
        ]
    return kept


def _clean(value: Any) -> Any:
    """Return JSON data without what JSON has a form for, and a store has none."""
    if isinstance(value, str):
        return _without_nul(value)
    if isinstance(value, int) and value > LARGEST_INT:
        return str(value)
    if isinstance(value, dict):
        return {_without_nul(name): _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\x00")


# --- and back --------------------------------------------------------------------------------


def result_of(outcome: object) -> Result[Any, Exception]:
    """Return a recorded outcome as the result that it was.

    Raises:
        StoreCorruptedError: It is no outcome that this version writes.
    """
    if isinstance(outcome, Mapping) and len(outcome) == 1:
        if "ok" in outcome:
            return Ok(outcome["ok"])
        if isinstance(outcome.get("error"), Mapping):
            return Err(recorded_error(outcome["error"]))
    raise StoreCorruptedError(
        "the outcome of an instance is neither a value nor an error",
        hint="it was written by another program, or a newer version: look with that one",
    )


def recorded_error(record: Mapping[str, Any]) -> LexigramError:
    """Return the error of which this is the record."""
    details = record.get("details")
    facts = dict(details) if isinstance(details, Mapping) else {}
    code, message = record.get("code"), str(record.get("message", ""))
    hint = record.get("hint")
    if isinstance(code, str) and _is_rebuilt(code, facts):
        error = REBUILT[code][1](facts)
        error.message, error.args = message, (message,)
    else:
        error = WorkflowFailedError(str(record.get("type", "Exception")), message)
    error.details = facts
    error.hint = None if hint is None else str(hint)
    return error


def _step_error(facts: Mapping[str, Any]) -> LexigramError:
    return WorkflowStepError(
        facts["step_name"],
        facts["reason"],
        path=str(facts.get("path", "")),
        error_type=str(facts.get("error_type", "")),
    )


def _saga_error(facts: Mapping[str, Any]) -> LexigramError:
    left, why = facts.get("uncompensated"), facts.get("compensation_errors")
    step = facts["step_name"]
    errors = why.items() if isinstance(why, Mapping) else ()
    return SagaError(
        step,
        facts.get("cause"),
        compensation_errors={str(s): SagaStepError(str(s), str(text)) for s, text in errors},
        uncompensated=[str(each) for each in left] if isinstance(left, list) else (),
    )


REBUILT: Final[
    Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], LexigramError]]]
] = {
    WorkflowTimeoutError.code: (
        ("step_name",),
        lambda facts: WorkflowTimeoutError(step_name=facts["step_name"]),
    ),
    WorkflowStepError.code: (("step_name", "reason"), _step_error),
    NonDeterminismError.code: (
        ("path", "recorded", "found"),
        lambda facts: NonDeterminismError(facts["path"], facts["recorded"], facts["found"]),
    ),
    NotStorableError.code: (
        ("reason", "path"),
        lambda facts: NotStorableError(facts["reason"], path=facts["path"]),
    ),
    SagaError.code: (("step_name",), _saga_error),
    WorkflowCancelledError.code: (
        ("reason",),
        lambda facts: WorkflowCancelledError(facts["reason"]),
    ),
}
"""By code: the details it takes, and what makes the error of them."""


def _is_rebuilt(code: str, details: Mapping[str, Any]) -> bool:
    """Say whether an error of that code comes back as itself."""
    needed = REBUILT[code][0] if code in REBUILT else ()
    return bool(needed) and all(isinstance(details.get(name), str) for name in needed)
