"""A store that lives and dies with the process: for tests, trials and caches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Final, final

import trio

from lexigram_actors.storage.book import InstanceBook
from lexigram_actors.storage.cache import KeyValueCache
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.instances import InstanceStore
from lexigram_actors.storage.keys import KeyPattern
from lexigram_actors.storage.memory_instances import MemoryInstanceRows, MemoryTables
from lexigram_actors.storage.ports import CacheBackendProtocol

FEWEST_WRITES_BETWEEN_SWEEPS: Final = 256


@final
class MemoryRows:
    """Rows in a dict.

    Expired rows are absent at once. They are swept out when as many rows have been written as
    there are, so a sweep costs a write no more than a constant.
    """

    __slots__ = ("rows", "writes_until_sweep")

    def __init__(self, rows: dict[str, tuple[bytes, float | None]]) -> None:
        self.rows = rows
        self.writes_until_sweep = FEWEST_WRITES_BETWEEN_SWEEPS

    async def read(self, key: str, now: float) -> bytes | None:
        """Return the bytes under a key."""
        await trio.lowlevel.checkpoint()
        row = self.rows.get(key)
        return row[0] if row is not None and is_live(row, now) else None

    async def write(self, key: str, value: bytes, expires_at: float | None, now: float) -> None:
        """Put the bytes under a key."""
        await trio.lowlevel.checkpoint()
        self.rows[key] = (value, expires_at)
        self.writes_until_sweep -= 1
        if self.writes_until_sweep <= 0:
            self.sweep(now)

    async def remove(self, keys: Collection[str], now: float) -> int:
        """Remove keys; return how many of them were there."""
        await trio.lowlevel.checkpoint()
        return self.take_out(keys, now)

    async def remove_matching(self, pattern: KeyPattern, now: float) -> int:
        """Remove the keys that match; return how many there were."""
        await trio.lowlevel.checkpoint()
        return self.take_out([key for key in self.rows if pattern.matches(key)], now)

    def take_out(self, keys: Collection[str], now: float) -> int:
        taken = [self.rows.pop(key, None) for key in keys]
        return sum(row is not None and is_live(row, now) for row in taken)

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for key in [key for key, row in self.rows.items() if not is_live(row, now)]:
            del self.rows[key]
        self.writes_until_sweep = max(len(self.rows), FEWEST_WRITES_BETWEEN_SWEEPS)


def is_live(row: tuple[bytes, float | None], now: float) -> bool:
    """Say whether a row has not expired."""
    expires_at = row[1]
    return expires_at is None or expires_at > now


@final
class MemoryStore:
    """Keeps everything in memory; nothing outlives the process.

    Values go through the codec all the same: it accepts and refuses what a store on disk does, and
    what it hands out is a copy. Nothing to open or close.

    Several hosts may enter, and last until they leave or, where they enter with a finite lease,
    until that is over.

    Args:
        codec: Holds your registered types and the limits. None: a plain one.
        clock: Returns wall time in seconds; times to live and leases are judged by it.
        tables: What an earlier store had, `earlier.tables`, to play a process that died
            and came back: its hosts are gone. None: there are none.
    """

    __slots__ = ("_cache", "_instances", "tables")

    def __init__(
        self,
        *,
        codec: Codec | None = None,
        clock: Callable[[], float] = time.time,
        tables: MemoryTables | None = None,
    ) -> None:
        codec = Codec() if codec is None else codec
        self.tables = MemoryTables() if tables is None else tables
        self.tables.hosts.clear()  # those of a process that died
        self._cache = KeyValueCache(MemoryRows(self.tables.cache), codec, clock)
        self._instances = InstanceBook(
            MemoryInstanceRows(self.tables), codec, clock, lease=math.inf, poll=math.inf
        )

    @property
    def cache(self) -> CacheBackendProtocol:
        """The key-value view."""
        return self._cache

    @property
    def instances(self) -> InstanceStore:
        """Instances, their journals and their mail."""
        return self._instances
