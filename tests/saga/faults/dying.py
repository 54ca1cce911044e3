"""A process that dies, and stores whose calls are the moments at which it may.

A *moment* is a point at which a process may die: before and after each call of the store, when an
effect has begun, and when it has happened. They are counted, so that each can be tried.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, final

import trio
from attrs import define

from lexigram_actors.errors import StoreError
from lexigram_actors.result import Err, Result
from lexigram_actors.saga import SagaState
from lexigram_actors.testing import SimulatedCrash

How = Literal["dies", "reported", "refused"]
"""Dies at a moment; or the store says that it failed at a write, which it has done, or has not."""


@define
class Life:
    """One life of the process: the moments, and where it ends."""

    die_at: int = 0
    how: How = "dies"
    moments: int = 0
    is_dead: bool = False
    struck_at: int = 0
    refused: int = 0

    @property
    def is_struck(self) -> bool:
        return self.struck_at > 0

    def moment(self) -> None:
        """Die here, if it is time."""
        if self.is_dead:
            self.refused += 1
            raise SimulatedCrash("nothing happens any more")
        self.moments += 1
        if self.how == "dies" and self.moments == self.die_at:
            self.is_dead = True
            self.struck_at = self.moments
            raise SimulatedCrash(f"died at moment {self.moments}")

    def lies(self, how: How) -> bool:
        """Say whether the store fails here, in this way."""
        if self.how != how or self.is_struck or self.moments < self.die_at:
            return False
        self.struck_at = self.moments
        return True


class Living(Protocol):
    """What effects need of the life they belong to."""

    @property
    def is_dead(self) -> bool: ...

    def moment(self) -> None: ...


Write = Callable[[], Awaitable[Any]]


async def write_in(life: Life, write: Write) -> Any:
    """Do what a call of a store does that writes."""
    life.moment()
    if life.lies("refused"):
        raise StoreError("the disk is full")
    answer = await write()
    life.moment()
    if life.lies("reported"):
        raise StoreError("the store says that it failed, and did not")
    return answer


@final
class PlainStore:
    """A `SagaStoreProtocol` over a dict that outlives it."""

    def __init__(self, kept: dict[str, tuple[str, str]], life: Life) -> None:
        self._kept = kept
        self._life = life

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        async def write() -> None:
            self._kept[saga_id] = (SagaState(state).value, json.dumps(data))

        await trio.lowlevel.checkpoint()
        await write_in(self._life, write)

    async def load(self, saga_id: str) -> tuple[SagaState, dict[str, Any]] | None:
        await trio.lowlevel.checkpoint()
        self._life.moment()
        found = self._kept.get(saga_id)
        return None if found is None else (SagaState(found[0]), json.loads(found[1]))

    async def delete(self, saga_id: str) -> None:
        raise NotImplementedError


@final
class DyingCache:
    """A cache whose calls are moments."""

    def __init__(self, cache: Any, life: Life) -> None:
        self._cache = cache
        self._life = life

    async def get(self, key: str) -> Result[Any, Exception]:
        self._life.moment()
        found: Result[Any, Exception] = await self._cache.get(key)
        return found

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[None, Exception]:
        try:
            written: Result[None, Exception] = await write_in(
                self._life, lambda: self._cache.set(key, value, ttl)
            )
        except StoreError as error:
            return Err(error)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)
