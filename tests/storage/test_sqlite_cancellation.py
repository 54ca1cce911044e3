"""Cancelled callers of the SQLite store: never half a write, nothing left behind.

Threads and open files are counted around every test by the fixture that all tests have.
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import StoreError
from lexigram_actors.result import Ok
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite import opening, requests
from lexigram_actors.storage.sqlite.worker import Worker
from tests.storage.sqlite_files import fill, other_process, until, worker_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def cancelled_set(store: SQLiteStore, key: str, scope: trio.CancelScope) -> Any:
    with scope:
        return await store.cache.set(key, "new")
    return None


@attrs.define
class Gate:
    """Holds the worker's thread at a commit until it is opened."""

    reached: threading.Event = attrs.field(factory=threading.Event)
    opened: threading.Event = attrs.field(factory=threading.Event)

    def hold(self, worker: Worker) -> None:
        self.reached.set()
        assert self.opened.wait(10)
        worker.connection.execute("COMMIT")

    async def wait_reached(self) -> None:
        await until(self.reached.is_set)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(Worker, "commit", lambda worker: gate.hold(worker))
    return gate


async def test_a_write_cancelled_while_it_waits_is_not_written(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=30) as store:
        await store.cache.set("k", "old")
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(cancelled_set, store, "k", scope)
            nursery.start_soon(store.cache.set, "other", 1)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert scope.cancelled_caught  # at once, though the lock is still held
            lock.execute("ROLLBACK")
            lock.close()
        assert await store.cache.get("k") == Ok("old")
        assert await store.cache.get("other") == Ok(1)


async def test_a_write_cancelled_while_it_commits_returns_its_outcome(
    path: Path, gate: Gate
) -> None:
    results: list[Any] = []

    async def write(scope: trio.CancelScope) -> None:
        with scope:
            results.append(await store.cache.set("k", "new"))
            await trio.lowlevel.checkpoint()
            pytest.fail("the cancellation was lost")

    async with SQLiteStore(path) as store:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(write, scope)
            await gate.wait_reached()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert results == []
            gate.opened.set()
        assert results == [Ok(None)]
        assert scope.cancelled_caught
        assert await store.cache.get("k") == Ok("new")


async def test_a_read_cancelled_while_it_waits_is_taken_back(path: Path, gate: Gate) -> None:
    async with SQLiteStore(path) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.cache.set, "k", 1)
            await gate.wait_reached()
            with trio.move_on_after(0.01) as scope:
                await store.cache.get("k")
            assert scope.cancelled_caught
            assert not worker_of(store).requests.reads
            gate.opened.set()


async def test_when_every_waiting_writer_is_cancelled_the_lock_is_given_up(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=30) as store:
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        with trio.move_on_after(0.02) as scope:
            await store.cache.set("k", 1)
        assert scope.cancelled_caught
        # The thread sleeps again, for which leaving the block would wait otherwise.
        await until(lambda: bool(worker_of(store).requests.idle))
        lock.execute("ROLLBACK")
        lock.close()


async def test_a_thousand_cancelled_at_once_leave_nothing(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout=30) as store:
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for number in range(1_000):
                    nursery.start_soon(store.cache.set, f"k{number}", 1)
                await wait_all_tasks_blocked()
                scope.cancel()
        lock.execute("ROLLBACK")
        lock.close()
        assert await store.cache.delete_pattern("*") == Ok(0)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before the n-th step of the task that made it."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope = scope
        self.steps_left = step
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel()


async def scenario(path: Path, log: list[str]) -> None:
    """Open, write, read, delete, close; log what each call came to."""
    async with SQLiteStore(path, synchronous="normal") as store:
        for number in range(4):
            key = f"k{number}"
            log.append(f"sent {key}")
            (await store.cache.set(key, [number] * 50)).unwrap()
            log.append(f"kept {key}")
        assert await store.cache.get("k0") == Ok([0] * 50)
        log.append("sent -k1")
        (await store.cache.delete_many(["k1", "k2"])).unwrap()
        log.append("kept -k1")
    log.append("closed")


