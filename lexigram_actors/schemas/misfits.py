"""Saying why an answer does not fit, in one line for a person. Pure."""

from __future__ import annotations

from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.errors import describe, text_of

MOST_PROBLEMS = 10
"""Problems that one error lists; an answer of a million items may have as many."""

ENOUGH = "not looked at"
"""What is said at each place after those problems; it is not shown."""


def misfit(expected: str, value: Any) -> ValueError:
    """Return the error of a value that is not what was expected."""
    return ValueError(f"expected {expected}, got {given(value)}")


def problem_of(error: Exception) -> str:
    """Return one line: each problem with the place it is at."""
    from cattrs import transform_error

    if not isinstance(error, ExceptionGroup):
        return _cut(_said(error, None))
    problems = [
        problem
        for problem in transform_error(error, "answer", _said)
        if not problem.startswith(ENOUGH)
    ]
    shown = [_cut(problem) for problem in problems[:MOST_PROBLEMS]]
    return "; ".join(shown if len(problems) <= MOST_PROBLEMS else [*shown, "and more"])


def _said(error: BaseException, kind: Any) -> str:
    """Return a phrase for one problem; `kind` is what a field should be, None at the top."""
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        return f"no such field: {', '.join(sorted(map(text_of, error.extra_fields)))}"
    if isinstance(error, KeyError) and kind is not None:
        return "this field is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # Validators put the field and the value behind their sentence.
    first = error.args[0] if error.args else None
    return first if isinstance(first, str) and first else describe(error)


def _cut(problem: str) -> str:
    """Keep both ends: what is wrong stands first, the place last."""
    return problem if len(problem) <= 500 else f"{problem[:250]}...{problem[-250:]}"
