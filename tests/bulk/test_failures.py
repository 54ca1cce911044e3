"""Batches that fail: retries, isolation, limits, breaker, and what is told of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.breaker import CircuitBreaker, CircuitBreakerConfig
from lexigram_actors.bulk import BulkOperationMetrics, BulkOperationState
from lexigram_actors.errors import BulkOperationError
from tests.bulk.helpers import (
    FakeStore,
    Watched,
    all_items,
    collect,
    collect_until,
    operation,
    same,
    slowly,
)


class Flaky:
    """Fails the first calls."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.failures = failures
        self.error = error
        self.at: list[float] = []

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.at.append(trio.current_time())
        if len(self.at) <= self.failures:
            raise self.error("not yet")
        return items


# --- a batch that fails --------------------------------------------------------------------


async def test_a_failed_batch_is_a_result_with_an_error() -> None:
    bulk = operation(Watched(bad=[3]), batch_size=2)
    results = sorted(await collect(bulk.execute([1, 2, 3, 4, 5])), key=lambda r: r.batch_id)
    assert [r.is_successful for r in results] == [True, False, True]
    failed = results[1]
    assert (failed.items, failed.results) == ([3, 4], [])
    assert (failed.success_count, failed.error_count) == (0, 2)
    (error,) = failed.errors
    assert (error.batch_id, error.error, error.error_type) == (1, "bad: [3]", "ValueError")
    assert (error.retry_count, error.item_index) == (0, None)
    assert error.timestamp == failed.end_time


async def test_the_type_of_an_error_is_given_with_its_module() -> None:
    class Refused(Exception):
        pass

    async def processor(items: list[int]) -> list[int]:
        raise Refused

    (result,) = await collect(operation(processor).execute([1]))
    assert result.errors[0].error_type.endswith("its_module.<locals>.Refused")
    (result,) = await collect(operation(Flaky(9, trio.TooSlowError)).execute([1]))
    assert result.errors[0].error_type == "trio.TooSlowError"


async def test_a_very_long_message_is_cut() -> None:
    async def processor(items: list[int]) -> list[int]:
        raise ValueError("x" * 1_000_000)

    (result,) = await collect(operation(processor).execute([1]))
    assert len(result.errors[0].error) < 3000
    assert "(1,000,000 characters)" in result.errors[0].error


async def test_an_error_that_cannot_be_shown_is_shown_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def processor(items: list[int]) -> list[int]:
        raise Mute

    (result,) = await collect(operation(processor).execute([1]))
    assert "cannot be shown" in result.errors[0].error


# --- retries -------------------------------------------------------------------------------


async def test_the_nth_retry_waits_twice_as_long_as_the_one_before(
    autojump_clock: MockClock,
) -> None:
    flaky = Flaky(4)
    bulk = operation(flaky, retry_attempts=5, retry_delay=0.5)
    start = trio.current_time()
    (result,) = await collect(bulk.execute([1]))
    waits = [later - earlier for earlier, later in zip(flaky.at, flaky.at[1:], strict=False)]
    assert waits == pytest.approx([0.5, 1, 2, 4])
    assert result.retry_count == 4
    assert result.is_successful
    assert result.duration == pytest.approx(trio.current_time() - start)
    assert bulk.metrics.total_retries == 4


