"""Actors that many of these tests use, and what must be true of any mailbox at any instant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from lexigram_actors import Actor, ActorContext, ActorRef, MailboxStatistics

Message = Callable[[Actor[Any]], Awaitable[Any]] | BaseException | Any


class Echo(Actor[Any]):
    """Answers with the message; raises one that is an exception, calls one that can be called."""

    async def receive(self, message: Message) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return await message(self)
        return message


class Noting(Echo):
    """An `Echo` that notes its start and its goodbye."""

    def __init__(self, notes: list[str], name: str = "it") -> None:
        self.notes = notes
        self.name = name

    async def started(self) -> None:
        self.notes.append(f"{self.name} started")

    async def stopping(self, reason: str) -> None:
        self.notes.append(f"{self.name} {reason}")


class Parting(Echo):
    """An `Echo` that notes its goodbye and has no `started`, so it is idle without a task."""

    def __init__(self, notes: list[str], name: str = "it") -> None:
        self.notes = notes
        self.name = name

    async def stopping(self, reason: str) -> None:
        self.notes.append(f"{self.name} {reason}")


async def reader(context: ActorContext[Any]) -> None:
    """The function that does what `Echo` does."""
    async for message in context.messages():
        if isinstance(message, BaseException):
            raise message
        context.reply(message)


async def deaf(context: ActorContext[Any]) -> None:
    """Reads no mail; only a cancellation ends it."""
    await trio.sleep_forever()


async def forever(_: Actor[Any]) -> None:
    """A message that keeps an `Echo` busy until it is cancelled."""
    await trio.sleep_forever()


def busy_for(seconds: float) -> Message:
    """A message that keeps an `Echo` busy so long, and is answered "done"."""

    async def sleep(_: Actor[Any]) -> str:
        await trio.sleep(seconds)
        return "done"

    return sleep


def until(event: trio.Event) -> Message:
    """A message that keeps an `Echo` busy until the event is set."""

    async def wait(_: Actor[Any]) -> str:
        await event.wait()
        return "opened"

    return wait


def adds_up(statistics: MailboxStatistics) -> bool:
    s = statistics
    return s.accepted == s.handled + s.queued + s.dropped + s.dead_lettered


async def outcome_of(fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """What the call returned, or the exception it raised."""
    try:
        return await fn(*args)
    except Exception as exc:
        return exc


def spawned_refs(*refs: ActorRef[Any] | None) -> list[ActorRef[Any]]:
    """The references, all of which must be there."""
    assert all(ref is not None for ref in refs)
    return [ref for ref in refs if ref is not None]
