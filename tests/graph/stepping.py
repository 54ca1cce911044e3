"""Interrupting a run at any point of it: before any task step, at any call of its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import trio
from attrs import define, field

from lexigram_actors import AbstractWorkflowNode, GraphResult, Result
from lexigram_actors.result import Ok

State = dict[str, Any]
Manner = Literal["swallows nothing", "cleans up", "fails in its clean-up"]
MANNERS: tuple[Manner, ...] = ("swallows nothing", "cleans up", "fails in its clean-up")


class CleanUpError(Exception):
    """What a node raises while it is cancelled."""


@define
class World:
    """What the nodes of one run share, over all attempts to run it.

    Attributes:
        finished: The nodes in the order in which they returned.
        finished_at: When the last of them did.
        failed: The nodes that have failed, as they were told to.
    """

    manner: Manner = "swallows nothing"
    finished: list[str] = field(factory=list)
    finished_at: float = 0.0
    failed: set[str] = field(factory=set)

    def work(self, name: str, update: Any = None, **options: Any) -> Work:
        return Work(self, name, update, **options)


class Work(AbstractWorkflowNode):
    """Waits twice, and writes its name, or `update`, or what that makes of the state.

    Cancelled, it behaves as the manner of its world says.
    """

    def __init__(
        self,
        world: World,
        name: str,
        update: State | Callable[[State], State] | None = None,
        *,
        seconds: float = 0.5,
        fails_once: bool = False,
    ) -> None:
        super().__init__(name)
        self.world = world
        self.update = {name: True} if update is None else update
        self.seconds = seconds
        self.fails_once = fails_once

    async def execute(self, state: State) -> State:
        try:
            await trio.lowlevel.checkpoint()
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            await self.clean_up()
            raise
        if self.fails_once and self.name not in self.world.failed:
            self.world.failed.add(self.name)
            raise OSError("once")
        self.world.finished.append(self.name)
        self.world.finished_at = trio.current_time()
        return self.update(state) if callable(self.update) else self.update

    async def clean_up(self) -> None:
        if self.world.manner == "cleans up":
            with trio.CancelScope(shield=True):
                await trio.sleep(0.25)
        elif self.world.manner == "fails in its clean-up":
            raise CleanUpError from None


Whole = tuple[State, list[str], str | None]


def whole(result: Result[GraphResult, Any]) -> Whole:
    """What the result of a run that ended well says, without its times."""
    assert isinstance(result, Ok), result
    names = [node.node_name for node in result.value.node_results]
    return result.value.final_state, names, result.value.terminated_at


class StoreDied(BaseException):
    """The process would be gone."""


async def outlived(attempt: Awaitable[Any]) -> bool:
    """Await it; False if its store died, in one branch of a run or in several."""
    died = False
    try:
        await attempt
    except* StoreDied:
        died = True
    return not died


class MortalCache:
    """Passes calls on to a cache, remembers what was acknowledged, and may die at one of them.

    Attributes:
        acknowledged: The records of nodes for which a write returned, each by its place in the run.
        calls, refused: How many there were before it died, and after.
        keys: What was written to.
        is_over: Whether the run was asked to be forgotten, its result being known.
    """

    def __init__(
        self, cache: Any, dies_at: int | None = None, when: Literal["before", "after"] = "before"
    ) -> None:
        self._inner = cache
        self.dies_at = dies_at
        self.when = when
        self.calls = self.refused = 0
        self.is_dead = self.is_over = False
        self.acknowledged: set[tuple[str, str]] = set()
        self.keys: set[str] = set()

    @property
    def done(self) -> list[str]:
        """The nodes that must not run again."""
        return [] if self.is_over else [node for node, _ in self.acknowledged]

    async def get(self, key: str) -> Any:
        return await self._call("get", key)

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
        self.keys.add(key)
        answer = await self._call("set", key, value, ttl)
        if isinstance(value, list) and not key.endswith("questions") and answer.is_ok():
            self.acknowledged |= {(each["node"], str(each["parents"])) for each in value}
        return answer

    async def delete(self, key: str) -> Any:
        self.is_over = True
        return await self._call("delete", key)

    async def delete_many(self, keys: list[str]) -> Any:
        return await self._call("delete_many", keys)

    async def delete_pattern(self, pattern: str) -> Any:
        return await self._call("delete_pattern", pattern)

    async def exists(self, key: str) -> Any:
        return await self._call("exists", key)

    async def _call(self, name: str, *args: Any) -> Any:
        if self.is_dead:
            self.refused += 1
            raise StoreDied
        self.calls += 1
        is_the_last = self.calls == self.dies_at
        if is_the_last and self.when == "before":
            self.die()
        answer = await getattr(self._inner, name)(*args)
        if is_the_last or self.is_dead:
            self.die()
        return answer

    def die(self) -> None:
        self.is_dead = True
        raise StoreDied


def refuse_reruns(after: list[str], undisturbed: list[str], done: Iterable[str]) -> None:
    """Fail if a node ran again `after` a run was interrupted in which it was `done`."""
    allowed = Counter(undisturbed)
    allowed.subtract(done)
    again = Counter(after) - +allowed
    assert not again, f"ran again: {again}"


class SlowCache(MortalCache):
    """A cache whose writes take their time."""

    def __init__(self, cache: Any, seconds: float, *mortality: Any) -> None:
        super().__init__(cache, *mortality)
        self.seconds = seconds

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
        await trio.sleep(self.seconds)
        return await super().set(key, value, ttl)