async def test_cancelled_at_every_step_each_write_is_whole_or_absent(tmp_path: Path) -> None:
    cancelled = 0
    for step in range(1, 40):
        path = tmp_path / f"{step}.db"
        log: list[str] = []
        with trio.CancelScope() as scope:
            instrument = CancelAt(scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                await scenario(path, log)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        cancelled += scope.cancelled_caught
        names = {thread.name for thread in threading.enumerate()}
        assert f"store {path}" not in names
        async with SQLiteStore(path, synchronous="normal") as store:
            there = {f"k{n}" for n in range(4) if (await store.cache.exists(f"k{n}")).unwrap()}
            # `Cancelled` says that nothing was written, so what is there is what was kept.
            kept = {line[5:] for line in log if line.startswith("kept k")}
            gone = {"k1", "k2"} if "kept -k1" in log else set()
            assert there == kept - gone, (step, log)
            for key in there:
                assert await store.cache.get(key) == Ok([int(key[1:])] * 50)
        if "closed" in log:
            break
    assert cancelled >= 5


# --- opening and closing -------------------------------------------------------------------------


async def test_opening_in_a_cancelled_scope_opens_nothing(path: Path) -> None:
    store = SQLiteStore(path)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with store:
            pytest.fail("it was opened")
    assert scope.cancelled_caught
    async with store:
        assert await store.cache.set("k", 1) == Ok(None)


async def test_opening_a_locked_file_can_be_cancelled(path: Path) -> None:
    await fill(path)
    lock = other_process(path)
    lock.pragma("locking_mode", "EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with trio.move_on_after(0.05) as scope:
        async with SQLiteStore(path, busy_timeout=60):
            pytest.fail("it was opened")
    assert scope.cancelled_caught
    assert time.monotonic() - started < 10
    lock.close()


async def test_closing_finishes_what_is_under_way(path: Path, gate: Gate) -> None:
    store = SQLiteStore(path)
    result: list[Any] = []

    async def write() -> None:
        result.append(await store.cache.set("k", 1))

    async with trio.open_nursery() as nursery:
        async with store:
            nursery.start_soon(write)
            await gate.wait_reached()
            nursery.start_soon(trio.to_thread.run_sync, gate.opened.set)
    assert result == [Ok(None)]
    async with store:
        assert await store.cache.get("k") == Ok(1)


async def test_closing_does_not_wait_for_the_locks_of_others(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout=60)
    result: list[Any] = []

    async def write() -> None:
        result.append(await store.cache.set("k", 1))

    async with trio.open_nursery() as nursery:
        async with store:
            lock = other_process(path)
            lock.execute("BEGIN IMMEDIATE")
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            started = time.monotonic()
    assert time.monotonic() - started < 10
    assert "held the lock" in str(result[0].unwrap_err())
    lock.close()


async def test_a_call_that_comes_while_the_store_closes_is_refused(path: Path, gate: Gate) -> None:
    async with SQLiteStore(path) as store:
        worker = worker_of(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.cache.set, "k", 1)
            await gate.wait_reached()
            worker.requests.close()
            error = (await store.cache.get("k")).unwrap_err()
            assert "the store is closed" in str(error)
            gate.opened.set()


async def test_a_disk_that_hangs_does_not_hold_the_exit_for_ever(
    path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lexigram_actors.storage.sqlite import store as store_module
    from lexigram_actors.storage.sqlite import worker as worker_module

    for module in (store_module, worker_module):
        monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)
    store = SQLiteStore(path)
    async with trio.open_nursery() as nursery:
        async with store:
            worker = worker_of(store)
            nursery.start_soon(store.cache.set, "k", 1)
            await gate.wait_reached()
        assert "not closed after 0.05 s" in caplog.text
        gate.opened.set()
    worker.thread.join(5)


def test_under_a_clock_that_jumps_closing_waits_for_the_thread_all_the_same(path: Path) -> None:
    async def main() -> None:
        async with SQLiteStore(path) as store:
            assert await store.cache.set("k", 1) == Ok(None)
        assert not [t for t in threading.enumerate() if t.name.startswith("store ")]

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_store_that_nobody_closed_ends_with_the_next_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is over while the thread commits: it has nobody to tell, and ends."""
    gate = Gate()
    threads: list[threading.Thread] = []

    def broken(*_: object) -> None:
        raise RuntimeError("the run ends here")

    async def main() -> None:
        store = SQLiteStore(path)
        await store.__aenter__()
        threads.append(worker_of(store).thread)
        monkeypatch.setattr(Worker, "commit", lambda worker: gate.hold(worker))
        task_queue = worker_of(store).requests
        request = requests.Request(lambda c: None, (), trio.lowlevel.current_task())
        task_queue.writes[request] = None
        task_queue.bell.put(None)
        await gate.wait_reached()

    trio.run(main)
    gate.opened.set()
    threads[0].join(5)
    assert not threads[0].is_alive()


breaks_down = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@breaks_down
@pytest.mark.parametrize("where", ["answer_reads", "commit_writes"])
async def test_a_thread_that_breaks_down_leaves_nobody_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(worker: Worker) -> None:
        raise RuntimeError("a bug")

    async with SQLiteStore(path) as store:
        monkeypatch.setattr(Worker, where, broken)
        with trio.fail_after(5):
            for call in (store.cache.set("k", 1), store.cache.get("k")):
                error = (await call).unwrap_err()
                assert isinstance(error, StoreError)
                assert "is closed" in str(error)


@breaks_down
async def test_a_thread_that_breaks_down_in_a_commit_tells_the_whole_group(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(worker: Worker) -> None:
        raise SystemExit

    results: list[Any] = []

    async def write(number: int) -> None:
        results.append(await store.cache.set(f"k{number}", 1))

    async with SQLiteStore(path) as store:
        monkeypatch.setattr(Worker, "commit", dead)
        lock = other_process(path)
        lock.execute("BEGIN IMMEDIATE")
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(write, number)
                await wait_all_tasks_blocked()
                lock.execute("ROLLBACK")
                lock.close()
        errors = [result.unwrap_err() for result in results]
        assert len({id(error) for error in errors}) == 10
        assert all("is closed" in str(error) for error in errors)
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k1") == Ok(None)


@breaks_down
async def test_a_thread_that_breaks_down_while_opening_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(opening, "check_inside", dead)
    with trio.fail_after(5):
        with pytest.raises(StoreError, match="the store's thread broke down"):
            async with SQLiteStore(path):
                pass


def test_ctrl_c_at_the_worst_moment_ends_the_run_in_order(path: Path) -> None:
    """Between the queueing of a request and the sleep of its task."""

    class Interrupting:
        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with SQLiteStore(path) as store:
            requests = worker_of(store).requests
            requests.lock = Interrupting(requests.lock)
            try:
                await store.cache.set("k", 1)
            finally:
                requests.lock = requests.lock.lock

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store ")]


async def test_closing_that_fails_is_logged_and_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import apsw

    async with SQLiteStore(path) as store:
        await store.cache.set("k", 1)
        worker = worker_of(store)
        real = worker.connection

        class Failing:
            def close(self) -> None:
                real.close()
                raise apsw.IOError("disk I/O error")

        worker.connection = Failing()
    assert "could not read or write it" in caplog.text
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(1)


async def test_an_opening_that_breaks_leaves_no_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(opening, "check_inside", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        async with SQLiteStore(path):
            pass
