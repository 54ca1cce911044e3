"""How many cases were tried in this run: counted by the tests, told at the end."""

from __future__ import annotations

from typing import Final

CASES: Final[dict[str, int]] = {}


def tried(name: str, cases: int) -> None:
    """Count the cases of one test."""
    CASES[name] = CASES.get(name, 0) + cases
