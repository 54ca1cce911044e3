"""Damage, hostile values and many rows: what one bad row must not do to the others."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest

from lexigram_actors.errors import (
    StoreCorruptedError,
    StoreError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowStepError,
)
from lexigram_actors.host.outcomes import outcome_of, result_of
from lexigram_actors.result import Err
from lexigram_actors.storage import (
    Codec,
    Entry,
    InstanceStatus,
    InstanceStore,
    Loaded,
    Mail,
    MemoryStore,
    SQLiteStore,
)
from lexigram_actors.storage.sqlite.verifying import Damage, find_damage
from tests.storage.instance_values import LEASE, ORDER, begin, new, step
from tests.storage.sqlite_files import other_process

NO_TEXT = "CAST(x'ff41' AS TEXT)"
FAILED = InstanceStatus.FAILED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def fill(path: Path) -> None:
    """Make a file with two instances that have not ended and one that has, of a host that died."""
    async with SQLiteStore(path) as store:
        for id in ("bad", "good", "over"):
            await begin(store.instances, id)
            await store.instances.append(id, 1, [step(1), step(2)])
            await store.instances.post(id, "signal", "paid", 7, key="k")
        await store.instances.end("over", 1, FAILED, "why")
        (await store.cache.set("cached", 1)).unwrap()


def change(path: Path, statement: str) -> None:
    connection = other_process(path)
    connection.execute(statement)
    connection.close()


# --- one damaged row -----------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        f"UPDATE instances SET note = {NO_TEXT} WHERE id = 'bad'",
        f"UPDATE instances SET id = {NO_TEXT} WHERE id = 'bad'",
        f"UPDATE instances SET owner = {NO_TEXT} WHERE id = 'bad'",
        "UPDATE instances SET seed = 'other' WHERE id = 'bad'",
        "UPDATE instances SET status = 'rum' WHERE id = 'bad'",
        "UPDATE instances SET status = 'completed' WHERE id = 'bad'",
    ],
)
async def test_a_damaged_instance_does_not_keep_the_others_from_being_claimed(
    path: Path, damage: str, inline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    change(path, damage)
    with caplog.at_level(logging.ERROR):
        async with SQLiteStore(path, inline=inline) as store:
            await store.instances.enter("b", LEASE)
            claimed = await store.instances.claim("b", [ORDER])
            assert await store.instances.claim("b", [ORDER]) == []
    assert [each.id for each in claimed] == ["good"]
    assert len(caplog.records) == 1, "it is told once, however often hosts look"
    assert "damaged" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("table", "column", "reads"),
    [
        ("instances", "note", ["get", "load"]),
        ("instances", "status", ["get", "load", "outcome"]),
        ("journal", "path", ["journal", "load"]),
        ("mail", "name", ["load"]),
    ],
)
async def test_text_that_is_no_utf_8_is_damage_that_names_the_instance(
    path: Path, table: str, column: str, reads: list[str], inline: bool
) -> None:
    await fill(path)
    key = "id" if table == "instances" else "instance"
    change(path, f"UPDATE {table} SET {column} = {NO_TEXT} WHERE {key} = 'bad'")
    async with SQLiteStore(path, inline=inline) as store:
        for read in reads:
            with pytest.raises(StoreCorruptedError, match="'bad'") as caught:
                await getattr(store.instances, read)("bad")
            assert caught.value.details == {"instance": "bad"}
            assert caught.value.hint is not None
        loaded = await store.instances.load("good")
    assert loaded is not None
    assert len(loaded.entries) == 2


async def test_text_that_is_no_utf_8_among_many_is_damage_that_names_the_file(path: Path) -> None:
    await fill(path)
    change(path, f"UPDATE instances SET note = {NO_TEXT} WHERE id = 'bad'")
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreCorruptedError, match=r"store\.db is damaged"):
            await store.instances.select()


async def test_an_instance_whose_input_is_gone_does_not_go_on_without(path: Path) -> None:
    await fill(path)
    change(path, "DELETE FROM inputs WHERE instance = 'bad'")
    async with SQLiteStore(path) as store:
        for read in (store.instances.load, store.instances.input):
            with pytest.raises(
                StoreCorruptedError, match="'bad': its input is damaged: it is gone"
            ):
                await read("bad")
        assert await store.instances.input("none") is None


@pytest.mark.parametrize("damage", ["ended_at = NULL", "status = 'running', epoch = 1"])
async def test_what_ended_is_not_run_again_because_of_damage(path: Path, damage: str) -> None:
    await fill(path)
    change(path, f"UPDATE instances SET {damage} WHERE id = 'over'")
    async with SQLiteStore(path) as store:
        await store.instances.enter("b", LEASE)
        claimed = await store.instances.claim("b", [ORDER])
        assert sorted(each.id for each in claimed) == ["bad", "good"]
        with pytest.raises(StoreCorruptedError, match="'over': its end is damaged"):
            await store.instances.load("over")


# --- one damaged mail ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "instance"),
    [
        ("name = 'paie'", "bad"),
        (f"name = {NO_TEXT}", ""),
        (f"instance = {NO_TEXT}", ""),
        ("payload = x'ff'", "bad"),
    ],
)
async def test_damaged_mail_does_not_keep_the_others_from_theirs(
    path: Path, damage: str, instance: str, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    change(path, f"UPDATE mail SET {damage} WHERE seq = 1")
    with caplog.at_level(logging.ERROR):
        async with SQLiteStore(path) as store:
            mail = await store.instances.mail_after(0)
            assert await store.instances.mail_after(1) == mail[1:]
    assert [(each.seq, each.instance, each.kind) for each in mail] == [
        (1, instance, "damaged"),
        (2, "good", "signal"),
        (3, "over", "signal"),
    ]
    assert (mail[0].name, mail[0].payload, mail[0].key) == ("", None, None)
    assert "its mail 1 is damaged" in caplog.text


@attrs.frozen
class Money:
    amount: int


async def test_mail_of_a_type_that_is_not_known_here_does_not_keep_the_others_from_theirs(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    codec = Codec()
    codec.register(Money, name="money")
    async with SQLiteStore(path, codec=codec) as store:
        await begin(store.instances)
        await store.instances.post("order-1", "signal", "paid", Money(3))
        await store.instances.post("order-1", "signal", "paid", 4)
    with caplog.at_level(logging.ERROR):
        async with SQLiteStore(path) as store:
            mail = await store.instances.mail_after(0)
            with pytest.raises(StoreCorruptedError, match="money"):
                await store.instances.load("order-1")
    assert [(each.kind, each.payload) for each in mail] == [("damaged", None), ("signal", 4)]
    assert "'money' is not registered" in caplog.text


async def test_mail_may_be_named_after_the_longest_path(instances: InstanceStore) -> None:
    await begin(instances)
    path = "p" * 4096
    await instances.append("order-1", 1, [Entry(path, "asked", None, 1)])
    first = await instances.post("order-1", "answer", path, 1, key=f"answer:0:{path}")
    again = await instances.post("order-1", "answer", path, 2, key=f"answer:0:{path}")
    assert (again.seq, again.payload, again.name) == (first.seq, 1, path)


# --- the lock ------------------------------------------------------------------------------------


async def test_a_file_system_without_locks_is_said_to_be_the_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    async with SQLiteStore(path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", fails)
            with pytest.raises(StoreError, match="cannot be locked: No locks available") as caught:
                await store.instances.enter("a", LEASE)
            assert "local disk" in str(caught.value.hint)
        await store.instances.enter("a", LEASE)


# --- all rows ------------------------------------------------------------------------------------


async def found(path: Path, statement: str) -> Damage:
    await fill(path)
    change(path, statement)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return find_damage(connection)
    finally:
        connection.close()


async def test_a_file_that_is_well_has_no_damage(path: Path) -> None:
    assert await found(path, "UPDATE instances SET note = note") == Damage()


@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("UPDATE instances SET seed = 's' WHERE id = 'over'", Damage(("over",))),
        ("UPDATE instances SET outcome = x'31' WHERE id = 'over'", Damage(("over",))),
        ("UPDATE instances SET owner = 'a' WHERE id = 'over'", Damage(("over",))),
        ("UPDATE instances SET epoch = 0 WHERE id = 'bad'", Damage(("bad",))),
        ("UPDATE inputs SET value = x'31' WHERE instance = 'over'", Damage(("over",))),
        ("DELETE FROM inputs WHERE instance = 'bad'", Damage(("bad",))),
        ("UPDATE journal SET at = at + 1 WHERE instance = 'over'", Damage(("over",))),
        ("UPDATE journal SET instance = 'lost' WHERE position = 1 AND instance = 'bad'",
         Damage(("lost",))),
        ("DELETE FROM instances WHERE id = 'bad'", Damage(("bad",))),
        ("UPDATE mail SET at = at + 1 WHERE instance = 'good'", Damage(("good",))),
        ("UPDATE cache SET expires_at = 5.5", Damage(keys=("cached",))),
        (f"UPDATE journal SET kind = {NO_TEXT} WHERE instance = 'bad'",
         Damage(unreadable=(("journal", 2),))),
    ],
)  # fmt: skip
async def test_damage_is_found_wherever_it_is(path: Path, statement: str, damage: Damage) -> None:
    assert await found(path, statement) == damage


# --- many, and secrets ---------------------------------------------------------------------------


async def test_mail_with_a_key_costs_the_same_however_much_there_is(
    autojump_clock: object,
) -> None:
    """A scan of what is there would take minutes here."""
    instances = MemoryStore().instances
    await begin(instances)
    for number in range(20_000):
        await instances.post("order-1", "signal", "tick", key=str(number))
    again = await instances.post("order-1", "signal", "tick", key="7")
    assert (again.seq, await instances.last_mail()) == (8, 20_000)


def test_a_small_value_takes_little_memory() -> None:
    before = resident_bytes()
    kept = [Codec().dumps(number) for number in range(20_000)]
    assert resident_bytes() - before < 1_000 * len(kept)


def resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        pytest.skip("this system does not tell how much memory a process has")
    return int(pages) * resource.getpagesize()


async def test_a_key_is_known_after_its_mail_was_taken_and_forgotten_with_the_instance(
    instances: InstanceStore,
) -> None:
    await begin(instances)
    first = await instances.post("order-1", "signal", "tick", key="k")
    await instances.start_over("order-1", 1, None, [first.seq])
    again = await instances.post("order-1", "signal", "tick", key="k")
    assert (again.seq, again.kind) == (first.seq, "taken")
    await instances.end("order-1", 1, FAILED, None)
    await instances.delete("order-1")
    await begin(instances)
    assert (await instances.post("order-1", "signal", "tick", key="k")).kind == "signal"


async def test_what_is_recorded_is_in_no_repr() -> None:
    entry = Entry("pay", "step", "s3cr3t", 3)
    mail = Mail(4, "order-1", "signal", "paid", "s3cr3t")
    beginning = new(input="s3cr3t", seed="s3cr3t")
    store = MemoryStore()
    instance, _ = await store.instances.create(beginning)
    loaded = Loaded(instance=instance, input="s3cr3t", entries=[entry], mail=[mail])
    shown = repr([entry, mail, beginning, loaded, store.tables, *store.tables.instances.values()])
    assert "s3cr3t" not in shown
    assert "Entry(3, 'pay', 'step')" in shown
    assert "Mail(4, 'order-1', 'signal', 'paid')" in shown


# --- outcomes that a store has to take -----------------------------------------------------------


class NoItems(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class NoInt(int):
    def __int__(self) -> int:
        raise RuntimeError("no int")


class NoCause(Exception):
    @property
    def cause(self) -> None:
        raise RuntimeError("no cause")


def with_code(code: Any) -> WorkflowError:
    return WorkflowError("m", code=code)


def failed_with(details: dict[str, Any]) -> WorkflowFailedError:
    error = WorkflowFailedError("Odd", "m")
    error.details = details
    return error


@pytest.mark.parametrize(
    "error",
    [
        WorkflowError("m", details={"a": NoItems(b=1)}),
        WorkflowError("m", details={"a": NoInt(1)}),
        WorkflowError("m", cause=NoCause("x")),
        with_code(["x"]),
        with_code("x" * 5_000_000),
        failed_with({"code": "x" * 5_000_000}),
        WorkflowError("m", details={"path": "x" * 5_000_000}),
        WorkflowError("m", details={"paths": ["x" * 100_000] * 90}),
        WorkflowError("m", details={"large": 2**64 - 1, "small": -(2**63)}),
        type("X" * 5_000_000, (Exception,), {})("m"),
        ExceptionGroup("many", [ValueError(str(number)) for number in range(2_000)]),
    ],
)
def test_every_error_is_recorded_and_told_again_the_same(error: Exception) -> None:
    codec = Codec()
    recorded = codec.dumps(outcome_of(Err(error)))
    assert len(recorded) < 300_000
    told = result_of(codec.loads(recorded))
    assert codec.dumps(outcome_of(told)) == recorded


def test_an_error_whose_details_cannot_be_read_keeps_its_own_fields() -> None:
    error = WorkflowStepError("pay", "declined", details={"a": NoItems(b=1)})
    told = result_of(outcome_of(Err(error))).unwrap_err()
    assert isinstance(told, WorkflowStepError)
    assert (told.step_name, told.reason) == ("pay", "declined")
    assert "no items" in told.details["left_out"]
