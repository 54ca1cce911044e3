"""Actors: start and stop, memory, tell, ask, restart.

*Raw* is in ``peers/trio_actors.py``: a task and a memory channel for each actor, as one writes it
on the public API. Ours and raw deliver the same: all messages handled in order, every answer
checked, no task left at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio
import trio.testing
from harness import Peer, Workload, at_most, now, within
from peers import asyncio_actors, pykka_actors, thespian_actors, trio_actors, xoscar_actors
from peers.trio_actors import BOUND, GROUP, tracing

from lexigram_actors.errors import MailboxFull
from lexigram_actors.kernel import (
    Actor,
    ActorContext,
    ActorRef,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Supervisor,
    open_system,
)


class Counter(Actor[int]):
    """Answers one more than it was told, and counts."""

    def __init__(self) -> None:
        self.total = 0

    async def receive(self, message: int) -> int:
        self.total += 1
        return message + 1


class Pausing(Actor[int]):
    """Answers one more than it was told, after a checkpoint: a handler that waits."""

    async def receive(self, message: int) -> int:
        await trio.lowlevel.checkpoint()
        return message + 1


class Total(Actor[int]):
    """Counts; answers how many messages there were before."""

    def __init__(self) -> None:
        self.total = 0

    async def receive(self, message: int) -> int:
        self.total += 1
        return self.total


class Crashing(Actor[int]):
    """Fails at every message but zero."""

    async def receive(self, message: int) -> int:
        if message:
            raise ValueError(message)
        return message


async def counting(context: ActorContext[int]) -> None:
    """`Total` as a function."""
    total = 0
    async for _ in context.messages():
        total += 1
        context.reply(total)


async def start_and_stop(count: int) -> float:
    """Start actors in groups of 100 and stop each, waiting for its end."""
    async with open_system() as system:
        start = now()
        for _ in range(count // GROUP):
            refs = [await system.spawn(Counter) for _ in range(GROUP)]
            for ref in refs:
                await ref.stop()
        return now() - start


async def start_and_leave(count: int) -> float:
    """Start all actors in a system, and leave it: that stops them."""
    start = now()
    async with open_system() as system:
        for _ in range(count):
            await system.spawn(Counter)
    return now() - start


async def start_tell_and_stop(count: int) -> float:
    """As `start_and_stop`, with a message for each."""
    async with open_system() as system:
        start = now()
        for _ in range(count // GROUP):
            refs = [await system.spawn(Counter) for _ in range(GROUP)]
            for ref in refs:
                await ref.tell(1)
                await ref.stop()
        return now() - start


async def start_child_and_terminate(count: int) -> float:
    """The same under a dynamic supervisor."""
    async with open_system() as system:
        supervisor = await system.spawn(DynamicSupervisor())
        start = now()
        for _ in range(count // GROUP):
            for number in range(GROUP):
                spec = ChildSpec(f"child-{number}", Counter, restart=Restart.TEMPORARY)
                await supervisor.start_child(spec)
            for number in range(GROUP):
                await supervisor.terminate_child(f"child-{number}")
        return now() - start


async def memory(count: int) -> float:
    """Bytes that ``count`` idle actors hold."""
    async with open_system() as system:
        with tracing() as held:
            refs = [await system.spawn(Counter) for _ in range(count)]
            await trio.testing.wait_all_tasks_blocked()
            grown = held()
        assert len(refs) == count
    return grown


async def tell(count: int, bound: int = BOUND) -> float:
    """One sender, one actor; ends when all is handled."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Total, mailbox=bound)
        start = now()
        for number in range(count):
            await ref.tell(number)
        handled = await ref.ask(0)
        elapsed = now() - start
    assert handled == count + 1
    return elapsed


async def tell_function(count: int) -> float:
    """The same with an actor that is a function."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(counting)
        start = now()
        for number in range(count):
            await ref.tell(number)
        handled = await ref.ask(0)
        elapsed = now() - start
    assert handled == count + 1
    return elapsed


async def tell_from_many(count: int) -> float:
    """100 senders, one actor."""

    async def send(ref: ActorRef[int]) -> None:
        for number in range(count // GROUP):
            await ref.tell(number)

    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Total)
        start = now()
        async with trio.open_nursery() as nursery:
            for _ in range(GROUP):
                nursery.start_soon(send, ref)
        handled = await ref.ask(0)
        elapsed = now() - start
    assert handled == count + 1
    return elapsed


async def tell_nowait(count: int) -> float:
    """Fill the mailbox without waiting; wait only when it is full."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Total)
        start = now()
        for number in range(count):
            try:
                ref.tell_nowait(number)
            except MailboxFull:
                await ref.tell(number)
        handled = await ref.ask(0)
        elapsed = now() - start
    assert handled == count + 1
    return elapsed


async def ask(count: int) -> float:
    """One question after the other."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Counter)
        start = now()
        for number in range(count):
            assert await ref.ask(number) == number + 1
        return now() - start


async def ask_pausing(count: int) -> float:
    """The same of an actor whose handler waits."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Pausing)
        start = now()
        for number in range(count):
            assert await ref.ask(number) == number + 1
        return now() - start


