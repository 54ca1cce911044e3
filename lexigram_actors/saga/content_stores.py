"""Where the outputs of stages are kept: in memory, in a cache, in a table of a database.

| | is lost with | expires | lists a stage's keys |
| --- | --- | --- | --- |
| `InMemoryContentCheckpointStore` | the process | never | yes |
| `CacheContentCheckpointStore` | the cache | after `default_ttl` | no: raises |
| `DatabaseContentCheckpointStore` | the database | never | yes |

All of them keep an entry as the text that `seal` makes of it, so they take and refuse the same,
hand out fresh copies, and notice damage. **The first writer wins**: what is equal in all that the
key holds is equal content, so a second entry says nothing new, and whoever read the first goes on
with what others will read. To replace an entry, evict it first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol, final, runtime_checkable

import trio

from lexigram_actors.checks import given, require, whole
from lexigram_actors.errors import (
    ConfigurationError,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
)
from lexigram_actors.errors.base import describe
from lexigram_actors.result import Result
from lexigram_actors.saga.content_keys import (
    ContentCheckpointEntry,
    ContentCheckpointKey,
    damaged,
    seal,
    unseal,
)
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.database import DatabaseProviderProtocol, is_identifier
from lexigram_actors.storage.ports import CacheBackendProtocol, Store

LONGEST_TABLE_NAME: Final = 50
"""Its index has a longer one, and 63 is the most that PostgreSQL tells apart."""

COLUMNS: Final = ("checkpoint_key", "stage_id", "tenant_id", "input_hash", "config_hash")


@runtime_checkable
class ContentCheckpointStoreProtocol(Protocol):
    """Entries by the key of their content."""

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none.

        Raises:
            StoreCorruptedError: There is one, and it is damaged. `evict` removes it.
            StoreError: The store could not say.
        """
        ...

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already; return when it is durable.

        Raises:
            NotStorableError: The output or the metadata has no stored form; nothing is written.
            StoreError: The store could not keep it.
        """
        ...

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry, whether it can be read or not; fine where there is none.

        Raises:
            StoreError: The store could not remove it; it may still be there.
        """
        ...

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Return the keys of a stage's entries, the one that ran last first.

        Args:
            tenant_id: None: those of every tenant, and those of none.
            limit: At most so many.

        Raises:
            StoreError: The store could not say.
        """
        ...


# --- in memory -------------------------------------------------------------------------------


@final
class InMemoryContentCheckpointStore:
    """Keeps entries for as long as it lives, without a bound: for tests, and for one process.

    Each call is a checkpoint, and has changed nothing where it is cancelled.

    Args:
        codec: Knows your types among the outputs. None: there are none.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        self.codec = codec or Codec()
        self.entries: dict[ContentCheckpointKey, tuple[datetime, str]] = {}

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none."""
        await trio.lowlevel.checkpoint()
        found = self.entries.get(key)
        return None if found is None else unseal(key, found[1], self.codec)

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already."""
        await trio.lowlevel.checkpoint()
        sealed = seal(key, entry, self.codec)
        self.entries.setdefault(key, (entry.completed_at, sealed))

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry; fine where there is none."""
        await trio.lowlevel.checkpoint()
        self.entries.pop(key, None)

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Return the keys of a stage's entries, the one that ran last first; see the protocol."""
        require("limit", limit, whole(least=0))
        await trio.lowlevel.checkpoint()
        found = [
            (completed_at, key)
            for key, (completed_at, _) in self.entries.items()
            if key.stage_id == stage_id and tenant_id in (None, key.tenant_id)
        ]
        found.sort(key=lambda pair: (pair[0], pair[1].digest()), reverse=True)
        return [key for _, key in found[:limit]]


# --- in a cache ------------------------------------------------------------------------------


