"""Transitions in a table of any SQL database.

The primary key is machine and version, so that of two writers of one version the database refuses
one, whatever it makes of transactions. Each row carries a token of its writer: where it is not
known whether an insert was done, the row that is there tells.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, final

from lexigram_actors.errors import (
    ConfigurationError,
    StateConcurrencyError,
    StoreCorruptedError,
    StoreError,
    describe,
)
from lexigram_actors.machine.models import StateTransitionRecord
from lexigram_actors.storage.database import DatabaseProviderProtocol, is_identifier
from lexigram_actors.storage.keys import check_key
from lexigram_actors.storage.tables import Tables

# DOUBLE PRECISION: a REAL of PostgreSQL has not the digits of a time.
TABLE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    machine_id VARCHAR(512) NOT NULL,
    version INTEGER NOT NULL,
    from_state TEXT NOT NULL,
    event TEXT NOT NULL,
    to_state TEXT NOT NULL,
    transitioned_at DOUBLE PRECISION NOT NULL,
    token VARCHAR(64) NOT NULL,
    PRIMARY KEY (machine_id, version)
)
"""

COLUMNS: Final = "machine_id, version, from_state, event, to_state, transitioned_at"


@final
class DatabaseStatePersistence:
    """Keeps the transitions of machines in a table, made when it is first needed.

    Several processes may use one table. What `append_transition` has returned for is as durable as
    a commit of the database.

    Move machines outside of transactions of your own in the same database. What one of those rolls
    back is gone from under the machine, which is refused until it recovers; and a task that moves
    the machine outside may have to wait for the transaction, and that for the machine.

    Args:
        provider: The database, connected.
        table_name: Letters, digits and underscores.
        clock: Returns wall time in unix seconds.

    Raises:
        ConfigurationError: The name of the table is something else.
    """

    def __init__(
        self,
        provider: DatabaseProviderProtocol,
        table_name: str = "workflow_state_transitions",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not is_identifier(table_name):
            raise ConfigurationError(
                f"the name of the table is {table_name!r}; give one of letters, digits and "
                "underscores, 63 at most, that begins with no digit"
            )
        self._provider = provider
        self._table = table_name
        self._tables = Tables(provider, TABLE.format(table=table_name))
        self._clock = clock

    async def append_transition(
        self, machine_id: str, from_state: str, event: str, to_state: str, expected_version: int
    ) -> int:
        """Record a transition of a machine that has `expected_version`; return its version then.

        Cancelled, it is recorded or not, as the provider leaves it.

        Raises:
            StateConcurrencyError: The machine has another version; nothing was written.
            NotStorableError: No database can keep one of the names; nothing was written.
            Exception: What the provider raised, where nothing is recorded, or that is not known; a
                `StoreError` for a `RuntimeError`, which would say that somebody else was first.
        """
        row: dict[str, Any] = {
            "machine_id": machine_id,
            "version": expected_version + 1,
            "from_state": from_state,
            "event": event,
            "to_state": to_state,
            "transitioned_at": self._clock(),
            "token": secrets.token_hex(16),
        }
        for name in ("machine_id", "from_state", "event", "to_state"):
            check_key(row[name], what=name)
        with store_errors():
            actual, failure = await self._append(row)
        if actual != expected_version:
            raise StateConcurrencyError(event, from_state, expected_version, actual, cause=failure)
        return expected_version + 1

    async def _append(self, row: Mapping[str, Any]) -> tuple[int, Exception | None]:
        """Write a row, if its turn has come; return the version before it, and what failed."""
        machine_id, expected = row["machine_id"], row["version"] - 1
        await self._tables.make()
        failure: Exception
        try:
            async with self._provider.transaction():
                actual = await self._version_of(machine_id)
                if actual == expected:
                    await self._provider.execute_insert(self._table, row)
        except Exception as error:  # noqa: BLE001 - what it means is read from the table
            failure = error
        else:
            return actual, None
        if await self._is_written(row):
            return expected, failure
        actual = await self._version_of(machine_id)
        if actual == expected:
            raise failure
        return actual, failure

    async def load_transitions(self, machine_id: str) -> list[StateTransitionRecord]:
        """Return what was recorded of a machine, by version.

        Raises:
            StoreCorruptedError: There is something else in the columns.
        """
        rows = await self._rows(
            f"SELECT {COLUMNS} FROM {self._table} WHERE machine_id = ? ORDER BY version",  # noqa: S608
            machine_id,
        )
        return [record_in(row) for row in rows]

    async def get_current_version(self, machine_id: str) -> int:
        """Return the version of the last transition; 0 when there is none."""
        return await self._version_of(machine_id)

    async def _version_of(self, machine_id: str) -> int:
        rows = await self._rows(
            f"SELECT MAX(version) AS version FROM {self._table} WHERE machine_id = ?",  # noqa: S608
            machine_id,
        )
        version = rows[0]["version"] if rows else None
        return 0 if version is None else int(version)

    async def _is_written(self, row: Mapping[str, Any]) -> bool:
        """Say whether this row is there, written by this call."""
        rows = await self._rows(
            f"SELECT token FROM {self._table} WHERE machine_id = ? AND version = ?",  # noqa: S608
            row["machine_id"],
            row["version"],
        )
        return bool(rows) and rows[0]["token"] == row["token"]

    async def _rows(self, sql: str, *params: Any) -> list[Mapping[str, Any]]:
        found = await self._tables.using(self._provider.execute_query, sql, list(params))
        return list(found.rows)


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise a `RuntimeError` of a provider as a `StoreError`: it is no refusal of a persistence."""
    try:
        yield
    except RuntimeError as error:
        raise StoreError(f"the database failed: {describe(error)}", cause=error) from error


def record_in(row: Mapping[str, Any]) -> StateTransitionRecord:
    """Return a row as a record.

    Raises:
        StoreCorruptedError: It is none.
    """
    try:
        return StateTransitionRecord(
            str(row["machine_id"]),
            int(row["version"]),
            str(row["from_state"]),
            str(row["event"]),
            str(row["to_state"]),
            float(row["transitioned_at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptedError(
            f"a row of transitions is damaged: {dict(row)!r}",
            hint="restore the table from a backup",
        ) from error
