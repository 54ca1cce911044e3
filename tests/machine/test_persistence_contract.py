"""What holds of every persistence: over a database, over our stores, and of the list for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from lexigram_actors.errors import (
    ConfigurationError,
    NotStorableError,
    StateConcurrencyError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
)
from lexigram_actors.machine import (
    DatabaseStatePersistence,
    StateMachine,
    StatePersistenceProtocol,
    StoreStatePersistence,
)
from lexigram_actors.storage import Definition, InstanceStatus, MemoryStore, NewInstance
from lexigram_actors.storage.sqlite.database import SQLiteDatabase
from lexigram_actors.testing import run
from tests.machine.machines import PERSISTENCES, door, opened

Opened = Callable[[], AbstractAsyncContextManager[StatePersistenceProtocol]]


@pytest.fixture(params=PERSISTENCES)
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    return partial(opened, request.param, tmp_path)


async def test_it_fits_the_protocol(open_it: Opened) -> None:
    async with open_it() as persistence:
        assert isinstance(persistence, StatePersistenceProtocol)


async def test_a_machine_that_nobody_moved_has_no_past(open_it: Opened) -> None:
    async with open_it() as persistence:
        assert await persistence.load_transitions("m") == []
        assert await persistence.get_current_version("m") == 0


async def test_what_was_recorded_is_there_in_order(open_it: Opened) -> None:
    async with open_it() as persistence:
        assert await persistence.append_transition("m", "a", "go", "b", 0) == 1
        assert await persistence.append_transition("m", "b", "back", "a", 1) == 2
        records = await persistence.load_transitions("m")
        assert [each[:5] for each in records] == [
            ("m", 1, "a", "go", "b"),
            ("m", 2, "b", "back", "a"),
        ]
        assert all(each.transitioned_at > 1e9 for each in records)
        assert await persistence.get_current_version("m") == 2


@pytest.mark.parametrize("expected", [0, 1, 3, 9])
async def test_another_version_than_the_expected_one_is_refused(
    open_it: Opened, expected: int
) -> None:
    async with open_it() as persistence:
        await persistence.append_transition("m", "a", "go", "b", 0)
        await persistence.append_transition("m", "b", "go", "b", 1)
        with pytest.raises(StateConcurrencyError) as caught:
            await persistence.append_transition("m", "b", "go", "b", expected)
        assert (caught.value.expected_version, caught.value.actual_version) == (expected, 2)
        assert await persistence.get_current_version("m") == 2


async def test_of_many_that_write_the_same_version_one_wins(open_it: Opened) -> None:
    async with open_it() as persistence:
        ends: list[Any] = []

        async def write() -> None:
            try:
                ends.append(await persistence.append_transition("m", "a", "go", "b", 0))
            except StateConcurrencyError as error:
                ends.append(error.actual_version)
                assert error.expected_version == 0

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(write)
        assert ends == [1] * 5
        assert len(await persistence.load_transitions("m")) == 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", PERSISTENCES)
def test_of_two_machines_of_one_name_each_version_is_one_of_them(
    kind: str, seed: int, tmp_path: Path
) -> None:
    async def main() -> None:
        async with opened(kind, tmp_path) as persistence:
            won = 0

            async def drive() -> None:
                nonlocal won
                machine = StateMachine(door(), "closed", persistence, "door-1")
                for _ in range(6):
                    try:
                        await machine.transition(
                            "open" if machine.current_state == "closed" else "close"
                        )
                        won += 1
                    except StateConcurrencyError:
                        await machine.recover()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drive)
                nursery.start_soon(drive)
            machine = StateMachine(door(), "closed", persistence, "door-1")
            await machine.recover()
            assert machine.version == won >= 6

    run(main, seed=seed)


# --- over a database ------------------------------------------------------------------------------


class Flaky:
    """A database whose inserts and commits fail to order, before or after they are done."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self.database = database
        self.fail: str | None = None
        self.meanwhile: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    async def execute_insert(self, table: str, data: Any, **options: Any) -> Any:
        if self.fail == "insert":
            raise ValueError("no")
        return await self.database.execute_insert(table, data, **options)

    async def execute_query(self, sql: str, params: Any = None, **options: Any) -> Any:
        if self.fail == "reads" and "token" in sql:
            raise ValueError("cannot read")
        return await self.database.execute_query(sql, params, **options)

    @asynccontextmanager
    async def transaction(self, isolation_level: str | None = None) -> AsyncIterator[Any]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        async with self.database.transaction():
            yield self
        if self.fail in ("reply", "reads"):
            raise ValueError("connection lost")


