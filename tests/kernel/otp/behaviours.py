"""The children that the ported cases supervise, and the log that watches them.

Every child writes its starts and its end into a `Log`, so a test can say which ran, how often and
in which order they ended without knowing how a supervisor keeps them. `ref`s outlive a restart, so
"another process" of the originals is here "another start".
"""

from __future__ import annotations

from typing import Any

import trio
from attrs import Factory, define, frozen

from lexigram_actors.kernel import Actor, ActorContext, ActorRef, ChildSpec


class Died(Exception):
    """How a child fails: an abnormal exit."""


class CannotStart(Exception):
    """How a child fails to start."""


@frozen
class Sleep:
    """A message that keeps a child busy for so many seconds."""

    seconds: float


NORMAL = "normal"
ABNORMAL = "abnormal"


@define(eq=False)
class Log:
    """What the children did, in order."""

    starts: list[str] = Factory(list)
    ends: list[str] = Factory(list)
    refs: dict[str, ActorRef[Any]] = Factory(dict)

    def started(self, child_id: str, ref: ActorRef[Any]) -> None:
        self.starts.append(child_id)
        self.refs[child_id] = ref

    def ended(self, child_id: str) -> None:
        self.ends.append(child_id)

    def count(self, child_id: str) -> int:
        """How often the child has started."""
        return self.starts.count(child_id)

    def is_running(self, child_id: str) -> bool:
        return self.starts.count(child_id) > self.ends.count(child_id)

    def clear(self) -> None:
        """Forget the past; a child that runs now is known as running no more."""
        self.starts.clear()
        self.ends.clear()


async def worker(context: ActorContext[Any], log: Log, child_id: str, *_: object) -> None:
    """Runs until it is told how to end: "normal" returns, "abnormal" raises."""
    log.started(child_id, context.self)
    try:
        async for message in context.messages():
            if message == NORMAL:
                return
            if message == ABNORMAL:
                raise Died(child_id)
            if isinstance(message, Sleep):
                await trio.sleep(message.seconds)
    finally:
        log.ended(child_id)


async def slow_to_stop(context: ActorContext[Any], log: Log, child_id: str, seconds: float) -> None:
    """Takes so many seconds to end once it was asked to; can be cut short."""
    log.started(child_id, context.self)
    try:
        async for message in context.messages():
            if message == ABNORMAL:
                raise Died(child_id)
        await trio.sleep(seconds)
    finally:
        log.ended(child_id)


async def stubborn(context: ActorContext[Any], log: Log, child_id: str, seconds: float) -> None:
    """Shields itself for so many seconds after its deadline."""
    log.started(child_id, context.self)
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        log.ended(child_id)


async def fails_when_stopped(context: ActorContext[Any], log: Log, child_id: str) -> None:
    """Raises while it is being stopped, which is no crash to restart from."""
    log.started(child_id, context.self)
    try:
        async for message in context.messages():
            if message == NORMAL:
                return
    finally:
        log.ended(child_id)
    raise Died(child_id)


@define(eq=False)
class Starts:
    """Decides which starts of a `Starter` succeed.

    With `bad`, exactly the attempts of these numbers fail, from 1. Without, `good` attempts
    succeed and the later ones fail while `failing` is true. A failure comes after `delay` seconds.
    """

    good: int = 1
    failing: bool = True
    delay: float = 0.0
    bad: frozenset[int] | None = None
    attempts: list[float] = Factory(list)

    async def attempt(self, child_id: str) -> None:
        self.attempts.append(trio.current_time())
        if self._fails(len(self.attempts)):
            await trio.sleep(self.delay)
            raise CannotStart(child_id)

    def _fails(self, number: int) -> bool:
        if self.bad is not None:
            return number in self.bad
        return number > self.good and self.failing


class Starter(Actor[Any]):
    """Starts as often as its `Starts` lets it; crashes on "abnormal"."""

    def __init__(self, log: Log, child_id: str, starts: Starts) -> None:
        self.log = log
        self.child_id = child_id
        self.starts = starts

    async def started(self) -> None:
        await self.starts.attempt(self.child_id)
        self.log.started(self.child_id, self.context.self)

    async def receive(self, message: Any) -> None:
        if message == ABNORMAL:
            raise Died(self.child_id)

    async def stopping(self, reason: str) -> None:
        self.log.ended(self.child_id)


class BrokenConstructor(Actor[Any]):
    """Cannot even be made."""

    def __init__(self) -> None:
        raise CannotStart("constructor")

    async def receive(self, message: Any) -> None:
        raise AssertionError


def child(log: Log, child_id: str, behaviour: Any = worker, *args: object, **options: Any) -> Any:
    """A child spec whose behaviour is given the log and its own id."""
    return ChildSpec(child_id, behaviour, args=(log, child_id, *args), **options)


def children(log: Log, *child_ids: str, **options: Any) -> list[ChildSpec]:
    """A child spec for each id, all alike."""
    return [child(log, child_id, **options) for child_id in child_ids]