@final
class CacheContentCheckpointStore:
    """Keeps entries in a cache, under `content-checkpoint:` and the digest of their key.

    Of two writers at the very same moment the last one wins: a cache has no call that writes only
    where nothing is. Whatever the cache answers as an `Err`, or raises, is a `StoreError` here; a
    refusal of the value stays a `NotStorableError`.

    Args:
        cache: A cache, or a `Store` of ours, whose key-value view is used.
        default_ttl: Whole seconds until an entry expires. Default a day; None: never.
        codec: Knows your types among the outputs. None: there are none.
    """

    def __init__(
        self,
        cache: CacheBackendProtocol | Store,
        default_ttl: int | None = 86400,
        *,
        codec: Codec | None = None,
    ) -> None:
        if default_ttl is not None:
            require("default_ttl", default_ttl, whole(least=1))
        self.cache = cache_of(cache)
        self.default_ttl = default_ttl
        self.codec = codec or Codec()

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none or it has expired."""
        found = await answer("read", self.cache.get(place_of(key)))
        return None if found is None else unseal(key, found, self.codec)

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already, whose time to live then goes on."""
        sealed = seal(key, entry, self.codec)
        if not await answer("read", self.cache.exists(place_of(key))):
            await answer("write", self.cache.set(place_of(key), sealed, self.default_ttl))

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry; fine where there is none."""
        await answer("evict", self.cache.delete(place_of(key)))

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Not possible here: a cache does not tell which keys it has.

        An index beside the entries would not tell either: entries expire under it, and two writers
        would lose each other's. A list that leaves out entries is worse than none.

        Raises:
            StoreError: Always.
        """
        await trio.lowlevel.checkpoint()
        raise StoreError(
            f"a cache cannot list the checkpoints of stage {stage_id!r}: it has no call for that",
            details={"stage": stage_id, "tenant": tenant_id},
            hint="keep checkpoints that are to be listed in a DatabaseContentCheckpointStore",
        )


def cache_of(given_cache: CacheBackendProtocol | Store) -> CacheBackendProtocol:
    """Return the cache, or the key-value view of a store."""
    # The store first: a test double may answer to every name there is.
    cache: Any = given_cache.cache if isinstance(given_cache, Store) else given_cache
    if isinstance(cache, CacheBackendProtocol):
        return cache
    raise ConfigurationError(
        "CacheContentCheckpointStore takes a cache (get, set, delete, ...) or a store that was "
        f"opened with open_store, and got {given(given_cache)}"
    )


def place_of(key: ContentCheckpointKey) -> str:
    """Return the cache's key: short and plain, whatever the names of stage and tenant hold."""
    return f"content-checkpoint:{key.digest()}"


async def answer(doing: str, call: Awaitable[Result[Any, Exception]]) -> Any:
    """Return what the cache answers.

    Raises:
        StoreError: It answered with an `Err`, or raised.
        NotStorableError: It refused the value.
    """
    with failures_of(doing):
        result = await call
        if result.is_ok():
            return result.unwrap()
        failure: object = result.unwrap_err()
    if isinstance(failure, StoreError | NotStorableError):
        raise failure
    raise store_error(doing, failure) from (failure if isinstance(failure, Exception) else None)


# --- in a database ---------------------------------------------------------------------------


