"""Those who wait for room in a mailbox, and those who give up."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Mailbox,
    MailboxFull,
    Overflow,
    Restart,
    open_system,
)
from tests.kernel.behaviours import Echo, adds_up, deaf, outcome_of, reader


class Gated(Actor[Any]):
    """Handles nothing before its gate opens, and notes what it handles."""

    def __init__(self, gate: trio.Event, handled: list[Any]) -> None:
        self.gate = gate
        self.handled = handled

    async def receive(self, message: Any) -> Any:
        await self.gate.wait()
        self.handled.append(message)
        return message


@asynccontextmanager
async def stuck(
    mailbox: float | Mailbox, **options: Any
) -> AsyncIterator[tuple[ActorSystem, ActorRef[Any], trio.Event, list[Any]]]:
    """A system with an actor that has "first" in hand, and the gate it waits for."""
    gate, handled = trio.Event(), list[Any]()
    async with open_system() as system:
        ref = await system.spawn(Gated, gate, handled, mailbox=mailbox, **options)
        await ref.tell("first")
        await wait_all_tasks_blocked()
        yield system, ref, gate, handled
        gate.set()


async def test_a_sender_that_gave_up_has_sent_nothing(autojump_clock: MockClock) -> None:
    async with stuck(1) as (_, ref, gate, handled):
        await ref.tell("queued")
        with trio.move_on_after(1) as scope:
            await ref.tell("given up")
        assert scope.cancelled_caught
        with pytest.raises(AskTimeout):
            await ref.ask("asked and given up", timeout=1)
        gate.set()
        assert await ref.ask("last") == "last"
        assert handled == ["first", "queued", "last"]
        assert ref.statistics().accepted == 3


async def test_a_sender_that_has_been_let_in_is_not_cancelled_any_more() -> None:
    async with stuck(1) as (_, ref, gate, handled), trio.open_nursery() as nursery:
        await ref.tell("queued")
        returned: list[str] = []

        async def send() -> None:
            await ref.tell("waiting")
            returned.append("waiting")

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        gate.set()
        while ref.statistics().accepted < 3:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert returned == ["waiting"] or "waiting" in handled
    assert handled == ["first", "queued", "waiting"]


async def test_those_who_gave_up_are_forgotten() -> None:
    class Heavy:
        pass

    async with stuck(1) as (_, ref, _gate, _handled):
        await ref.tell("queued")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref.tell, "patient")
            await wait_all_tasks_blocked()
            seen = weakref.WeakSet[Heavy]()
            for _ in range(1_000):
                for send in (ref.tell, ref.ask):
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        heavy = Heavy()
                        seen.add(heavy)
                        await send(heavy)
            del heavy
            gc.collect()
            assert len(seen) < 200
            nursery.cancel_scope.cancel()


async def test_those_who_wait_are_let_in_in_the_order_they_came() -> None:
    async with stuck(2) as (_, ref, gate, handled), trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon((ref.ask, ref.tell)[number % 2], number)
            await wait_all_tasks_blocked()
        gate.set()
    assert handled == ["first", *range(10)]


async def test_a_stop_tells_those_who_wait_for_room_at_once() -> None:
    async with stuck(1) as (_, ref, gate, handled), trio.open_nursery() as nursery:
        await ref.tell("queued")
        ends: list[Any] = []

        async def wait(send: Any) -> None:
            ends.append(await outcome_of(send, "waiting"))

        nursery.start_soon(wait, ref.tell)
        nursery.start_soon(wait, ref.ask)
        await wait_all_tasks_blocked()
        nursery.start_soon(ref.stop)
        await wait_all_tasks_blocked()
        assert [type(end) for end in ends] == [ActorStopped, ActorStopped]
        gate.set()
        await ref.monitor()
        assert handled == ["first", "queued"]
    assert adds_up(ref.statistics())


async def test_who_waits_for_room_goes_on_waiting_over_a_restart() -> None:
    async def crash(actor: Actor[Any]) -> None:
        raise ValueError

    async with open_system(max_restarts=5) as system, trio.open_nursery() as nursery:
        gate = trio.Event()

        async def hold(_: Actor[Any]) -> None:
            await gate.wait()
            raise ValueError

        ref = await system.spawn(Echo, mailbox=1, restart=Restart.PERMANENT)
        await ref.tell(hold)
        await wait_all_tasks_blocked()
        await ref.tell(crash)
        answers: list[Any] = []

        async def ask(message: str) -> None:
            answers.append(await ref.ask(message))

        for message in ("a", "b"):
            nursery.start_soon(ask, message)
            await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert sorted(answers) == ["a", "b"]


@pytest.mark.parametrize("behaviour", [Echo, reader])
async def test_a_rendezvous_waits_until_the_actor_takes_the_message(behaviour: Any) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(behaviour, mailbox=0)
        assert [await ref.ask(number) for number in range(3)] == [0, 1, 2]
        if behaviour is Echo:
            gate = trio.Event()

            async def hold(_: Actor[Any]) -> None:
                await gate.wait()

            await ref.tell(hold)
            await wait_all_tasks_blocked()
            with pytest.raises(MailboxFull):
                ref.tell_nowait("no one is there")
            sent: list[int] = []

            async def send(number: int) -> None:
                await ref.tell(number)
                sent.append(number)

            for number in range(3):
                nursery.start_soon(send, number)
                await wait_all_tasks_blocked()
            assert sent == []
            gate.set()
            await wait_all_tasks_blocked()
            assert sorted(sent) == [0, 1, 2]
        assert adds_up(ref.statistics())
        assert ref.statistics().queued == 0


async def test_a_rendezvous_that_was_given_up_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(deaf, mailbox=0)
        for send in (ref.tell, ref.ask):
            with trio.move_on_after(1) as scope:
                await send("x")
            assert scope.cancelled_caught
        assert ref.statistics().accepted == 0
        await ref.stop(grace=0)
        assert ref.statistics().dead_lettered == 0


@pytest.mark.parametrize("overflow", [Overflow.REJECT, Overflow.DROP_NEWEST])
async def test_a_rendezvous_that_does_not_wait_takes_only_when_somebody_is_there(
    overflow: Overflow,
) -> None:
    async with stuck(Mailbox(0, overflow)) as (_, ref, gate, handled):
        end = await outcome_of(ref.ask, "busy")
        assert isinstance(end, MailboxFull)
        gate.set()
        await wait_all_tasks_blocked()
        assert await ref.ask("free") == "free"
        assert handled == ["first", "free"]
        assert adds_up(ref.statistics())


# --- coalescing


def letter(message: str) -> str:
    return message[0]


async def test_who_waits_with_a_key_that_is_queued_by_now_waits_no_more() -> None:
    async with stuck(Mailbox(1, Overflow.COALESCE, letter)) as (_, ref, gate, handled):
        await ref.tell("a1")
        async with trio.open_nursery() as nursery:
            for message in ("b1", "b2", "b3"):
                nursery.start_soon(ref.tell, message)
                await wait_all_tasks_blocked()
            gate.set()
        await ref.ask("z")
        assert handled == ["first", "a1", "b3", "z"]
        assert adds_up(ref.statistics())


async def test_a_newer_message_is_never_replaced_by_an_older_one(
    autojump_clock: MockClock,
) -> None:
    handled: list[str] = []

    class Slow(Actor[str]):
        async def receive(self, message: str) -> None:
            await trio.sleep(1)
            handled.append(message)

    async with open_system(grace=100) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Slow, mailbox=Mailbox(2, Overflow.COALESCE, letter))
        for message in ("x1", "a1", "b1"):
            await ref.tell(message)
            await wait_all_tasks_blocked()
        for message in ("c1", "c2"):
            nursery.start_soon(ref.tell, message)
            await wait_all_tasks_blocked()
        await trio.sleep(1.5)  # there was room for one
        await ref.tell("c3")
        await trio.sleep(10)
        assert handled == ["x1", "a1", "b1", "c3"]


async def test_an_ask_that_is_superseded_is_told_so_also_in_an_unbounded_mailbox() -> None:
    mailbox = Mailbox(inf, Overflow.COALESCE, letter)
    async with stuck(mailbox) as (_, ref, gate, handled), trio.open_nursery() as nursery:
        ends: list[Any] = []

        async def ask() -> None:
            ends.append(await outcome_of(ref.ask, "a1"))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await ref.tell("a2")
        await wait_all_tasks_blocked()
        assert [type(end) for end in ends] == [MailboxFull]
        assert "a1" not in str(ends[0])
        gate.set()
        await ref.ask("z")
        assert handled == ["first", "a2", "z"]
        assert adds_up(ref.statistics())


async def test_a_key_that_raises_is_the_senders_failure_alone() -> None:
    def key(message: Any) -> Any:
        return message["key"]

    async with open_system() as system:
        ref = await system.spawn(Echo, mailbox=Mailbox(4, Overflow.COALESCE, key))
        for send in (ref.tell, ref.ask):
            with pytest.raises(KeyError):
                await send({})
        with pytest.raises(KeyError):
            ref.tell_nowait({})
        with pytest.raises(TypeError):
            await ref.tell({"key": []})
        assert await ref.ask({"key": 1}) == {"key": 1}
        assert adds_up(ref.statistics())
        assert ref.statistics().accepted == 1


# --- two readers


async def test_two_tasks_cannot_read_one_mailbox_at_once() -> None:
    refused: list[bool] = []

    async def two(context: ActorContext[Any]) -> None:
        async def read() -> None:
            try:
                async for message in context.messages():
                    context.reply(message)
            except trio.BusyResourceError:
                refused.append(True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)

    async with open_system() as system:
        ref = await system.spawn(two)
        await wait_all_tasks_blocked()
        assert refused == [True]
        assert await ref.ask("to the other") == "to the other"


async def test_a_reader_that_gave_up_makes_place_for_another(autojump_clock: MockClock) -> None:
    async def impatient(context: ActorContext[Any]) -> None:
        with trio.move_on_after(1):
            async for _ in context.messages():
                pass
        async for message in context.messages():
            context.reply(message)

    async with open_system() as system:
        ref = await system.spawn(impatient)
        await trio.sleep(2)
        assert await ref.ask("late") == "late"


# --- fairness


@pytest.mark.parametrize("how", ["tell", "ask"])
@pytest.mark.parametrize("overflow", [Overflow.REJECT, Overflow.DROP_NEWEST])
async def test_retrying_a_full_mailbox_in_a_loop_lets_the_actor_run(
    overflow: Overflow, how: str
) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with stuck(Mailbox(1, overflow)) as (_, ref, _gate, _handled):
        await ref.tell("queued")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2_000):
                await outcome_of(getattr(ref, how), "again")
            nursery.cancel_scope.cancel()
    assert turns >= 10


@pytest.mark.parametrize("how", ["tell", "ask", "stop", "monitor"])
async def test_talking_to_a_stopped_actor_in_a_loop_lets_others_run(how: str) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.stop()
        arguments = ["x"] if how in ("tell", "ask") else []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2_000):
                await outcome_of(getattr(ref, how), *arguments)
            nursery.cancel_scope.cancel()
    assert turns >= 10
