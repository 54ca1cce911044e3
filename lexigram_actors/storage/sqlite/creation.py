"""A new database file: readable by its owner only, and there whole or not at all.

It is made under another name and linked into place when it is complete. So an empty or half-made
file is never ours, which is what allows refusing one: it was cut off, and a fresh database in its
place would hide the loss. A crash in between leaves a draft, `.lexigram-*.new`, to be deleted.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import apsw

from lexigram_actors.errors import StoreCorruptedError, StoreError
from lexigram_actors.storage.sqlite.schema import REMEDY, migrate

LOGS = ("-wal", "-journal")


def create_database(path: str) -> None:
    """Make a database at the path, unless another process is first.

    Raises:
        StoreCorruptedError: There is none, but the log of one: it was lost, not never there.
        OSError, apsw.Error: The folder is missing, not writable, full.
    """
    refuse_orphans(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StoreError(
            f"{path}: the folder {folder} does not exist",
            hint=f"create it first: mkdir -p {folder}",
        )
    draft = os.path.join(folder, f".lexigram-{secrets.token_hex(8)}.new")
    try:
        # Not through SQLite, which would take the rights from the umask.
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        fill(draft)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        for leftover in (draft, *(draft + log for log in LOGS)):
            with suppress(OSError):
                os.unlink(leftover)
    make_durable(folder)


def refuse_orphans(path: str) -> None:
    for log in LOGS:
        if os.path.exists(path + log) and not os.path.exists(path):
            raise StoreCorruptedError(
                f"{path} is gone, but {path}{log} is there: SQLite would take it for the log of a "
                "new database",
                hint=f"restore the database; or, to begin anew, move {path}{log} away. {REMEDY}",
            )


def fill(draft: str) -> None:
    connection = apsw.Connection(draft, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("synchronous", "FULL")
        migrate(connection, draft)
        use_write_ahead_log(connection, draft)
    finally:
        connection.close()


def use_write_ahead_log(connection: apsw.Connection, path: str) -> None:
    """Switch the database to a write-ahead log, which it stays with."""
    mode = connection.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise StoreError(
            f"{path}: SQLite keeps a {mode} journal there instead of a write-ahead log",
            hint="put the database on a local disk; a network file system will not do",
        )


def make_durable(folder: str) -> None:
    """Force the folder's entry for the new file to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
