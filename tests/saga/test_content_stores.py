"""The stores of content: one contract, and what each does of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import (
    ConfigurationError,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
)
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga.content_cache import CacheContentCheckpointStore
from lexigram_actors.saga.content_database import DatabaseContentCheckpointStore
from lexigram_actors.saga.content_keys import ContentCheckpointEntry, ContentCheckpointKey
from lexigram_actors.saga.content_memory import InMemoryContentCheckpointStore
from lexigram_actors.saga.content_stores import ContentCheckpointStoreProtocol
from lexigram_actors.storage import Codec, open_store
from lexigram_actors.storage.sqlite.database import SQLiteDatabase

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@attrs.frozen
class Point:
    x: int


def key(
    stage: str = "resize", tenant: str | None = "acme", inputs: Any = None
) -> ContentCheckpointKey:
    return ContentCheckpointKey.compute(stage, tenant, inputs or {}, "1", {})


def entry(output: Any = "small", minutes: int = 0, **facts: Any) -> ContentCheckpointEntry:
    return ContentCheckpointEntry(output, NOON + timedelta(minutes=minutes), "1", 7, **facts)


# --- the contract ----------------------------------------------------------------------------

Open = Callable[..., AbstractAsyncContextManager[ContentCheckpointStoreProtocol]]


@asynccontextmanager
async def in_memory(folder: Path, codec: Codec | None) -> AsyncIterator[Any]:
    yield InMemoryContentCheckpointStore(codec=codec)


@asynccontextmanager
async def in_cache(folder: Path, codec: Codec | None) -> AsyncIterator[Any]:
    async with open_store(f"sqlite:///{folder}/cache.db") as store:
        yield CacheContentCheckpointStore(store, codec=codec)


@asynccontextmanager
async def in_database(folder: Path, codec: Codec | None) -> AsyncIterator[Any]:
    async with SQLiteDatabase(folder / "content.db") as database:
        yield DatabaseContentCheckpointStore(database, codec=codec)


STORES = {"memory": in_memory, "cache": in_cache, "database": in_database}
LISTING = ["database", "memory"]

pytestmark = pytest.mark.leaves("threads", reason="Trio keeps idle threads for reuse")


@pytest.fixture(params=sorted(STORES))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda codec=None: STORES[request.param](tmp_path, codec)


@pytest.fixture(params=LISTING)
def listing(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda codec=None: STORES[request.param](tmp_path, codec)


async def test_every_store_fits_the_protocol(opened: Open) -> None:
    async with opened() as store:
        assert isinstance(store, ContentCheckpointStoreProtocol)


async def test_what_was_set_is_got(opened: Open) -> None:
    mine = entry({"at": (1, b"x"), "none": None}, metadata={"saga": "s-1"})
    async with opened() as store:
        assert await store.get(key()) is None
        await store.set(key(), mine)
        assert await store.get(key()) == mine
        assert await store.get(key(tenant=None)) is None


async def test_an_output_of_none_is_there(opened: Open) -> None:
    async with opened() as store:
        await store.set(key(), entry(None))
        found = await store.get(key())
        assert found is not None
        assert found.output is None


async def test_what_is_handed_out_is_a_copy(opened: Open) -> None:
    mine = {"a": [1]}
    async with opened() as store:
        await store.set(key(), entry(mine))
        mine["a"].append(2)
        found = await store.get(key())
        assert found is not None
        found.output["a"].append(3)
        again = await store.get(key())
        assert again is not None
        assert again.output == {"a": [1]}


async def test_the_first_writer_wins(opened: Open) -> None:
    async with opened() as store:
        await store.set(key(), entry("first"))
        await store.set(key(), entry("second", minutes=1))
        assert await store.get(key()) == entry("first")


async def test_what_was_evicted_is_gone_and_can_be_set_again(opened: Open) -> None:
    async with opened() as store:
        await store.evict(key())
        await store.set(key(), entry("first"))
        await store.evict(key())
        assert await store.get(key()) is None
        await store.set(key(), entry("second"))
        assert await store.get(key()) == entry("second")


async def test_what_cannot_be_stored_is_refused_and_changes_nothing(opened: Open) -> None:
    async with opened() as store:
        with pytest.raises(NotStorableError) as caught:
            await store.set(key(), entry({"x": object()}))
        assert caught.value.path == "$.output.x"
        assert await store.get(key()) is None


async def test_registered_types_come_back(opened: Open) -> None:
    codec = Codec()
    codec.register(Point, name="point")
    async with opened(codec) as store:
        await store.set(key(), entry(Point(3)))
        assert await store.get(key()) == entry(Point(3))


@pytest.mark.parametrize("odd", ["a|b", "%", "_", "*", "'; DROP TABLE x; --", '"', "ä", "_global"])
async def test_odd_names_are_names_like_any_other(opened: Open, odd: str) -> None:
    async with opened() as store:
        await store.set(key(stage=odd, tenant=odd), entry("mine"))
        await store.set(key(stage="plain", tenant=None), entry("other"))
        await store.evict(key(stage=odd, tenant=None))
        assert await store.get(key(stage=odd, tenant=odd)) == entry("mine")
        assert await store.get(key(stage="plain", tenant=None)) == entry("other")


async def test_a_call_that_is_cancelled_beforehand_changes_nothing(opened: Open) -> None:
    async with opened() as store:
        await store.set(key(), entry())
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.evict(key())
        assert scope.cancelled_caught
        assert await store.get(key()) == entry()


async def test_many_writers_of_one_key_leave_one_whole_entry(opened: Open) -> None:
    async with opened() as store:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(store.set, key(), entry(number))
        assert await store.get(key()) in [entry(number) for number in range(5)]


# --- listing ---------------------------------------------------------------------------------


async def test_a_stage_is_listed_the_last_first(listing: Open) -> None:
    keys = [key(inputs={"n": n}) for n in range(4)]
    async with listing() as store:
        for minutes, each in zip((2, 0, 3, 1), keys, strict=True):
            await store.set(each, entry(minutes=minutes))
        await store.set(key(stage="crop"), entry())
        assert list(await store.list_by_stage("resize")) == [keys[2], keys[0], keys[3], keys[1]]
        assert list(await store.list_by_stage("resize", limit=2)) == [keys[2], keys[0]]
        assert list(await store.list_by_stage("resize", limit=0)) == []
        assert list(await store.list_by_stage("res%")) == []


async def test_tenants_are_listed_apart_or_together(listing: Open) -> None:
    keys = {tenant: key(tenant=tenant) for tenant in ("acme", "other", None)}
    async with listing() as store:
        for each in keys.values():
            await store.set(each, entry())
        assert list(await store.list_by_stage("resize", "acme")) == [keys["acme"]]
        assert set(await store.list_by_stage("resize")) == set(keys.values())
        assert list(await store.list_by_stage("resize", "%")) == []


@pytest.mark.parametrize("limit", [-1, True, 1.5, None])
async def test_a_limit_that_makes_no_sense_is_refused(listing: Open, limit: Any) -> None:
    async with listing() as store:
        with pytest.raises(ConfigurationError, match="limit"):
            await store.list_by_stage("resize", limit=limit)


# --- in a cache ------------------------------------------------------------------------------


class FailingCache:
    """Answers every call the same way."""

    def __init__(self, failure: Any) -> None:
        self.failure = failure

    async def answer(self, *args: Any) -> Result[Any, Any]:
        await trio.lowlevel.checkpoint()
        if isinstance(self.failure, BaseException) and not isinstance(self.failure, StoreError):
            raise self.failure
        return Err(self.failure)

    get = set = delete = delete_many = delete_pattern = exists = answer


@pytest.mark.parametrize(
    "failure",
    [StoreError("down"), ConnectionError("down"), "down", ExceptionGroup("down", [OSError()])],
)
async def test_a_cache_that_fails_is_a_store_error(failure: Any) -> None:
    store = CacheContentCheckpointStore(FailingCache(failure))
    for call in (store.get(key()), store.set(key(), entry()), store.evict(key())):
        with pytest.raises(StoreError, match="down"):
            await call


async def test_what_a_cache_answers_with_is_the_cause() -> None:
    store = CacheContentCheckpointStore(FailingCache(failure := ConnectionError("down")))
    with pytest.raises(StoreError) as caught:
        await store.get(key())
    assert caught.value.cause is failure


async def test_what_answers_with_no_result_has_failed() -> None:
    class Odd(FailingCache):
        async def answer(self, *args: Any) -> Any:
            return "value"

        get = set = delete = delete_many = delete_pattern = exists = answer

    with pytest.raises(StoreError, match="could not read"):
        await CacheContentCheckpointStore(Odd(None)).get(key())


async def test_an_entry_expires_from_a_cache_after_its_time_to_live() -> None:
    now = 1000.0
    async with open_store("memory:", clock=lambda: now) as memory:
        store = CacheContentCheckpointStore(memory.cache, default_ttl=60)
        forever = CacheContentCheckpointStore(memory.cache, default_ttl=None)
        await store.set(key(), entry())
        await forever.set(key("crop"), entry())
        now += 59
        await store.set(key(), entry("again"))
        assert await store.get(key()) == entry()
        now += 1
        assert await store.get(key()) is None
        now += 10**9
        assert await forever.get(key("crop")) == entry()


async def test_a_cache_refuses_to_list() -> None:
    async with open_store("memory:") as memory:
        store = CacheContentCheckpointStore(memory)
        with pytest.raises(StoreError, match="cannot list") as caught:
            await store.list_by_stage("resize")
    assert "DatabaseContentCheckpointStore" in str(caught.value)


async def test_a_value_of_another_kind_in_the_cache_is_damage_until_it_is_evicted() -> None:
    async with open_store("memory:") as memory:
        store = CacheContentCheckpointStore(memory)
        place = f"content-checkpoint:{key().digest()}"
        assert await memory.cache.set(place, {"output": 1}) == Ok(None)
        with pytest.raises(StoreCorruptedError):
            await store.get(key())
        await store.evict(key())
        assert await store.get(key()) is None


@pytest.mark.parametrize("cache", [None, {}, "memory:", InMemoryContentCheckpointStore()])
def test_what_is_no_cache_is_refused(cache: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes a cache"):
        CacheContentCheckpointStore(cache)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, "60"])
def test_a_time_to_live_that_makes_no_sense_is_refused(ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match="default_ttl"):
        CacheContentCheckpointStore(FailingCache(None), ttl)


# --- in a database ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "1a", "a;b", 'a"b', "x" * 51, "ä", None, 3])
async def test_a_table_name_is_letters_digits_and_underscores(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="table_name"):
        DatabaseContentCheckpointStore(SQLiteDatabase(tmp_path / "x.db"), name)


def test_what_is_no_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes a database"):
        DatabaseContentCheckpointStore("x.db")  # type: ignore[arg-type]


async def test_a_table_of_a_word_of_sql_works(tmp_path: Path) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        store = DatabaseContentCheckpointStore(database, "Select")
        await store.set(key(), entry())
        assert await store.get(key()) == entry()
        assert list(await store.list_by_stage("resize")) == [key()]


async def test_entries_are_there_after_opening_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with SQLiteDatabase(tmp_path / "content.db") as database:
            store = DatabaseContentCheckpointStore(database)
            await store.set(key(), entry())
            assert await store.get(key()) == entry()


async def test_two_stores_on_two_connections_keep_the_first_entry(tmp_path: Path) -> None:
    path = tmp_path / "content.db"
    async with SQLiteDatabase(path) as one, SQLiteDatabase(path) as two:
        stores = [DatabaseContentCheckpointStore(each) for each in (one, two)]
        async with trio.open_nursery() as nursery:
            for number, store in enumerate(stores * 4):
                nursery.start_soon(store.set, key(), entry(number))
        found = [await store.get(key()) for store in stores]
        assert found[0] == found[1]
        assert found[0] is not None


class Recorder:
    """A database that another writer is faster than, or that fails where it is told to."""

    def __init__(self, inner: SQLiteDatabase) -> None:
        self.inner = inner
        self.statements: list[str] = []
        self.before_insert: Callable[[], Any] | None = None
        self.failing = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def execute(self, sql: str, params: Any = None) -> Any:
        return await self.noted(sql, self.inner.execute(sql, params))

    async def execute_query(self, sql: str, params: Any = None, **options: Any) -> Any:
        return await self.noted(sql, self.inner.execute_query(sql, params))

    async def execute_insert(self, table: str, data: Any, **options: Any) -> Any:
        if self.before_insert is not None:
            hook, self.before_insert = self.before_insert, None
            await hook()
        return await self.noted("INSERT", self.inner.execute_insert(table, data))

    async def execute_delete(self, *args: Any, **options: Any) -> Any:
        return await self.noted("DELETE", self.inner.execute_delete(*args))

    async def noted(self, sql: str, call: Any) -> Any:
        self.statements.append(sql)
        if self.failing and sql.startswith(self.failing):
            call.close()
            raise OSError("disk on fire")
        return await call


async def test_whoever_comes_second_between_look_and_write_keeps_the_first(tmp_path: Path) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        recorder = Recorder(database)
        first = DatabaseContentCheckpointStore(database)
        second = DatabaseContentCheckpointStore(recorder)
        recorder.before_insert = lambda: first.set(key(), entry("first"))
        await second.set(key(), entry("second"))
        assert await second.get(key()) == entry("first")


@pytest.mark.parametrize(
    ("failing", "call"),
    [
        ("CREATE", "get"),
        ("CREATE INDEX", "evict"),
        ("SELECT", "get"),
        ("INSERT", "set"),
        ("DELETE", "evict"),
        ("SELECT", "list_by_stage"),
    ],
)
async def test_a_database_that_fails_is_a_store_error_and_works_when_mended(
    tmp_path: Path, failing: str, call: str
) -> None:
    arguments: dict[str, Any] = {"set": (key(), entry()), "list_by_stage": ("resize",)}
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        recorder = Recorder(database)
        store = DatabaseContentCheckpointStore(recorder)
        recorder.failing = failing
        with pytest.raises(StoreError, match="disk on fire") as caught:
            await getattr(store, call)(*arguments.get(call, (key(),)))
        assert isinstance(caught.value.cause, OSError)
        recorder.failing = ""
        await getattr(store, call)(*arguments.get(call, (key(),)))


async def test_the_table_is_made_once(tmp_path: Path) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        recorder = Recorder(database)
        store = DatabaseContentCheckpointStore(recorder)
        for _ in range(3):
            await store.get(key())
        made = [sql for sql in recorder.statements if sql.startswith("CREATE")]
        assert len(made) == 2
        assert not any("LIKE" in sql for sql in recorder.statements)


@pytest.mark.parametrize(
    ("column", "value"),
    [("entry", "damaged"), ("entry", b"\x00"), ("entry", ""), ("entry", 3)],
)
async def test_a_damaged_entry_is_said_to_be(tmp_path: Path, column: str, value: Any) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        store = DatabaseContentCheckpointStore(database)
        await store.set(key(), entry())
        await database.execute(f"UPDATE workflow_content_checkpoints SET {column} = ?", [value])
        with pytest.raises(StoreCorruptedError) as caught:
            await store.get(key())
        assert caught.value.details["stage"] == "resize"
        await store.set(key(), entry("other"))
        with pytest.raises(StoreCorruptedError):
            await store.get(key())
        await store.evict(key())
        await store.set(key(), entry("other"))
        assert await store.get(key()) == entry("other")


@pytest.mark.parametrize(
    ("column", "value"),
    [("input_hash", "zz"), ("tenant_id", "x"), ("config_hash", "00"), ("tenant_id", "")],
)
async def test_a_damaged_row_is_not_listed_as_another_key(
    tmp_path: Path, column: str, value: Any
) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        store = DatabaseContentCheckpointStore(database)
        await store.set(key(), entry())
        await database.execute(f"UPDATE workflow_content_checkpoints SET {column} = ?", [value])
        with pytest.raises(StoreCorruptedError, match="damaged"):
            await store.list_by_stage("resize")


async def test_making_the_table_cut_off_is_made_up_for(tmp_path: Path) -> None:
    async with SQLiteDatabase(tmp_path / "content.db") as database:
        recorder = Recorder(database)
        store = DatabaseContentCheckpointStore(recorder)
        async with database.transaction(), trio.open_nursery() as nursery:
            nursery.start_soon(store.get, key())
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await store.set(key(), entry())
        assert await store.get(key()) == entry()
