"""What a person answered, read strictly: whatever else it is, nothing happens. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from attrs import frozen

from lexigram_actors.approval.levels import name_problem
from lexigram_actors.approval.models import Verdict
from lexigram_actors.checks import given
from lexigram_actors.errors import AnswerInvalidError

LONGEST_COMMENT: Final = 4000
"""Characters of a comment."""

SCHEMA: Final = (
    '{"by": you, "verdict": "approved" or "rejected", "comment": text, if any}, '
    'or {"by": you, "verdict": "delegated", "to": somebody else}'
)

KEYS: Final = ("by", "verdict", "comment", "to")

SAID: Final = {str(verdict): verdict for verdict in Verdict if verdict is not Verdict.EXPIRED}


@final
@frozen
class Answer:
    """An answer in its own words; whether it counts is another question."""

    by: str
    verdict: Verdict
    comment: str | None = None
    to: str | None = None


def read_answer(asker: str, answer: object) -> Answer:
    """Return what an answer says.

    Args:
        asker: The question, for the error.

    Raises:
        AnswerInvalidError: It says nothing that could be understood.
    """
    if not isinstance(answer, Mapping):
        raise AnswerInvalidError(asker, f"expected {SCHEMA}, got {given(answer)}")
    for problem in problems_of(answer):
        raise AnswerInvalidError(asker, problem)
    return Answer(answer["by"], SAID[answer["verdict"]], answer.get("comment"), answer.get("to"))


def problems_of(answer: Mapping[Any, Any]) -> list[str]:
    """Return what is wrong with an answer, the worst first."""
    problems = [f"no key {key!r}" for key in ("by", "verdict") if key not in answer]
    problems += [f"{given(key)} is no key of an answer" for key in answer if key not in KEYS]
    if problems:
        return problems
    by, verdict, comment, to = (answer.get(key) for key in KEYS)
    wrong = name_problem(by)
    problems += [f"by: {wrong}"] if wrong else []
    if not isinstance(verdict, str) or verdict not in SAID:
        problems.append(f"verdict: {given(verdict)} is not {' or '.join(map(repr, SAID))}")
    problems += comment_problems(comment)
    if verdict == Verdict.DELEGATED:
        wrong = name_problem(to)
        problems += [f"to: {wrong}"] if wrong else []
    elif to is not None:
        problems.append("to: only what is 'delegated' goes to somebody")
    return problems


def comment_problems(comment: object) -> list[str]:
    """Return what is wrong with a comment."""
    if comment is None:
        return []
    if not isinstance(comment, str):
        return [f"comment: {given(comment)} is no text"]
    if len(comment) > LONGEST_COMMENT:
        return [f"comment: {len(comment)} characters, {LONGEST_COMMENT} at most"]
    if "\0" in comment or any("\ud800" <= each <= "\udfff" for each in comment):
        return ["comment: it has characters that cannot be stored"]
    return []