@pytest.fixture
async def flaky(tmp_path: Path) -> AsyncIterator[Flaky]:
    async with SQLiteDatabase(tmp_path / "machines.db", inline=True) as database:
        yield Flaky(database)


async def test_a_commit_whose_reply_was_lost_counts(flaky: Flaky) -> None:
    persistence = DatabaseStatePersistence(flaky)
    flaky.fail = "reply"
    assert await persistence.append_transition("m", "a", "go", "b", 0) == 1
    assert await persistence.append_transition("m", "b", "go", "b", 1) == 2


async def test_what_a_provider_raises_passes_where_nothing_was_written(flaky: Flaky) -> None:
    persistence = DatabaseStatePersistence(flaky)
    flaky.fail = "insert"
    with pytest.raises(ValueError, match="no"):
        await persistence.append_transition("m", "a", "go", "b", 0)
    flaky.fail = None
    assert await persistence.append_transition("m", "a", "go", "b", 0) == 1


async def test_a_machine_over_a_database_that_cannot_say_has_to_recover(flaky: Flaky) -> None:
    machine = StateMachine(door(), "closed", DatabaseStatePersistence(flaky), "door-1")
    flaky.fail = "reads"
    # The persistence cannot tell, but the machine's own look at the history can.
    assert await machine.transition("open") == "open"


async def test_without_transactions_the_key_of_the_table_refuses_the_second(
    flaky: Flaky,
) -> None:
    persistence, other = DatabaseStatePersistence(flaky), DatabaseStatePersistence(flaky.database)
    await other.get_current_version("m")

    class Blind(Flaky):
        """Reads what was there before the other wrote."""

        async def execute_query(self, sql: str, params: Any = None, **options: Any) -> Any:
            found = await super().execute_query(sql, params, **options)
            if "MAX" in sql and self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                await meanwhile()
            return found

        @asynccontextmanager
        async def transaction(self, isolation_level: str | None = None) -> AsyncIterator[Any]:
            yield self

    blind = Blind(flaky.database)
    persistence = DatabaseStatePersistence(blind)
    blind.meanwhile = partial(other.append_transition, "m", "a", "go", "b", 0)
    with pytest.raises(StateConcurrencyError) as caught:
        await persistence.append_transition("m", "a", "go", "b", 0)
    assert caught.value.actual_version == 1
    assert isinstance(caught.value.cause, StoreError)
    assert len(await other.load_transitions("m")) == 1


@pytest.mark.parametrize("name", ["", "1st", "a b", "a;drop table b", 'a"b', "ü", "x" * 64, None])
async def test_a_table_has_a_plain_name(name: Any, flaky: Flaky) -> None:
    with pytest.raises(ConfigurationError, match="name of the table"):
        DatabaseStatePersistence(flaky, name)


async def test_many_that_come_first_at_once_make_one_table(flaky: Flaky) -> None:
    made = []

    class Counted(Flaky):
        async def execute(self, sql: str, params: Any = None) -> Any:
            made.append(sql)
            return await self.database.execute(sql, params)

    persistence = DatabaseStatePersistence(Counted(flaky.database))
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(persistence.append_transition, f"m{number}", "a", "go", "b", 0)
    made.clear()
    assert [await persistence.get_current_version(f"m{number}") for number in range(5)] == [1] * 5
    assert not made


