"""How fast calls may follow each other, and how many may be under way."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import final

import trio

from lexigram_actors.bulk.batches import AdaptiveLimit


@final
class RateLimit:
    """Lets items through at `rate` a second: n items push the next call n / rate seconds away.

    So the first call goes at once, and never more than `rate x t` items plus one batch begin
    within t seconds. Callers pass in the order they came. Cancelled while waiting, a caller has
    used up its place.
    """

    __slots__ = ("_due", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._due = -inf

    async def wait(self, items: int) -> None:
        """Wait for the turn of so many items; no checkpoint where there is nothing to wait for."""
        now = trio.current_time()
        turn = max(now, self._due)
        self._due = turn + items / self.rate
        if turn > now:
            await trio.sleep_until(turn)


@final
class AdaptiveConcurrency:
    """Hears how attempts go, on the Trio clock, and applies the limit that follows from it."""

    __slots__ = ("_apply", "_limit")

    def __init__(self, most: int, apply: Callable[[int], None]) -> None:
        self._limit = AdaptiveLimit(most)
        self._apply = apply

    def succeeded(self) -> None:
        """Note an attempt that succeeded."""
        self._limit.succeeded()
        self._apply(self._limit.limit)

    def failed(self, began: float) -> None:
        """Note an attempt that began then and failed now."""
        self._limit.failed(began, trio.current_time())
        self._apply(self._limit.limit)
