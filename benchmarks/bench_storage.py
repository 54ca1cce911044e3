"""The SQLite store: what a durable write costs, alone and shared, and what a read does.

*Raw* is apsw on the caller's own thread, blocking: `BEGIN IMMEDIATE`, the same upsert of the same
bytes, `COMMIT`, at `synchronous=FULL`. Ours goes through Trio, the codec and the store's thread.
Both work in files of their own in the folder for temporary files (`TMPDIR`), which has to be on a
disk for the numbers to mean anything. Keys are new in half of the writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import apsw
import orjson
import trio
from harness import Workload, at_most, now

from lexigram_actors.storage import Codec, MemoryStore, SQLiteStore
from lexigram_actors.storage.sqlite.rows import READ, WRITE
from lexigram_actors.storage.sqlite.schema import MIGRATIONS

VALUE = {"batch": 17, "state": "completed", "items": list(range(40)), "text": "x" * 40}


def key_of(number: int) -> str:
    """Return the key of a write: every second one was written before."""
    return f"operation:{number // 2:08d}"


@contextmanager
def database() -> Iterator[apsw.Connection]:
    """A plain connection with our table, at FULL."""
    with tempfile.TemporaryDirectory() as folder:
        connection = apsw.Connection(f"{folder}/raw.db")
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def place() -> Iterator[str]:
    """A path for a store."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/store.db"


# --- writing -------------------------------------------------------------------------------


async def write(count: int, writers: int) -> float:
    """Every writer sets one key after the other, and waits for each to be durable."""
    with place() as path:
        async with SQLiteStore(path) as store:
            cache = store.cache

            async def set_many(first: int) -> None:
                for number in range(first, count, writers):
                    (await cache.set(key_of(number), VALUE)).unwrap()

            start = now()
            async with trio.open_nursery() as nursery:
                for first in range(min(writers, count)):
                    nursery.start_soon(set_many, first)
            return now() - start


def write_raw(count: int, group: int = 1) -> float:
    """Commit so many writes at a time."""
    value = orjson.dumps(VALUE)
    with database() as connection:
        start = now()
        for first in range(0, count, group):
            connection.execute("BEGIN IMMEDIATE")
            for number in range(first, min(first + group, count)):
                connection.execute(WRITE, (key_of(number), value, None, 0))
            connection.execute("COMMIT")
        return now() - start


async def write_in_memory(count: int) -> float:
    cache = MemoryStore().cache
    start = now()
    for number in range(count):
        (await cache.set(key_of(number), VALUE)).unwrap()
    return now() - start


# --- reading -------------------------------------------------------------------------------


async def read(count: int, readers: int) -> float:
    with place() as path:
        async with SQLiteStore(path) as store:
            cache = store.cache
            (await cache.set("k", VALUE)).unwrap()

            async def get_many() -> None:
                for _ in range(max(1, count // readers)):
                    assert (await cache.get("k")).unwrap() == VALUE

            start = now()
            async with trio.open_nursery() as nursery:
                for _ in range(readers):
                    nursery.start_soon(get_many)
            return now() - start


def read_raw(count: int) -> float:
    with database() as connection:
        connection.execute(WRITE, ("k", orjson.dumps(VALUE), None, 0))
        start = now()
        for _ in range(count):
            rows: list[Any] = connection.execute(READ, ("k",)).fetchall()
            assert orjson.loads(rows[0][0]) == VALUE
        return now() - start


# --- opening and the codec -----------------------------------------------------------------


async def open_and_close(count: int) -> float:
    """Open and close a store that is there."""
    with place() as path:
        async with SQLiteStore(path):
            pass
        start = now()
        for _ in range(count):
            async with SQLiteStore(path):
                pass
        return now() - start


NESTED: dict[str, Any] = {
    "order": {
        "id": UUID(int=7),
        "at": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        "lines": [
            {"sku": f"sku-{i}", "quantity": i, "price": Decimal("1.25"), "tags": {"a", "b"}}
            for i in range(8)
        ],
        "address": {"street": "Some street 12", "city": "Someplace", "place": (12.5, 13.25)},
    },
    "steps": [
        {"name": f"step{i}", "status": "completed", "duration": 0.125 * i, "result": None}
        for i in range(8)
    ],
    "counts": {1: 2, 3: 4},
    "blob": b"abcdefgh" * 20,
    "flags": [True, False, None],
}


def dump(count: int) -> float:
    codec = Codec()
    start = now()
    for _ in range(count):
        codec.dumps(NESTED)
    return now() - start


def load(count: int) -> float:
    codec = Codec()
    data = codec.dumps(NESTED)
    assert 1_500 < len(data) < 1_900
    start = now()
    for _ in range(count):
        codec.loads(data)
    return now() - start


# --- the table -----------------------------------------------------------------------------


def row(
    name: str, ours: Callable[..., Any], raw: Callable[..., Any] | None, **facts: Any
) -> Workload:
    return Workload(name, unit="µs", ours=ours, raw=raw, **facts)


WORKLOADS = [
    row(
        "set, one writer (raw: one commit)",
        partial(write, writers=1),
        write_raw,
        count=2_000,
        budget=at_most(2),
    ),
    row(
        "set, 100 writers (raw: one commit a write)",
        partial(write, writers=100),
        write_raw,
        count=5_000,
        budget=at_most(0.4, goal=0.15),
        note="must and goal are 20 k/s and 51 k/s where a commit takes 128 µs",
    ),
    row(
        "set, 100 writers (raw: one commit for 100 writes)",
        partial(write, writers=100),
        partial(write_raw, group=100),
        count=20_000,
    ),
    row("set, in memory", write_in_memory, None, count=20_000),
    row("get, one reader", partial(read, readers=1), read_raw, count=5_000),
    row("get, 100 readers", partial(read, readers=100), read_raw, count=20_000),
    row("open and close a store", open_and_close, None, count=50),
    row("codec: dump a nested value of 1.7 kB", dump, None, count=5_000),
    row("codec: load a nested value of 1.7 kB", load, None, count=5_000),
]
