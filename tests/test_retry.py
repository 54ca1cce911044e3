"""RetryPolicy: delays, and trying again on Trio's clock."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.retry import RetryPolicy


class Flaky:
    """Fails `failures` times, then returns the argument; remembers when it was called."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.error = error or ValueError("flaky")
        self.times: list[float] = []

    async def __call__(self, value: int) -> int:
        self.times.append(trio.current_time())
        if len(self.times) <= self.failures:
            raise self.error
        return value


def test_the_defaults_double_one_second_three_times() -> None:
    policy = RetryPolicy()
    assert policy.retries == 3
    assert [policy.delay_before(n) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]


def test_no_wait_is_longer_than_the_cap() -> None:
    policy = RetryPolicy(delay=1.0, max_delay=3.0)
    assert [policy.delay_before(n) for n in (1, 2, 3, 4)] == [1.0, 2.0, 3.0, 3.0]


def test_a_factor_without_fraction_does_not_grow_as_an_endless_int() -> None:
    policy = RetryPolicy(delay=1, factor=10**300, max_delay=7)
    assert policy.delay_before(10**12) == 7
    assert isinstance(RetryPolicy(delay=1, factor=3).delay_before(5), float)


def test_jitter_is_a_fraction_of_the_wait_added_on_top() -> None:
    policy = RetryPolicy(delay=10.0, factor=1.0, jitter=0.5)
    assert policy.delay_before(1, lambda: 0.0) == 10.0
    assert policy.delay_before(1, lambda: 0.5) == 12.5
    assert 10.0 <= policy.delay_before(1) <= 15.0


def test_jitter_comes_on_top_of_the_cap() -> None:
    assert RetryPolicy(delay=10.0, max_delay=4.0, jitter=0.5).delay_before(1, lambda: 1.0) == 6.0


def test_growth_beyond_all_numbers_is_the_cap() -> None:
    assert RetryPolicy(max_delay=60.0).delay_before(10_000) == 60.0
    assert RetryPolicy().delay_before(10_000) == math.inf
    assert RetryPolicy(jitter=0.5).delay_before(10_000, lambda: 0.0) == math.inf
    assert RetryPolicy(delay=0.0).delay_before(10_000) == 0.0


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_are_counted_from_one(retry: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        RetryPolicy().delay_before(retry)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("retries", -1, "a whole number of at least 0"),
        ("retries", 1.0, "a whole number"),
        ("retries", True, "a whole number"),
        ("delay", -0.1, "at least 0"),
        ("delay", math.inf, "a number"),
        ("factor", 0.5, "at least 1"),
        ("max_delay", math.nan, "inf: no limit"),
        ("jitter", 1.5, "from 0 to 1"),
        ("jitter", "half", "from 0 to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(
    field: str, value: object, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{field: value})  # type: ignore[arg-type]
    message = str(caught.value)
    assert field in message
    assert repr(value) in message
    assert allowed in message


async def test_a_success_is_called_once_and_at_once(autojump_clock: MockClock) -> None:
    flaky = Flaky(0)
    assert await RetryPolicy().call(flaky, 7) == 7
    assert flaky.times == [0.0]


async def test_failures_are_tried_again_after_growing_waits(autojump_clock: MockClock) -> None:
    flaky = Flaky(3)
    assert await RetryPolicy().call(flaky, 7) == 7
    assert flaky.times == [0.0, 1.0, 3.0, 7.0]


async def test_the_last_failure_is_raised_as_it_is(autojump_clock: MockClock) -> None:
    flaky = Flaky(99)
    with pytest.raises(ValueError, match="flaky") as caught:
        await RetryPolicy(retries=2).call(flaky, 7)
    assert caught.value is flaky.error
    assert caught.value.__context__ is None
    assert len(flaky.times) == 3


async def test_no_retries_means_one_attempt(autojump_clock: MockClock) -> None:
    flaky = Flaky(1)
    with pytest.raises(ValueError, match="flaky"):
        await RetryPolicy(retries=0).call(flaky, 7)
    assert len(flaky.times) == 1


async def test_a_cancelled_attempt_is_not_tried_again(autojump_clock: MockClock) -> None:
    attempts = 0

    async def hang() -> None:
        nonlocal attempts
        attempts += 1
        await trio.sleep_forever()

    with trio.move_on_after(5) as scope:
        await RetryPolicy().call(hang)
    assert scope.cancelled_caught
    assert attempts == 1


async def test_cancelled_while_waiting_no_further_attempt_begins(
    autojump_clock: MockClock,
) -> None:
    flaky = Flaky(99)
    with trio.move_on_after(0.5) as scope:
        await RetryPolicy().call(flaky, 7)
    assert scope.cancelled_caught
    assert flaky.times == [0.0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("g", [SystemExit()])])
async def test_what_is_no_failure_passes_at_once(
    error: BaseException, autojump_clock: MockClock
) -> None:
    flaky = Flaky(1, error)
    with pytest.raises(type(error)):
        await RetryPolicy().call(flaky, 7)
    assert len(flaky.times) == 1
