"""Choosing some of many points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Point = TypeVar("Point")


def spread(points: Sequence[Point], most: int | None) -> list[Point]:
    """Return at most `most` of the points, evenly spread, the first among them; None: all."""
    if most is not None and most < 1:
        raise ValueError(f"at least one point has to be tried, not {most}")
    if most is None or len(points) <= most:
        return list(points)
    return [points[place * len(points) // most] for place in range(most)]
