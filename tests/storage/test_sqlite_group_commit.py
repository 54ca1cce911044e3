"""Many writers share a commit; what goes wrong for one of them is its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import StoreCorruptedError, StoreError
from lexigram_actors.result import Ok
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite.worker import Worker
from tests.storage.sqlite_files import other_process, until, worker_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of the thread of each commit so far."""
    done: list[str] = []

    def commit(worker: Worker) -> None:
        worker.connection.execute("COMMIT")
        done.append(threading.current_thread().name)

    monkeypatch.setattr(Worker, "commit", commit)
    return done


Call = Callable[[], Awaitable[Any]]


async def together(path: Path, calls: list[Call]) -> list[Any]:
    """Return what the calls return or raise, all queued before the first is begun."""
    outcomes: list[Any] = [None] * len(calls)

    async def run(place: int, call: Call) -> None:
        try:
            outcomes[place] = await call()
        except Exception as error:
            outcomes[place] = error

    lock = other_process(path)
    lock.execute("BEGIN IMMEDIATE")
    async with trio.open_nursery() as nursery:
        for place, call in enumerate(calls):
            nursery.start_soon(run, place, call)
        await wait_all_tasks_blocked()
        assert outcomes == [None] * len(calls)
        lock.execute("ROLLBACK")
        lock.close()
    return outcomes


def setting(store: SQLiteStore, key: str, value: Any) -> Call:
    return lambda: store.cache.set(key, value)


def working(store: SQLiteStore, work: Callable[[apsw.Connection], Any]) -> Call:
    return lambda: worker_of(store).write(work)


async def test_all_that_gathered_is_one_commit(path: Path, commits: list[str]) -> None:
    async with SQLiteStore(path) as store:
        sets = [setting(store, f"k{number}", number) for number in range(100)]
        assert await together(path, sets) == [Ok(None)] * 100
        assert len(commits) == 1
        for number in range(100):
            assert await store.cache.get(f"k{number}") == Ok(number)


async def test_a_lone_writer_commits_every_time(path: Path, commits: list[str]) -> None:
    async with SQLiteStore(path) as store:
        for number in range(10):
            await store.cache.set("k", number)
            assert len(commits) == number + 1


async def test_the_work_is_done_on_one_thread_of_the_store(path: Path, commits: list[str]) -> None:
    async with SQLiteStore(path) as store:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(store.cache.set, f"k{number}", number)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("store ")]
        assert len(threads) == 1
        assert threads[0].daemon
    assert set(commits) == {f"store {path}"}


async def test_a_write_is_acknowledged_only_after_its_own_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    def commit(worker: Worker) -> None:
        time.sleep(0.02)
        worker.connection.execute("COMMIT")
        log.append("committed")

    monkeypatch.setattr(Worker, "commit", commit)
    async with SQLiteStore(path) as store:
        await store.cache.set("k", 1)
        log.append("acknowledged")
        await store.cache.set("k", 2)
        log.append("acknowledged")
    assert log == ["committed", "acknowledged"] * 2


# --- one fails, the others do not ----------------------------------------------------------------


