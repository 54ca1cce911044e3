"""How long work that never waits goes on before others get their turn."""

from __future__ import annotations

from time import perf_counter
from typing import final

BATCH = 100
"""Messages, or calls, without a checkpoint; or `BATCH_SECONDS`, whichever is first."""

BATCH_SECONDS = 0.001


@final
class Pacer:
    """Says when calls that do not wait have gone on long enough without a checkpoint.

    A checkpoint costs ten times what such a call does. One in 100 calls, or a millisecond, keeps
    fairness and cancellation within a millisecond.
    """

    __slots__ = ("left", "until")

    def __init__(self) -> None:
        self.left = BATCH
        self.until = perf_counter() + BATCH_SECONDS

    def due(self) -> bool:
        self.left -= 1
        if self.left > 0 and perf_counter() < self.until:
            return False
        self.left = BATCH
        self.until = perf_counter() + BATCH_SECONDS
        return True
