"""Reading JSON from people and models: nothing is rounded, dropped or endless. Pure.

The fast readers make a float of a large int, and keep the last of two equal keys. What was meant is
then gone before anybody could refuse it.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from lexigram_actors.checks import given

MAX_DEPTH = 64
"""Levels of lists and objects in an answer, at most: each takes several frames of the stack."""

MAX_DIGITS = 640
"""Characters of a number, at most. Python's own limit may be set no lower, so it never strikes."""

TOO_DEEP = f"it is nested too deeply, more than {MAX_DEPTH} levels"


def read_json(text: str) -> Any:
    """Return what the JSON says.

    Raises:
        ValueError: It is no JSON (then a `json.JSONDecodeError`); or it has NaN or an infinity, a
            number that is too long or too large, a key twice in one object, or too many levels.
    """
    try:
        found = json.loads(
            text,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_no_number,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    check_depth(found)
    return found


def check_depth(value: Any) -> None:
    """Refuse a value with too many levels, or one that holds itself.

    Level by level, each object once in each: what is held twice costs no more than what is not.

    Raises:
        ValueError: It is nested too deeply.
    """
    level = _inside([value])
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = {
            number: inner
            for outer in level.values()
            for number, inner in _inside(
                outer.values() if isinstance(outer, dict) else outer
            ).items()
        }
    if level:
        raise ValueError(TOO_DEEP)


def _inside(values: Any) -> dict[int, Any]:
    nesting = (dict, list, tuple, set, frozenset)
    return {id(value): value for value in values if isinstance(value, nesting)}


def _whole(text: str) -> int:
    return int(_short(text))


def _number(text: str) -> float:
    found = float(_short(text))
    if math.isinf(found):
        raise ValueError(f"the number {text} is too large")
    return found


def _short(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} characters, {MAX_DIGITS} at most are possible")
    return text


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {given(twice)} is there twice")
    return found
