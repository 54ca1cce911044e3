"""A processor over batches of items, in other libraries: everything done, every item counted.

Each function runs ``count`` items in batches of ``batch_size``, ``concurrency`` at once, with a
processor that returns its batch, after ``delay`` seconds if there is a delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from harness import now


def _batches(count: int, size: int) -> Iterator[Sequence[int]]:
    items = range(count)
    return (items[begin : begin + size] for begin in range(0, count, size))


def asyncio_gather(count: int, batch_size: int, concurrency: int = 100, delay: float = 0) -> float:
    """A task for each batch behind a semaphore, gathered: the obvious asyncio code."""

    async def run() -> float:
        semaphore = asyncio.Semaphore(concurrency)

        async def process(batch: Sequence[int]) -> Sequence[int]:
            async with semaphore:
                if delay:
                    await asyncio.sleep(delay)
                return batch

        start = now()
        results = await asyncio.gather(*(process(each) for each in _batches(count, batch_size)))
        assert sum(map(len, results)) == count
        return now() - start

    return asyncio.run(run())


async def aiometer_amap(
    count: int, batch_size: int, concurrency: int = 100, delay: float = 0
) -> float:
    """``aiometer.amap`` on Trio, results as they come."""
    import aiometer
    import trio

    async def process(batch: Sequence[int]) -> Sequence[int]:
        if delay:
            await trio.sleep(delay)
        return batch

    done = 0
    start = now()
    batches = list(_batches(count, batch_size))
    async with aiometer.amap(process, batches, max_at_once=concurrency) as results:
        async for batch in results:
            done += len(batch)
    assert done == count
    return now() - start


def reference(count: int, batch_size: int, concurrency: int = 100, delay: float = 0) -> float:
    """``lexigram.workflow``'s bulk operation on asyncio; needs a list of all items."""
    from lexigram.workflow import (  # type: ignore[import-not-found, unused-ignore]
        BulkOperation,
        BulkOperationConfig,
    )

    async def process(batch: list[int]) -> list[int]:
        if delay:
            await asyncio.sleep(delay)
        return batch

    async def run() -> float:
        config = BulkOperationConfig(batch_size=batch_size, max_concurrency=concurrency)
        operation = BulkOperation(config, process)
        done = 0
        start = now()
        async for result in operation.execute(list(range(count))):
            done += len(result.results)
        assert done == count
        return now() - start

    return asyncio.run(run())