async def ask_with_timeout(count: int) -> float:
    """The same with a time-out on each question."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Counter)
        start = now()
        for number in range(count):
            assert await ref.ask(number, timeout=60) == number + 1
        return now() - start


async def ask_function(count: int) -> float:
    """The same of an actor that is a function."""
    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(counting)
        start = now()
        for number in range(count):
            assert await ref.ask(0) == number + 1
        return now() - start


async def ask_from_many(count: int) -> float:
    """Questions from 100 tasks at once."""

    async def call(ref: ActorRef[int]) -> None:
        for number in range(count // GROUP):
            assert await ref.ask(number) == number + 1

    async with open_system() as system:
        ref: ActorRef[int] = await system.spawn(Counter)
        start = now()
        async with trio.open_nursery() as nursery:
            for _ in range(GROUP):
                nursery.start_soon(call, ref)
        return now() - start


@contextmanager
def quiet() -> Iterator[None]:
    """No log records: formatting a traceback for each crash would be all that is measured."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def restart(count: int) -> float:
    """Crash a supervised child at every message and let it be restarted."""
    child = ChildSpec("child", Crashing, restart=Restart.PERMANENT)
    with quiet():
        async with open_system() as system:
            supervisor = await system.spawn(Supervisor([child], max_restarts=1_000, period=0.001))
            [info] = await supervisor.which_children()
            ref = info.ref
            assert ref is not None
            start = now()
            for number in range(1, count + 1):
                await ref.tell(number)
            assert await ref.ask(0) == 0
            return now() - start


def peers(name: str, *libraries: str, count: int) -> dict[str, Peer]:
    """The function called ``name`` of each library's file; slow libraries get a smaller count."""
    modules = {
        "asyncio": asyncio_actors,
        "pykka": pykka_actors,
        "thespian": thespian_actors,
        "xoscar": xoscar_actors,
    }
    return {each: Peer(each, getattr(modules[each], name), count) for each in libraries}


ALL = ("asyncio", "pykka", "thespian", "xoscar")
START = peers("start_and_stop", *ALL, count=1_000)
TELL = peers("tell", *ALL, count=5_000)
ASK = peers("ask", *ALL, count=2_000)

WORKLOADS = [
    Workload(
        "start + stop, each in turn",
        unit="µs per actor",
        count=5_000,
        ours=start_and_stop,
        raw=trio_actors.start_and_stop,
        peers=START,
        budget=at_most(1.0, goal=0.45),
    ),
    Workload(
        "start + stop, all at once",
        unit="µs per actor",
        count=5_000,
        ours=start_and_leave,
        raw=partial(trio_actors.start_and_stop, group=500),
        budget=at_most(1.0, goal=0.45),
    ),
    Workload(
        "start + one message + stop",
        unit="µs per actor",
        count=5_000,
        ours=start_tell_and_stop,
        raw=trio_actors.start_tell_and_stop,
    ),
    Workload(
        "start + stop under a dynamic supervisor",
        unit="µs per actor",
        count=5_000,
        ours=start_child_and_terminate,
        raw=trio_actors.start_and_stop,
    ),
    Workload(
        "memory of an idle actor",
        unit="kB",
        count=10_000,
        ours=memory,
        raw=trio_actors.memory,
        budget=within(4.5, goal=2.0),
        scale=1e-3,
    ),
    Workload(
        "tell, mailbox of 64",
        unit="µs per message",
        count=20_000,
        ours=tell,
        raw=trio_actors.tell,
        peers=TELL,
        budget=at_most(0.25, goal=0.125),
    ),
    Workload(
        "tell, mailbox of 1,000",
        unit="µs per message",
        count=20_000,
        ours=partial(tell, bound=1_000),
        raw=partial(trio_actors.tell, bound=1_000),
        budget=at_most(0.25, goal=0.125),
    ),
    Workload(
        "tell, an actor that is a function",
        unit="µs per message",
        count=20_000,
        ours=tell_function,
        raw=trio_actors.tell,
        budget=at_most(0.25, goal=0.125),
    ),
    Workload(
        "tell, 100 senders",
        unit="µs per message",
        count=20_000,
        ours=tell_from_many,
        raw=trio_actors.tell_from_many,
    ),
    Workload(
        "tell_nowait",
        unit="µs per message",
        count=20_000,
        ours=tell_nowait,
        raw=trio_actors.tell_nowait,
    ),
    Workload(
        "ask, one caller",
        unit="µs per question",
        count=10_000,
        ours=ask,
        raw=trio_actors.ask,
        peers={"Trio with an Event": Peer("trio", trio_actors.ask_with_event), **ASK},
        budget=at_most(0.6, goal=0.45),
    ),
    Workload(
        "ask, one caller, a handler that waits",
        unit="µs per question",
        count=10_000,
        ours=ask_pausing,
        raw=trio_actors.ask_pausing,
    ),
    Workload(
        "ask, one caller, with a time-out",
        unit="µs per question",
        count=10_000,
        ours=ask_with_timeout,
        raw=trio_actors.ask_with_timeout,
    ),
    Workload(
        "ask, an actor that is a function",
        unit="µs per question",
        count=10_000,
        ours=ask_function,
        raw=trio_actors.ask,
        budget=at_most(0.6, goal=0.45),
    ),
    Workload(
        "ask, 100 callers",
        unit="µs per question",
        count=10_000,
        ours=ask_from_many,
        raw=trio_actors.ask_from_many,
        peers=peers("ask_from_many", "asyncio", "pykka", "xoscar", count=2_000),
        budget=at_most(0.4, goal=0.17),
    ),
    Workload(
        "restart of a crashed child",
        unit="µs per crash",
        count=2_000,
        ours=restart,
        raw=trio_actors.restart,
    ),
]
