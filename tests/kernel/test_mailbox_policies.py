"""What a mailbox does with one message more than it has room for, and that it counts them all."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorStopped,
    ConfigurationError,
    DeadLetter,
    Mailbox,
    MailboxFull,
    Overflow,
    open_system,
)


class Gate(Actor[Any]):
    """Handles messages only while its event is set; keeps what it handled."""

    def __init__(self, event: trio.Event, handled: list[Any]) -> None:
        self.event = event
        self.handled = handled

    async def receive(self, message: Any) -> Any:
        await self.event.wait()
        self.handled.append(message)
        return message


def adds_up(ref: ActorRef[Any]) -> bool:
    s = ref.statistics()
    return s.accepted == s.handled + s.queued + s.dropped + s.dead_lettered


async def test_a_full_mailbox_makes_tell_wait_and_keeps_the_order() -> None:
    event, handled = trio.Event(), list[int]()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=2)

        async def send() -> None:
            for number in range(6):
                await ref.tell(number)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert ref.statistics().queued == 2
        assert ref.statistics().accepted == 3  # one is in hand
        with pytest.raises(MailboxFull):
            ref.tell_nowait(99)
        assert ref.statistics().rejected == 1
        event.set()
        await wait_all_tasks_blocked()
        assert handled == list(range(6))
        assert adds_up(ref)


async def test_a_sender_that_gave_up_waiting_was_never_accepted() -> None:
    event, handled = trio.Event(), list[str]()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=1)
        await ref.tell("in hand")
        await wait_all_tasks_blocked()
        await ref.tell("queued")
        nursery.start_soon(ref.tell, "patient")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as inner:
            gone = trio.CancelScope()

            async def gives_up() -> None:
                with gone:
                    await ref.tell("impatient")

            inner.start_soon(gives_up)
            await wait_all_tasks_blocked()
            gone.cancel()
        event.set()
        await wait_all_tasks_blocked()
        assert handled == ["in hand", "queued", "patient"]
        assert adds_up(ref)


async def test_reject_raises_and_nothing_waits() -> None:
    event, handled = trio.Event(), list[int]()
    async with open_system() as system:
        ref = await system.spawn(Gate, event, handled, mailbox=Mailbox(1, Overflow.REJECT))
        await ref.tell(0)
        await wait_all_tasks_blocked()
        await ref.tell(1)
        with pytest.raises(MailboxFull):
            await ref.tell(2)
        with pytest.raises(MailboxFull):
            await ref.ask(3)
        assert ref.statistics().rejected == 2
        event.set()
        await wait_all_tasks_blocked()
        assert await ref.ask(4) == 4
        assert handled == [0, 1, 4]
        assert adds_up(ref)


async def test_drop_oldest_makes_room_and_tells_who_asked() -> None:
    event, handled = trio.Event(), list[Any]()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=Mailbox(1, Overflow.DROP_OLDEST))
        await ref.tell("in hand")
        await wait_all_tasks_blocked()
        refused: list[type[BaseException]] = []

        async def ask() -> None:
            try:
                await ref.ask("asked")
            except MailboxFull as exc:
                refused.append(type(exc))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await ref.tell("newer")
        await wait_all_tasks_blocked()
        assert refused == [MailboxFull]
        event.set()
        await wait_all_tasks_blocked()
        assert handled == ["in hand", "newer"]
        assert ref.statistics().dropped == 1
        assert adds_up(ref)


async def test_drop_newest_keeps_what_is_queued() -> None:
    event, handled = trio.Event(), list[Any]()
    async with open_system() as system:
        ref = await system.spawn(Gate, event, handled, mailbox=Mailbox(1, Overflow.DROP_NEWEST))
        await ref.tell("in hand")
        await wait_all_tasks_blocked()
        await ref.tell("kept")
        await ref.tell("dropped")
        with pytest.raises(MailboxFull):
            await ref.ask("dropped too")
        event.set()
        await wait_all_tasks_blocked()
        assert handled == ["in hand", "kept"]
        assert ref.statistics().dropped == 2
        assert adds_up(ref)


async def test_coalesce_puts_the_newer_message_in_the_place_of_the_older() -> None:
    event, handled = trio.Event(), list[Any]()
    mailbox = Mailbox(2, Overflow.COALESCE, key=lambda message: message[0])
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=mailbox)
        await ref.tell(("x", 0))
        await wait_all_tasks_blocked()
        await ref.tell(("a", 1))
        await ref.tell(("b", 1))
        await ref.tell(("a", 2))  # full, but the key is there
        nursery.start_soon(ref.tell, ("c", 1))  # full, and a new key: waits
        await wait_all_tasks_blocked()
        assert ref.statistics().queued == 2
        event.set()
        await wait_all_tasks_blocked()
        assert handled == [("x", 0), ("a", 2), ("b", 1), ("c", 1)]
        assert ref.statistics().dropped == 1
        assert adds_up(ref)


async def test_a_rendezvous_hands_over_only_to_an_actor_that_is_there() -> None:
    event, handled = trio.Event(), list[Any]()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=0)
        await ref.tell(1)  # idle: taken at once
        await wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            ref.tell_nowait(2)
        nursery.start_soon(ref.tell, 3)
        await wait_all_tasks_blocked()
        assert ref.statistics().queued == 0
        assert ref.statistics().accepted == 1
        nursery.start_soon(ref.ask, 4)
        await wait_all_tasks_blocked()
        event.set()
        await wait_all_tasks_blocked()
        assert handled == [1, 3, 4]
        assert adds_up(ref)


async def test_none_is_a_message_like_any_other_also_for_a_sender_that_waits() -> None:
    event, handled = trio.Event(), list[Any]()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, event, handled, mailbox=1)
        for _ in range(4):
            nursery.start_soon(ref.tell, None)
        await wait_all_tasks_blocked()
        event.set()
        await wait_all_tasks_blocked()
        assert handled == [None] * 4


async def test_a_message_to_a_stopped_actor_is_a_dead_letter() -> None:
    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(Gate, trio.Event(), [], name="gone")
        await ref.stop("enough")
        for send in (ref.tell, ref.ask):
            with pytest.raises(ActorStopped, match="enough"):
                await send("late")
            assert await anext(letters) == DeadLetter("late", "gone", "enough")
        with pytest.raises(ActorStopped):
            ref.tell_nowait("late")


async def test_what_is_queued_at_the_end_becomes_dead_letters() -> None:
    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(Gate, trio.Event(), [], name="busy", mailbox=8)
        for number in range(4):
            await ref.tell(number)
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
        assert [(await anext(letters)).message for _ in range(3)] == [1, 2, 3]
        assert ref.statistics().dead_lettered == 3
        assert adds_up(ref)


async def test_one_task_at_a_time_reads_a_mailbox() -> None:
    outcome: list[str] = []

    async def two_readers(context: ActorContext[int]) -> None:
        async def read() -> None:
            async for _ in context.messages():
                pass

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)
        except* trio.BusyResourceError:
            outcome.append("busy")

    async with open_system() as system:
        await (await system.spawn(two_readers)).monitor()
    assert outcome == ["busy"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mailbox(-1),
        lambda: Mailbox(True),
        lambda: Mailbox(1.5),
        lambda: Mailbox(float("nan")),
        lambda: Mailbox(overflow="block"),
        lambda: Mailbox(overflow=Overflow.COALESCE),
        lambda: Mailbox(key=len),
        lambda: Mailbox(0, Overflow.DROP_OLDEST),
        lambda: Mailbox(0, Overflow.COALESCE, key=len),
    ],
)
def test_a_mailbox_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


async def test_a_sender_that_never_waits_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_system(grace=0) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Gate, trio.Event(), [], mailbox=Mailbox(8, Overflow.DROP_NEWEST))
        nursery.start_soon(other)
        for number in range(10_000):
            await ref.tell(number)
        nursery.cancel_scope.cancel()
    assert turns >= 50


async def test_an_actor_with_a_full_mailbox_lets_others_run() -> None:
    event, turns = trio.Event(), 0
    event.set()

    class Quick(Actor[int]):
        async def receive(self, message: int) -> None:
            if turns == 0 and message > 5_000:
                raise AssertionError("nobody else got a turn")

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Quick, mailbox=float("inf"))
        for number in range(10_000):
            ref.tell_nowait(number)
        nursery.start_soon(other)
        await ref.ask(0)
        nursery.cancel_scope.cancel()
    assert turns >= 50
