"""Memory and SQLite give the same answers to random sequences of commands (invariant I16)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import MemoryStore, SQLiteStore
from tests.storage.conftest import FakeClock
from tests.storage.strategies import storable

keys = st.text("ab\U0010ffff", max_size=3) | st.sampled_from(
    ["a?", "a[b]", "\0", "\ud800", "k" * 512, "k" * 513]
)
patterns = st.text("ab*?[]\U0010ffff", max_size=4) | st.just("*" * 513)
values = storable | st.sampled_from([float("nan"), 2**64, 1j, "\0", b"x" * 4_000_000, {1j: 1}])
ttls = st.none() | st.integers(0, 4) | st.sampled_from([-1, True, 1.5, 10**400])

commands = st.one_of(
    st.tuples(st.just("set"), keys, values, ttls),
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("exists"), keys),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("delete_many"), st.lists(keys, max_size=4)),
    st.tuples(st.just("delete_pattern"), patterns),
    st.tuples(st.just("advance"), st.integers(0, 3)),
    st.tuples(st.just("reopen")),
)


async def ask(store: MemoryStore | SQLiteStore, name: str, arguments: list[Any]) -> Any:
    """Return what a call answers, in a form that can be compared."""
    try:
        match await getattr(store.cache, name)(*arguments):
            case Ok(value):
                return ("Ok", type(value), value)
            case Err(error):
                return ("Err", type(error), str(error))
    except (TypeError, ValueError) as error:
        return ("raised", type(error), str(error))


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        yield name


@given(st.lists(commands, max_size=25))
@settings(max_examples=150)
def test_both_stores_answer_alike(folder: str, script: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        clock = FakeClock()
        memory = MemoryStore(clock=clock)
        sqlite = SQLiteStore(f"{folder}/store.db", synchronous="normal", clock=clock)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(sqlite)
            (await sqlite.cache.delete_pattern("*")).unwrap()
            for name, *arguments in script:
                if name == "advance":
                    clock.advance(*arguments)
                elif name == "reopen":
                    await stack.aclose()
                    await stack.enter_async_context(sqlite)
                else:
                    assert await ask(memory, name, arguments) == await ask(sqlite, name, arguments)
            assert (await memory.cache.delete_pattern("*")) == (
                await sqlite.cache.delete_pattern("*")
            )

    trio.run(run)
