"""Bulk work: cost of a batch, first result, memory, cancellation.

*Raw* is the obvious code on Trio's public API: a nursery, a task a batch, a `CapacityLimiter`.
Both sides deliver every result, in the plain form `async for result in operation.execute(items)`.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import trio
import trio.testing
from harness import Peer, Workload, at_least, at_most, now, within
from peers import bulk_runs

from lexigram_actors.bulk import BulkOperation
from lexigram_actors.config import BulkOperationConfig

CONCURRENCY = 100
Items = list[int]


async def same(items: Items) -> Items:
    """Do nothing."""
    return items


async def nap(items: Items) -> Items:
    """Wait a millisecond."""
    await trio.sleep(0.001)
    return items


async def hang(items: Items) -> Items:
    """Wait for ever."""
    await trio.sleep_forever()
    return items


Processor = Callable[[Items], Awaitable[Items]]


def operation(
    processor: Processor, batch_size: int, concurrency: int = CONCURRENCY
) -> BulkOperation[int, int]:
    config = BulkOperationConfig(
        batch_size=batch_size, max_concurrency=concurrency, retry_attempts=0, timeout=1e6
    )
    return BulkOperation(config, processor)


# --- the cost of a batch -------------------------------------------------------------------


async def ours(
    count: int, processor: Processor, batch_size: int, concurrency: int = CONCURRENCY
) -> float:
    items, done = list(range(count)), 0
    start = now()
    async for result in operation(processor, batch_size, concurrency).execute(items):
        done += len(result.results)
    assert done == count
    return now() - start


async def raw(
    count: int, processor: Processor, batch_size: int, concurrency: int = CONCURRENCY
) -> float:
    items, results = list(range(count)), []
    start = now()
    limiter = trio.CapacityLimiter(concurrency)

    async def process(batch: Items) -> None:
        async with limiter:
            results.append(await processor(batch))

    async with trio.open_nursery() as nursery:
        for begin in range(0, count, batch_size):
            nursery.start_soon(process, items[begin : begin + batch_size])
    assert sum(map(len, results)) == count
    return now() - start


# --- the first result ----------------------------------------------------------------------


async def first_result(count: int) -> float:
    """Seconds to the first result of an endless input, with a processor that does nothing."""

    async def numbers() -> AsyncIterator[int]:
        number = 0
        while True:
            number += 1
            yield number

    spent = 0.0
    for _ in range(count):
        start = now()
        async with operation(same, 100, 1000).execute(numbers()) as run:
            await anext(run)
            spent += now() - start
    return spent


# --- memory --------------------------------------------------------------------------------


async def peak_memory(length: int, count: int) -> float:
    """Bytes at most allocated at once by a run over an async iterable of that length."""

    async def numbers(length: int) -> AsyncIterator[int]:
        for number in range(length):
            yield number

    async def run(length: int) -> None:
        done = 0
        async for result in operation(same, 10).execute(numbers(length)):
            done += len(result.results)
        assert done == length

    await run(1_000)  # what is allocated once and kept
    tracemalloc.start()
    try:
        await run(length)
        return float(tracemalloc.get_traced_memory()[1]) * count
    finally:
        tracemalloc.stop()


# --- cancellation --------------------------------------------------------------------------


async def cancel_ours(count: int, queued: int = 0) -> float:
    """Seconds to stop so many batches in flight."""
    bulk = operation(hang, 1, count)
    async with bulk.execute(list(range(count + queued))):
        await trio.testing.wait_all_tasks_blocked()
        start = now()
        await bulk.cancel()
        return now() - start


async def cancel_raw(count: int, queued: int = 0) -> float:
    limiter = trio.CapacityLimiter(count)

    async def process(batch: Items) -> None:
        async with limiter:
            await hang(batch)

    async with trio.open_nursery() as nursery:
        for number in range(count + queued):
            nursery.start_soon(process, [number])
        await trio.testing.wait_all_tasks_blocked()
        start = now()
        nursery.cancel_scope.cancel()
    return now() - start


# --- the table -----------------------------------------------------------------------------


def peers(batch_size: int, delay: float = 0, count: int | None = None) -> dict[str, Peer]:
    known: Sequence[tuple[str, str, Callable[..., object]]] = (
        ("aiometer", "aiometer", bulk_runs.aiometer_amap),
        ("reference", "lexigram.workflow", bulk_runs.reference),
        ("asyncio.gather", "asyncio", bulk_runs.asyncio_gather),
    )
    return {
        name: Peer(module, partial(run, batch_size=batch_size, delay=delay), count)  # type: ignore[arg-type]
        for name, module, run in known
    }


LIMIT_KB = (1_000_000 + 6_000 * CONCURRENCY) / 1000

WORKLOADS = [
    Workload(
        "no-op, batch 1",
        unit="µs per batch",
        count=20_000,
        ours=partial(ours, processor=same, batch_size=1),
        raw=partial(raw, processor=same, batch_size=1),
        peers=peers(1),
        budget=at_least(2, goal=5),
    ),
    Workload(
        "no-op, batch 100",
        unit="µs per batch",
        count=1_000_000,
        scale=1e8,
        ours=partial(ours, processor=same, batch_size=100),
        raw=partial(raw, processor=same, batch_size=100),
        peers=peers(100),
        budget=at_least(1.5, goal=4),
    ),
    Workload(
        "batches that sleep 1 ms, 100 at once",
        unit="µs per batch",
        count=10_000,
        ours=partial(ours, processor=nap, batch_size=1),
        raw=partial(raw, processor=nap, batch_size=1),
        peers=peers(1, 0.001),
        budget=at_least(1.2, goal=2),
    ),
    Workload(
        "no-op, batch 1, one at a time",
        unit="µs per batch",
        count=20_000,
        ours=partial(ours, processor=same, batch_size=1, concurrency=1),
        raw=partial(raw, processor=same, batch_size=1, concurrency=1),
    ),
    Workload(
        "first result of an endless input, 1,000 at once",
        unit="ms",
        count=20,
        scale=1e3,
        ours=first_result,
        budget=within(2),
    ),
    *(
        Workload(
            f"peak memory, {length:,} items",
            unit="kB",
            count=1,
            scale=1e-3,
            quick=False,
            ours=partial(peak_memory, length),
            budget=within(LIMIT_KB),
            note="1 MB + 6 kB x concurrency (100), the same for every length",
        )
        for length in (10_000, 100_000, 1_000_000)
    ),
    Workload(
        "cancel 1,000 in flight",
        unit="ms",
        count=1_000,
        scale=1e6,
        quick=False,
        ours=cancel_ours,
        raw=cancel_raw,
        budget=at_most(1.2),
    ),
    Workload(
        "cancel 1,000 in flight, 99,000 queued",
        unit="ms",
        count=1_000,
        scale=1e6,
        quick=False,
        ours=partial(cancel_ours, queued=99_000),
        raw=partial(cancel_raw, queued=99_000),
        budget=at_most(1.2),
    ),
]
