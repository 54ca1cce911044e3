"""Ends before the end: leaving, dropping, cancel, time-out, interrupts. No task goes on unseen."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.bulk import BulkOperation, BulkOperationState, BulkRun, ThreadExecutor
from lexigram_actors.bulk.job import Job
from lexigram_actors.errors import (
    BulkOperationCancelledError,
    BulkOperationError,
    BulkOperationTimeoutError,
)
from tests.bulk.helpers import (
    Counted,
    Watched,
    all_items,
    collect,
    collect_until,
    operation,
    same,
    slowly,
    until,
)
from tests.leaks import no_task_left

CANCELLED = BulkOperationState.CANCELLED
FAILED = BulkOperationState.FAILED
COMPLETED = BulkOperationState.COMPLETED


# --- leaving the loop ----------------------------------------------------------------------


async def test_breaking_out_of_a_plain_loop_stops_the_work(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 + items[0])
    bulk = operation(processor, batch_size=1, max_concurrency=4)
    with no_task_left():
        async for _ in bulk.execute(list(range(100))):
            break
        assert bulk.state is CANCELLED
        await wait_all_tasks_blocked()
    assert (processor.in_flight, processor.cancelled) == (0, 3)
    calls = len(processor.calls)
    await trio.sleep(100)
    assert len(processor.calls) == calls


async def test_an_error_in_a_plain_loop_stops_the_work(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 + items[0])
    bulk = operation(processor, batch_size=1)
    with pytest.raises(ZeroDivisionError) as caught, no_task_left():
        try:
            async for _ in bulk.execute(list(range(100))):
                raise ZeroDivisionError
        finally:
            # Although the traceback is alive and refers to all frames.
            await wait_all_tasks_blocked()
            assert processor.in_flight == 0
    assert caught.value.__traceback__ is not None
    assert bulk.state is CANCELLED


async def test_a_cancelled_plain_loop_stops_the_work(autojump_clock: MockClock) -> None:
    processor = Watched(10)
    with no_task_left():
        with trio.move_on_after(5):
            async for _ in operation(processor).execute(list(range(100))):
                pass
        await wait_all_tasks_blocked()
    assert (processor.in_flight, processor.cancelled) == (0, 5)


async def test_the_traceback_of_a_cancelled_wait_does_not_keep_the_run_alive(
    autojump_clock: MockClock,
) -> None:
    kept = []
    processor = Watched(10)
    with trio.move_on_after(5):
        try:
            async for _ in operation(processor).execute([1]):
                pass
        except trio.Cancelled as error:
            kept.append(error)
            raise
    gc.disable()
    try:
        await wait_all_tasks_blocked()
        assert processor.in_flight == 0
    finally:
        gc.enable()


async def test_the_first_result_of_a_run_nobody_else_holds(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 + items[0])
    with no_task_left():
        result = await anext(operation(processor, batch_size=1).execute(list(range(100))))
        assert result.items == [0]
        await wait_all_tasks_blocked()
    assert processor.in_flight == 0


async def test_a_run_that_is_held_goes_on_until_it_is_closed(autojump_clock: MockClock) -> None:
    processor = Watched(1)
    run = operation(processor, batch_size=1, max_concurrency=2).execute(list(range(100)))
    with no_task_left():
        async for _ in run:
            break
        await trio.sleep(100)
        assert processor.calls
        await run.aclose()
        await run.aclose()
    assert run.state is CANCELLED
    with pytest.raises(BulkOperationCancelledError):
        async for _ in run:
            pass


async def test_leaving_the_block_stops_the_work_exactly(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 + items[0])
    async with operation(processor, batch_size=1).execute(list(range(100))) as run:
        async for _ in run:
            break
        assert processor.in_flight > 0
    assert processor.in_flight == 0
    assert run.state is CANCELLED


async def test_an_error_in_the_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    processor = Watched(1)
    with pytest.raises(ZeroDivisionError):
        async with operation(processor).execute([1]) as run:
            await wait_all_tasks_blocked()
            raise ZeroDivisionError
    assert (processor.in_flight, run.state) == (0, CANCELLED)


async def test_a_cancelled_block_is_left_with_one_plain_cancelled(
    autojump_clock: MockClock,
) -> None:
    processor = Watched(10)
    caught: list[BaseException] = []
    with trio.move_on_after(5):
        try:
            async with operation(processor).execute(list(range(100))) as run:
                async for _ in run:
                    pass
        except BaseException as error:
            caught.append(error)
            raise
    assert [type(error) for error in caught] == [trio.Cancelled]
    assert (processor.in_flight, run.state) == (0, CANCELLED)


async def test_a_block_that_was_cancelled_while_it_ended(autojump_clock: MockClock) -> None:
    async def shielded(items: list[int]) -> list[int]:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        return items

    with trio.move_on_after(1) as scope:
        async with operation(shielded).execute([1]):
            await wait_all_tasks_blocked()
        raise AssertionError("the cancellation was lost")
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(3)


async def test_a_consumer_elsewhere_hears_of_the_cancellation_of_the_block(
    autojump_clock: MockClock,
) -> None:
    errors: list[BaseException] = []

    async def consume(run: BulkRun[int, int]) -> None:
        try:
            async for _ in run:
                pass
        except BulkOperationCancelledError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            async with operation(Watched(10)).execute([1]) as run:
                nursery.start_soon(consume, run)
                await trio.sleep_forever()
    assert len(errors) == 1


async def test_a_cancelled_wait_loses_no_result(autojump_clock: MockClock) -> None:
    seen = []
    async with operation(Watched(1.5), batch_size=1, max_concurrency=2).execute(range(10)) as run:
        while True:
            with trio.move_on_after(1):
                try:
                    seen.append(await anext(run))
                except StopAsyncIteration:
                    break
    assert sorted(all_items(seen)) == list(range(10))


async def test_a_run_that_never_began_is_dropped_without_a_trace() -> None:
    bulk = operation(same)
    run = bulk.execute([1])
    assert bulk.state is BulkOperationState.RUNNING
    del run
    assert bulk.state is CANCELLED
    assert len(await collect(bulk.execute([1]))) == 1


def test_a_run_may_be_made_and_dropped_outside_trio() -> None:
    bulk = operation(same)
    run = bulk.execute([1])
    del run
    assert bulk.state is CANCELLED
    run = bulk.execute([1])
    assert len(trio.run(collect, run)) == 1


def test_a_run_may_be_dropped_after_the_end_of_trio() -> None:
    kept: list[Any] = []

    async def main() -> None:
        run = operation(slowly).execute([1])
        kept.append(run)
        with trio.move_on_after(0.01):
            await anext(run)

    trio.run(main)
    assert kept[0].state is CANCELLED
    kept.clear()


async def test_a_run_may_be_dropped_in_another_thread() -> None:
    processor = Watched(1000)
    runs = [operation(processor).execute([1])]
    with trio.move_on_after(0.01):
        await anext(runs[0])
    with no_task_left():
        await trio.to_thread.run_sync(runs.clear)
        await until(lambda: not processor.in_flight)
        await wait_all_tasks_blocked(0.01)
    assert processor.cancelled == 1


async def test_a_run_in_a_cycle_is_collected(autojump_clock: MockClock) -> None:
    processor = Watched(1000)

    class Holder:
        run: BulkRun[int, int]
        me: Holder

    async def begin() -> weakref.ref[BulkRun[int, int]]:
        holder = Holder()
        holder.me = holder
        holder.run = operation(processor).execute([1])
        with trio.move_on_after(1):
            await anext(holder.run)
        return weakref.ref(holder.run)

    reference = await begin()
    await trio.lowlevel.checkpoint()  # Trio itself holds the Cancelled until the next step
    gc.collect()
    assert reference() is None
    await wait_all_tasks_blocked()
    assert processor.in_flight == 0


async def test_the_next_run_waits_for_a_dropped_one_to_unwind(autojump_clock: MockClock) -> None:
    most = now = 0

    async def shielded(items: list[int]) -> list[int]:
        nonlocal most, now
        now += 1
        most = max(most, now)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        now -= 1
        return items

    bulk = operation(shielded, batch_size=1, max_concurrency=2)
    for _ in range(3):
        async for _ in bulk.execute(list(range(10))):
            break
    await wait_all_tasks_blocked()
    assert most == 2


# --- cancel() ------------------------------------------------------------------------------


async def test_cancel_returns_when_nothing_is_in_flight(autojump_clock: MockClock) -> None:
    cleaned = 0

    async def processor(items: list[int]) -> list[int]:
        nonlocal cleaned
        try:
            await trio.sleep(100)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned += 1
        return items

    bulk = operation(processor, batch_size=1, max_concurrency=3)
    run = bulk.execute(list(range(10)))
    async with trio.open_nursery() as nursery:
        outcome: list[Any] = []
        nursery.start_soon(note, outcome, run)
        await trio.sleep(10)
        await bulk.cancel()
        assert cleaned == 3
        assert trio.current_time() == pytest.approx(11)
        assert bulk.state is CANCELLED
    assert isinstance(outcome[0][1], BulkOperationCancelledError)
    assert bulk.state is CANCELLED


async def note(outcome: list[Any], run: BulkRun[Any, Any]) -> None:
    outcome.append(await collect_until(run))


async def test_what_ended_before_the_cancellation_is_delivered(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 1 if items[0] < 3 else 100)
    bulk = operation(processor, batch_size=1, max_concurrency=5)
    async with bulk.execute(list(range(100))) as run:
        await trio.sleep(10)
        await bulk.cancel()
        results, error = await collect_until(run)
    assert sorted(all_items(results)) == [0, 1, 2]
    assert isinstance(error, BulkOperationCancelledError)
    assert bulk.metrics.processed_items == 3


async def test_cancel_from_the_loop_body(autojump_clock: MockClock) -> None:
    bulk = operation(Watched(lambda items: items[0]), batch_size=1, max_concurrency=3)
    seen = 0
    with pytest.raises(BulkOperationCancelledError):
        async for _ in bulk.execute(list(range(1, 100))):
            seen += 1
            await bulk.cancel()
    assert seen == 1


@pytest.mark.parametrize("where", ["processor", "on_progress", "callback", "on_complete", "thread"])
async def test_cancel_from_within_the_run_does_not_wait_for_itself(where: str) -> None:
    async def cancel(*_: Any) -> None:
        with trio.CancelScope(shield=True):
            await bulk.cancel()

    async def processor(items: list[int]) -> list[int]:
        if where == "processor":
            await cancel()
        return items

    def plain(items: list[int]) -> list[int]:
        trio.from_thread.run(bulk.cancel)
        return items

    hooks = {where: cancel} if where.startswith("on_") else {}
    bulk = operation(plain if where == "thread" else processor, batch_size=1, **hooks)
    if where == "callback":
        bulk.add_progress_callback(cancel)
    with trio.fail_after(4):  # less than the time for which waiting is shielded
        results, error = await collect_until(bulk.execute(list(range(100))))
    if where == "on_complete":
        assert (len(results), error, bulk.state) == (100, None, COMPLETED)
    else:
        assert isinstance(error, BulkOperationCancelledError)
        assert bulk.state is CANCELLED


async def test_cancel_before_the_first_step() -> None:
    processor = Watched()
    bulk = operation(processor)
    run = bulk.execute([1])
    await bulk.cancel()
    assert bulk.state is CANCELLED
    with pytest.raises(BulkOperationCancelledError):
        await anext(run)
    async with bulk.execute([1]) as other:
        await bulk.cancel()
        with pytest.raises(BulkOperationCancelledError):
            await anext(other)
    assert not processor.calls


async def test_cancel_without_a_run_does_nothing() -> None:
    bulk = operation(same)
    await bulk.cancel()
    assert bulk.state is BulkOperationState.PENDING
    await collect(bulk.execute([1]))
    await bulk.cancel()
    assert bulk.state is COMPLETED


async def test_cancel_twice_and_at_the_same_time(autojump_clock: MockClock) -> None:
    bulk = operation(Watched(100))
    async with bulk.execute([1]), trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(bulk.cancel)
        nursery.start_soon(bulk.cancel)
    assert bulk.state is CANCELLED


async def test_cancel_with_a_queue_behind(autojump_clock: MockClock) -> None:
    processor = Watched(100)
    bulk = operation(processor, batch_size=1, max_concurrency=1000)
    async with bulk.execute(list(range(100_000))):
        await wait_all_tasks_blocked()
        assert processor.in_flight == 1000
        await bulk.cancel()
        assert processor.in_flight == 0
    assert len(processor.calls) == 1000


async def test_a_cancelled_cancel_still_cancels(autojump_clock: MockClock) -> None:
    processor = Watched(100)
    bulk = operation(processor)
    async with bulk.execute([1]):
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await bulk.cancel()
        assert processor.in_flight == 0


async def test_a_processor_that_shields_itself_is_named_and_waited_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn(items: list[int]) -> list[int]:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)
        return items

    bulk = operation(stubborn, batch_size=1, max_concurrency=2)
    async with bulk.execute([1, 2, 3]) as run:
        await trio.sleep(1)
        await bulk.cancel()
        assert trio.current_time() == pytest.approx(20)
        results, error = await collect_until(run)
    assert isinstance(error, BulkOperationCancelledError)
    assert len(results) <= 2
    assert "2 batches of" in caplog.text
    assert "stubborn" in caplog.text


async def test_a_thread_is_waited_for() -> None:
    release = threading.Event()
    began = threading.Event()
    ended = threading.Event()

    def plain(items: list[int]) -> list[int]:
        began.set()
        release.wait(5)
        ended.set()
        return items

    bulk = operation(plain)
    async with bulk.execute([1]), trio.open_nursery() as nursery:
        await until(began.is_set)
        nursery.start_soon(bulk.cancel)
        await wait_all_tasks_blocked()
        assert not ended.is_set()
        release.set()
    assert ended.is_set()


async def test_a_thread_may_be_abandoned() -> None:
    release = threading.Event()
    ended = threading.Event()

    def plain(items: list[int]) -> list[int]:
        release.wait(5)
        ended.set()
        return items

    bulk = operation(plain, executor=ThreadExecutor(abandon_on_cancel=True))
    async with bulk.execute([1]):
        await wait_all_tasks_blocked()
        await bulk.cancel()
        assert not ended.is_set()
        release.set()
    await until(ended.is_set)


async def test_shutdown_ends_in_a_terminal_state(autojump_clock: MockClock) -> None:
    bulk = operation(Watched(100))
    await bulk.shutdown()
    assert bulk.state is CANCELLED
    async with bulk.execute([1]):
        await bulk.shutdown()
        assert bulk.state is CANCELLED
    await collect(bulk.execute([1], same))
    await bulk.shutdown()
    assert bulk.state is COMPLETED


# --- time-out ------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_keeps_what_ended(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: items[0])
    bulk = operation(processor, batch_size=1, max_concurrency=20, timeout=5.5)
    results, error = await collect_until(bulk.execute(list(range(20))))
    assert sorted(all_items(results)) == [0, 1, 2, 3, 4, 5]
    assert isinstance(error, BulkOperationTimeoutError)
    assert isinstance(error, TimeoutError)
    assert "5.5 s; 6 of 20 items" in str(error)
    assert (bulk.state, processor.in_flight) == (FAILED, 0)
    assert trio.current_time() == pytest.approx(5.5)
    assert bulk.metrics.duration == pytest.approx(5.5)


async def test_the_time_out_includes_the_time_of_the_consumer(autojump_clock: MockClock) -> None:
    bulk = operation(slowly, batch_size=1, max_concurrency=1, timeout=10)
    seen = 0
    with pytest.raises(BulkOperationTimeoutError):
        async for _ in bulk.execute(list(range(100))):
            seen += 1
            await trio.sleep(4)
    # 1 and 5 s: taken while it ran; the other waited in the buffer as the time was up.
    assert seen in (3, 4)


async def test_a_run_whose_batches_all_ended_does_not_time_out(autojump_clock: MockClock) -> None:
    bulk = operation(slowly, batch_size=1, max_concurrency=5, timeout=10)
    async for _ in bulk.execute(list(range(5))):
        await trio.sleep(100)
    assert bulk.state is COMPLETED


async def test_the_time_out_counts_from_the_first_step(autojump_clock: MockClock) -> None:
    run = operation(slowly, timeout=2).execute([1])
    await trio.sleep(100)
    assert len(await collect(run)) == 1


async def test_an_input_that_never_comes_times_out(autojump_clock: MockClock) -> None:
    async def silent() -> AsyncIterator[int]:
        await trio.sleep_forever()
        yield 1

    results, error = await collect_until(operation(same, timeout=3).execute(silent()))
    assert not results
    assert isinstance(error, BulkOperationTimeoutError)


async def test_ordered_delivers_what_ended_behind_a_batch_that_did_not(
    autojump_clock: MockClock,
) -> None:
    processor = Watched(lambda items: 100 if items[0] == 1 else 1)
    bulk = operation(processor, batch_size=1, ordered=True, timeout=10)
    results, error = await collect_until(bulk.execute([0, 1, 2, 3]))
    assert all_items(results) == [0, 2, 3]
    assert isinstance(error, BulkOperationTimeoutError)


# --- an input that raises ------------------------------------------------------------------


def broken(after: int) -> Any:
    yield from range(after)
    raise OSError("line 7 is damaged")


async def broken_async(after: int) -> AsyncIterator[int]:
    for number in range(after):
        await trio.lowlevel.checkpoint()
        yield number
    raise OSError("line 7 is damaged")


@pytest.mark.parametrize("source", [broken, broken_async])
@pytest.mark.parametrize("processor", [same, slowly])
async def test_an_input_that_raises_ends_the_run_after_what_was_read(
    source: Callable[[int], Any], processor: Any, autojump_clock: MockClock
) -> None:
    bulk = operation(processor, batch_size=2)
    results, error = await collect_until(bulk.execute(source(5)))
    assert sorted(all_items(results)) == [0, 1, 2, 3]  # the fifth did not fill a batch
    assert type(error) is BulkOperationError
    assert isinstance(error.__cause__, OSError)
    assert "the input failed after 4 items: OSError: line 7" in str(error)
    assert bulk.state is FAILED


# --- what is no failure of a batch ---------------------------------------------------------


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("tidy", [False, True])
async def test_an_interrupt_in_a_processor_is_raised_from_the_iteration(
    stop: type[BaseException], tidy: bool, autojump_clock: MockClock
) -> None:
    async def processor(items: list[int]) -> list[int]:
        await trio.sleep(items[0])
        if items[0] == 2:
            raise stop
        return items

    bulk = operation(processor, batch_size=1)
    seen = 0
    with pytest.raises(stop):
        if tidy:
            async with bulk.execute([1, 2, 3]) as run:
                async for _ in run:
                    seen += 1
        else:
            async for _ in bulk.execute([1, 2, 3]):
                seen += 1
    assert seen == 1
    assert bulk.state is FAILED


async def test_an_interrupt_is_not_lost_when_the_block_was_left(autojump_clock: MockClock) -> None:
    async def processor(items: list[int]) -> list[int]:
        try:
            await trio.sleep(10)
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with operation(processor).execute([1]):
            await trio.sleep(1)


def test_control_c_reaches_a_plain_loop() -> None:
    processor = Watched(0.01)

    async def main() -> None:
        async for result in operation(processor, batch_size=1).execute(range(10_000)):
            if result.batch_id > 5:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert processor.in_flight == 0


def test_control_c_in_a_processor_whose_run_was_dropped_is_not_lost() -> None:
    async def processor(items: list[int]) -> list[int]:
        try:
            await trio.sleep(10)
        finally:
            signal.raise_signal(signal.SIGINT)
        return items

    async def main() -> None:
        run = operation(processor).execute([1])
        with trio.move_on_after(0.01):
            await anext(run)
        del run
        await trio.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


async def test_a_bug_of_ours_is_an_error_of_the_run_not_of_trio(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    bulk = operation(same)
    run = bulk.execute([1])
    monkeypatch.setattr(Job, "runner", lambda *_: None)
    results, error = await collect_until(run)
    assert not results
    assert isinstance(error, BulkOperationError)
    assert isinstance(error.__cause__, AttributeError)
    assert bulk.state is FAILED


async def test_a_group_of_one_is_the_one(autojump_clock: MockClock) -> None:
    async def processor(items: list[int]) -> list[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
        return items

    async def fails() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError("inside")

    (result,) = await collect(operation(processor).execute([1]))
    assert result.errors[0].error_type == "ZeroDivisionError"
    assert result.errors[0].error == "inside"


async def test_a_failure_beside_a_cancellation_does_not_swallow_it(
    autojump_clock: MockClock,
) -> None:
    async def processor(items: list[int]) -> list[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            await trio.sleep_forever()
        return items

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    bulk: BulkOperation[int, int] = operation(processor)
    async with bulk.execute([1]) as run:
        await wait_all_tasks_blocked()
        await bulk.cancel()
        results, error = await collect_until(run)
    assert not results
    assert isinstance(error, BulkOperationCancelledError)


async def test_an_input_is_not_read_after_the_run_was_left() -> None:
    source = Counted(10_000)
    async for _ in operation(same).execute(source.plain()):
        break
    await wait_all_tasks_blocked()
    read = source.read
    await wait_all_tasks_blocked()
    assert source.read == read < 1000
