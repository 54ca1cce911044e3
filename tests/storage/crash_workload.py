"""A program that writes to a store with many tasks until it is killed; run by the crash tests.

    python crash_workload.py PATH MODE

Each writer has a key and counts up in it. Before a write it notes `s KEY N`, after its `Ok`
`a KEY N`, each a line on standard output. Modes:

- `run`: until killed from outside.
- `before K`, `after K`: dies in the middle of commit number K, before or after SQLite's own.
- `inside K`: dies in the work of commit number K, with half of the group done.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import apsw
import trio

from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite import rows
from lexigram_actors.storage.sqlite.worker import Worker

WRITERS = 20
SETS = 5


def value_of(key: str, number: int) -> dict[str, object]:
    """Return what stands under a key; it tells itself whether it is whole."""
    return {"key": key, "number": number, "pad": f"{key}-{number}." * (number % 400)}


def note(kind: str, key: str, number: int) -> None:
    os.write(1, f"{kind} {key} {number}\n".encode())


async def count_up(store: SQLiteStore, key: str) -> None:
    number = 0
    while True:
        number += 1
        note("s", key, number)
        (await store.cache.set(key, value_of(key, number))).unwrap()
        note("a", key, number)


async def come_and_go(store: SQLiteStore, name: str) -> None:
    """Write ten keys and delete them in one call, over and over."""
    keys = [f"{name}.{part}" for part in range(10)]
    number = 0
    while True:
        number += 1
        for key in keys:
            (await store.cache.set(key, number)).unwrap()
        note("s", name, number)
        (await store.cache.delete_many(keys)).unwrap()
        note("a", name, number)


def die(*_: object) -> None:
    os._exit(137)


def arrange_death(when: str, at: int) -> None:
    """Make the process die at the given commit."""
    commits = 0
    works = 0
    write_row = rows.write_row

    def commit(worker: Worker) -> None:
        nonlocal commits
        commits += 1
        if commits == at and when == "before":
            die()
        worker.connection.execute("COMMIT")
        if commits == at and when == "after":
            die()

    def work(connection: apsw.Connection, *arguments: object) -> None:
        nonlocal works
        write_row(connection, *arguments)  # type: ignore[arg-type]
        works += 1
        if commits + 1 >= at and when == "inside" and works % 2:
            die()

    setattr(Worker, "commit", commit)  # noqa: B010 - a patch, which types do not see
    setattr(rows, "write_row", work)  # noqa: B010


async def main(path: str, when: str = "run", at: str = "0") -> None:
    if when != "run":
        arrange_death(when, int(at))
    async with SQLiteStore(path) as store, trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(count_up, store, f"w{number}")
        for number in range(SETS):
            nursery.start_soon(come_and_go, store, f"d{number}")


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
