"""The circuit breaker: its states on a mock clock, late results, cancellation."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerProtocol
from lexigram_actors.errors import CircuitOpenError, ConfigurationError


async def good(value: int = 1) -> int:
    await trio.lowlevel.checkpoint()
    return value


async def bad() -> int:
    await trio.lowlevel.checkpoint()
    raise ValueError("bad")


async def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="bad"):
            await breaker.call(bad)


def made(**settings: Any) -> CircuitBreaker:
    return CircuitBreaker(CircuitBreakerConfig(recovery_timeout=10.0, **settings))


async def opened_breaker() -> CircuitBreaker:
    breaker = made(failure_threshold=1, name="db")
    await fail(breaker)
    return breaker


def test_it_is_what_the_protocol_asks() -> None:
    assert isinstance(CircuitBreaker(), CircuitBreakerProtocol)


def test_it_can_be_made_and_opened_outside_trio() -> None:
    breaker = CircuitBreaker()
    assert breaker.state == "closed"
    breaker.force_open()
    assert breaker.state == "open"
    breaker.reset()
    assert breaker.state == "closed"


def test_the_config_has_the_documented_defaults() -> None:
    config = CircuitBreaker().config
    assert config == CircuitBreakerConfig(5, 60.0, 1, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_threshold", 0),
        ("success_threshold", 0),
        ("recovery_timeout", -1),
        ("recovery_timeout", math.nan),
        ("name", None),
    ],
)
def test_a_wrong_setting_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=field):
        CircuitBreakerConfig(**{field: value})  # type: ignore[arg-type]


async def test_a_closed_breaker_passes_arguments_and_values() -> None:
    breaker = CircuitBreaker()
    assert await breaker.call(good, 7) == 7
    assert await breaker.call(good, value=8) == 8
    assert await breaker.call(abs, -3) == 3


async def test_failures_pass_through_and_in_a_row_they_open_it(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=3)
    await fail(breaker, 2)
    assert breaker.state == "closed"
    await fail(breaker)
    assert breaker.state == "open"


async def test_a_success_between_them_starts_the_count_anew(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=2)
    await fail(breaker)
    await breaker.call(good)
    await fail(breaker)
    assert breaker.state == "closed"
    assert breaker.statistics().failures == 1


async def test_an_open_breaker_refuses_and_says_until_when(autojump_clock: MockClock) -> None:
    opened = await opened_breaker()
    called = False

    async def never() -> None:
        nonlocal called
        called = True
        await trio.lowlevel.checkpoint()

    await trio.sleep(4)
    with pytest.raises(CircuitOpenError) as caught:
        await opened.call(never)
    assert not called
    assert (caught.value.name, caught.value.retry_after) == ("db", 6.0)
    assert opened.statistics().refused == 1


@pytest.mark.parametrize("pause", [0.1, 0.3, 1.1, 5, 60])
async def test_whatever_the_time_it_is_open_for_just_the_recovery_time(
    mock_clock: MockClock, pause: float
) -> None:
    for _ in range(200):
        mock_clock.jump(0.1)
        breaker = CircuitBreaker(CircuitBreakerConfig(1, pause))
        await fail(breaker)
        assert breaker.state == "open"
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.call(good)
        retry_after = caught.value.retry_after
        assert retry_after is not None
        assert retry_after <= pause
        assert retry_after == pytest.approx(pause)


async def test_after_the_recovery_time_a_good_probe_closes_it(autojump_clock: MockClock) -> None:
    opened = await opened_breaker()
    await trio.sleep(9.5)
    assert opened.state == "open"
    await trio.sleep(0.5)
    assert opened.state == "half_open"
    assert await opened.call(good, 7) == 7
    assert opened.state == "closed"


async def test_a_failing_probe_opens_it_for_another_full_time(autojump_clock: MockClock) -> None:
    opened = await opened_breaker()
    await trio.sleep(10)
    await fail(opened)
    assert opened.state == "open"
    await trio.sleep(9)
    with pytest.raises(CircuitOpenError):
        await opened.call(good)
    await trio.sleep(1)
    assert await opened.call(good) == 1


async def test_several_good_probes_may_be_asked_for(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=1, success_threshold=2)
    await fail(breaker)
    await trio.sleep(10)
    await breaker.call(good)
    assert breaker.state == "half_open"
    assert breaker.statistics().successes == 1
    await breaker.call(good)
    assert breaker.state == "closed"


async def test_only_one_probe_is_let_through_at_a_time(autojump_clock: MockClock) -> None:
    opened = await opened_breaker()
    await trio.sleep(10)
    release = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.call, release.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(CircuitOpenError) as caught:
            await opened.call(good)
        assert caught.value.retry_after is None
        release.set()
    assert opened.state == "closed"


async def test_a_cancelled_probe_gives_its_place_free_and_says_nothing(
    autojump_clock: MockClock,
) -> None:
    opened = await opened_breaker()
    await trio.sleep(10)
    with trio.move_on_after(1) as scope:
        await opened.call(trio.sleep_forever)
    assert scope.cancelled_caught
    assert opened.state == "half_open"
    assert await opened.call(good) == 1
    assert opened.state == "closed"


async def test_cancellation_is_no_failure(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=2)
    await fail(breaker)
    for _ in range(5):
        with trio.move_on_after(1):
            await breaker.call(trio.sleep_forever)
    assert breaker.state == "closed"
    assert breaker.statistics().failures == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("g", [SystemExit()])])
async def test_what_is_no_exception_says_nothing(error: BaseException) -> None:
    breaker = made(failure_threshold=1)
    with pytest.raises(type(error)):
        async with breaker.protect():
            raise error
    assert breaker.state == "closed"


async def test_protect_counts_the_body_like_a_call(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=1)
    async with breaker.protect():
        pass
    with pytest.raises(ValueError, match="bad"):
        async with breaker.protect():
            raise ValueError("bad")
    assert breaker.state == "open"
    with pytest.raises(CircuitOpenError):
        async with breaker.protect():
            pytest.fail("the body of a refused block must not run")


async def test_calls_may_nest(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=2)
    with pytest.raises(ValueError, match="bad"):
        async with breaker.protect():
            await breaker.call(bad)
    assert breaker.state == "open"


# --- late results --------------------------------------------------------------------------------


async def begun(
    nursery: trio.Nursery, breaker: CircuitBreaker, fn: Callable[[], Awaitable[object]]
) -> trio.Event:
    """Begin a guarded call that ends as `fn` does once the event is set."""
    release = trio.Event()

    async def call() -> None:
        try:
            async with breaker.protect():
                await release.wait()
                await fn()
        except ValueError:
            pass

    nursery.start_soon(call)
    await wait_all_tasks_blocked()
    return release


async def test_a_success_from_before_it_opened_does_not_close_it(
    autojump_clock: MockClock,
) -> None:
    breaker = made(failure_threshold=1)
    async with trio.open_nursery() as nursery:
        late = await begun(nursery, breaker, good)
        await fail(breaker)
        await trio.sleep(10)
        probe = await begun(nursery, breaker, good)
        late.set()
        await wait_all_tasks_blocked()
        assert breaker.state == "half_open"
        probe.set()
    assert breaker.state == "closed"


async def test_a_failure_from_an_earlier_closed_time_does_not_open_it(
    autojump_clock: MockClock,
) -> None:
    breaker = made(failure_threshold=1)
    async with trio.open_nursery() as nursery:
        late = await begun(nursery, breaker, bad)
        await fail(breaker)
        await trio.sleep(10)
        await breaker.call(good)
        late.set()
        await wait_all_tasks_blocked()
        assert breaker.state == "closed"
        assert breaker.statistics().failures == 0


async def test_a_late_probe_does_not_take_the_place_of_the_next(
    autojump_clock: MockClock,
) -> None:
    breaker = made(failure_threshold=1)
    await fail(breaker)
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        first = await begun(nursery, breaker, good)
        breaker.reset()
        await fail(breaker)
        await trio.sleep(10)
        second = await begun(nursery, breaker, good)
        first.set()
        await wait_all_tasks_blocked()
        with pytest.raises(CircuitOpenError):
            await breaker.call(good)
        second.set()
    assert breaker.state == "closed"


# --- by hand -------------------------------------------------------------------------------------


async def test_opened_by_hand_no_clock_closes_it(autojump_clock: MockClock) -> None:
    breaker = made()
    breaker.force_open()
    await trio.sleep(1_000)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.call(good)
    assert caught.value.retry_after is None
    breaker.reset()
    assert await breaker.call(good) == 1


async def test_reset_forgets_what_was_counted(autojump_clock: MockClock) -> None:
    breaker = made(failure_threshold=2)
    await fail(breaker)
    breaker.reset()
    await fail(breaker)
    assert breaker.state == "closed"


async def test_an_infinite_recovery_time_waits_for_reset(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(1, math.inf))
    await fail(breaker)
    await trio.sleep(80_000)
    assert breaker.state == "open"
    breaker.reset()
    assert breaker.state == "closed"


async def test_a_recovery_time_of_zero_probes_with_the_next_call(
    autojump_clock: MockClock,
) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(1, 0.0))
    await fail(breaker)
    assert breaker.state == "half_open"
    assert await breaker.call(good) == 1


def test_a_breaker_that_outlives_its_trio_run_is_not_stuck() -> None:
    breaker = made(failure_threshold=1)

    async def first() -> None:
        await trio.sleep(1_000)
        await fail(breaker)

    async def second() -> None:
        assert await breaker.call(good) == 1

    trio.run(first, clock=MockClock(autojump_threshold=0))
    assert breaker.state == "open"  # outside any run there is no clock
    trio.run(second, clock=MockClock())
    assert breaker.state == "closed"


async def test_changes_are_logged_and_opening_is_a_warning(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = made(failure_threshold=1, name="db")
    with caplog.at_level(logging.INFO, "lexigram_actors.breaker"):
        await fail(breaker)
        await trio.sleep(10)
        await breaker.call(good)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert all("'db'" in record.getMessage() for record in caplog.records)
