"""The tables, as numbered migrations, and the marks by which a file is known as one of ours.

`MIGRATIONS[0]` makes version 1, and so on; `PRAGMA user_version` holds the number of the last one
applied. A migration that was released is never edited: a new one follows it. Each is applied
whole or not at all.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from lexigram_actors.errors import StoreCorruptedError, StoreVersionError

APPLICATION_ID: Final = 0x4C584143
"""`LXAC`, in the header of every database of ours."""

CACHE: Final = """
CREATE TABLE cache (
    key TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL,
    expires_at REAL,
    checksum INTEGER NOT NULL
) STRICT
"""

CACHE_EXPIRY: Final = """
CREATE INDEX cache_expiry ON cache (expires_at) WHERE expires_at IS NOT NULL
"""

INSTANCES: Final = """
CREATE TABLE instances (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    note TEXT NOT NULL,
    owner TEXT,
    epoch INTEGER NOT NULL,
    run INTEGER NOT NULL,
    copied INTEGER NOT NULL,
    seed TEXT NOT NULL,
    parent TEXT,
    created_at REAL NOT NULL,
    start_at REAL,
    ended_at REAL,
    checksum INTEGER NOT NULL,
    outcome BLOB,
    outcome_checksum INTEGER
) STRICT
"""
"""The checksum is over what `facts_checksum` names; the other over an end as a whole."""

INSTANCES_BY_AGE: Final = """
CREATE INDEX instances_by_age ON instances (created_at, id)
"""

INSTANCES_BY_OWNER: Final = """
CREATE INDEX instances_by_owner ON instances (owner, created_at, id) WHERE ended_at IS NULL
"""

INSTANCES_BY_PARENT: Final = """
CREATE INDEX instances_by_parent ON instances (parent, created_at, id) WHERE parent IS NOT NULL
"""

INSTANCES_BY_END: Final = """
CREATE INDEX instances_by_end ON instances (ended_at, id, status) WHERE ended_at IS NOT NULL
"""

INPUTS: Final = """
CREATE TABLE inputs (
    instance TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT
"""
"""Apart from the instances, whose rows are written again and again."""

JOURNAL: Final = """
CREATE TABLE journal (
    instance TEXT NOT NULL,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    value BLOB NOT NULL,
    at REAL NOT NULL,
    mail INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (instance, position)
) STRICT, WITHOUT ROWID
"""

MAIL: Final = """
CREATE TABLE mail (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    instance TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    payload BLOB NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    checksum INTEGER NOT NULL,
    UNIQUE (instance, key)
) STRICT
"""

HOSTS: Final = """
CREATE TABLE hosts (
    name TEXT PRIMARY KEY NOT NULL,
    lease_until REAL NOT NULL
) STRICT, WITHOUT ROWID
"""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (CACHE, CACHE_EXPIRY),
    (
        INSTANCES,
        INSTANCES_BY_AGE,
        INSTANCES_BY_OWNER,
        INSTANCES_BY_PARENT,
        INSTANCES_BY_END,
        INPUTS,
        JOURNAL,
        MAIL,
        HOSTS,
    ),
)


def check_identity(path: str, application_id: int, version: int) -> None:
    """Refuse a database that is not ours, or of a version this library does not know.

    Raises:
        StoreVersionError: Another program's, or newer.
        StoreCorruptedError: Ours, with a version that there never was.
    """
    if application_id != APPLICATION_ID:
        raise StoreVersionError(
            f"{path} is a SQLite database, but not one of lexigram_actors "
            f"(application id {application_id}); it was left as it is",
            hint="give another path; the store makes a file of its own",
        )
    refuse_newer(path, version)
    if version < 1:
        raise StoreCorruptedError(
            f"{path} has schema version {version}, which there never was", hint=REMEDY
        )


def refuse_newer(path: str, version: int) -> None:
    """Refuse a version that came after this library."""
    newest = len(MIGRATIONS)
    if version > newest:
        raise StoreVersionError(
            f"{path} has schema version {version}, and this lexigram_actors knows versions up to "
            f"{newest}; it was left as it is",
            hint="upgrade lexigram_actors",
            details={"version": version, "newest": newest},
        )


REMEDY: Final = (
    "copy the file (and the -wal file beside it, if there is one) to a safe place, then restore "
    "a backup, or recover what can be read with: sqlite3 FILE .recover"
)


def version_of(connection: apsw.Connection) -> int:
    """Return the number of the last migration that was applied."""
    version: int = connection.pragma("user_version")
    return version


def migrate(connection: apsw.Connection, path: str) -> None:
    """Apply the migrations that are missing, all or none.

    Raises:
        StoreVersionError: Another process, of a newer version, was here a moment ago.
    """
    if version_of(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again: another process may have been here before the lock was ours.
        version = version_of(connection)
        refuse_newer(path, version)
        apply(connection, MIGRATIONS[version:])
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(MIGRATIONS))
        connection.execute("COMMIT")
    except Exception:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def apply(connection: apsw.Connection, migrations: tuple[tuple[str, ...], ...]) -> None:
    for statements in migrations:
        for statement in statements:
            connection.execute(statement)


def check_schema(connection: apsw.Connection, path: str) -> None:
    """Refuse a database whose tables and indexes are not what its version says.

    Raises:
        StoreCorruptedError: Something is missing or different. More than was expected is fine: an
            operator's own view does no harm.
    """
    expected = apsw.Connection(":memory:")
    try:
        apply(expected, MIGRATIONS[: version_of(connection)])
        missing = definitions(expected) - definitions(connection)
    finally:
        expected.close()
    if missing:
        names = ", ".join(sorted(name for _, name, _ in missing))
        raise StoreCorruptedError(f"{path}: the definition of {names} is damaged", hint=REMEDY)


def definitions(connection: apsw.Connection) -> set[tuple[Any, ...]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return set(rows.fetchall())
