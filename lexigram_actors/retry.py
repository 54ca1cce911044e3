"""`RetryPolicy`: how often to try again, and how long to wait before each time.

The first attempt is a plain call: a policy costs nothing where nothing fails. Waits are Trio's, so
a test clock governs them. Only `Exception` is tried again: cancellation, `KeyboardInterrupt` and a
group that holds one of them pass through at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from random import random as random_fraction
from typing import Any, TypeVar, TypeVarTuple

import trio
from attrs import field, frozen

from lexigram_actors.checks import check, number, whole

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@frozen
class RetryPolicy:
    """Try again up to `retries` times, waiting longer each time.

    Args:
        retries: Further attempts after the first; 0 never tries again.
        delay: Seconds before the first retry; 0 tries again at once.
        factor: By how much each wait exceeds the one before; 1 keeps it constant.
        max_delay: No wait is longer than this many seconds, before jitter.
        jitter: At most this fraction of the wait is added at random (0 to 1), so that many callers
            that failed together do not come back together.

    Raises:
        ConfigurationError: A value is out of its range; all such are listed.
    """

    retries: int = field(default=3, metadata=whole(least=0))
    delay: float = field(default=1.0, metadata=number(least=0))
    factor: float = field(default=2.0, metadata=number(least=1))
    max_delay: float = field(default=math.inf, metadata=number(least=0, unbounded=True))
    jitter: float = field(default=0.0, metadata=number(least=0, most=1))

    def __attrs_post_init__(self) -> None:
        check(self)

    def delay_before(self, retry: int, random: Callable[[], float] = random_fraction) -> float:
        """Return the seconds to wait before the n-th retry, counted from 1.

        `delay * factor ** (retry - 1)`, at most `max_delay`, and `jitter` of that times `random()`
        on top.

        Raises:
            ValueError: `retry` is below 1.
        """
        if retry < 1:
            raise ValueError(f"retries are counted from 1, got {retry!r}")
        wait = min(self._growth(retry - 1), self.max_delay)
        return wait * (1 + self.jitter * random()) if self.jitter else wait

    def _growth(self, times: int) -> float:
        if not self.delay:
            return 0.0
        try:
            return self.delay * float(self.factor) ** times  # ints would grow without end
        except OverflowError:
            return math.inf

    async def execute(self, fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Do the same as `call`: what a pipeline's step asks its `resilience` for."""
        return await self.call(partial(fn, *args, **kwargs))

    async def call(self, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await `fn(*args)`, again after a wait when it raises an `Exception`; return its value.

        What the last attempt raises is raised as it is. A returned `Err` is a value: it is not
        tried again. Cancelled during a wait, no further attempt begins. It checkpoints where `fn`
        does, and in its waits.
        """
        for retry in range(1, self.retries + 1):
            try:
                return await fn(*args)
            except Exception:  # noqa: BLE001 - whatever it is, the last attempt raises it
                wait = self.delay_before(retry)
            # Outside the handler, or the next failure would drag this one along as its context.
            await trio.sleep(wait)
        return await fn(*args)
