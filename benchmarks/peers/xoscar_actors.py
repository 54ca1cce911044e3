"""Xoscar: actors in a pool of this process, on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from harness import now

GROUP = 100


def _counter() -> Any:
    import xoscar  # type: ignore[import-not-found, unused-ignore]

    class Counter(xoscar.Actor):  # type: ignore[misc, unused-ignore]
        async def add(self, number: int) -> int:
            return number + 1

    return Counter


def _in_pool(body: Callable[[str], Awaitable[float]]) -> float:
    """Run the body with the address of a pool that has no other process."""
    import xoscar  # type: ignore[import-not-found, unused-ignore]

    async def run() -> float:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            return await body(pool.external_address)

    return asyncio.run(run())


def start_and_stop(count: int) -> float:
    """Create actors in groups of 100 and destroy each."""
    import xoscar  # type: ignore[import-not-found, unused-ignore]

    counter = _counter()

    async def body(address: str) -> float:
        start = now()
        for _ in range(count // GROUP):
            refs = [await xoscar.create_actor(counter, address=address) for _ in range(GROUP)]
            for ref in refs:
                await xoscar.destroy_actor(ref)
        return now() - start

    return _in_pool(body)


def tell(count: int) -> float:
    """Tell one actor."""
    import xoscar  # type: ignore[import-not-found, unused-ignore]

    counter = _counter()

    async def body(address: str) -> float:
        ref = await xoscar.create_actor(counter, address=address)
        start = now()
        for number in range(count):
            await ref.add.tell(number)
        await ref.add(0)
        return now() - start

    return _in_pool(body)


def _asking(count: int, callers: int) -> float:
    import xoscar  # type: ignore[import-not-found, unused-ignore]

    counter = _counter()

    async def body(address: str) -> float:
        ref = await xoscar.create_actor(counter, address=address)

        async def call() -> None:
            for number in range(count // callers):
                assert await ref.add(number) == number + 1

        start = now()
        await asyncio.gather(*(call() for _ in range(callers)))
        return now() - start

    return _in_pool(body)


def ask(count: int) -> float:
    """Ask one actor, one question after the other."""
    return _asking(count, 1)


def ask_from_many(count: int) -> float:
    """The same from 100 tasks at once."""
    return _asking(count, GROUP)
