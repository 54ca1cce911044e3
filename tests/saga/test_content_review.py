"""A store of checkpoints whose database is in the middle of a transaction."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.saga.content_database import DatabaseContentCheckpointStore
from lexigram_actors.storage.sqlite.database import SQLiteDatabase
from tests.saga.test_content_stores import entry, key


async def test_in_a_transaction_and_outside_at_once_nobody_waits_for_ever(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with SQLiteDatabase(tmp_path / "content.db", inline=True) as database:
        store = DatabaseContentCheckpointStore(database)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery, database.transaction():
                nursery.start_soon(store.get, key())
                await wait_all_tasks_blocked()
                await store.set(key(), entry())
        assert await store.get(key()) == entry()


@pytest.mark.parametrize("call", ["get", "set", "evict"])
async def test_a_table_that_a_transaction_took_back_is_made_again(
    tmp_path: Path, call: str
) -> None:
    async with SQLiteDatabase(tmp_path / "content.db", inline=True) as database:
        store = DatabaseContentCheckpointStore(database)
        with pytest.raises(KeyError):
            async with database.transaction():
                await store.set(key(), entry())
                raise KeyError
        arguments = (key(), entry()) if call == "set" else (key(),)
        assert await getattr(store, call)(*arguments) is None
        assert await store.get(key()) == (entry() if call == "set" else None)
