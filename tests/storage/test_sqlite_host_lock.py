"""One process at a time runs the instances in a file; however it ends, the next one may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from lexigram_actors.errors import StoreError
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite.hostlock import HostLock, forget_all
from tests.storage.instance_values import LEASE, ORDER, begin, new
from tests.storage.sqlite_files import mode, worker_of

HOST = """
import sys, trio
from lexigram_actors.storage import *
async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await store.instances.enter("a host", float("inf"))
        new = NewInstance(id="order-1", definition=Definition("pipeline", "order", 1))
        await store.instances.create(new, host="a host")
        print("entered", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process run the instances in a file."""
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "entered\n"
        try:
            yield process
        finally:
            process.kill()


async def test_a_second_process_is_refused_until_the_first_is_killed(path: Path) -> None:
    async with SQLiteStore(path) as store:
        with another_process(path) as process:
            with pytest.raises(StoreError, match="'a host'") as caught:
                await store.instances.enter("b", LEASE)
            assert caught.value.details["process"] == str(process.pid)
            assert caught.value.details["host"] == "a host"
            assert caught.value.details["started"].isdigit()
            # It need not be a host to take part otherwise.
            await store.instances.create(new("order-2"))
            assert (await store.instances.post("order-1", "signal")).seq == 1
        await store.instances.enter("b", LEASE)
        taken = await store.instances.claim("b", [ORDER])
        assert {(each.id, each.epoch) for each in taken} == {("order-1", 2), ("order-2", 1)}


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
async def test_two_stores_of_one_process_exclude_each_other(path: Path, inline: bool) -> None:
    async with (
        SQLiteStore(path, inline=inline) as first,
        SQLiteStore(path, inline=inline) as second,
    ):
        await begin(first.instances)
        with pytest.raises(StoreError, match="only one process at a time"):
            await second.instances.enter("b", LEASE)
        # What was refused has changed nothing, and dropped no lock.
        await first.instances.renew("a", LEASE)
        with pytest.raises(StoreError, match="host 'a'"):
            await second.instances.enter("b", LEASE)
        await first.instances.leave("a")
        await second.instances.enter("b", LEASE)
        assert len(await second.instances.claim("b", [ORDER])) == 1


async def test_a_store_that_is_closed_lets_go_as_if_its_process_had_died(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await begin(store.instances)
    async with SQLiteStore(path) as second, store:
        await second.instances.enter("b", LEASE)
        assert [each.epoch for each in await second.instances.claim("b", [ORDER])] == [2]
        with pytest.raises(StoreError):
            await store.instances.enter("a", LEASE)


async def test_hosts_of_one_store_share_the_lock_until_the_last_leaves(path: Path) -> None:
    async with SQLiteStore(path) as first, SQLiteStore(path) as second:
        await first.instances.enter("a", LEASE)
        await first.instances.enter("b", LEASE)
        await first.instances.leave("a")
        await first.instances.renew("b", LEASE)
        with pytest.raises(StoreError):
            await second.instances.enter("c", LEASE)
        await first.instances.leave("b")
        await second.instances.enter("c", LEASE)


async def test_hosts_that_enter_at_once_do_not_take_each_other_for_dead(path: Path) -> None:
    async with SQLiteStore(path) as store:
        async with trio.open_nursery() as nursery:
            for name in "abcde":
                nursery.start_soon(store.instances.enter, name, LEASE)
        for name in "abcde":
            await store.instances.renew(name, LEASE)


async def test_entering_that_fails_holds_no_lock(path: Path) -> None:
    def refuse() -> None:
        raise ConnectionError

    async with SQLiteStore(path) as first, SQLiteStore(path) as second:
        worker_of(first).before_commit = refuse
        with pytest.raises(ConnectionError):
            await first.instances.enter("a", LEASE)
        with trio.CancelScope() as scope:
            scope.cancel()
            await first.instances.enter("a", LEASE)
        await second.instances.enter("b", LEASE)


async def test_the_file_of_the_lock_is_its_owners_alone(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.instances.enter("a", LEASE)
        file = path.parent / "store.db-host"
        assert mode(file) == 0o600
        assert file.read_text().split()[:2] == [str(os.getpid()), "a"]
    assert file.read_text() == ""


async def test_a_link_in_the_place_of_the_lock_is_not_followed(path: Path) -> None:
    target = path.parent / "precious"
    target.write_text("kept")
    (path.parent / "store.db-host").symlink_to(target)
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreError):
            await store.instances.enter("a", LEASE)
    assert target.read_text() == "kept"


def test_an_owner_that_noted_nothing_is_another_host(path: Path) -> None:
    first, second = HostLock(str(path)), HostLock(str(path))
    first.acquire("a")
    first.acquire("a")
    (path.parent / "store.db-host").write_text("")
    with pytest.raises(StoreError, match="another host"):
        second.acquire("b")
    first.release()
    first.release()
    second.acquire("b")
    second.release()


def test_a_child_made_by_fork_does_not_keep_the_lock(path: Path) -> None:
    program = """
import os, sys
from lexigram_actors.storage.sqlite.hostlock import HostLock
lock = HostLock(sys.argv[1])
lock.acquire("parent")
end, other_end = os.pipe()
child = os.fork()
if not child:
    print(os.getpid(), lock.handle, flush=True)
    os.read(end, 1)  # outlives its parent
sys.stdin.readline()
os._exit(137)
"""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child, handle = process.stdout.readline().split()
        try:
            assert handle == "None"
            lock = HostLock(str(path))
            with pytest.raises(StoreError, match="host 'parent'"):
                lock.acquire("next")  # the child that closed its copy has not let go
            process.kill()
            process.wait(timeout=10)
            os.kill(int(child), 0)  # it is there
            lock.acquire("next")
            lock.release()
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_what_a_child_forgets_it_does_not_hold(path: Path) -> None:
    first, second = HostLock(str(path)), HostLock(str(path))
    first.acquire("a")
    forget_all()
    assert first.handle is None
    first.forget()
    first.release()
    second.acquire("b")
    second.release()


def test_a_program_that_is_started_does_not_get_the_lock(path: Path) -> None:
    lock = HostLock(str(path))
    lock.acquire("a")
    assert lock.handle is not None
    assert not os.get_inheritable(lock.handle)
    lock.release()


def test_what_was_let_go_is_free_even_where_a_copy_of_the_handle_is_left(path: Path) -> None:
    first, second = HostLock(str(path)), HostLock(str(path))
    first.acquire("a")
    assert first.handle is not None
    copy = os.dup(first.handle)
    first.release()
    second.acquire("b")
    second.release()
    os.close(copy)
