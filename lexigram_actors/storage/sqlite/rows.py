"""The key-value rows in SQLite: the SQL, and the view of it that the cache takes.

The plain functions run on the worker's thread. Each is one transaction's worth: what it raises
undoes all it did.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, final
from zlib import crc32

from lexigram_actors.errors import StoreCorruptedError, StoreError
from lexigram_actors.storage.keys import KeyPattern

if TYPE_CHECKING:
    import apsw

    from lexigram_actors.storage.sqlite.session import SQLWorker

READ: Final = "SELECT value, expires_at, checksum FROM cache WHERE key = ?"
WRITE: Final = """
INSERT INTO cache (key, value, expires_at, checksum) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    value = excluded.value, expires_at = excluded.expires_at, checksum = excluded.checksum
"""
LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"
REMOVE: Final = f"DELETE FROM cache WHERE key = ? AND {LIVE}"  # noqa: S608 - constants
REMOVE_FROM: Final = f"DELETE FROM cache WHERE key >= ? AND {LIVE}"  # noqa: S608
REMOVE_RANGE: Final = f"DELETE FROM cache WHERE key >= ? AND key < ? AND {LIVE}"  # noqa: S608
KEYS_FROM: Final = "SELECT key FROM cache WHERE key >= ?"
KEYS_IN_RANGE: Final = "SELECT key FROM cache WHERE key >= ? AND key < ?"
PURGE: Final = """
DELETE FROM cache WHERE rowid IN (SELECT rowid FROM cache WHERE expires_at <= ? LIMIT 16)
"""


@final
class SQLiteRows:
    """Rows in the `cache` table, through the worker that owns the connection."""

    __slots__ = ("path", "worker")

    def __init__(self, path: str) -> None:
        self.path = path
        self.worker: SQLWorker | None = None

    async def read(self, key: str, now: float) -> bytes | None:
        """Return the bytes under a key."""
        found: bytes | None = await self.running().read(read_row, key, now)
        return found

    async def write(self, key: str, value: bytes, expires_at: float | None, now: float) -> None:
        """Put the bytes under a key; return when they are durable."""
        await self.running().write(write_row, key, value, expires_at, now)

    async def remove(self, keys: Collection[str], now: float) -> int:
        """Remove keys; return how many of them were there."""
        removed: int = await self.running().write(remove_rows, keys, now)
        return removed

    async def remove_matching(self, pattern: KeyPattern, now: float) -> int:
        """Remove the keys that match; return how many there were."""
        removed: int = await self.running().write(remove_matching_rows, pattern, now)
        return removed

    def running(self) -> SQLWorker:
        """Return the worker of a store that is open."""
        if self.worker is None:
            raise StoreError(
                f"{self.path}: the store is not open", hint="use it inside its `async with`"
            )
        return self.worker


# --- on the worker's thread --------------------------------------------------------------------


def read_row(connection: apsw.Connection, key: str, now: float) -> bytes | None:
    rows: list[Any] = connection.execute(READ, (key,)).fetchall()
    if not rows:
        return None
    value, expires_at, _ = rows[0]
    checked_value(key, *rows[0])
    return value if expires_at is None or expires_at > now else None


def checked_value(key: str, value: Any, expires_at: Any, checksum: Any) -> None:
    """Refuse a row that is not as it was stored."""
    if type(value) is not bytes or checksum != checksum_of(key, value, expires_at):
        raise StoreCorruptedError(
            f"the row under the key {key!r} is damaged: its checksum does not match",
            details={"key": key},
            hint="restore it from a backup, or delete the key and compute the value anew",
        )


def write_row(
    connection: apsw.Connection, key: str, value: bytes, expires_at: float | None, now: float
) -> None:
    checksum = checksum_of(key, value, expires_at)
    connection.execute(WRITE, (key, value, expires_at, checksum))
    if expires_at is not None:
        # One row that will expire comes, up to 16 that have expired go: they never pile up.
        connection.execute(PURGE, (now,))


def remove_rows(connection: apsw.Connection, keys: Collection[str], now: float) -> int:
    removed = 0
    for key in keys:
        connection.execute(REMOVE, (key, now))
        removed += connection.changes()
    return removed


def remove_matching_rows(connection: apsw.Connection, pattern: KeyPattern, now: float) -> int:
    if pattern.suffix is None:
        return remove_rows(connection, (pattern.prefix,), now)
    end = after_prefix(pattern.prefix)
    bounds = (pattern.prefix,) if end is None else (pattern.prefix, end)
    if pattern.is_prefix:
        connection.execute(REMOVE_FROM if end is None else REMOVE_RANGE, (*bounds, now))
        return connection.changes()
    candidates = connection.execute(KEYS_FROM if end is None else KEYS_IN_RANGE, bounds)
    return remove_rows(connection, [key for (key,) in candidates if pattern.matches(key)], now)


def after_prefix(prefix: str) -> str | None:
    """Return the least text that comes after everything with this prefix; None: there is none.

    In order of code points, which is SQLite's order of UTF-8 bytes.
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    last = ord(stem[-1])
    return stem[:-1] + ("\ue000" if last == 0xD7FF else chr(last + 1))  # past the surrogates


def checksum_of(key: str, value: bytes, expires_at: Any) -> int:
    """Return the checksum over everything in a row, so that none of it can change unseen."""
    return crc32(value, crc32(f"{key}\0{expires_at!r}".encode()))
