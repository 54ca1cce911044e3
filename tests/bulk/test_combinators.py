"""`bulk_map`, `bulk_filter`, `bulk_reduce`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.bulk import BulkOperationState, bulk_filter, bulk_map, bulk_reduce
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import BulkOperationError
from tests.bulk.helpers import Counted
from tests.leaks import no_task_left

FAST = BulkOperationConfig(batch_size=3, retry_attempts=0)


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await trio.lowlevel.checkpoint()
        yield number


async def test_map_keeps_the_order(autojump_clock: MockClock) -> None:
    async def slowly(item: int) -> int:
        await trio.sleep(10 - item % 10)
        return item * item

    expected = [item * item for item in range(20)]
    assert await bulk_map(slowly, list(range(20)), FAST) == expected
    assert await bulk_map(slowly, numbers(20)) == expected
    assert await bulk_map(slowly, iter(range(20))) == expected
    assert await bulk_map(slowly, []) == []


async def test_map_runs_a_plain_function_in_a_thread() -> None:
    assert await bulk_map(lambda item: item + 1, [1, 2, 3]) == [2, 3, 4]
    threads = await bulk_map(lambda _: threading.get_ident(), [1, 2, 3])
    assert threading.get_ident() not in threads


async def test_map_raises_what_failed_and_stops(autojump_clock: MockClock) -> None:
    started = 0

    async def function(item: int) -> int:
        nonlocal started
        started += 1
        await trio.sleep(1 if item < 3 else 100)
        if item == 2:
            raise ZeroDivisionError("item 2")
        return item

    with pytest.raises(BulkOperationError, match="ZeroDivisionError: item 2") as caught:
        await bulk_map(function, list(range(1000)), FAST)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert started < 20


async def test_map_tries_again_as_configured(autojump_clock: MockClock) -> None:
    failed = False

    async def function(item: int) -> int:
        nonlocal failed
        if item == 2 and not failed:
            failed = True
            raise ConnectionError
        return item

    assert await bulk_map(function, [1, 2, 3]) == [1, 2, 3]


async def test_map_never_leaves_out_an_item_silently() -> None:
    async def function(item: int) -> int:
        if item == 2:
            raise ValueError
        return item

    for on_poison in ("fail", "bisect"):
        config = BulkOperationConfig(
            retry_attempts=0,
            failure_limit=5,
            on_poison=on_poison,
        )
        with pytest.raises(BulkOperationError):
            await bulk_map(function, [1, 2, 3], config)


async def test_filter_delivers_what_passed_batch_by_batch() -> None:
    async def even(item: int) -> bool:
        await trio.lowlevel.checkpoint()
        return item % 2 == 0

    seen = []
    async for result in bulk_filter(list(range(10)), even, FAST):
        assert result.items == list(range(10))[result.batch_id * 3 : result.batch_id * 3 + 3]
        seen += result.results
    assert seen == [0, 2, 4, 6, 8]


async def test_filter_takes_a_plain_predicate_and_any_truth() -> None:
    async with bulk_filter(numbers(6), lambda item: bool(item % 3)) as run:
        assert [item async for result in run for item in result.results] == [1, 2, 4, 5]
    assert run.state is BulkOperationState.COMPLETED


async def test_filter_reads_lazily_and_stops_when_left(autojump_clock: MockClock) -> None:
    source = Counted(10_000)

    async def slowly(item: int) -> bool:
        await trio.sleep(1)
        return True

    with no_task_left():
        async for _ in bulk_filter(source.plain(), slowly, FAST):
            break
        await wait_all_tasks_blocked()
    assert source.read < 100


async def test_filter_shows_the_batches_that_failed() -> None:
    async def odd(item: int) -> bool:
        if item == 4:
            raise ValueError("item 4")
        return item % 2 == 1

    results = [result async for result in bulk_filter(list(range(9)), odd, FAST)]
    assert [result.results for result in results] == [[1], [], [7]]
    assert [result.is_successful for result in results] == [True, False, True]
    config = BulkOperationConfig(batch_size=3, retry_attempts=0, on_poison="bisect")
    results = [result async for result in bulk_filter(list(range(9)), odd, config)]
    assert [result.results for result in results] == [[1], [3, 5], [7]]
    assert [error.item_index for error in results[1].errors] == [4]


async def test_reduce_folds_in_order(autojump_clock: MockClock) -> None:
    async def join(text: str, item: int) -> str:
        await trio.sleep(item % 3)
        return f"{text}{item}"

    assert await bulk_reduce(list(range(10)), join, "", FAST) == "0123456789"
    assert await bulk_reduce(numbers(10), join, "x") == "x0123456789"
    assert await bulk_reduce([], join, "x") == "x"


async def test_reduce_takes_a_plain_reducer() -> None:
    assert await bulk_reduce(range(101), lambda total, item: total + item, 0) == 5050


async def test_reduce_folds_a_failed_batch_again_from_the_value_before_it(
    autojump_clock: MockClock,
) -> None:
    failed = False

    async def add(total: int, item: int) -> int:
        nonlocal failed
        if item == 7 and not failed:
            failed = True
            raise ConnectionError
        return total + item

    assert await bulk_reduce(list(range(20)), add, 0, BulkOperationConfig(batch_size=5)) == 190
    assert failed


async def test_reduce_raises_what_failed() -> None:
    async def add(total: int, item: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(BulkOperationError) as caught:
        await bulk_reduce([1], add, 0, FAST)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
