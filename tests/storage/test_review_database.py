"""A transaction that ended before its block, and tables that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lexigram_actors.errors import StoreError
from lexigram_actors.storage.sqlite.database import SQLiteDatabase
from lexigram_actors.storage.tables import Tables


@pytest.mark.parametrize("end", ["INSERT OR ROLLBACK INTO t VALUES (1)", "ROLLBACK", "COMMIT"])
async def test_nothing_is_written_in_a_transaction_that_is_over(tmp_path: Path, end: str) -> None:
    async with SQLiteDatabase(tmp_path / "a.db", inline=True) as database:
        await database.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
        with pytest.raises(StoreError):
            async with database.transaction():
                await database.execute_insert("t", {"x": 1})
                try:
                    await database.execute(end)
                except StoreError:
                    assert "ROLLBACK" in end
                with pytest.raises(StoreError, match="is over"):
                    await database.execute_insert("t", {"x": 2})
                with pytest.raises(StoreError, match="is over"):
                    async with database.transaction():
                        pytest.fail("it began another")
        rows = (await database.execute("SELECT x FROM t")).rows
        assert rows == ([{"x": 1}] if end == "COMMIT" else [])


async def test_a_statement_that_fails_for_itself_is_tried_once_more_at_the_most(
    tmp_path: Path,
) -> None:
    async with SQLiteDatabase(tmp_path / "a.db", inline=True) as database:
        tables = Tables(database, "CREATE TABLE IF NOT EXISTS t (x)")
        calls: list[int] = []

        async def failing() -> None:
            calls.append(1)
            raise OSError

        for expected in (1, 2, 2):
            calls.clear()
            with pytest.raises(OSError):
                await tables.using(failing)
            assert len(calls) == expected
