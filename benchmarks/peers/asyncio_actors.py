"""Bare asyncio: a task with a queue, nothing supervised. The floor of the other event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from harness import now

GROUP = 100


def start_and_stop(count: int) -> float:
    """Start tasks in groups of 100, each on a queue of its own; cancel and gather them."""

    async def idle(queue: asyncio.Queue[Any]) -> None:
        while True:
            await queue.get()

    async def run() -> float:
        start = now()
        for _ in range(count // GROUP):
            tasks = [asyncio.create_task(idle(asyncio.Queue(64))) for _ in range(GROUP)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return now() - start

    return asyncio.run(run())


def tell(count: int) -> float:
    """Put into one bounded queue that a task empties."""

    async def consume(queue: asyncio.Queue[int]) -> None:
        for _ in range(count):
            await queue.get()

    async def run() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue(64)
        consumer = asyncio.create_task(consume(queue))
        start = now()
        for number in range(count):
            await queue.put(number)
        await consumer
        return now() - start

    return asyncio.run(run())


async def _serve(queue: asyncio.Queue[tuple[int, asyncio.Future[int]]]) -> None:
    while True:
        number, future = await queue.get()
        future.set_result(number + 1)


async def _call(queue: asyncio.Queue[tuple[int, asyncio.Future[int]]], count: int) -> None:
    loop = asyncio.get_running_loop()
    for number in range(count):
        future: asyncio.Future[int] = loop.create_future()
        await queue.put((number, future))
        assert await future == number + 1


async def _ask(count: int, callers: int) -> float:
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue(64)
    server = asyncio.create_task(_serve(queue))
    start = now()
    await asyncio.gather(*(_call(queue, count // callers) for _ in range(callers)))
    elapsed = now() - start
    server.cancel()
    await asyncio.wait([server])
    return elapsed


def ask(count: int) -> float:
    """Send a future along with the question, one question after the other."""
    return asyncio.run(_ask(count, 1))


def ask_from_many(count: int) -> float:
    """The same from 100 tasks at once."""
    return asyncio.run(_ask(count, GROUP))