async def test_jitter_is_added_at_random(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for _ in range(20):
        flaky = Flaky(1)
        await collect(operation(flaky, retry_attempts=1, retry_delay=1, jitter=0.5).execute([1]))
        seen.append(flaky.at[1] - flaky.at[0])
    assert all(1 <= wait <= 1.5 for wait in seen)
    assert len(set(seen)) > 1


async def test_retries_that_run_out_leave_the_last_error(autojump_clock: MockClock) -> None:
    flaky = Flaky(99)
    (result,) = await collect(operation(flaky, retry_attempts=2).execute([1]))
    assert (len(flaky.at), result.retry_count, result.errors[0].retry_count) == (3, 2, 2)


async def test_a_retry_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    first = True

    async def processor(items: list[int]) -> list[int]:
        nonlocal first
        await trio.sleep(0.1)
        if items == [0] and first:
            first = False
            raise ConnectionError
        return items

    bulk = operation(processor, batch_size=1, max_concurrency=2, retry_attempts=1, retry_delay=100)
    results = await collect(bulk.execute(list(range(20))))
    assert [r.batch_id for r in results] == [*range(1, 20), 0]


async def test_the_wait_before_a_retry_can_be_cancelled(autojump_clock: MockClock) -> None:
    bulk = operation(Flaky(9), retry_attempts=9, retry_delay=1000)
    async with bulk.execute([1]):
        await wait_all_tasks_blocked()
        await bulk.cancel()
    assert trio.current_time() == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda items: items[:-1], "returned 2 results for the 3 items of batch 0"),
        (lambda items: [*items, 4], "returned 4 results for the 3 items of batch 0"),
        (lambda items: None, "returned None for batch 0; expected a list of 3 results"),
        (lambda items: (i for i in items), "returned one generator for batch 0"),
        (lambda items: "abc", "returned one str for batch 0"),
        (lambda items: {1: 1, 2: 2, 3: 3}, "returned one dict for batch 0"),
        (lambda items: 3, "returned one int for batch 0"),
        (lambda items: {1, 2, 3}, "returned one set for batch 0"),
    ],
)
async def test_a_wrong_number_of_results_fails_the_batch_at_once(
    answer: Callable[[list[int]], Any], said: str, autojump_clock: MockClock
) -> None:
    calls = 0

    async def processor(items: list[int]) -> Any:
        nonlocal calls
        calls += 1
        return answer(items)

    bulk = operation(processor, retry_attempts=5, on_poison="bisect")
    (result,) = await collect(bulk.execute([1, 2, 3]))
    assert calls == 1
    assert said in result.errors[0].error
    assert result.errors[0].error_type.endswith(".BulkOperationError")
    assert result.error_count == 3


@pytest.mark.parametrize("make", [tuple, range, list])
async def test_any_sequence_of_results_will_do(make: Callable[[Any], Any]) -> None:
    async def processor(items: list[int]) -> Any:
        return range(len(items)) if make is range else make(items)

    (result,) = await collect(operation(processor).execute([0, 1, 2]))
    assert result.results == [0, 1, 2]
    assert type(result.results) is list


# --- isolating bad items -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 1, 511, 512, 700, 1023])
async def test_one_bad_item_among_1024_is_found_in_21_calls(bad: int) -> None:
    processor = Watched(None, bad=[bad])
    bulk = operation(processor, batch_size=1024, on_poison="bisect")
    (result,) = await collect(bulk.execute(list(range(1024))))
    assert len(processor.calls) == 21
    assert [(e.item_index, e.error) for e in result.errors] == [(bad, f"bad: [{bad}]")]
    assert result.results == [10 * item for item in range(1024) if item != bad]
    assert (result.error_count, result.success_count) == (1, 1023)


async def test_items_that_succeeded_are_never_sent_again() -> None:
    processor = Watched(None, bad=[3, 17, 18, 40])
    bulk = operation(processor, batch_size=50, on_poison="bisect")
    results = await collect(bulk.execute(list(range(100))))
    assert sorted(processor.succeeded) == [n for n in range(100) if n not in processor.bad]
    assert {e.item_index for r in results for e in r.errors} == {3, 17, 18, 40}
    assert (bulk.metrics.successful_items, bulk.metrics.failed_items) == (96, 4)


async def test_isolation_comes_after_the_retries_and_makes_none(autojump_clock: MockClock) -> None:
    processor = Watched(0, bad=[2])
    bulk = operation(processor, batch_size=4, on_poison="bisect", retry_attempts=2)
    (result,) = await collect(bulk.execute([0, 1, 2, 3]))
    assert processor.calls == [[0, 1, 2, 3]] * 3 + [[0, 1], [2, 3], [2], [3]]
    assert (result.retry_count, result.errors[0].retry_count) == (2, 2)
    assert bulk.metrics.total_retries == 2


