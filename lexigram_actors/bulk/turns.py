"""How long a task may go on without waiting: so many steps or one millisecond, then a checkpoint.

A checkpoint costs 2-4 µs, more than a step here, so there is not one at every step. Bounding the
turn by both keeps others, and cancellation, within a millisecond: many steps where they are quick,
and few where they are slow.
"""

from __future__ import annotations

from time import perf_counter
from typing import final

SECONDS = 0.001


@final
class Turn:
    """Counts the steps of a task since it waited last, at most `steps` of them."""

    __slots__ = ("_left", "_steps", "_until")

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.begin()

    def begin(self) -> None:
        """Note that the task has just waited."""
        self._left = self._steps
        self._until = perf_counter() + SECONDS

    def is_over(self) -> bool:
        """Count a step; say whether the task owes the others a pause."""
        self._left -= 1
        return self._left <= 0 or perf_counter() > self._until
