"""Processors that watch themselves, stores that fail or die on request, and short spellings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import trio

from lexigram_actors.bulk import BulkBatchResult, BulkOperation, BulkRun
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.result import Err, Ok, Result

Outcome = BulkBatchResult[Any, Any]


def operation(
    processor: Callable[..., Any] | None = None, **settings: Any
) -> BulkOperation[Any, Any]:
    """An operation without retries unless it asks for them; keywords go where they belong."""
    names = {field.name for field in BulkOperationConfig.__attrs_attrs__}
    config = {name: value for name, value in settings.items() if name in names}
    others = {name: value for name, value in settings.items() if name not in names}
    return BulkOperation(
        BulkOperationConfig(**{"retry_attempts": 0, **config}), processor, **others
    )


async def collect(run: BulkRun[Any, Any]) -> list[Outcome]:
    """All results of a run, in the tidy form."""
    async with run:
        return [result async for result in run]


async def collect_until(run: BulkRun[Any, Any]) -> tuple[list[Outcome], BaseException | None]:
    """All results of a run, and the error that ended it."""
    results: list[Outcome] = []
    try:
        async for result in run:
            results.append(result)
    except Exception as error:
        return results, error
    return results, None


async def same(items: list[Any]) -> list[Any]:
    """Return the items without waiting."""
    return items


async def slowly(items: list[Any]) -> list[Any]:
    """Return the items after a second."""
    await trio.sleep(1)
    return items


class Watched:
    """A processor that counts its calls, what it was given, and how many ran at once.

    Args:
        delay: Seconds, or a function of the items.
        bad: Items that make their batch fail.
    """

    def __init__(
        self,
        delay: float | Callable[[list[Any]], float] | None = 0,
        bad: Iterable[Any] = (),
    ) -> None:
        self.delay = delay
        self.bad = set(bad)
        self.calls: list[list[Any]] = []
        self.succeeded: list[Any] = []
        self.in_flight = 0
        self.most = 0
        self.cancelled = 0

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.calls.append(list(items))
        with self.counted():
            if self.delay is not None:
                await trio.sleep(self.delay(items) if callable(self.delay) else self.delay)
        if bad := self.bad.intersection(items):
            raise ValueError(f"bad: {sorted(bad)}")
        self.succeeded += items
        return [item * 10 for item in items]

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            yield
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1


class Counted:
    """Iterables over the same numbers that count what was read of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0
        self.closed = False

    def plain(self) -> Iterator[int]:
        for number in range(self.count):
            self.read += 1
            yield number

    async def ready(self) -> AsyncIterator[int]:
        for number in range(self.count):
            self.read += 1
            yield number

    async def waiting(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                await trio.lowlevel.checkpoint()
                self.read += 1
                yield number
        finally:
            self.closed = True


class WorldIsDead(BaseException):
    """The process ended here: nothing runs after it that counts."""


class FakeStore:
    """A store in a dict. It can fail, and it can end the world at its k-th call.

    Args:
        die_at: The call, from 1, at which the world ends; 0: never.
        after: End it after that call took effect, not before.
        fail: Names of the methods that answer with an `Err`.
    """

    def __init__(
        self,
        data: dict[str, Any] | None = None,
        *,
        die_at: int = 0,
        after: bool = False,
        fail: Iterable[str] = (),
        error: Exception | None = None,
    ) -> None:
        self.data = {} if data is None else data
        self.die_at = die_at
        self.after = after
        self.fail = set(fail)
        self.error = error or RuntimeError("the disk is full")
        self.calls: list[tuple[str, str]] = []
        self.sizes: list[int] = []
        self.dead = False

    async def _call(self, name: str, key: str, effect: Callable[[], Any]) -> Result[Any, Any]:
        if self.dead:
            raise WorldIsDead
        self.calls.append((name, key))
        await trio.lowlevel.checkpoint()
        if len(self.calls) == self.die_at and not self.after:
            self.dead = True
            raise WorldIsDead
        if name in self.fail:
            return Err(self.error)
        value = effect()
        if len(self.calls) == self.die_at:
            self.dead = True
            raise WorldIsDead
        return Ok(value)

    async def get(self, key: str) -> Result[Any, Any]:
        return await self._call("get", key, lambda: self.data.get(key))

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[Any, Any]:
        self.sizes.append(len(repr(value)))
        return await self._call("set", key, lambda: self.data.__setitem__(key, value))

    async def delete(self, key: str) -> Result[Any, Any]:
        return await self._call("delete", key, lambda: self.data.pop(key, None) is not None)

    async def delete_many(self, keys: list[str]) -> Result[Any, Any]:
        return await self._call(
            "delete_many", str(keys), lambda: sum(self.data.pop(k, None) is not None for k in keys)
        )

    async def delete_pattern(self, pattern: str) -> Result[Any, Any]:
        def effect() -> int:
            keys = [key for key in self.data if fnmatchcase(key, pattern)]
            for key in keys:
                del self.data[key]
            return len(keys)

        return await self._call("delete_pattern", pattern, effect)

    async def exists(self, key: str) -> Result[Any, Any]:
        return await self._call("exists", key, lambda: key in self.data)


def all_items(results: Iterable[Outcome]) -> list[Any]:
    """The items of all results, in the order of delivery."""
    return [item for result in results for item in result.items]


async def until(condition: Callable[[], object], timeout: float = 20) -> None:
    """Wait until something is so that happens outside Trio, as in a thread or a process."""
    with trio.fail_after(timeout):
        while not condition():
            await trio.sleep(0.001)