async def test_a_batch_of_one_bad_item_is_isolated_as_it_is() -> None:
    processor = Watched(bad=[7])
    results = await collect(operation(processor, batch_size=1, on_poison="bisect").execute([5, 7]))
    failed = next(r for r in results if r.errors)
    assert failed.errors[0].item_index == 1
    assert len(processor.calls) == 2


async def test_without_isolation_a_batch_fails_as_a_whole() -> None:
    (result,) = await collect(operation(Watched(bad=[7])).execute([5, 7]))
    assert (result.errors[0].item_index, result.error_count) == (None, 2)


async def test_items_that_are_all_bad_fail_each_for_itself() -> None:
    bulk = operation(Watched(bad=range(10)), on_poison="bisect")
    (result,) = await collect(bulk.execute(list(range(10))))
    assert [e.item_index for e in result.errors] == list(range(10))
    assert result.results == []


async def test_a_fault_that_passed_leaves_no_bad_item() -> None:
    (result,) = await collect(operation(Flaky(1), on_poison="bisect").execute([1, 2, 3, 4, 5]))
    assert result.is_successful
    assert result.results == [1, 2, 3, 4, 5]


async def test_a_wrong_number_of_results_in_an_isolation_fails_that_part() -> None:
    async def processor(items: list[int]) -> list[int]:
        if len(items) == 8:
            raise ValueError
        return items[1:] if 5 in items else items

    bulk = operation(processor, batch_size=8, on_poison="bisect")
    (result,) = await collect(bulk.execute(list(range(8))))
    assert result.results == [0, 1, 2, 3]
    assert [error.item_index for error in result.errors] == [4, 5, 6, 7]
    assert "returned 3 results for the 4 items" in result.errors[0].error


async def test_isolation_leaves_room_for_others(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(other)
        bulk = operation(Watched(None, bad=range(1000)), batch_size=1000, on_poison="bisect")
        await collect(bulk.execute(list(range(1000))))
        nursery.cancel_scope.cancel()
    assert turns > 1000


async def test_cancel_in_the_midst_of_an_isolation(autojump_clock: MockClock) -> None:
    processor = Watched(1, bad=[2])
    bulk = operation(processor, on_poison="bisect")
    async with bulk.execute([0, 1, 2, 3]) as run:
        await trio.sleep(2.5)
        await bulk.cancel()
        results, _ = await collect_until(run)
    assert results == []
    assert len(processor.calls) == 3


# --- breaker -------------------------------------------------------------------------------


async def test_a_breaker_from_the_config_guards_every_call(autojump_clock: MockClock) -> None:
    flaky = Flaky(99)
    config = CircuitBreakerConfig(failure_threshold=3, recovery_timeout=1000)
    bulk = operation(flaky, batch_size=1, max_concurrency=1, circuit_breaker_config=config)
    results = await collect(bulk.execute(list(range(10))))
    assert len(flaky.at) == 3
    types = [r.errors[0].error_type.rpartition(".")[2] for r in results]
    assert types == ["ConnectionError"] * 3 + ["CircuitOpenError"] * 7


async def test_a_breaker_of_your_own_takes_precedence(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, recovery_timeout=5))
    bulk = operation(
        Flaky(1),
        circuit_breaker=breaker,
        circuit_breaker_config=CircuitBreakerConfig(),
        retry_attempts=3,
        retry_delay=3,
    )
    (result,) = await collect(bulk.execute([1]))
    # Failed at 0, refused at 3, probed at 9.
    assert (result.is_successful, result.retry_count) == (True, 2)
    assert breaker.state == "closed"


async def test_an_open_breaker_is_not_taken_for_bad_items() -> None:
    breaker = CircuitBreaker()
    breaker.force_open()
    processor = Watched()
    bulk = operation(processor, circuit_breaker=breaker, on_poison="bisect")
    (result,) = await collect(bulk.execute([1, 2, 3]))
    assert not processor.calls
    assert (len(result.errors), result.errors[0].item_index) == (1, None)


