"""Time that passes only when everybody waits: Trio's clock, and a wall clock that follows it."""

from __future__ import annotations

from math import inf
from typing import Final, final

import trio
from trio.testing import MockClock

START: Final = 1_700_000_000.0
"""Unix seconds at which virtual time begins, unless told otherwise."""


def virtual_clock() -> MockClock:
    """Return a clock for `trio.run` that jumps to the next deadline as soon as every task waits.

    Thirty days of sleeping take milliseconds. It does not know of what goes on outside of Trio's
    tasks: while a thread or another process works and every task waits, it jumps all the same, and
    time limits fire that would not have.
    """
    return MockClock(autojump_threshold=0)


@final
class VirtualTime:
    """A wall clock in unix seconds that follows Trio's clock, through any number of Trio runs.

    Give it as `clock=` to stores. Each run's clock begins anew; this one goes on where the run
    before left off, as the clock on the wall does for a process that died and came back. Between
    runs it stands still.

    Not for several threads. Outside of a run it shows the time at which the last one ended.

    Args:
        start: What it shows at first.
    """

    __slots__ = ("_at_switch", "_followed", "_followed_at_switch")

    def __init__(self, start: float = START) -> None:
        self._at_switch = start
        self._followed = current_clock()
        self._followed_at_switch = 0.0 if self._followed is None else self._followed.current_time()

    def __call__(self) -> float:
        """Return unix seconds."""
        clock = current_clock()
        if clock is not None and clock is not self._followed:
            self._at_switch = self._reading()
            self._followed = clock
            # A virtual clock begins at 0, so that what passed before the first look counts too.
            self._followed_at_switch = 0.0 if isinstance(clock, MockClock) else clock.current_time()
        return self._reading()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back; Trio's clock, and whoever sleeps, notice nothing."""
        if not -inf < seconds < inf:
            raise ValueError(f"a clock is set by a finite number of seconds, not {seconds!r}")
        self._at_switch += seconds

    def _reading(self) -> float:
        if self._followed is None:
            return self._at_switch
        return self._at_switch + self._followed.current_time() - self._followed_at_switch


def current_clock() -> trio.abc.Clock | None:
    """Return the clock of the Trio run that goes on in this thread; None: there is none."""
    return trio.lowlevel.current_clock() if trio.lowlevel.in_trio_run() else None
