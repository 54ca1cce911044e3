"""What the tests of the SQLite store share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import trio

from lexigram_actors.storage import SQLiteStore


def worker_of(store: SQLiteStore) -> Any:
    """Return the worker of an open store, for what its public side does not offer."""
    assert store.rows.worker is not None
    return store.rows.worker


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file in a folder with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def fill(path: Path, **values: Any) -> None:
    """Make a store with these values at a path."""
    async with SQLiteStore(path) as store:
        for key, value in values.items():
            (await store.cache.set(key, value)).unwrap()


def other_process(path: Path | str) -> apsw.Connection:
    """Return a connection of another program on the file; SQLite locks it like another process."""
    connection = apsw.Connection(os.fspath(path))
    connection.set_busy_timeout(5_000)
    return connection


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a thread does; five seconds at most."""
    for _ in range(5_000):
        if condition():
            return
        await trio.sleep(0.001)
    raise AssertionError("it did not happen")


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return path.stat().st_mode & 0o777
