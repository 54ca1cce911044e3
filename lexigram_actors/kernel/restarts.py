"""What a supervisor decides, as plain functions from values to decisions.

The supervisor performs what is decided here; nothing in this file waits or starts anything.
The rules are those of Erlang/OTP's `supervisor.erl`.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable, Sequence
from math import isinf

from lexigram_actors.kernel.specs import AutoShutdown, Backoff, Restart, Strategy

PERMANENT = Restart.PERMANENT  # as plain names: see cell.py
TRANSIENT = Restart.TRANSIENT


def must_restart(restart: Restart, reason: str) -> bool:
    """Whether an actor that ended by itself is started again."""
    if restart is PERMANENT:
        return True
    return restart is TRANSIENT and reason == "failed"


def record_restart(
    earlier: Sequence[float], now: float, max_restarts: int, period: float
) -> tuple[bool, list[float]]:
    """Whether one more restart at `now` is within the intensity, and the restarts that still count.

    A restart exactly `period` seconds ago still counts. More than `max_restarts` of them is too
    many.
    """
    recent = [at for at in earlier if now - at <= period]
    recent.append(now)
    return len(recent) <= max_restarts, recent


def restart_group(strategy: Strategy, order: Sequence[str], failed: str) -> list[str]:
    """The ids to restart when `failed` must be, in start order."""
    if strategy is Strategy.ONE_FOR_ONE:
        return [failed]
    if strategy is Strategy.ONE_FOR_ALL:
        return list(order)
    return list(order[order.index(failed) :])


def shuts_down(policy: AutoShutdown, significant_left: Iterable[str]) -> bool:
    """Whether a supervisor ends now that a significant child has ended for good.

    `significant_left` are the ids of the significant children that have not.
    """
    if policy is AutoShutdown.ANY_SIGNIFICANT:
        return True
    return policy is AutoShutdown.ALL_SIGNIFICANT and not any(True for _ in significant_left)


def restart_delay(
    backoff: Backoff | None,
    restarts_in_a_row: int,
    random: Callable[[], float] = random_module.random,
) -> float:
    """Seconds to wait before the n-th restart in a row (from 1)."""
    if backoff is None:
        return 0.0
    if not backoff.initial:
        return 0.0
    try:
        grown = backoff.initial * backoff.factor ** (restarts_in_a_row - 1)
    except OverflowError:
        grown = backoff.maximum
    delay = min(backoff.maximum, grown)
    if isinf(delay):
        return delay
    return delay + delay * (backoff.jitter * random())


def restarts_in_a_row(backoff: Backoff | None, so_far: int, lived: float) -> int:
    """How many restarts in a row the next one makes, for a child that lived `lived` seconds."""
    if backoff is None or lived >= backoff.reset_after:
        return 1
    return so_far + 1