async def test_a_breaker_that_opens_ends_an_isolation() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=2))
    processor = Watched(None, bad=[0])
    bulk = operation(processor, batch_size=8, circuit_breaker=breaker, on_poison="bisect")
    (result,) = await collect(bulk.execute(list(range(8))))
    assert processor.calls == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3]]
    assert [e.item_index for e in result.errors] == list(range(8))


# --- rate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 2])
async def test_no_more_items_are_sent_than_the_rate_allows(
    retries: int, autojump_clock: MockClock
) -> None:
    sent: list[tuple[float, int]] = []

    async def processor(items: list[int]) -> list[int]:
        sent.append((trio.current_time(), len(items)))
        if retries and len(sent) % 3:
            raise ConnectionError
        return items

    bulk = operation(
        processor, batch_size=10, rate_limit=5, retry_attempts=retries, retry_delay=0.1, timeout=1e6
    )
    await collect(bulk.execute(list(range(200))))
    for start, _ in sent:
        within = sum(count for at, count in sent if start <= at < start + 10)
        assert within <= 5 * 10 + 10
    assert sent[-1][0] == pytest.approx((len(sent) - 1) * 10 / 5)


# --- adaptive ------------------------------------------------------------------------------


async def test_adaptive_concurrency_halves_on_overload_and_recovers(
    autojump_clock: MockClock,
) -> None:
    capacity = 4
    now = 0
    limits: list[int] = []

    async def service(items: list[int]) -> list[int]:
        nonlocal now
        now += 1
        try:
            await trio.sleep(1)
            limits.append(run.concurrency)
            if now > capacity:
                raise ConnectionError("overload")
        finally:
            now -= 1
        return items

    bulk = operation(
        service, batch_size=1, max_concurrency=16, adaptive=True, retry_attempts=50, timeout=1e9
    )
    async with bulk.execute(list(range(500))) as run:
        assert run.concurrency == 16
        async for result in run:
            assert result.is_successful
            if result.batch_id == 300:
                assert run.concurrency <= 2 * capacity
                capacity = 100
    assert min(limits) <= capacity
    assert run.concurrency == 16


async def test_adaptive_keeps_to_its_limit(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1, bad=range(40))
    seen = []
    bulk = operation(processor, batch_size=1, max_concurrency=8, adaptive=True)
    async with bulk.execute(list(range(80))) as run:
        async for _ in run:
            seen.append((processor.in_flight, run.concurrency))
    assert all(in_flight <= 8 for in_flight, _ in seen)
    assert min(limit for _, limit in seen) == 1


# --- the failure limit ---------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "processed"), [(0, 1), (1, 2), (5, 6)])
async def test_more_failed_items_than_tolerated_end_the_run(limit: int, processed: int) -> None:
    bulk = operation(Flaky(999), batch_size=1, max_concurrency=1, failure_limit=limit)
    results, error = await collect_until(bulk.execute(list(range(100))))
    assert len(results) == processed
    assert type(error) is BulkOperationError
    assert f"{limit + 1} of {processed} items failed, and the failure limit is {limit}" in str(
        error
    )
    assert isinstance(error.__cause__, ConnectionError)
    assert bulk.state is BulkOperationState.FAILED


async def test_as_many_failed_items_as_tolerated_are_fine() -> None:
    bulk = operation(Watched(bad=[1, 2, 3]), batch_size=1, failure_limit=3)
    assert len(await collect(bulk.execute(list(range(100))))) == 100


async def test_the_failure_limit_stops_what_is_in_flight(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 if items == [0] else 100, bad=[0])
    bulk = operation(processor, batch_size=1, max_concurrency=4, failure_limit=0)
    await collect_until(bulk.execute(list(range(100))))
    assert trio.current_time() == pytest.approx(1)
    assert (processor.in_flight, processor.cancelled) == (0, 3)


async def test_a_fraction_is_judged_once_enough_items_are_done() -> None:
    bulk = operation(
        Watched(bad=range(3)), batch_size=1, max_concurrency=5, failure_limit=0.5, ordered=True
    )
    assert len(await collect(bulk.execute(list(range(4))))) == 4  # 3 of 4, of fewer than 5
    results, error = await collect_until(bulk.execute(list(range(50))))
    assert len(results) >= 5
    assert "3 of 5 items failed, and the failure limit is 0.5" in str(error)


