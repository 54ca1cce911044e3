"""Opening a database: look before touching, then check, then settings.

A file that is not ours, newer, cut off or damaged is refused with nothing written to it, and no
file left beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Literal

import apsw

from lexigram_actors.errors import StoreCorruptedError, StoreError
from lexigram_actors.storage.sqlite.creation import create_database, use_write_ahead_log
from lexigram_actors.storage.sqlite.schema import (
    REMEDY,
    check_identity,
    check_schema,
    migrate,
    version_of,
)

MAGIC: Final = b"SQLite format 3\0"
HEADER_LENGTH: Final = 100

CHECKED_WHOLE: Final = 64 * 1024 * 1024
"""Files up to here are checked whole when they are opened, at about 2 ms a MiB."""

LOG_KEPT: Final = 16 * 1024 * 1024
"""To what the log is cut back, in bytes, after a burst that made it larger."""


def open_database(
    path: str,
    synchronous: Literal["full", "normal"],
    keep_waiting: Callable[[int], bool],
) -> apsw.Connection:
    """Open the database at an absolute path, made first if there is none; ready for work.

    Raises:
        StoreVersionError: Another program's, or newer; it is untouched.
        StoreCorruptedError: Damaged; it is untouched.
        StoreError, OSError, apsw.Error: It cannot be opened or made.
    """
    if not os.path.exists(path):
        create_database(path)
    inspect_file(path)
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_handler(keep_waiting)
        make_ready(connection, path, synchronous)
    except BaseException:
        connection.close()
        raise
    return connection


# --- looking ---------------------------------------------------------------------------------


def inspect_file(path: str) -> None:
    """Refuse what the header alone shows to be no database of ours.

    Read through SQLite's own file layer: closing a plain file handle would drop the locks that
    other connections of this process hold on the same file.
    """
    if not os.path.isfile(path):
        raise StoreError(f"{path} is no regular file", hint="give the path of a file")
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB
    file = apsw.VFSFile("unix", path, [flags, 0])
    try:
        header = file.xRead(HEADER_LENGTH, 0)
        inspect_header(path, header)
        # Twice: between size and log another process may have moved the one into the other.
        if is_cut_off(path, header) and is_cut_off(path, header):
            raise StoreCorruptedError(f"{path} is cut off: its end is missing", hint=REMEDY)
    finally:
        file.xClose()


def inspect_header(path: str, header: bytes) -> None:
    """Judge the first bytes of a file."""
    if not header:
        raise StoreCorruptedError(
            f"{path} is empty, so it was cut off or never was a database",
            hint="restore a backup; if nothing was ever stored in it, delete it and open again",
        )
    if len(header) < HEADER_LENGTH or not header.startswith(MAGIC):
        raise StoreCorruptedError(
            f"{path} is no SQLite database, or its beginning is damaged",
            hint=f"check the path; if it should be one, {REMEDY}",
        )
    check_identity(path, number_at(header, 68), number_at(header, 60))


def is_cut_off(path: str, header: bytes) -> bool:
    """Say whether the file is shorter than its header says, with no log to make up for it."""
    page_size = int.from_bytes(header[16:18], "big")
    expected = number_at(header, 28) * (65536 if page_size == 1 else page_size)
    return os.stat(path).st_size < expected and not log_length(path)


def log_length(path: str) -> int:
    """Return the bytes in the write-ahead log beside a database; 0 when there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def number_at(header: bytes, offset: int) -> int:
    return int.from_bytes(header[offset : offset + 4], "big")


# --- checking and settings ----------------------------------------------------------------------


def make_ready(
    connection: apsw.Connection, path: str, synchronous: Literal["full", "normal"]
) -> None:
    """Check what is inside, then set the connection up and bring the tables up to date."""
    if connection.readonly("main"):
        raise apsw.ReadOnlyError("opened for reading only")
    leave_log_alone(connection, log_length(path) > 0)
    check_inside(connection, path)
    leave_log_alone(connection, False)

    use_write_ahead_log(connection, path)
    connection.pragma("synchronous", synchronous.upper())
    connection.pragma("fullfsync", synchronous == "full")  # macOS: past the disk's own cache
    connection.pragma("journal_size_limit", LOG_KEPT)
    migrate(connection, path)


def leave_log_alone(connection: apsw.Connection, alone: bool) -> None:
    """Set whether closing leaves a log that is there as it is, instead of moving it into the file.

    A damaged database must not be written to, and its log may be what is needed to mend it.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(alone))


def check_inside(connection: apsw.Connection, path: str) -> None:
    """Refuse a database that is not ours, newer, or damaged; nothing is written."""
    connection.pragma("trusted_schema", False)
    connection.pragma("cell_size_check", True)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    try:
        check_identity(path, connection.pragma("application_id"), version_of(connection))
        check_schema(connection, path)
        check_structure(connection, path)
    except apsw.SQLError as error:  # what SQLite says of a header or schema it cannot use
        raise StoreCorruptedError(f"{path} is damaged: {error}", hint=REMEDY) from error


def check_structure(connection: apsw.Connection, path: str) -> None:
    """Let SQLite check a file that is not too large; a larger one is checked as it is read.

    Rows are checked by their checksums when they are read. What only this check finds is a damaged
    index, by which a key that is there would be taken for absent.
    """
    size = connection.pragma("page_count") * connection.pragma("page_size")
    if size > CHECKED_WHOLE:
        return
    said = connection.pragma("integrity_check", 1)
    if said != "ok":
        raise StoreCorruptedError(f"{path} is damaged: {said}", hint=REMEDY)
