"""A circuit breaker: after repeated failures, calls are refused for a while instead of made.

`closed`: calls are made; `failure_threshold` failures in a row open it. `open`: calls are refused
with `CircuitOpenError` for `recovery_timeout` seconds. `half_open`: one call at a time is let
through as a probe, the others are refused; a failing probe opens it again, `success_threshold`
probes that succeed in a row close it.

    closed ── failures ──> open ── time ──> half_open ── successes ──> closed
                            ^──────── a failure ────────┘

A failure is an `Exception`. Cancellation and other exceptions that are none say nothing about the
callee: they count neither way, and a cancelled probe gives its place free. A returned `Err` is a
value, so a success.

**Late results.** Calls overlap, so one that began while the breaker was closed may end after it
opened, or after it opened and closed again. Each change of state begins a new *era*; a call
remembers the era it began in, and its outcome counts only in that era.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import (
    Any,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    final,
    overload,
    runtime_checkable,
)

import trio
from attrs import field, frozen

from lexigram_actors.checks import check, number, text, whole
from lexigram_actors.errors import CircuitOpenError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


@frozen
class CircuitBreakerConfig:
    """When a breaker opens and closes.

    Args:
        failure_threshold: Failures in a row that open it, at least 1.
        recovery_timeout: Seconds it stays open before a probe; 0 probes with the next call, `inf`
            stays open until `reset()`.
        success_threshold: Probes in a row that must succeed to close it, at least 1.
        name: Shown in errors and logs.

    Raises:
        ConfigurationError: A value is out of its range; all such are listed.
    """

    failure_threshold: int = field(default=5, metadata=whole(least=1))
    recovery_timeout: float = field(default=60.0, metadata=number(least=0, unbounded=True))
    success_threshold: int = field(default=1, metadata=whole(least=1))
    name: str = field(default="", metadata=text())

    def __attrs_post_init__(self) -> None:
        check(self)


@runtime_checkable
class CircuitBreakerProtocol(Protocol):
    """What is asked of a circuit breaker; `CircuitBreaker` is one, yours may be another."""

    @property
    def state(self) -> str:
        """`"closed"`, `"open"` or `"half_open"`."""

    async def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `func` and count its outcome, or refuse."""

    def protect(self) -> AbstractAsyncContextManager[None]:
        """Run the body of an `async with` and count its outcome, or refuse."""

    def reset(self) -> None:
        """Close it and forget what was counted."""

    def force_open(self) -> None:
        """Refuse calls from now on."""


@frozen
class BreakerStatistics:
    """A breaker at one moment: failures in a row, successful probes in a row, calls refused."""

    state: str
    failures: int
    successes: int
    refused: int


@final
class CircuitBreaker:
    """Refuse calls to what keeps failing; see the module for the states.

    May be made outside a Trio run. Belongs to one Trio thread; nothing in it waits.
    """

    def __init__(self, config: CircuitBreakerConfig | None = None) -> None:
        self.config = config or CircuitBreakerConfig()
        self._refused = 0
        self._enter("closed")

    def _enter(self, state: BreakerState, since: float | None = None) -> None:
        """Begin an era. All that is counted belongs to one era and starts anew with it."""
        self._state: BreakerState = state
        self._era = object()
        self._failures = 0
        self._successes = 0
        self._probe: _Passage | None = None
        self._since = since  # only while open; None: no clock ends it, `reset()` does

    @property
    def state(self) -> str:  # no Literal: a checker would take it not to change between two looks
        """`"closed"`, `"open"` or `"half_open"`; the last also once the next call would probe."""
        return "half_open" if self._state == "open" and self._retry_after() == 0 else self._state

    def statistics(self) -> BreakerStatistics:
        """Return a snapshot of the state and the counters."""
        return BreakerStatistics(self.state, self._failures, self._successes, self._refused)

    @overload
    async def call(
        self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def call(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return `func(*args, **kwargs)`, awaited if it is awaitable, and count its outcome.

        It checkpoints where `func` does.

        Raises:
            CircuitOpenError: The breaker is open, or another call is probing; nothing was called.
        """
        async with self.protect():
            value = func(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value

    def protect(self) -> AbstractAsyncContextManager[None]:
        """Count how the body of `async with breaker.protect():` ends. Itself no checkpoint.

        Raises:
            CircuitOpenError: On entry; the body does not run.
        """
        return _Passage(self)

    def reset(self) -> None:
        """Close it and forget what was counted; calls in flight no longer count."""
        self._change("closed", None, "it was reset")

    def force_open(self) -> None:
        """Refuse calls until `reset()`; calls in flight go on and no longer count."""
        self._change("open", None, "it was opened by hand")

    # --- what a passage asks ------------------------------------------------------------------

    def _admit(self, passage: _Passage) -> object:
        """Let the call through and return the era it belongs to, or refuse it."""
        if self._state == "open" and self._retry_after() == 0:
            self._change("half_open", None, "its recovery time is over")
        if self._state == "half_open" and self._probe is None:
            self._probe = passage
        elif self._state != "closed":
            self._refused += 1
            raise CircuitOpenError(self.config.name, self._retry_after())
        return self._era

    def _settle(self, passage: _Passage, era: object, failed: bool | None) -> None:
        """Count the outcome of a call of this era; None says nothing either way."""
        if era is not self._era:
            return
        if self._probe is passage:
            self._probe = None
        if failed:
            self._count_failure()
        elif failed is False:
            self._count_success()

    def _count_failure(self) -> None:
        self._failures += 1
        if self._state == "half_open" or self._failures >= self.config.failure_threshold:
            since = trio.current_time() if self.config.recovery_timeout < math.inf else None
            self._change("open", since, f"{self._failures} failure(s) in a row")

    def _count_success(self) -> None:
        self._failures = 0
        if self._state == "half_open":
            self._successes += 1
            if self._successes >= self.config.success_threshold:
                self._change("closed", None, f"{self._successes} probe(s) succeeded")

    def _retry_after(self) -> float | None:
        """Seconds until a probe is let through; None where no clock decides it."""
        if self._since is None:
            return None
        try:
            now = trio.current_time()
        except RuntimeError:
            return None  # looked at from outside a Trio run: there is no clock to ask
        # Every Trio run has its own clock. A breaker that outlived the run it opened in would
        # otherwise wait for an instant that may be days away, or long past.
        if now < self._since:
            return 0
        # The sum is rounded, so the wait may come out a trace longer than what was configured.
        pause = self.config.recovery_timeout
        return min(max(self._since + pause - now, 0), pause)

    def _change(self, state: BreakerState, since: float | None, why: str) -> None:
        level = logging.WARNING if state == "open" else logging.INFO
        logger.log(level, "circuit breaker %r: %s, since %s", self.config.name, state, why)
        self._enter(state, since)


class _Passage:
    """One guarded call; an object of its own, so that nested and overlapping calls stay apart."""

    __slots__ = ("_breaker", "_era")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    async def __aenter__(self) -> None:
        self._era = self._breaker._admit(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failed = None if error and not isinstance(error, Exception) else error is not None
        self._breaker._settle(self, self._era, failed)