@final
class DatabaseContentCheckpointStore:
    """Keeps entries in a table of a database, which is made on first use.

    Writes are atomic: a call that is cancelled or cut off has kept the whole entry, or nothing.

    Args:
        provider: The database; connected by you, and closed by you.
        table_name: Letters, digits and `_`, at most 50 of them; no digit first.
        codec: Knows your types among the outputs. None: there are none.
    """

    def __init__(
        self,
        provider: DatabaseProviderProtocol,
        table_name: str = "workflow_content_checkpoints",
        *,
        codec: Codec | None = None,
    ) -> None:
        if not isinstance(provider, DatabaseProviderProtocol):
            raise ConfigurationError(
                "DatabaseContentCheckpointStore takes a database (see DatabaseProviderProtocol), "
                f"and got {given(provider)}"
            )
        if not is_identifier(table_name) or len(table_name) > LONGEST_TABLE_NAME:
            raise ConfigurationError(
                "table_name must be letters, digits and underscores, at most 50 and no digit "
                f"first, and is {given(table_name)}"
            )
        self.provider = provider
        self.table_name = table_name
        self.codec = codec or Codec()
        self.is_made = False
        self.making = trio.Lock()

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none."""
        rows = await self.rows_of("entry", "checkpoint_key = ?", [key.digest()])
        return unseal(key, rows[0].get("entry"), self.codec) if rows else None

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already."""
        row = self.row_of(key, entry)
        if await self.has(key):
            return
        failure: StoreError | None = None
        try:
            with failures_of("write"):
                await self.provider.execute_insert(self.table_name, row)
        except StoreError as error:
            failure = error
        # Another writer may have come first: then it is there, and all is well.
        if failure is not None and not await self.has(key):
            raise failure

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry; fine where there is none."""
        await self.make()
        with failures_of("evict"):
            await self.provider.execute_delete(
                self.table_name, "checkpoint_key = ?", [key.digest()]
            )

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Return the keys of a stage's entries, the one that ran last first; see the protocol."""
        require("limit", limit, whole(least=0))
        where, params = "stage_id = ?", [stage_id]
        if tenant_id is not None:
            where, params = f"{where} AND tenant_id = ?", [stage_id, tenant_id]
        order = "ORDER BY completed_at DESC, checkpoint_key DESC LIMIT ?"
        rows = await self.rows_of(", ".join(COLUMNS), f"{where} {order}", [*params, limit])
        return [key_of(row) for row in rows]

    async def has(self, key: ContentCheckpointKey) -> bool:
        """Say whether there is an entry, without reading it."""
        return bool(await self.rows_of("stage_id", "checkpoint_key = ?", [key.digest()]))

    async def rows_of(self, columns: str, where: str, params: list[Any]) -> list[dict[str, Any]]:
        await self.make()
        # The columns and conditions stand above; the table's name has been looked at.
        sql = f'SELECT {columns} FROM "{self.table_name}" WHERE {where}'  # noqa: S608
        with failures_of("read"):
            return list((await self.provider.execute_query(sql, params)).rows)

    async def make(self) -> None:
        """Make the table, once; what was cut off on the way is made up for by the next call."""
        if self.is_made:
            return
        async with self.making:
            if not self.is_made:
                await self.make_table()
                self.is_made = True

    async def make_table(self) -> None:
        name = self.table_name
        with failures_of("make the table of"):
            await self.provider.execute(
                f'CREATE TABLE IF NOT EXISTS "{name}" (checkpoint_key TEXT PRIMARY KEY, '
                "stage_id TEXT NOT NULL, tenant_id TEXT, input_hash TEXT NOT NULL, "
                "config_hash TEXT NOT NULL, completed_at TEXT NOT NULL, entry TEXT NOT NULL)"
            )
            await self.provider.execute(
                f'CREATE INDEX IF NOT EXISTS "{name}_by_stage" '
                f'ON "{name}" (stage_id, tenant_id, completed_at)'
            )

    def row_of(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> dict[str, Any]:
        """Return the row of an entry."""
        values = (key.digest(), key.stage_id, key.tenant_id)
        hashes = (key.input_hash.hex(), key.config_hash.hex())
        return {
            **dict(zip(COLUMNS, (*values, *hashes), strict=True)),
            # With microseconds always: as text, too, the later is the greater.
            "completed_at": entry.completed_at.isoformat(timespec="microseconds"),
            "entry": seal(key, entry, self.codec),
        }


def key_of(row: dict[str, Any]) -> ContentCheckpointKey:
    """Return the key that a row was written under.

    Raises:
        StoreCorruptedError: The row says something else than its own digest.
    """
    try:
        key = ContentCheckpointKey(
            row["stage_id"],
            row["tenant_id"],
            bytes.fromhex(row["input_hash"]),
            bytes.fromhex(row["config_hash"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptedError(
            f"a row of checkpoints is damaged: {describe(error)}", details={"row": given(row)}
        ) from error
    if key.digest() != row["checkpoint_key"]:
        raise damaged(key, "its row is another one's")
    return key


@contextmanager
def failures_of(doing: str) -> Generator[None]:
    """Raise whatever the cache or the database fails with as a `StoreError`.

    Refusals of a value stay what they are.
    """
    try:
        yield
    except (StoreError, NotStorableError):
        raise
    except Exception as error:
        raise store_error(doing, error) from error


def store_error(doing: str, failure: object) -> StoreError:
    """Say what the cache or the database could not do."""
    return StoreError(f"the store of checkpoints could not {doing} an entry: {describe(failure)}")
