"""Raw Trio: what a careful Trio user writes on the public API when asked for "an actor".

This is what *raw* means in the kernel's rows. The code is the obvious one, not the fastest one:
a task and a memory channel for each actor, ``await send`` and ``async for`` on the two ends, a
reply channel in each question. Trio checkpoints on every send and every receive; that costs about
4 µs an end, and is what the obvious code pays for fairness on every single message.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
import trio.testing
from attrs import define, field
from harness import now

GROUP = 100
BOUND = 64

Question = tuple[int, trio.MemorySendChannel[int]]


@define
class _Keeper:
    """Starts actors that can be cancelled alone, and records how each ended.

    What makes it "supervised": a scope for each actor, a failure that does not take the siblings
    with it, and an outcome that can be looked up. Without these three a spawn is 6-11 µs.
    """

    nursery: trio.Nursery
    outcomes: dict[int, str | Exception] = field(factory=dict)

    def start(self, number: int) -> tuple[trio.MemorySendChannel[int], trio.CancelScope]:
        send, receive = trio.open_memory_channel[int](BOUND)
        scope = trio.CancelScope()
        self.nursery.start_soon(self._run, number, scope, receive)
        return send, scope

    async def _run(
        self, number: int, scope: trio.CancelScope, receive: trio.MemoryReceiveChannel[int]
    ) -> None:
        try:
            with scope, receive:
                async for _ in receive:
                    pass
            self.outcomes[number] = "stopped"
        except Exception as error:
            self.outcomes[number] = error


async def start_and_stop(count: int, group: int = GROUP) -> float:
    """Start actors in groups and stop them all by closing their channels.

    This is raw at its best: nobody waits for the start or the end of a single actor, so that no
    actor ever parks on its empty channel. Waiting for each costs another 5 µs and more.
    """
    start = now()
    for _ in range(count // group):
        async with trio.open_nursery() as nursery:
            keeper = _Keeper(nursery)
            channels = [keeper.start(number)[0] for number in range(group)]
            for send in channels:
                send.close()
        assert len(keeper.outcomes) == group
    return now() - start


async def start_tell_and_stop(count: int) -> float:
    """The same, with one message for each."""
    start = now()
    for _ in range(count // GROUP):
        async with trio.open_nursery() as nursery:
            keeper = _Keeper(nursery)
            channels = [keeper.start(number)[0] for number in range(GROUP)]
            for send in channels:
                await send.send(1)
                send.close()
        assert len(keeper.outcomes) == GROUP
    return now() - start


async def memory(count: int) -> float:
    """Bytes that ``count`` idle actors hold, by tracemalloc."""
    async with trio.open_nursery() as nursery:
        keeper = _Keeper(nursery)

        with tracing() as held:
            handles = [keeper.start(number) for number in range(count)]
            await trio.testing.wait_all_tasks_blocked()
            grown = held()
        assert len(handles) == count
        nursery.cancel_scope.cancel()
    return grown


@contextmanager
def tracing() -> Iterator[Callable[[], float]]:
    """Trace allocations; the function given says how many bytes are held more than at the start.

    The handles that a user keeps to reach the actors count too, garbage does not.
    """
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()

        def held() -> float:
            gc.collect()
            return float(tracemalloc.get_traced_memory()[0] - before)

        yield held
    finally:
        tracemalloc.stop()


async def _count_all(receive: trio.MemoryReceiveChannel[int], expected: int) -> None:
    total = 0
    async for _ in receive:
        total += 1
    assert total == expected


async def tell(count: int, bound: int = BOUND) -> float:
    """One sender, one receiver, a bounded channel; ends when all is handled."""
    send, receive = trio.open_memory_channel[int](bound)
    start = now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_count_all, receive, count)
        async with send:
            for number in range(count):
                await send.send(number)
    return now() - start


async def tell_from_many(count: int) -> float:
    """100 senders, one receiver."""

    async def send_some(send: trio.MemorySendChannel[int]) -> None:
        async with send:
            for number in range(count // GROUP):
                await send.send(number)

    send, receive = trio.open_memory_channel[int](BOUND)
    start = now()
    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(_count_all, receive, count)
        for _ in range(GROUP):
            nursery.start_soon(send_some, send.clone())
    return now() - start


async def tell_nowait(count: int, bound: int = BOUND) -> float:
    """Send without waiting until the channel is full, then let the receiver run."""
    send, receive = trio.open_memory_channel[int](bound)
    start = now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_count_all, receive, count)
        async with send:
            for number in range(count):
                try:
                    send.send_nowait(number)
                except trio.WouldBlock:
                    await send.send(number)
    return now() - start


async def _answer(receive: trio.MemoryReceiveChannel[Question]) -> None:
    async for number, reply in receive:
        await reply.send(number + 1)


async def _call(send: trio.MemorySendChannel[Question], count: int) -> None:
    for number in range(count):
        reply, answer = trio.open_memory_channel[int](1)
        await send.send((number, reply))
        assert await answer.receive() == number + 1


async def _ask(count: int, callers: int) -> float:
    send, receive = trio.open_memory_channel[Question](BOUND)
    async with trio.open_nursery() as server:
        server.start_soon(_answer, receive)
        async with send:
            start = now()
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(_call, send, count // callers)
            elapsed = now() - start
    return elapsed


async def ask(count: int) -> float:
    """Send a reply channel along with the question, one question after the other."""
    return await _ask(count, 1)


async def ask_pausing(count: int) -> float:
    """One question after the other, of a task that makes a checkpoint before it answers."""

    async def answer() -> None:
        async for number, reply in receive:
            await trio.lowlevel.checkpoint()
            await reply.send(number + 1)

    send, receive = trio.open_memory_channel[Question](BOUND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with send:
            start = now()
            await _call(send, count)
            elapsed = now() - start
    return elapsed


async def ask_with_timeout(count: int) -> float:
    """One question after the other, each within `trio.fail_after`."""
    send, receive = trio.open_memory_channel[Question](BOUND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_answer, receive)
        async with send:
            start = now()
            for number in range(count):
                reply, answer = trio.open_memory_channel[int](1)
                with trio.fail_after(60):
                    await send.send((number, reply))
                    assert await answer.receive() == number + 1
            elapsed = now() - start
    return elapsed


async def ask_from_many(count: int) -> float:
    """The same from 100 tasks at once."""
    return await _ask(count, GROUP)


async def ask_with_event(count: int) -> float:
    """The thriftier way to be answered: an `trio.Event` and a slot. For comparison, not *raw*."""
    send, receive = trio.open_memory_channel[tuple[int, trio.Event, list[int]]](BOUND)

    async def answer() -> None:
        async for number, done, slot in receive:
            slot.append(number + 1)
            done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        start = now()
        async with send:
            for number in range(count):
                done, slot = trio.Event(), list[int]()
                await send.send((number, done, slot))
                await done.wait()
                assert slot == [number + 1]
            elapsed = now() - start
    return elapsed


async def restart(count: int) -> float:
    """A task whose every message makes its body raise; the loop around it begins it again."""
    send, receive = trio.open_memory_channel[int](BOUND)
    crashes: list[tuple[float, Exception]] = []

    async def body() -> None:
        async for number in receive:
            raise ValueError(number)

    async def supervised() -> None:
        while len(crashes) < count:
            with trio.CancelScope():
                try:
                    await body()
                except Exception as error:
                    crashes.append((trio.current_time(), error))

    start = now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervised)
        for number in range(count):
            await send.send(number)
    return now() - start
