"""What SQLite's error codes mean to the person who has to do something about them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import apsw

from lexigram_actors.errors import StoreCorruptedError, StoreError
from lexigram_actors.storage.sqlite.schema import REMEDY

ADVICE: Final[Mapping[type[apsw.Error], tuple[str, str]]] = {
    apsw.FullError: (
        "the disk is full, and nothing of this was written",
        "free some space and try again; what was acknowledged before is safe",
    ),
    apsw.BusyError: (
        "another process held the lock for too long, and nothing of this was written",
        "find out what holds a transaction open on it (fuser, lsof), and try again",
    ),
    apsw.ReadOnlyError: (
        "the file or its folder is read-only, and nothing of this was written",
        "make both writable for this user; the folder too, since -wal and -shm are made beside it",
    ),
    apsw.CantOpenError: (
        "it cannot be opened",
        "check the rights to the file, and to make files beside it, and ulimit -n",
    ),
    apsw.IOError: (
        "the operating system could not read or write it",
        "check the disk and its free space, quotas and limits on file size, then try again",
    ),
}


DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)
"""The last: text that is none, which SQLite hands out as it is."""


def store_error(error: BaseException, path: str) -> BaseException:
    """Return SQLite's or the system's error as a `StoreError`; any other as it is."""
    if isinstance(error, DAMAGE):
        return StoreCorruptedError(f"{path} is damaged: {error}", hint=REMEDY, cause=error)
    if isinstance(error, apsw.Error):
        said, hint = ADVICE.get(type(error), ("SQLite refused", "see the cause"))
        return StoreError(f"{path}: {said} ({error})", hint=hint, cause=error)
    if isinstance(error, OSError):
        return StoreError(
            f"{path}: {error.strerror or error}",
            hint=f"check the folder {os.path.dirname(path)} and the rights of this user",
            cause=error,
        )
    return error


def is_damage(error: BaseException) -> bool:
    """Say whether the structure of the file is broken, so that writing more would make it worse."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)
