"""What a run does when nothing goes wrong: reading, working, delivering, ending."""

from __future__ import annotations

import contextvars
import functools
import gc
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.bulk import (
    BulkOperation,
    BulkOperationState,
    TaskExecutor,
    ThreadExecutor,
)
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import BulkOperationError
from tests.bulk.helpers import Counted, Watched, all_items, collect, operation, same, slowly


def inputs_of(count: int) -> list[Any]:
    source = Counted(count)
    return [
        list(range(count)),
        tuple(range(count)),
        range(count),
        source.plain(),
        source.waiting(),
    ]


@pytest.mark.parametrize("kind", range(5), ids=["list", "tuple", "range", "iterator", "async"])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 100])
async def test_every_item_comes_back_in_one_result(kind: int, count: int) -> None:
    run = operation(Watched(None), batch_size=10).execute(inputs_of(count)[kind])
    results = await collect(run)
    assert sorted(all_items(results)) == list(range(count))
    assert all(result.results == [10 * item for item in result.items] for result in results)
    assert sorted(result.batch_id for result in results) == list(range(-(-count // 10)))
    assert run.state is BulkOperationState.COMPLETED


async def test_a_plain_loop_does_the_same() -> None:
    bulk = operation(Watched(), batch_size=3)
    seen = [item async for result in bulk.execute(list(range(10))) for item in result.results]
    assert sorted(seen) == [10 * number for number in range(10)]
    assert bulk.state is BulkOperationState.COMPLETED


async def test_defaults_need_no_config() -> None:
    bulk: BulkOperation[int, int] = BulkOperation(processor=same)
    assert len(await collect(bulk.execute(list(range(25))))) == 3


async def test_a_result_tells_what_it_took(autojump_clock: MockClock) -> None:
    (result,) = await collect(operation(slowly).execute(["a", "b"]))
    assert (result.batch_id, result.items, result.results) == (0, ["a", "b"], ["a", "b"])
    assert (result.success_count, result.error_count, result.is_successful) == (2, 0, True)
    assert result.duration == pytest.approx(1)
    assert result.retry_count == 0


async def test_results_come_as_their_batches_end(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: 10 - items[0])
    run = operation(processor, batch_size=1, max_concurrency=10).execute(list(range(10)))
    assert [result.batch_id for result in await collect(run)] == list(range(9, -1, -1))


async def test_ordered_results_come_in_the_order_of_the_input(autojump_clock: MockClock) -> None:
    processor = Watched(lambda items: (items[0] * 7) % 10)
    bulk = operation(processor, batch_size=1, max_concurrency=10, ordered=True)
    assert all_items(await collect(bulk.execute(list(range(50))))) == list(range(50))


async def test_ordered_reads_no_further_than_its_window(autojump_clock: MockClock) -> None:
    source = Counted(1000)
    processor = Watched(lambda items: 1000 if items[0] == 0 else 0.001)
    bulk = operation(processor, batch_size=5, max_concurrency=4, ordered=True, timeout=1e6)
    async with bulk.execute(source.plain()) as run:
        await trio.sleep(500)
        assert source.read <= 2 * 4 * 5
        assert [result.batch_id async for result in run] == list(range(200))


@pytest.mark.parametrize("concurrency", [1, 2, 7])
async def test_no_more_than_max_concurrency_are_in_flight(
    concurrency: int, autojump_clock: MockClock
) -> None:
    processor = Watched(lambda items: 0.1 + items[0] % 3)
    bulk = operation(processor, batch_size=1, max_concurrency=concurrency)
    await collect(bulk.execute(list(range(50))))
    assert processor.most == concurrency


async def test_it_is_as_fast_as_its_concurrency_allows(autojump_clock: MockClock) -> None:
    bulk = operation(slowly, batch_size=1, max_concurrency=10)
    start = trio.current_time()
    await collect(bulk.execute(list(range(100))))
    assert trio.current_time() - start == pytest.approx(10, rel=0.01)


# --- laziness and backpressure -------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("delay", [None, 0, 1], ids=["never waits", "checkpoint", "sleeps"])
async def test_the_first_result_comes_before_the_input_is_read(
    asynchronous: bool, delay: float | None, autojump_clock: MockClock
) -> None:
    source = Counted(10_000)
    bulk = operation(Watched(delay), batch_size=10, max_concurrency=4)
    async with bulk.execute(source.waiting() if asynchronous else source.plain()) as run:
        await anext(run)
        assert source.read < 2 * 4 * 10


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("delay", [None, 1])
async def test_a_slow_consumer_stops_the_reading(
    asynchronous: bool, delay: float | None, autojump_clock: MockClock
) -> None:
    source = Counted(10_000)
    bulk = operation(Watched(delay), batch_size=10, max_concurrency=4, timeout=1e6)
    async with bulk.execute(source.waiting() if asynchronous else source.plain()) as run:
        for taken in range(1, 6):
            await anext(run)
            await trio.sleep(1000)
            # In flight, waiting in the buffer, and being put together.
            assert source.read <= (taken + 2 * 4 + 1) * 10


@pytest.mark.parametrize("kind", ["plain", "ready", "waiting"])
@pytest.mark.parametrize("delay", [None, 0, 1])
async def test_a_slow_consumer_gets_everything(
    kind: str, delay: float | None, autojump_clock: MockClock
) -> None:
    bulk = operation(Watched(delay), batch_size=1, max_concurrency=100, timeout=1e6)
    seen = 0
    async for _ in bulk.execute(getattr(Counted(500), kind)()):
        await trio.sleep(10)
        seen += 1
    assert seen == 500


async def test_nothing_is_read_before_the_iteration_begins() -> None:
    source = Counted(100)
    run = operation(same).execute(source.plain())
    await wait_all_tasks_blocked()
    assert source.read == 0
    del run


async def test_workers_start_only_when_the_others_are_busy(autojump_clock: MockClock) -> None:
    started = 0

    class Spawned(trio.abc.Instrument):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            nonlocal started
            started += "Pool._worker" in task.name

    trio.lowlevel.add_instrument(Spawned())
    await collect(operation(same, batch_size=1, max_concurrency=1000).execute(range(5000)))
    assert started <= 100  # a processor that never waits needs few: one stands by at each pause


def peak_of(count: int, **settings: Any) -> int:
    """Bytes at most allocated at once by a run over so many items of an async iterable."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def main() -> None:
        seen = 0
        async for result in operation(same, timeout=1e6, **settings).execute(numbers()):
            seen += len(result.results)
        assert seen == count

    gc.collect()
    tracemalloc.start()
    try:
        trio.run(main)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_depend_on_the_length_of_the_input() -> None:
    settings = {"batch_size": 100, "max_concurrency": 20}
    peak_of(1_000, **settings)  # imports, caches
    short, long = peak_of(10_000, **settings), peak_of(100_000, **settings)
    assert long <= 1.1 * short + 16_384
    assert long <= 1_000_000 + 6_000 * 20


def test_memory_does_not_depend_on_how_much_fails() -> None:
    async def fails(items: list[int]) -> list[int]:
        raise ValueError(str(items[0]) * 50)

    async def main(count: int) -> None:
        async for _ in operation(fails, batch_size=1, timeout=1e6).execute(range(count)):
            pass

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            trio.run(main, count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(8_000) <= 1.2 * peak(2_000)


# --- the input -----------------------------------------------------------------------------


async def test_an_async_generator_is_read_in_one_task(autojump_clock: MockClock) -> None:
    async def source() -> AsyncIterator[int]:
        async with trio.open_nursery() as nursery:  # breaks when its exit is in another task
            nursery.start_soon(trio.sleep, 1)
            for number in range(20):
                await trio.sleep(0.1)
                yield number

    run = operation(Watched(0.05), batch_size=3).execute(source())
    assert sorted(all_items(await collect(run))) == list(range(20))


async def test_a_memory_channel_is_an_input(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[int](0)

    async def feed() -> None:
        async with send:
            for number in range(10):
                await trio.sleep(1)
                await send.send(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        results = await collect(operation(same, batch_size=4).execute(receive))
    assert all_items(results) == list(range(10))


async def test_an_async_input_is_closed_when_the_run_is_left() -> None:
    source = Counted(1000)
    async with operation(same).execute(source.waiting()) as run:
        await anext(run)
    assert source.closed


async def test_an_input_whose_closing_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def source() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise ZeroDivisionError

    async with operation(same).execute(source()) as run:
        await anext(run)
    assert "closing the input" in caplog.text


async def test_a_sequence_of_the_old_kind_is_an_input() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index > 5:
                raise IndexError
            return index

    assert all_items(await collect(operation(same).execute(Old()))) == list(range(6))  # type: ignore[arg-type]


async def test_an_input_that_will_not_close_is_cut_off(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        def __aiter__(self) -> Stubborn:
            return self

        async def __anext__(self) -> int:
            await trio.lowlevel.checkpoint()
            return 1

        async def aclose(self) -> None:
            await trio.sleep_forever()

    start = trio.current_time()
    async with operation(same).execute(Stubborn()) as run:
        await anext(run)
    assert trio.current_time() - start == pytest.approx(5)
    assert "was cut off" in caplog.text


async def test_a_list_that_shrinks_ends_the_run_early() -> None:
    items = list(range(100))

    async def shrinking(batch: list[int]) -> list[int]:
        del items[20:]
        return batch

    run = operation(shrinking, batch_size=10, max_concurrency=1).execute(items)
    assert len(await collect(run)) == 2


@pytest.mark.parametrize("items", [None, 7, object()])
async def test_what_cannot_be_iterated_over_is_refused_at_the_call(items: Any) -> None:
    with pytest.raises(TypeError, match="an iterable or an async iterable, and is"):
        operation(same).execute(items)


async def test_a_generator_function_that_was_not_called_is_refused_with_a_hint() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"call it: execute\(source"):
        operation(same).execute(source)  # type: ignore[arg-type]


# --- processors ----------------------------------------------------------------------------


async def test_a_plain_processor_runs_in_a_thread() -> None:
    threads = set()

    def plain(items: list[int]) -> list[int]:
        threads.add(threading.get_ident())
        return items

    results = await collect(operation(plain, batch_size=2).execute(list(range(10))))
    assert sorted(all_items(results)) == list(range(10))
    assert threading.get_ident() not in threads


async def test_threads_are_bounded_by_max_concurrency_and_starve_nobody() -> None:
    lock = threading.Lock()
    now = most = 0
    release = threading.Event()

    def plain(items: list[int]) -> list[int]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        release.wait(5)
        with lock:
            now -= 1
        return items

    with trio.fail_after(5):
        bulk = operation(plain, batch_size=1, max_concurrency=3)
        async with bulk.execute(list(range(9))) as run:
            limiter = trio.to_thread.current_default_thread_limiter()
            assert limiter.borrowed_tokens == 0
            release.set()
            assert len([result async for result in run]) == 9
    assert most <= 3


async def test_the_context_of_the_caller_is_seen_by_the_processor() -> None:
    user = contextvars.ContextVar("user", default="nobody")

    async def asynchronous(items: list[str]) -> list[str]:
        return [user.get() for _ in items]

    def plain(items: list[str]) -> list[str]:
        return [user.get() for _ in items]

    user.set("ada")
    for processor in (asynchronous, plain):
        results = await collect(operation(processor).execute(["x"]))
        assert results[0].results == ["ada"]
        assert [r.results async for r in operation(processor).execute(["x"])] == [["ada"]]


async def test_a_new_worker_does_not_inherit_from_the_one_that_starts_it(
    autojump_clock: MockClock,
) -> None:
    seen = []
    mark = contextvars.ContextVar("mark", default=0)

    async def processor(items: list[int]) -> list[int]:
        seen.append(mark.get())
        mark.set(items[0] + 1)
        await trio.sleep(1)
        return items

    await collect(operation(processor, batch_size=1, max_concurrency=5).execute(list(range(5))))
    assert seen == [0] * 5


class Callable_:
    async def __call__(self, items: list[int]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return items

    async def method(self, items: list[int]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return items

    def plain(self, items: list[int]) -> list[int]:
        return items


async def with_factor(factor: int, items: list[int]) -> list[int]:
    await trio.lowlevel.checkpoint()
    return [factor * item for item in items]


@pytest.mark.parametrize(
    "processor",
    [
        Callable_(),
        Callable_().method,
        Callable_().plain,
        functools.partial(with_factor, 1),
        functools.partial(functools.partial(with_factor), 1),
        lambda items: items,
        lambda items: same(items),
        lambda items: tuple(items),
        list,
    ],
)
async def test_any_callable_will_do(processor: Any) -> None:
    results = await collect(operation(processor, batch_size=2).execute([1, 2, 3]))
    assert sorted(item for result in results for item in result.results) == [1, 2, 3]


@pytest.mark.parametrize("processor", [same, lambda items: items, lambda items: same(items)])
async def test_the_task_executor_calls_any_processor_in_the_task(processor: Any) -> None:
    threads = threading.active_count()
    bulk = operation(processor, executor=TaskExecutor())
    assert all_items(await collect(bulk.execute([1, 2]))) == [1, 2]
    assert threading.active_count() == threads


async def test_the_thread_executor_refuses_an_async_processor() -> None:
    with pytest.raises(BulkOperationError, match="runs plain functions, and same is async"):
        operation(same, executor=ThreadExecutor()).execute([1])


async def test_a_processor_that_changes_its_list_changes_nothing_else() -> None:
    attempts = []

    async def greedy(items: list[int]) -> list[int]:
        attempts.append(list(items))
        items.clear()
        if len(attempts) == 1:
            raise ValueError("once more")
        return [1, 2, 3]

    bulk = operation(greedy, retry_attempts=1, retry_delay=0)
    (result,) = await collect(bulk.execute([7, 8, 9]))
    assert attempts == [[7, 8, 9], [7, 8, 9]]
    assert (result.items, result.results) == ([7, 8, 9], [1, 2, 3])


async def test_the_processor_of_a_call_replaces_the_one_of_the_operation() -> None:
    bulk = operation(Watched())
    (result,) = await collect(bulk.execute([1], same))
    assert result.results == [1]


async def test_an_operation_without_a_processor_is_refused_at_the_call() -> None:
    with pytest.raises(BulkOperationError, match="there is no processor"):
        operation().execute([1])


# --- states --------------------------------------------------------------------------------


async def test_the_states_of_a_good_run(autojump_clock: MockClock) -> None:
    bulk = operation(slowly, batch_size=1)
    assert bulk.state is BulkOperationState.PENDING
    run = bulk.execute([1, 2])
    assert bulk.state is run.state is BulkOperationState.RUNNING
    async for _ in run:
        assert bulk.state is BulkOperationState.RUNNING
    assert bulk.state is run.state is BulkOperationState.COMPLETED
    assert bulk.state == "completed"


async def test_a_run_is_completed_with_failed_batches_too() -> None:
    bulk = operation(Watched(bad=[1]), batch_size=1)
    results = await collect(bulk.execute([0, 1, 2]))
    assert [r.is_successful for r in sorted(results, key=lambda r: r.batch_id)] == [
        True,
        False,
        True,
    ]
    assert bulk.state is BulkOperationState.COMPLETED


async def test_a_second_execution_is_refused_while_one_goes_on(autojump_clock: MockClock) -> None:
    bulk = operation(slowly)
    run = bulk.execute([1])
    with pytest.raises(BulkOperationError, match="executed already"):
        bulk.execute([2])
    async with run:
        await wait_all_tasks_blocked()
        assert (run.state, run.metrics, run.in_flight) == (bulk.state, bulk.metrics, 1)
        with pytest.raises(BulkOperationError, match="executed already"):
            bulk.execute([2])
    await collect(bulk.execute([3]))


async def test_an_operation_may_be_executed_again_with_fresh_metrics() -> None:
    bulk = operation(Watched(), batch_size=2)
    for _ in range(3):
        await collect(bulk.execute(list(range(10))))
        assert (bulk.metrics.processed_items, bulk.metrics.completed_batches) == (10, 5)


async def test_a_run_that_ended_has_no_more_results() -> None:
    run = operation(same).execute([1])
    assert len([result async for result in run]) == 1
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(run)


async def test_a_run_is_entered_once() -> None:
    run = operation(same).execute([1])
    await anext(run)
    with pytest.raises(BulkOperationError, match="begun already"):
        async with run:
            pass
    await run.aclose()


async def test_two_tasks_cannot_wait_for_the_same_result(autojump_clock: MockClock) -> None:
    async with operation(slowly).execute([1]) as run, trio.open_nursery() as nursery:
        nursery.start_soon(anext, run)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(run)


# --- fairness ------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 5, 1000])
async def test_a_processor_that_never_waits_leaves_room_for_others(concurrency: int) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        bulk = operation(same, batch_size=1, max_concurrency=concurrency)
        async for _ in bulk.execute(list(range(10_000))):
            pass
        nursery.cancel_scope.cancel()
    assert turns >= 100


async def test_a_loop_over_ready_results_can_be_cancelled() -> None:
    seen = 0

    def endless() -> Iterator[int]:
        while True:
            yield 1

    with trio.move_on_after(0.05):
        async for _ in operation(same).execute(endless()):
            seen += 1
    assert seen > 0
    await wait_all_tasks_blocked()


def test_config_and_results_are_frozen() -> None:
    with pytest.raises(AttributeError):
        BulkOperationConfig().batch_size = 3  # type: ignore[misc]
