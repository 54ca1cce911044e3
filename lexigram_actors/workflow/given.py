"""What a context is given, as it is meant: functions and runnables, policies, moments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from lexigram_actors.checks import given
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.host.seam import Runnable
from lexigram_actors.retry import RetryPolicy

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def as_runnable(candidate: Any) -> Runnable | None:
    """Return what is to be run: a `Runnable`, or that of a decorated function; None: neither."""
    found = getattr(candidate, "__runnable__", None)
    if found is not None:
        return found  # type: ignore[no-any-return]
    if callable(candidate) and not hasattr(candidate, "run"):
        return None  # as is the case nearly always; the check below is slow
    return candidate if isinstance(candidate, Runnable) else None


def name_of(fn: Callable[..., Any]) -> str:
    """Return the name that a function goes by in the journal."""
    while isinstance(fn, partial):
        fn = fn.func
    return str(getattr(fn, "__name__", None) or type(fn).__name__)


def policy_of(retry: RetryPolicy | int | None) -> RetryPolicy | None:
    """Return the policy that is meant.

    Raises:
        ConfigurationError: It is a number, and no whole one of at least 0.
    """
    if retry is None or isinstance(retry, RetryPolicy):
        return retry
    return RetryPolicy(retries=retry)


def timestamp_of(moment: datetime) -> float:
    """Return an aware moment in unix seconds.

    Raises:
        ConfigurationError: It has no time zone.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigurationError(
            f"sleep_until takes a datetime with a time zone, not {given(moment)}",
            hint="datetime(2030, 1, 31, tzinfo=UTC), or ctx.now() + timedelta(days=30)",
        )
    return (moment - EPOCH) / timedelta(seconds=1)
