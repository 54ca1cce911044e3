"""Outputs of stages in a table of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

from lexigram_actors.checks import given, require, whole
from lexigram_actors.errors import (
    ConfigurationError,
    StoreCorruptedError,
    StoreError,
    describe,
)
from lexigram_actors.saga.content_keys import (
    ContentCheckpointEntry,
    ContentCheckpointKey,
    damaged,
    seal,
    unseal,
)
from lexigram_actors.saga.content_stores import failures_of
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.database import DatabaseProviderProtocol, is_identifier
from lexigram_actors.storage.tables import Tables

LONGEST_TABLE_NAME: Final = 50
"""Its index has a longer one, and 63 is the most that PostgreSQL tells apart."""

COLUMNS: Final = ("checkpoint_key", "stage_id", "tenant_id", "input_hash", "config_hash")

TABLE: Final = (
    'CREATE TABLE IF NOT EXISTS "{table}" (checkpoint_key TEXT PRIMARY KEY, '
    "stage_id TEXT NOT NULL, tenant_id TEXT, input_hash TEXT NOT NULL, "
    "config_hash TEXT NOT NULL, completed_at TEXT NOT NULL, entry TEXT NOT NULL)"
)

INDEX: Final = (
    'CREATE INDEX IF NOT EXISTS "{table}_by_stage" ON "{table}" (stage_id, tenant_id, completed_at)'
)


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
        statements = (each.format(table=table_name) for each in (TABLE, INDEX))
        self.tables = Tables(provider, *statements)

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
        with failures_of("evict"):
            await self.tables.using(
                self.provider.execute_delete,
                self.table_name,
                "checkpoint_key = ?",
                [key.digest()],
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
        # The columns and conditions stand above; the table's name has been looked at.
        sql = f'SELECT {columns} FROM "{self.table_name}" WHERE {where}'  # noqa: S608
        with failures_of("read"):
            found = await self.tables.using(self.provider.execute_query, sql, params)
            return list(found.rows)

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
