"""Hosts on one store, one after another: as processes that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.kernel import Backoff
from lexigram_actors.storage import MemoryStore, SQLiteStore

QUICK = Backoff(initial=0.1, jitter=0.0)


def wall_clock() -> float:
    return 1e9 + trio.current_time()


class Home:
    """A store in which hosts live one after another.

    Args:
        path: Of a SQLite file; None: in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.tables = MemoryStore(clock=wall_clock).tables

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Any]:
        """Open the store anew."""
        if self.path is None:
            yield MemoryStore(clock=wall_clock, tables=self.tables)
            return
        async with SQLiteStore(self.path, inline=True, clock=wall_clock) as store:
            yield store

    @asynccontextmanager
    async def host(self, *definitions: Any, **options: Any) -> AsyncIterator[WorkflowHost]:
        """Open a host on it."""
        options = {"poll": 1e9, "backoff": QUICK, **options}
        async with self.store() as store:
            async with open_host(store, register=definitions, **options) as host:
                yield host
