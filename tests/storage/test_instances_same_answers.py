"""Memory and SQLite give the same answers about instances to random commands (I16)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from lexigram_actors.errors import LexigramError
from lexigram_actors.storage import (
    Entry,
    InstanceStatus,
    InstanceStore,
    MemoryStore,
    SQLiteStore,
    Store,
)
from lexigram_actors.storage.instances import ENDED
from tests.storage.conftest import FakeClock
from tests.storage.instance_values import ORDER, OTHER, new

ids = st.sampled_from(["a", "b", "c"])
hosts = st.sampled_from(["x", "y", "z"])
epochs = st.integers(0, 4)
positions = st.integers(1, 5)
values = st.sampled_from([None, 1, (1,)])
going_on = st.sampled_from(sorted(set(InstanceStatus) - ENDED))
endings = st.sampled_from(sorted(ENDED))
statuses = st.sets(st.sampled_from(list(InstanceStatus)), max_size=4)
leases = st.sampled_from([2.0, 5.0, float("inf")])
limits = st.integers(0, 3)
definitions = st.sets(st.sampled_from([ORDER, OTHER]))
entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["p", "q"]),
        st.just("step"),
        values,
        positions,
        mail=st.integers(0, 1),
    ),
    max_size=2,
)


def call(
    method: str, /, *arguments: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]
) -> Any:
    """Return calls of a method."""
    return st.tuples(st.just(method), st.tuples(*arguments), st.fixed_dictionaries(named))


news = st.builds(
    new, ids, definition=st.sampled_from([ORDER, OTHER]), parent=st.none() | ids, input=values
)
commands = st.one_of(
    call("enter", hosts, leases),
    call("renew", hosts, leases),
    call("leave", hosts),
    call("create", news, host=st.none() | hosts),
    call("create", news, host=hosts),
    call("claim", hosts, definitions, ids=st.none() | st.sets(ids), limit=limits),
    call("claim", hosts, st.just({ORDER, OTHER})),
    call("release", ids, epochs),
    call("append", ids, epochs, entries, status=st.none() | going_on, note=st.just("n")),
    call("append", ids, epochs, entries),
    call("mark", st.dictionaries(ids, st.tuples(epochs, going_on, st.just("m")))),
    call("end", ids, epochs, endings, values, entries=entries),
    call("end", ids, epochs, endings, st.none()),
    call("start_over", ids, epochs, values, st.sets(st.integers(1, 4))),
    call("journal", ids, positions),
    call(
        "select",
        status=st.none() | statuses,
        name=st.none() | st.just("order"),
        parent=st.none() | ids,
        before=st.none() | st.tuples(st.integers(999_999, 1_000_010).map(float), ids),
        limit=limits,
    ),
    call("post", ids, st.sampled_from(["signal", "cancel"]), key=st.none() | st.just("k")),
    call("mail_after", st.integers(0, 5), limits),
    call("reopen", ids, entries),
    call("fork", ids, ids, positions, st.just("seed")),
    call("delete", ids),
    call("delete_ended", st.integers(999_999, 1_000_010).map(float), statuses, limits),
    st.tuples(st.just("advance"), st.tuples(st.integers(-2, 5)), st.just({})),
    st.tuples(st.just("die"), st.just(()), st.just({})),
)


async def ask(store: Store, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return what a call answers, in a form that can be compared."""
    try:
        return await getattr(store.instances, name)(*arguments, **named)
    except LexigramError as error:
        return type(error), str(error), error.details


async def everything(store: InstanceStore) -> list[Any]:
    """Return all that there is."""
    return [
        [await store.load(id) for id in "abc"],
        [await store.outcome(id) for id in "abc"],
        await store.select(),
        await store.count(),
        await store.mail_after(0),
        await store.last_mail(),
    ]


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        yield name


async def forget_all(store: SQLiteStore) -> None:
    """Empty the tables of instances, which costs less than another file."""

    def empty(connection: Any) -> None:
        for table in ("instances", "inputs", "journal", "mail", "hosts", "sqlite_sequence"):
            connection.execute(f"DELETE FROM {table}")

    await store.rows.running().write(empty)


@given(st.lists(commands, max_size=30))
@settings(max_examples=300)
def test_both_stores_answer_alike_about_instances(
    folder: str, script: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
) -> None:
    async def run() -> None:
        clock = FakeClock()
        memory = MemoryStore(clock=clock)
        sqlite = SQLiteStore(f"{folder}/store.db", synchronous="normal", clock=clock, inline=True)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(sqlite)
            await forget_all(sqlite)
            for name, arguments, named in script:
                if name == "advance":
                    clock.advance(*arguments)
                elif name == "die":
                    # Memory cannot know that a process died, so its leases have to be over.
                    await stack.aclose()
                    await stack.enter_async_context(sqlite)
                    memory.tables.hosts.clear()
                    memory = MemoryStore(clock=clock, tables=memory.tables)
                    await sqlite.rows.running().write(
                        lambda connection: connection.execute("DELETE FROM hosts").fetchall()
                    )
                else:
                    assert await ask(memory, name, arguments, named) == await ask(
                        sqlite, name, arguments, named
                    )
            assert await everything(memory.instances) == await everything(sqlite.instances)

    trio.run(run)
