"""`SQLiteDatabase`: statements, transactions and their ends, files, refusals."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import ConfigurationError, StoreError, StoreVersionError
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.database import DatabaseProviderProtocol
from lexigram_actors.storage.sqlite.database import SQLiteDatabase, waiting_for
from lexigram_actors.testing import CancelAt, cancel_at_every_step

TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLiteDatabase]:
    async with SQLiteDatabase(tmp_path / "things.db", inline=True) as database:
        await database.execute(TABLE)
        yield database


async def names(database: SQLiteDatabase) -> list[str]:
    found = await database.execute_query("SELECT name FROM things ORDER BY id")
    return [row["name"] for row in found.rows]


def test_it_fits_the_protocol() -> None:
    assert isinstance(SQLiteDatabase("x.db"), DatabaseProviderProtocol)


async def test_rows_are_added_changed_read_and_removed(database: SQLiteDatabase) -> None:
    for number, name in enumerate(("ann", "bob", "cyd")):
        added = await database.execute_insert("things", {"id": number, "name": name})
        assert (added.rows, added.row_count) == ([], 1)
    changed = await database.execute_update("things", {"name": "bea"}, "id = ?", [1])
    assert changed.row_count == 1
    removed = await database.execute_delete("things", "id > ?", [1])
    assert removed.row_count == 1
    found = await database.execute_query("SELECT * FROM things WHERE name LIKE ?", ["b%"])
    assert found.rows == [{"id": 1, "name": "bea"}]
    assert await names(database) == ["ann", "bea"]


@pytest.mark.leaves("threads", reason="Trio keeps idle threads for reuse")
async def test_on_a_thread_it_does_the_same_and_what_it_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    async with SQLiteDatabase(path) as database:
        await database.execute(TABLE)
        async with database.transaction():
            await database.execute_insert("things", {"name": "ann"})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with SQLiteDatabase(path) as other:
            assert await names(other) == ["ann"]
    async with SQLiteDatabase(path) as database:
        assert await names(database) == ["ann"]


@pytest.mark.parametrize("name", ["a b", 'a"b', "a;--", "", "ü", "1a"])
async def test_a_name_that_is_no_identifier_is_refused(database: SQLiteDatabase, name: str) -> None:
    with pytest.raises(ConfigurationError):
        await database.execute_insert(name, {"id": 1})
    with pytest.raises(ConfigurationError):
        await database.execute_insert("things", {name: 1})
    with pytest.raises(ConfigurationError):
        await database.execute_update("things", {name: 1}, "1")
    with pytest.raises(ConfigurationError):
        await database.execute_delete(name, "1")


async def test_what_sqlite_refuses_is_a_store_error_with_its_cause(
    database: SQLiteDatabase,
) -> None:
    await database.execute_insert("things", {"id": 1})
    with pytest.raises(StoreError, match="UNIQUE") as caught:
        await database.execute_insert("things", {"id": 1})
    assert type(caught.value.cause).__name__ == "ConstraintError"
    with pytest.raises(StoreError):
        await database.execute("SELEC 1")


# --- transactions ---------------------------------------------------------------------------------


async def test_a_transaction_that_raises_leaves_nothing(database: SQLiteDatabase) -> None:
    with pytest.raises(KeyError):
        async with database.transaction():
            await database.execute_insert("things", {"name": "ann"})
            assert await names(database) == ["ann"]
            raise KeyError
    assert await names(database) == []
    async with database.transaction("serializable") as same:
        await same.execute_insert("things", {"name": "bob"})
    assert await names(database) == ["bob"]


async def test_one_inside_another_is_undone_by_itself(database: SQLiteDatabase) -> None:
    async with database.transaction():
        await database.execute_insert("things", {"name": "outer"})
        with pytest.raises(KeyError):
            async with database.transaction():
                await database.execute_insert("things", {"name": "inner"})
                raise KeyError
        async with database.transaction(), database.transaction():
            await database.execute_insert("things", {"name": "deeper"})
    assert await names(database) == ["outer", "deeper"]


async def test_statements_of_others_wait_for_the_end_of_a_transaction(
    database: SQLiteDatabase,
) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with database.transaction():
                await database.execute_insert("things", {"name": "mine"})
                nursery.start_soon(database.execute_insert, "things", {"name": "theirs"})
                await wait_all_tasks_blocked()
                assert await names(database) == ["mine"]
                raise KeyError
    assert await names(database) == ["theirs"]


async def test_a_statement_that_fails_in_a_transaction_leaves_it_open(
    database: SQLiteDatabase,
) -> None:
    async with database.transaction():
        await database.execute_insert("things", {"id": 1, "name": "ann"})
        with pytest.raises(StoreError):
            await database.execute_insert("things", {"id": 1, "name": "bob"})
        await database.execute_insert("things", {"id": 2, "name": "cyd"})
    assert await names(database) == ["ann", "cyd"]


def test_cancelled_at_any_step_a_transaction_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    runs = 0
    path = tmp_path

    async def scenario() -> None:
        nonlocal runs, path
        runs += 1
        path = tmp_path / f"{runs}.db"
        async with SQLiteDatabase(path, inline=True) as database:
            await database.execute(TABLE)
            async with database.transaction():
                await database.execute_insert("things", {"name": "ann"})
                async with database.transaction():
                    await database.execute_insert("things", {"name": "bob"})

    async def check(instrument: CancelAt) -> None:
        async with SQLiteDatabase(path, inline=True) as database:
            await database.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
            found = await names(database)
            assert found in ([], ["ann", "bob"])
            assert found or instrument.cancelled_at < inf

    assert cancel_at_every_step(scenario, check=check, may_finish=True).points > 8


# --- the file -------------------------------------------------------------------------------------


async def test_connecting_and_disconnecting_twice_is_fine(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path / "things.db", inline=True)
    assert not await database.is_connected()
    with pytest.raises(StoreError, match="not connected"):
        await database.execute("SELECT 1")
    await database.connect()
    await database.connect()
    assert await database.is_connected()
    with pytest.raises(StoreError, match="cannot close"):
        async with database.transaction():
            await database.disconnect()
    await database.disconnect()
    await database.disconnect()
    assert not await database.is_connected()


async def test_a_lock_that_another_holds_for_too_long_is_a_store_error(
    database: SQLiteDatabase,
) -> None:
    async with SQLiteDatabase(database.path, busy_timeout=0.0, inline=True) as other:
        async with database.transaction():
            with pytest.raises(StoreError, match="lock"):
                async with other.transaction():
                    pass
        async with other.transaction():
            await other.execute_insert("things", {"name": "ann"})


async def test_cancelled_before_its_end_a_transaction_is_rolled_back(
    database: SQLiteDatabase,
) -> None:
    with trio.CancelScope() as scope:
        async with database.transaction():
            await database.execute_insert("things", {"name": "ann"})
            scope.cancel()
    assert scope.cancelled_caught
    assert await names(database) == []


@pytest.mark.leaves("threads", reason="Trio keeps idle threads for reuse")
async def test_cancelled_on_a_thread_a_transaction_is_rolled_back(tmp_path: Path) -> None:
    async with SQLiteDatabase(tmp_path / "things.db") as database:
        await database.execute(TABLE)
        with trio.CancelScope() as scope:
            async with database.transaction():
                await database.execute_insert("things", {"name": "ann"})
                scope.cancel()
                await database.execute_insert("things", {"name": "bob"})
        assert scope.cancelled_caught
        assert await names(database) == []
        await database.execute_insert("things", {"name": "cyd"})
        assert await names(database) == ["cyd"]


async def test_the_file_of_a_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path, inline=True):
        pass
    with pytest.raises(StoreVersionError, match="SQLiteStore"):
        async with SQLiteDatabase(path, inline=True):
            pass
    async with SQLiteStore(path, inline=True) as store:
        assert await store.instances.count() == {}


async def test_a_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        await SQLiteDatabase(tmp_path / "no" / "x.db", inline=True).connect()


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 20)
    with pytest.raises(StoreError):
        await SQLiteDatabase(path, inline=True).connect()
    assert path.read_bytes().startswith(b"not a database")


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteDatabase(path)


def test_a_timeout_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        SQLiteDatabase("x.db", busy_timeout=-1)


def test_a_lock_is_tried_for_again_until_the_time_is_over() -> None:
    assert waiting_for(60.0)(0)
    assert not waiting_for(0.0)(0)