async def test_two_tables_are_two_worlds(flaky: Flaky) -> None:
    one = DatabaseStatePersistence(flaky, clock=lambda: 1234.5)
    two = DatabaseStatePersistence(flaky, "other_transitions")
    await one.append_transition("m", "a", "go", "b", 0)
    assert await two.get_current_version("m") == 0
    assert (await one.load_transitions("m"))[0].transitioned_at == 1234.5


@pytest.mark.parametrize("bad", ["x" * 513, "a\0b", "\ud800"])
async def test_a_name_that_some_database_could_not_keep_is_refused(bad: str, flaky: Flaky) -> None:
    persistence = DatabaseStatePersistence(flaky)
    with pytest.raises(NotStorableError):
        await persistence.append_transition(bad, "a", "go", "b", 0)


async def test_a_damaged_row_is_told_of(flaky: Flaky) -> None:
    persistence = DatabaseStatePersistence(flaky)
    await persistence.append_transition("m", "a", "go", "b", 0)
    await flaky.execute("UPDATE workflow_state_transitions SET transitioned_at = 'noon'")
    with pytest.raises(StoreCorruptedError, match="damaged"):
        await persistence.load_transitions("m")


# --- over a store ---------------------------------------------------------------------------------


async def test_a_stored_machine_is_listed_with_its_state() -> None:
    store = MemoryStore()
    persistence = StoreStatePersistence(store, "doors")
    await persistence.append_transition("door-1", "closed", "open", "open", 0)
    (instance,) = await store.instances.select(name="doors")
    assert (instance.id, instance.status, instance.note) == (
        "door-1",
        InstanceStatus.WAITING,
        "in open",
    )
    assert instance.owner is None


async def test_an_id_that_is_something_elses_is_refused() -> None:
    store = MemoryStore()
    definition = Definition("pipeline", "clean", 1)
    await store.instances.create(NewInstance(id="m", definition=definition))
    persistence = StoreStatePersistence(store)
    with pytest.raises(WorkflowStateError, match="pipeline 'clean'"):
        await persistence.append_transition("m", "a", "go", "b", 0)
    with pytest.raises(WorkflowStateError, match="pipeline 'clean'"):
        await persistence.load_transitions("m")


async def test_an_entry_that_is_no_transition_is_told_of() -> None:
    from lexigram_actors.storage import Entry

    store = MemoryStore()
    persistence = StoreStatePersistence(store)
    await persistence.append_transition("m", "a", "go", "b", 0)
    await store.instances.append("m", 0, [Entry("x", "step", 1, 2, 0.0)])
    with pytest.raises(StoreCorruptedError, match="entry 2"):
        await persistence.load_transitions("m")


async def test_a_machine_that_an_operator_has_ended_moves_no_more() -> None:
    store = MemoryStore()
    persistence = StoreStatePersistence(store)
    await persistence.append_transition("m", "a", "go", "b", 0)
    await store.instances.end("m", 0, InstanceStatus.CANCELLED, None)
    with pytest.raises(WorkflowStateError, match="by an operator"):
        await persistence.append_transition("m", "b", "go", "b", 1)
    assert await persistence.get_current_version("m") == 1


class Unsure:
    """Instances whose appends fail to order, once, before or after they are done."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.how = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, *args: Any, **kwargs: Any) -> None:
        how, self.how = self.how, ""
        if how == "before":
            raise StoreError("disk full")
        await self.inner.append(*args, **kwargs)
        if how == "after":
            raise StoreError("who knows")


class UnsureStore:
    """The store of them."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.cache = store.cache
        self.instances: Any = Unsure(store.instances)


async def test_an_append_whose_outcome_was_not_told_is_read_back() -> None:
    store = UnsureStore()
    persistence = StoreStatePersistence(store)
    store.instances.how = "after"
    assert await persistence.append_transition("m", "a", "go", "b", 0) == 1
    store.instances.how = "before"
    with pytest.raises(StoreError, match="disk full"):
        await persistence.append_transition("m", "b", "go", "b", 1)
    assert await persistence.append_transition("m", "b", "go", "b", 1) == 2
