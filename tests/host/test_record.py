"""The journal of an instance as a key-value store."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors import Err, NotStorableError, Ok, StoreError
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.record import RECORD
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import (
    Definition,
    Instance,
    InstanceStatus,
    Loaded,
    NewInstance,
)
from lexigram_actors.storage.ports import CacheBackendProtocol

THING = Definition("thing", "thing", 1)


async def begun() -> Any:
    """Return the instances of a store, with one that a host has."""
    instances = MemoryStore().instances
    await instances.enter("host", 1e9)
    await instances.create(NewInstance(id="i", definition=THING), host="host")
    return instances


async def journal_in(instances: Any) -> Journal:
    loaded = await instances.load("i")
    assert loaded is not None
    return Journal(loaded, instances, lambda: 0.0)


def journal_of_nothing() -> Journal:
    instance = Instance(id="i", definition=THING, status=InstanceStatus.RUNNING)
    loaded = Loaded(instance=instance, input=None, entries=[], mail=[])
    return Journal(loaded, None, lambda: 0.0)


async def test_what_is_set_is_there_in_this_life_and_the_next() -> None:
    instances = await begun()
    first = (await journal_in(instances)).record
    assert isinstance(first, CacheBackendProtocol)
    assert await first.get("a") == Ok(None)
    assert await first.exists("a") == Ok(False)
    assert await first.set("a", {"x": (1, 2)}) == Ok(None)
    second = (await journal_in(instances)).record
    for record in (first, second):
        assert await record.get("a") == Ok({"x": (1, 2)})
        assert await record.exists("a") == Ok(True)
    assert await first.set("a", "other") == Ok(None)
    assert await first.get("a") == Ok("other")
    assert await (await journal_in(instances)).record.get("a") == Ok("other")


@pytest.mark.parametrize("stored", [True, False])
async def test_nobody_changes_what_is_recorded_by_changing_the_value(stored: bool) -> None:
    journal = await journal_in(await begun()) if stored else journal_of_nothing()
    record, value = journal.record, {"list": [1]}
    await record.set("a", value)
    value["list"].append(2)
    got = (await record.get("a")).unwrap()
    assert got == {"list": [1]}
    got["list"].append(3)
    assert await record.get("a") == Ok({"list": [1]})


async def test_nobody_changes_what_an_earlier_life_recorded() -> None:
    instances = await begun()
    await (await journal_in(instances)).record.set("a", [1])
    record = (await journal_in(instances)).record
    (await record.get("a")).unwrap().append(2)
    assert await record.get("a") == Ok([1])


async def test_nothing_is_removed() -> None:
    record = (await journal_in(await begun())).record
    await record.set("a", 1)
    assert await record.delete("a") == Ok(False)
    assert await record.delete_many(["a"]) == Ok(0)
    assert await record.delete_pattern("*") == Ok(0)
    assert await record.get("a") == Ok(1)


async def test_what_cannot_be_stored_is_an_err_and_not_there() -> None:
    instances = await begun()
    record = (await journal_in(instances)).record
    outcome = await record.set("a", object())
    assert isinstance(outcome, Err)
    assert isinstance(outcome.error, NotStorableError)
    assert await record.get("a") == Ok(None)
    assert await instances.journal("i") == []


async def test_other_entries_are_no_record() -> None:
    instances = await begun()
    journal = await journal_in(instances)
    await journal.append("a", "step", 1)
    await journal.record.set("b", 2)
    await journal.append("b", "step", 3)
    assert await journal.record.get("a") == Ok(None)
    assert await journal.record.get("b") == Ok(2)
    assert [entry.kind for entry in await instances.journal("i")] == ["step", RECORD, "step"]


@pytest.mark.parametrize("method", ["get", "set"])
async def test_a_part_goes_no_further_while_the_instance_is_paused(method: str) -> None:
    instances = await begun()
    journal = await journal_in(instances)
    journal.pause()
    outcomes = []

    async def call() -> None:
        args = ["a"] if method == "get" else ["a", 1]
        outcomes.append(await getattr(journal.record, method)(*args))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        assert outcomes == []
        assert len(await instances.journal("i")) == (method == "set")
        journal.resume()
    assert outcomes == [Ok(None)]


async def test_where_the_store_cannot_be_read_the_life_is_over() -> None:
    journal = await journal_in(await begun())
    await journal.record.set("a", 1)

    class Broken:
        async def journal(self, *_: Any) -> Any:
            raise StoreError("gone")

    journal._store = Broken()  # type: ignore[assignment]
    with pytest.raises(Suspended):
        await journal.record.get("a")
    assert isinstance(journal.failure, StoreError)
