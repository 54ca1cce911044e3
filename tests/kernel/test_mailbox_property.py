"""Random users of random mailboxes: every message is accounted for at every instant."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from math import inf
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorError,
    ActorRef,
    Backoff,
    DeadLetter,
    Mailbox,
    Overflow,
    Restart,
    open_system,
)
from tests.kernel.behaviours import adds_up

Message = tuple[int, int, str]  # sender, number, what to do with it
NEVER_REORDERS = (Overflow.BLOCK, Overflow.REJECT, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)


class Books:
    """What was handled, and a look at the statistics after each thing that happens."""

    def __init__(self, bound: float) -> None:
        self.bound = max(bound, 1)  # a rendezvous holds one while it is handed over
        self.handled: list[Message] = []
        self.wrong: list[Any] = []  # kept: an assertion in an actor is no more than a crash
        self.ref: ActorRef[Message] | None = None

    def check(self) -> None:
        if self.ref is not None:
            statistics = self.ref.statistics()
            if not adds_up(statistics) or not 0 <= statistics.queued <= self.bound:
                self.wrong.append(statistics)

    def take(self, message: Message) -> None:
        self.handled.append(message)
        self.check()


class Handler(Actor[Message]):
    def __init__(self, books: Books) -> None:
        self.books = books

    async def receive(self, message: Message) -> Message:
        self.books.take(message)
        await act(message[2])
        self.books.check()
        return message


async def handler(context: ActorContext[Message], books: Books) -> None:
    async for message in context.messages():
        books.take(message)
        await act(message[2])
        context.reply(message)


async def act(what: str) -> None:
    if what == "sleep":
        await trio.sleep(1)
    elif what == "yield":
        await trio.lowlevel.checkpoint()
    elif what == "crash":
        raise ValueError(what)


def sector(message: Message) -> int:
    return message[1] % 3


@st.composite
def mailboxes(draw: st.DrawFn) -> Mailbox:
    overflow = draw(st.sampled_from(list(Overflow)))
    least = 0 if overflow in (Overflow.BLOCK, Overflow.REJECT, Overflow.DROP_NEWEST) else 1
    bound = draw(st.sampled_from([least, 1, 2, 5, inf]))
    return Mailbox(bound, overflow, sector if overflow is Overflow.COALESCE else None)


HOW = ["tell", "tell", "tell_nowait", "ask", "ask", "stop", "stop at once"]
calls = st.tuples(
    st.sampled_from(HOW),
    st.sampled_from(["", "", "yield", "sleep", "crash"]),
    st.sampled_from([0.0, 0.5, 2.5, inf]),  # when the sender gives up
    st.sampled_from([0.0, 0.0, 0.5, 3.0]),  # a pause after it
)
programs = st.lists(st.lists(calls, max_size=8), min_size=1, max_size=4)


async def play(
    ref: ActorRef[Message], books: Books, sender: int, program: list[Any], sent: list[Message]
) -> None:
    for number, (how, what, patience, pause) in enumerate(program):
        message = (sender, number, what)
        with trio.move_on_after(patience):
            try:
                if how == "tell":
                    await ref.tell(message)
                elif how == "tell_nowait":
                    ref.tell_nowait(message)
                elif how == "ask":
                    answer = await ref.ask(message)
                    assert answer == message
                elif how == "stop":
                    await ref.stop(grace=4)
                else:
                    await ref.stop(grace=0)
                sent.append(message)
            except ActorError:
                pass
        books.check()
        await trio.sleep(pause)


async def run(
    behaviour: Any, mailbox: Mailbox, restart: Restart, backoff: Any, program: list[Any]
) -> None:
    books, letters = Books(mailbox.bound), list[DeadLetter]()

    async def collect(subscription: Any) -> None:
        async for letter in subscription:
            letters.append(letter)

    async with (
        open_system(max_restarts=1_000, backoff=backoff, grace=3) as system,
        system.dead_letters() as subscription,
        trio.open_nursery() as watching,
    ):
        watching.start_soon(collect, subscription)
        ref = books.ref = await system.spawn(
            behaviour, books, mailbox=mailbox, restart=restart, name="it"
        )
        with trio.fail_after(10_000):  # nobody is left waiting for ever
            async with trio.open_nursery() as nursery:
                for sender, calls_ in enumerate(program):
                    nursery.start_soon(play, ref, books, sender, calls_, [])
        with suppress(ActorError):
            await system.terminate_child("it")
        await trio.sleep(1)
        watching.cancel_scope.cancel()
    books.check()
    assert not books.wrong, books.wrong
    statistics = ref.statistics()
    assert statistics.queued == 0
    assert statistics.handled == len(books.handled)
    assert statistics.dead_lettered <= len(letters)
    assert len(set(books.handled)) == len(books.handled), "a message was handled twice"
    if mailbox.overflow in NEVER_REORDERS:
        check_order(books.handled)


def check_order(handled: list[Message]) -> None:
    by_sender: dict[int, list[int]] = defaultdict(list)
    for sender, number, _ in handled:
        by_sender[sender].append(number)
    for numbers in by_sender.values():
        assert numbers == sorted(numbers), handled


@settings(max_examples=400)
@given(
    st.sampled_from([Handler, handler]),
    mailboxes(),
    st.sampled_from(list(Restart)),
    st.sampled_from([None, Backoff(initial=1.0, jitter=0.0)]),
    programs,
)
def test_every_message_is_accounted_for_whatever_happens(
    behaviour: Any, mailbox: Mailbox, restart: Restart, backoff: Any, program: list[Any]
) -> None:
    trio.run(
        run, behaviour, mailbox, restart, backoff, program, clock=MockClock(autojump_threshold=0)
    )


@settings(max_examples=100)
@given(st.integers(0, 4), st.lists(st.booleans(), min_size=1, max_size=30))
def test_one_senders_messages_come_in_order_told_or_asked(bound: int, asks: list[bool]) -> None:
    async def main() -> None:
        books = Books(bound)
        async with open_system() as system:
            ref = await system.spawn(Handler, books, mailbox=bound)
            for number, ask in enumerate(asks):
                message = (0, number, "yield" if number % 3 else "")
                await (ref.ask if ask else ref.tell)(message)
        assert [number for _, number, _ in books.handled] == list(range(len(asks)))

    trio.run(main, clock=MockClock(autojump_threshold=0))
