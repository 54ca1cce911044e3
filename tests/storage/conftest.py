"""The stores under test: what the contract suite runs on.

A further store joins by an entry in `BACKENDS`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import pytest

from lexigram_actors.storage import (
    CacheBackendProtocol,
    Codec,
    InstanceStore,
    MemoryStore,
    MemoryTables,
    SQLiteStore,
    Store,
    open_store,
)

OpenCacheBackend = Callable[..., AbstractAsyncContextManager[CacheBackendProtocol]]
"""Takes `codec=` and `clock=`, both optional."""

BACKENDS: dict[str, Callable[[Path], str]] = {
    "memory": lambda folder: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/store.db",
}


@attrs.define
class FakeClock:
    """Wall time that stands still until a test moves it."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=sorted(BACKENDS))
def open_cache_backend(request: pytest.FixtureRequest, tmp_path: Path) -> OpenCacheBackend:
    """Return what opens the key-value view of each store in turn, on a place of its own."""
    url = BACKENDS[request.param](tmp_path)

    @asynccontextmanager
    async def opened(
        codec: Codec | None = None, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[CacheBackendProtocol]:
        async with open_store(url, codec=codec, clock=clock) as store:
            yield store.cache

    return opened


class InstancePlace:
    """A place where instances are kept, on a clock that stands still; opened again and again.

    What an opening leaves behind is what a process that died would have left.
    """

    def __init__(self, kind: str, folder: Path, clock: FakeClock) -> None:
        self.kind = kind
        self.path = folder / "store.db"
        self.clock = clock
        self.tables = MemoryTables()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """Open the store there."""
        if self.kind == "memory":
            yield MemoryStore(clock=self.clock, tables=self.tables)
            return
        inline = self.kind == "inline"
        async with SQLiteStore(self.path, clock=self.clock, inline=inline) as store:
            yield store

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[InstanceStore]:
        """Open the store there, for its instances."""
        async with self.store() as store:
            yield store.instances


@pytest.fixture(params=["inline", "memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> InstancePlace:
    """Return a place of each kind in turn."""
    return InstancePlace(request.param, tmp_path, clock)


@pytest.fixture
async def instances(place: InstancePlace) -> AsyncIterator[InstanceStore]:
    """Return the instances of each store in turn, with nothing in them."""
    async with place.opened() as opened:
        yield opened
