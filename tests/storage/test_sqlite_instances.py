"""Instances in a SQLite file: damage, crashes, full disks, older files, unknown commits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from lexigram_actors.errors import LeaseLost, StoreCorruptedError, StoreError
from lexigram_actors.storage import InstanceStatus, InstanceStore, SQLiteStore
from lexigram_actors.storage.sqlite import opening, schema, statements
from lexigram_actors.storage.sqlite.session import Session
from tests.storage.instance_values import LEASE, ORDER, begin, new, step
from tests.storage.sqlite_files import fill, other_process, worker_of
from tests.storage.test_sqlite_limits import run

FAILED = InstanceStatus.FAILED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


# --- damage --------------------------------------------------------------------------------------

Read = Callable[[InstanceStore], Coroutine[Any, Any, object]]

READS: dict[str, list[Read]] = {
    "instances": [lambda s: s.get("order-1"), lambda s: s.load("order-1"), lambda s: s.select()],
    "inputs": [lambda s: s.input("order-1"), lambda s: s.load("order-1")],
    "outcome": [lambda s: s.outcome("order-1")],
    "journal": [lambda s: s.journal("order-1"), lambda s: s.load("order-1")],
    "mail": [lambda s: s.load("order-1")],
}

DAMAGES = [
    *(
        ("instances", "instances", f"{column} = {content}")
        for column, content in {
            "kind": "'graph'",
            "name": "'0rder'",
            "version": "3",
            "status": "'failee'",
            "run": "1",
            "copied": "1",
            "seed": "'s'",
            "parent": "'p'",
            "created_at": "created_at + 1",
            "start_at": "5.5",
            "checksum": "checksum + 1",
        }.items()
    ),
    *(("inputs", "inputs", change) for change in ("value = x'31'", "checksum = checksum + 1")),
    *(
        ("outcome", "instances", change)
        for change in (
            "outcome = x'31'",
            "outcome = NULL",
            "outcome_checksum = 0",
            "status = 'completed'",
            "ended_at = ended_at + 1",
            "ended_at = NULL",
            "epoch = 2",
        )
    ),
    *(
        ("journal", "journal", f"{column} = {content}")
        for column, content in {
            "position": "2",
            "path": "'step2'",
            "kind": "'sleep'",
            "value": "x'31'",
            "at": "at + 1",
            "mail": "2",
            "epoch": "2",
            "checksum": "checksum + 1",
        }.items()
    ),
    *(
        ("mail", "mail", f"{column} = {content}")
        for column, content in {
            "kind": "'cancel'",
            "name": "'paie'",
            "payload": "x'31'",
            "at": "at + 1",
            "key": "NULL",
            "checksum": "checksum + 1",
        }.items()
    ),
]


@pytest.mark.parametrize(("read", "table", "change"), DAMAGES)
async def test_a_damaged_row_is_an_error_that_names_the_instance(
    path: Path, read: str, table: str, change: str
) -> None:
    async with SQLiteStore(path) as store:
        await begin(store.instances)
        await store.instances.append("order-1", 1, [step(1, "entry")])
        await store.instances.post("order-1", "signal", "paid", 7, key="k")
        await store.instances.end("order-1", 1, FAILED, "outcome")
        await begin(store.instances, "order-2")
    connection = other_process(path)
    connection.execute(f"UPDATE {table} SET {change}" + " WHERE TRUE" * (table != "instances"))
    connection.execute("DELETE FROM instances WHERE id = 'order-2'")
    connection.close()
    async with SQLiteStore(path) as store:
        for each in READS[read]:
            with pytest.raises(StoreCorruptedError, match="'order-1'") as caught:
                await each(store.instances)
            assert caught.value.details == {"instance": "order-1"}
            assert "backup" in str(caught.value.hint)


async def test_a_value_of_a_type_that_is_not_known_here_names_the_instance(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await begin(store.instances)
        entry = step(2)._replace(value=b'["$type","point",{}]', epoch=1)
        await store.instance_rows.append("order-1", 1, [entry], None, "")
        with pytest.raises(StoreCorruptedError, match="'order-1', its entry 2: ") as caught:
            await store.instances.load("order-1")
        assert "register it with the codec" in str(caught.value.hint)


async def test_an_input_that_is_gone_is_damage_to_a_fork(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await begin(store.instances)
        await worker_of(store).write(lambda c: c.execute("DELETE FROM inputs").fetchall())
        with pytest.raises(StoreCorruptedError, match="'order-1'"):
            await store.instances.fork("order-1", "fork", 1, "")
        assert await store.instances.get("fork") is None


# --- commits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
async def test_what_is_stopped_before_its_commit_is_undone_and_its_caller_told(
    path: Path, inline: bool
) -> None:
    async with SQLiteStore(path, inline=inline) as store:
        await begin(store.instances)
        calls = []

        def stop() -> None:
            calls.append(1)
            raise ConnectionError("stopped")

        worker_of(store).before_commit = stop
        with pytest.raises(ConnectionError, match="stopped"):
            await store.instances.append("order-1", 1, [step(1)])
        assert len(calls) == 1
        assert await store.instances.journal("order-1") == []  # reading commits nothing
        worker_of(store).before_commit = lambda: calls.append(1)
        await store.instances.append("order-1", 1, [step(1)])
        assert len(calls) == 2
        assert len(await store.instances.journal("order-1")) == 1


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
async def test_a_call_whose_commit_is_unknown_can_be_made_again(
    path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = 0

    def committed_but_not_told(session: Session) -> None:
        session.connection.execute("COMMIT")
        if reports:
            raise apsw.IOError("disk I/O error")

    async def twice(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        nonlocal reports
        reports = 1
        with pytest.raises(StoreError, match="could not read or write"):
            await call()
        reports = 0
        return await call()

    monkeypatch.setattr(Session, "commit", committed_but_not_told)
    async with SQLiteStore(path, inline=inline) as store:
        instances = store.instances
        await twice(lambda: instances.enter("a", LEASE))
        created, _ = await twice(lambda: instances.create(new(), host="a"))
        assert (created.owner, created.epoch) == ("a", 1)
        await twice(lambda: instances.append("order-1", 1, [step(1), step(2)]))
        await twice(lambda: instances.append("order-1", 1, [step(3)], status=FAILED.RUNNING))
        posted = await twice(lambda: instances.post("order-1", "signal", key="k"))
        assert await instances.mail_after(0) == [posted]
        await twice(lambda: instances.mark({"order-1": (1, FAILED.WAITING, "")}))
        await twice(lambda: instances.release("order-1", 1))
        await twice(lambda: instances.end("order-1", 1, FAILED, "why", entries=[step(4)]))
        assert [entry.position for entry in await instances.journal("order-1")] == [1, 2, 3, 4]
        assert await instances.outcome("order-1") == "why"
        await twice(lambda: instances.renew("a", LEASE))
        await twice(lambda: instances.leave("a"))


async def test_a_step_of_a_running_instance_is_one_statement(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await begin(store.instances)
        statements: list[str] = []

        def seen(_: object, statement: str, __: object) -> bool:
            statements.append(statement.split()[0])
            return True

        def watch(connection: apsw.Connection) -> None:
            connection.exec_trace = seen

        await worker_of(store).read(watch)
        await store.instances.append("order-1", 1, [step(1, {"a": 1})])
        assert statements == ["BEGIN", "INSERT", "COMMIT"]


async def test_of_writers_in_one_group_the_refused_one_fails_alone(path: Path) -> None:
    refused = []

    async def add(store: InstanceStore, id: str, epoch: int) -> None:
        try:
            await store.append(id, epoch, [step(1)])
        except LeaseLost:
            refused.append(id)

    async with SQLiteStore(path) as store:
        for number in range(10):
            await begin(store.instances, f"i{number}")
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(add, store.instances, f"i{number}", 2 if number == 5 else 1)
        lengths = [len(await store.instances.journal(f"i{number}")) for number in range(10)]
    assert refused == ["i5"]
    assert lengths == [1, 1, 1, 1, 1, 0, 1, 1, 1, 1]


async def test_a_store_that_is_closed_says_so(path: Path) -> None:
    store = SQLiteStore(path, inline=True)
    with pytest.raises(StoreError, match="not open"):
        await store.instances.get("order-1")
    async with store:
        worker = worker_of(store)
    for call in (worker.read, worker.write):
        with pytest.raises(StoreError, match="closed"):
            await call(lambda connection: None)


async def test_inline_a_lock_of_another_process_is_waited_for_and_then_an_error(
    path: Path,
) -> None:
    async with SQLiteStore(path, inline=True, busy_timeout=0.02) as store:
        other = other_process(path)
        other.execute("BEGIN IMMEDIATE")
        assert await store.instances.get("order-1") is None
        with pytest.raises(StoreError, match="held the lock for too long"):
            await store.instances.create(new())
        other.execute("ROLLBACK")
        other.close()
        await store.instances.create(new())


async def test_inline_a_row_that_is_damaged_is_an_error(path: Path) -> None:
    async with SQLiteStore(path, inline=True) as store:
        await store.instances.create(new())
        await worker_of(store).write(
            lambda c: c.execute("UPDATE instances SET seed = 's'").fetchall()
        )
        with pytest.raises(StoreCorruptedError, match="'order-1'"):
            await store.instances.get("order-1")


async def test_inline_an_interrupt_in_a_transaction_undoes_it(path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async with SQLiteStore(path, inline=True) as store:
        worker_of(store).before_commit = interrupt
        with pytest.raises(KeyboardInterrupt):
            await store.instances.create(new())
        worker_of(store).before_commit = None
        assert await store.instances.get("order-1") is None
        assert (await store.instances.create(new()))[1]


@pytest.mark.parametrize(
    ("raised", "seen"), [(ZeroDivisionError(), ZeroDivisionError), (apsw.FullError(), StoreError)]
)
async def test_inline_what_fails_on_opening_is_seen_as_with_a_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(opening, "make_ready", fail)
    with pytest.raises(seen):
        async with SQLiteStore(path, inline=True):
            pass


async def test_a_read_whose_transaction_is_gone_ends_well(path: Path) -> None:
    def read(connection: apsw.Connection) -> int:
        with statements.one_moment(connection):
            connection.execute("ROLLBACK")  # as an I/O error may do
        return 1

    async with SQLiteStore(path) as store:
        assert await worker_of(store).read(read) == 1
        await store.instances.create(new())


async def test_inline_a_file_that_cannot_be_opened_is_a_store_error(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StoreCorruptedError, match="is empty"):
        async with SQLiteStore(path, inline=True):
            pass
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="no regular file"):
        async with SQLiteStore(path, inline=True):
            pass


# --- older files, full disks ---------------------------------------------------------------------


async def test_a_file_of_version_one_gets_instances_and_keeps_its_values(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        await fill(path, k=(1,))
        connection = other_process(path)
        assert connection.pragma("user_version") == 1
        connection.close()
    for id in ("order-1", "order-2"):
        async with SQLiteStore(path) as store:
            await begin(store.instances, id)
            assert (await store.cache.get("k")).unwrap() == (1,)
            assert await worker_of(store).read(schema.version_of) == len(schema.MIGRATIONS)


FULL = """
from lexigram_actors.storage import *
async def main():
    async with SQLiteStore(path) as store:
        instances = store.instances
        await instances.enter("a", 10)
        new = NewInstance(id="order-1", definition=Definition("k", "n", 1))
        await instances.create(new, host="a")
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        large = Entry("large", "step", "x" * 1_000_000, 2)
        for call in (
            lambda: instances.append("order-1", 1, [Entry("small", "step", 1, 1), large]),
            lambda: instances.end("order-1", 1, InstanceStatus.FAILED, "x" * 1_000_000),
            lambda: instances.start_over("order-1", 1, "x" * 1_000_000, []),
            lambda: instances.post("order-1", "signal", payload="x" * 1_000_000),
        ):
            try:
                await call()
            except StoreError as error:
                print(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        loaded = await instances.load("order-1")
        assert loaded.entries == [] and loaded.mail == [] and loaded.input is None, loaded
        assert loaded.instance.run == 0 and loaded.instance.ended_at is None, loaded
        await instances.append("order-1", 1, [large])
trio.run(main)
"""


async def test_a_full_disk_leaves_nothing_half(path: Path) -> None:
    assert run(FULL, path).split() == ["StoreError"] * 4
    async with SQLiteStore(path) as store:
        assert [e.position for e in await store.instances.journal("order-1")] == [2]


# --- killed --------------------------------------------------------------------------------------

APPENDS = """
import os, sys, trio
from lexigram_actors.storage import *
async def add(instances, id):
    position = 0
    while True:
        position += 1
        await instances.append(id, 1, [Entry("p", "step", "x" * position, position)])
        os.write(1, f"{id} {position}\\n".encode())
async def main():
    async with SQLiteStore(sys.argv[1]) as store, trio.open_nursery() as nursery:
        await store.instances.enter("killed", float("inf"))
        for number in range(5):
            new = NewInstance(id=f"i{number}", definition=Definition("pipeline", "order", 1))
            await store.instances.create(new, host="killed")
            nursery.start_soon(add, store.instances, f"i{number}")
trio.run(main)
"""


def kill_after(path: Path, lines: int) -> dict[str, int]:
    """Run the program that appends, kill it, and return the last acknowledged positions."""
    acknowledged = {}
    with subprocess.Popen(
        [sys.executable, "-c", APPENDS, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            id, position = process.stdout.readline().split()
            acknowledged[id] = int(position)
        process.kill()
        for line in process.stdout:
            if line.endswith("\n"):
                id, position = line.split()
                acknowledged[id] = int(position)
    return acknowledged


@pytest.mark.parametrize("lines", [1, 40, 200])
async def test_a_killed_host_has_lost_nothing_acknowledged_and_its_instances_are_free_at_once(
    path: Path, lines: int
) -> None:
    acknowledged = kill_after(path, lines)
    async with SQLiteStore(path) as store:
        await store.instances.enter("next", float("inf"))
        taken = await store.instances.claim("next", [ORDER])
        assert {each.id for each in taken} >= set(acknowledged)
        assert all(each.epoch == 2 for each in taken)
        for id, position in acknowledged.items():
            entries = await store.instances.journal(id)
            assert len(entries) in (position, position + 1)
            assert [len(entry.value) for entry in entries] == [e.position for e in entries]
