"""What the operating system refuses: no room, no handles; and two processes on one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lexigram_actors.result import Ok
from lexigram_actors.storage import SQLiteStore
from tests.storage.sqlite_files import other_process

BEGINNING = """
import os, resource, sys, trio
from lexigram_actors.errors import StoreError
from lexigram_actors.storage import SQLiteStore
path = sys.argv[1]
"""

OVER_THE_FILE_LIMIT = """
async def main():
    async with SQLiteStore(path) as store:
        (await store.cache.set("before", "kept")).unwrap()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        results = {}
        async def write(key, value):
            results[key] = await store.cache.set(key, value)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, "large", "x" * 1_000_000)
            for number in range(10):
                nursery.start_soon(write, f"small{number}", number)
        error = results.pop("large").unwrap_err()
        assert type(error) is StoreError, error
        assert all(result.is_ok() for result in results.values()), results
        print(error)
        assert (await store.cache.get("before")).unwrap() == "kept"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (await store.cache.set("after", "kept")).unwrap()
trio.run(main)
"""

OUT_OF_HANDLES = """
import lexigram_actors.storage.sqlite.opening, lexigram_actors.storage.sqlite.worker, orjson
async def main():
    store = SQLiteStore(path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), 1000))
    try:
        async with store:
            pass
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
    async with store:
        (await store.cache.set("after", "kept")).unwrap()
trio.run(main)
"""

NO_ROOM_TO_BEGIN = """
import lexigram_actors.storage.sqlite.opening, lexigram_actors.storage.sqlite.worker, orjson
async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
    try:
        async with SQLiteStore(path) as store:
            pass
    except StoreError as error:
        print(error)
    assert os.listdir(os.path.dirname(path)) == [], os.listdir(os.path.dirname(path))
trio.run(main)
"""

NOT_CLOSED = """
async def main():
    store = SQLiteStore(path)
    await store.__aenter__()
    (await store.cache.set("after", "kept")).unwrap()
trio.run(main)
"""


def run(program: str, path: Path) -> str:
    """Return what a program prints that is given a path."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_value_over_the_limit_on_file_size_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    said = run(OVER_THE_FILE_LIMIT, path)
    assert "could not read or write it" in said
    assert "limits on file size" in said
    async with SQLiteStore(path) as store:
        assert await store.cache.get("before") == Ok("kept")
        assert await store.cache.get("small9") == Ok(9)
        assert await store.cache.get("large") == Ok(None)
        assert await store.cache.get("after") == Ok("kept")


async def test_out_of_file_handles_is_a_store_error_and_passes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    said = run(OUT_OF_HANDLES, path)
    assert "ulimit -n" in said
    async with SQLiteStore(path) as store:
        assert await store.cache.get("after") == Ok("kept")


def test_no_room_for_a_new_file_leaves_nothing(tmp_path: Path) -> None:
    assert "hint:" in run(NO_ROOM_TO_BEGIN, tmp_path / "store.db")


async def test_a_store_that_nobody_closed_does_not_hang_the_exit(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run(NOT_CLOSED, path)
    async with SQLiteStore(path) as store:
        assert await store.cache.get("after") == Ok("kept")


TWENTY_WRITERS = """
async def main():
    async with SQLiteStore(path, busy_timeout=30) as store:
        async def write(name):
            for number in range(20):
                (await store.cache.set(f"{sys.argv[2]}.{name}.{number}", number)).unwrap()
                assert (await store.cache.get(f"{sys.argv[2]}.{name}.{number}")).unwrap() == number
        async with trio.open_nursery() as nursery:
            for name in range(20):
                nursery.start_soon(write, name)
trio.run(main)
"""


def run_side_by_side(program: str, path: Path, count: int) -> None:
    """Run a program several times at once, each with a number of its own."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEGINNING + program, str(path), str(number)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


@pytest.mark.parametrize("there", [False, True], ids=["new file", "file that is there"])
async def test_processes_work_on_one_file_side_by_side(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "store.db"
    if there:
        async with SQLiteStore(path):
            pass
    run_side_by_side(TWENTY_WRITERS, path, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]
    connection = other_process(path)
    assert connection.execute("SELECT count(*) FROM cache").get == 3 * 20 * 20
    connection.close()


async def test_what_another_process_wrote_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as store:
        assert await store.cache.get("after") == Ok(None)
        run(NOT_CLOSED, path)
        assert await store.cache.get("after") == Ok("kept")