# --- hooks and metrics ---------------------------------------------------------------------


class Told:
    """Hooks that note what they were told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, str]] = []

    def hooks(self) -> dict[str, Any]:
        return {name: self._hook(name) for name in ("on_progress", "on_complete", "on_error")}

    def _hook(self, name: str) -> Callable[[int, int, str], Any]:
        async def hook(processed: int, known: int, message: str) -> None:
            await trio.lowlevel.checkpoint()
            self.calls.append((name, processed, known, message))

        return hook


async def test_hooks_are_told_of_every_batch_and_of_the_end() -> None:
    told = Told()
    processor = Watched(None, bad=[3])
    bulk = operation(processor, batch_size=2, max_concurrency=1, **told.hooks())
    await collect(bulk.execute([1, 2, 3, 4, 5]))
    assert told.calls == [
        ("on_progress", 2, 5, "Processed batch 0"),
        ("on_error", 4, 5, "Batch 1 failed: bad: [3]"),
        ("on_progress", 5, 5, "Processed batch 2"),
        ("on_complete", 5, 5, "Operation completed: 5/5 items processed"),
    ]


async def test_items_known_so_far_grow_where_the_input_has_no_length() -> None:
    told = Told()
    bulk = operation(same, batch_size=2, max_concurrency=1, **told.hooks())
    await collect(bulk.execute(iter([1, 2, 3, 4, 5])))
    known = [call[2] for call in told.calls]
    assert known == sorted(known)
    assert known[0] < 5
    assert known[-1] == 5
    assert (bulk.metrics.total_items, bulk.metrics.total_batches) == (5, 3)


@pytest.mark.parametrize("end", ["timeout", "limit", "input"])
async def test_on_error_is_told_when_the_run_fails(end: str, autojump_clock: MockClock) -> None:
    def source() -> Any:
        yield from range(10)
        if end == "input":
            raise OSError("damaged")

    told = Told()
    processors: dict[str, Any] = {"timeout": slowly, "limit": Flaky(99), "input": same}
    processor = processors[end]
    bulk = operation(
        processor, timeout=0.5, failure_limit=0 if end == "limit" else None, **told.hooks()
    )
    await collect_until(bulk.execute(source()))
    name, *_, message = told.calls[-1]
    assert name == "on_error"
    assert message.startswith("Operation failed: ")
    assert "on_complete" not in {call[0] for call in told.calls}
    assert bulk.metrics.errors[-1].batch_id == -1


async def test_on_error_is_told_when_the_checkpoint_is_refused() -> None:
    told = Told()
    bulk = operation(same, checkpoint_store=FakeStore(fail=["get"]), **told.hooks())
    await collect_until(bulk.execute([1], operation_id="job"))
    assert [call[0] for call in told.calls] == ["on_error"]
    assert "cannot be read" in told.calls[0][3]


async def test_the_next_run_may_begin_in_a_hook(autojump_clock: MockClock) -> None:
    rounds = 0

    async def again(*_: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            assert len(await collect(bulk.execute([1, 2, 3]))) == 3

    bulk = operation(slowly, batch_size=1, on_complete=again)
    await collect(bulk.execute([1]))
    assert rounds == 3


async def test_no_hook_is_told_of_a_cancellation(autojump_clock: MockClock) -> None:
    told = Told()
    bulk = operation(slowly, **told.hooks())
    async with bulk.execute([1]):
        await bulk.cancel()
    assert told.calls == []


async def test_a_hook_that_raises_is_logged_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    def plain(*_: Any) -> None:
        raise ZeroDivisionError

    for hook in (broken, plain):
        caplog.clear()
        hooks = dict.fromkeys(("on_progress", "on_complete", "on_error"), hook)
        bulk = operation(Watched(bad=[1]), batch_size=1, **hooks)
        bulk.add_progress_callback(hook)
        assert len(await collect(bulk.execute([0, 1, 2]))) == 3
        assert bulk.state is BulkOperationState.COMPLETED
        assert caplog.text.count("the run goes on") == 7


async def test_progress_callbacks_get_the_metrics_alive() -> None:
    seen: list[tuple[int, int]] = []

    async def callback(metrics: BulkOperationMetrics) -> None:
        seen.append((metrics.processed_items, metrics.failed_items))
        assert metrics is bulk.metrics

    bulk = operation(Watched(None, bad=[2]), batch_size=1, max_concurrency=1)
    bulk.add_progress_callback(callback)
    await collect(bulk.execute([1, 2, 3]))
    assert seen == [(1, 0), (2, 1), (3, 1)]


async def test_a_callback_may_be_added_while_it_runs(autojump_clock: MockClock) -> None:
    seen: list[int] = []
    bulk = operation(slowly, batch_size=1, max_concurrency=1)
    async for _ in bulk.execute([1, 2, 3]):
        if not seen:
            bulk.add_progress_callback(lambda metrics: seen.append(metrics.processed_items))
    assert seen == [2, 3]


async def test_progress_tracking_can_be_silenced_without_the_hooks() -> None:
    told = Told()
    seen: list[Any] = []
    bulk = operation(same, enable_progress_tracking=False, **told.hooks())
    bulk.add_progress_callback(seen.append)
    await collect(bulk.execute([1]))
    assert not seen
    assert [call[0] for call in told.calls] == ["on_progress", "on_complete"]


async def test_the_result_is_delivered_although_its_hook_was_cut_off(
    autojump_clock: MockClock,
) -> None:
    async def slow_hook(*_: Any) -> None:
        await trio.sleep(100)

    bulk = operation(same, on_progress=slow_hook)
    async with bulk.execute([1]) as run:
        await trio.sleep(1)
        await bulk.cancel()
        results, _ = await collect_until(run)
    assert all_items(results) == [1]


async def test_metrics_add_up(autojump_clock: MockClock) -> None:
    bulk = operation(Watched(2, bad=[0, 15]), batch_size=10, max_concurrency=1, retry_attempts=1)
    await collect(bulk.execute(list(range(35))))
    metrics = bulk.metrics
    assert (metrics.total_items, metrics.processed_items) == (35, 35)
    assert (metrics.successful_items, metrics.failed_items) == (15, 20)
    assert (metrics.total_batches, metrics.completed_batches, metrics.failed_batches) == (4, 4, 2)
    assert metrics.total_retries == 2
    assert metrics.average_batch_time == pytest.approx((5 + 5 + 2 + 2) / 4)
    assert metrics.duration == pytest.approx(14)
    assert metrics.throughput == pytest.approx(35 / 14)
    assert metrics.success_rate == pytest.approx(100 * 15 / 35)
    assert [error.batch_id for error in metrics.errors] == [0, 1]


def test_metrics_before_and_without_a_run() -> None:
    metrics = BulkOperationMetrics()
    assert (metrics.duration, metrics.throughput, metrics.success_rate) == (None, 0.0, 100.0)
    metrics.record_start(10, 2)
    assert (metrics.total_items, metrics.total_batches) == (10, 2)
    assert metrics.duration is not None
    metrics.record_error(ValueError("odd"))
    metrics.record_end()
    assert metrics.end_time is not None
    assert metrics.duration == metrics.end_time - (metrics.start_time or math.nan)
    (error,) = metrics.errors
    assert (error.batch_id, error.error, error.error_type) == (-1, "odd", "ValueError")


async def test_errors_are_kept_up_to_a_bound_and_counted_beyond() -> None:
    bulk = operation(Flaky(10_000), batch_size=1)
    await collect(bulk.execute(list(range(1500))))
    assert (len(bulk.metrics.errors), bulk.metrics.error_count) == (1000, 1500)


async def test_a_failed_batch_is_logged_for_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "lexigram_actors.bulk")
    await collect(operation(Watched(bad=[1])).execute([1]))
    assert "batch 0 failed for good" in caplog.text
    assert "bad: [1]" in caplog.text