async def test_a_write_that_raises_is_undone_alone(path: Path) -> None:
    def half(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO cache VALUES ('half', x'00', NULL, 0)")
        raise LookupError("in the middle")

    async with SQLiteStore(path) as store:
        calls = [setting(store, f"k{number}", number) for number in range(10)]
        outcomes = await together(path, [*calls[:5], working(store, half), *calls[5:]])
        assert isinstance(outcomes.pop(5), LookupError)
        assert outcomes == [Ok(None)] * 10
        for number in range(10):
            assert await store.cache.get(f"k{number}") == Ok(number)
        assert await store.cache.delete("half") == Ok(False)


async def test_a_value_the_disk_has_no_room_for_fails_alone(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.cache.set("old", "kept")
        worker = worker_of(store)
        pages = await worker.read(lambda c: c.pragma("page_count"))
        await worker.read(lambda c: c.pragma("max_page_count", pages + 8))
        small = [setting(store, f"k{number}", number) for number in range(20)]
        large = setting(store, "large", "x" * 100_000)
        outcomes = await together(path, [*small, large])
        error = outcomes.pop().unwrap_err()
        assert type(error) is StoreError
        assert "the disk is full, and nothing of this was written" in str(error)
        assert "free some space" in str(error)
        assert outcomes == [Ok(None)] * 20
        assert await store.cache.exists("large") == Ok(False)
        assert await store.cache.get("old") == Ok("kept")
        # With room again everything goes on.
        await worker.read(lambda c: c.pragma("max_page_count", 100_000))
        assert await large() == Ok(None)


async def test_each_of_many_that_fail_gets_an_error_of_its_own(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await worker_of(store).read(lambda c: c.pragma("max_page_count", 8))
        large = [setting(store, f"k{number}", "x" * 100_000) for number in range(5)]
        errors = [outcome.unwrap_err() for outcome in await together(path, large)]
        assert len({id(error) for error in errors}) == 5


async def test_a_commit_that_fails_is_tried_again_for_each_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [apsw.IOError("disk I/O error"), None, apsw.IOError("disk I/O error"), None]

    def commit(worker: Worker) -> None:
        error = failing.pop(0)
        if error is not None:
            raise error
        worker.connection.execute("COMMIT")

    async with SQLiteStore(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "commit", commit)
            outcomes = await together(path, [setting(store, key, 1) for key in "abc"])
        assert failing == []
        refused = [outcome for outcome in outcomes if outcome.is_err()]
        assert len(refused) == 1
        assert "the operating system could not read or write it" in str(refused[0].unwrap_err())
        there = [(await store.cache.exists(key)).unwrap() for key in "abc"]
        assert there == [outcome.is_ok() for outcome in outcomes]


async def test_a_lock_that_cannot_be_had_again_is_an_error_of_the_one_that_needs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Worker.begin
    begun: list[str] = []

    def only_once(worker: Worker) -> None:
        if begun:
            raise apsw.BusyError("database is locked")
        begin(worker)
        begun.append("the group's")

    def refuse(connection: apsw.Connection) -> None:
        raise LookupError

    async with SQLiteStore(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "begin", only_once)
            with pytest.raises(StoreError, match="held the lock"):
                await worker_of(store).write(refuse)
        with pytest.raises(LookupError):
            await worker_of(store).write(refuse)


# --- locks of others ---------------------------------------------------------------------------


async def test_a_lock_that_is_never_released_is_an_error_after_the_timeout(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=0.1) as store:
        await store.cache.set("k", "old")
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        error = (await store.cache.set("k", "new")).unwrap_err()
        assert 0.09 < time.monotonic() - started < 5
        assert type(error) is StoreError
        assert "another process held the lock for too long" in str(error)
        lock.execute("ROLLBACK")
        lock.close()
        assert await store.cache.get("k") == Ok("old")
        assert await store.cache.set("k", "new") == Ok(None)


async def test_reads_go_on_while_another_process_holds_the_lock(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=30) as store:
        await store.cache.set("k", "old")
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.cache.set, "k", "new")
            await wait_all_tasks_blocked()
            with trio.fail_after(5):
                for _ in range(10):
                    assert await store.cache.get("k") == Ok("old")
            lock.execute("ROLLBACK")
            lock.close()
        assert await store.cache.get("k") == Ok("new")


async def test_a_writer_that_came_late_waits_its_own_time(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=0.2) as store:
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        results: dict[str, Any] = {}

        async def write(key: str) -> None:
            results[key] = await store.cache.set(key, 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, "early")
            await trio.sleep(0.12)
            nursery.start_soon(write, "late")
            await until(lambda: "early" in results)
            assert "late" not in results
            lock.execute("ROLLBACK")
            lock.close()
        assert results["early"].is_err()
        assert results["late"] == Ok(None)


async def test_a_store_that_is_busy_when_it_is_opened_is_an_error(path: Path) -> None:
    async with SQLiteStore(path):
        pass
    lock = other_process(path)
    lock.pragma("locking_mode", "EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(StoreError, match="another process held the lock"):
        async with SQLiteStore(path, busy_timeout=0.1):
            pass
    assert time.monotonic() - started > 0.09
    lock.close()


async def test_damage_seen_while_taking_the_lock_is_told_to_those_who_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(worker: Worker) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    async with SQLiteStore(path) as store:
        monkeypatch.setattr(Worker, "begin", begin)
        assert isinstance((await store.cache.set("k", 1)).unwrap_err(), StoreCorruptedError)
