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

from lexigram_actors.storage import CacheBackendProtocol, Codec, open_store

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
