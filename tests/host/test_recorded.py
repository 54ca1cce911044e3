"""A run's own corner of a store, and the claims on it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from lexigram_actors import (
    Err,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
)
from lexigram_actors.host.recorded import RecordedRun, cache_in, claimed, digest_of
from lexigram_actors.storage import MemoryStore


class Failing:
    """A cache in which some methods do not work."""

    def __init__(self, failure: Any, *methods: str) -> None:
        self.failure = failure
        self.methods = methods
        self.inner = MemoryStore().cache

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            if name not in self.methods:
                return await getattr(self.inner, name)(*args)
            if isinstance(self.failure, Exception):
                raise self.failure
            return self.failure

        return call


def corner(cache: Any, run_id: str = "r", name: str = "p") -> RecordedRun:
    return RecordedRun(cache, f"pipeline {name!r}", ("pipeline", name), run_id)


async def test_another_reads_what_a_run_recorded() -> None:
    cache = MemoryStore().cache
    first, second = corner(cache), corner(cache)
    assert await first.header() is None
    await first.begin({"format": 7})
    await first.set(f"{first.token}:a", [1])
    header = await second.header()
    assert header is not None
    assert header["format"] == 7
    assert await second.get(f"{second.token}:a") == [1]
    assert await second.get(f"{second.token}:b") is None


async def test_another_token_counts_once_a_record_has_begun_with_it() -> None:
    run = corner(MemoryStore().cache)
    await run.begin({})
    first = run.token
    run.renew()
    assert first
    assert run.token != first
    assert await corner(run.store).header() == {"token": first}
    await run.begin({})
    assert await corner(run.store).header() == {"token": run.token}


async def test_a_run_id_that_looks_like_a_pattern_clears_its_own_corner_only() -> None:
    cache = MemoryStore().cache
    runs = [corner(cache, run_id) for run_id in ("*", "r", "r:*", "", "x" * 1000)]
    for run in runs:
        await run.begin({})
        await run.set(f"{run.token}:a", 1)
    await runs[0].clear()
    assert await corner(cache, "*").header() is None
    assert (await cache.exists(f"{runs[0].prefix}{runs[0].token}:a")).unwrap() is False
    for run in runs[1:]:
        assert await run.get(f"{run.token}:a") == 1


def test_names_that_read_alike_when_joined_are_not_alike() -> None:
    assert digest_of(("ab", "c")) != digest_of(("a", "bc"))
    assert digest_of(["a", "b"]) == digest_of(("a", "b"))


@pytest.mark.parametrize("garbage", ["text", {}, {"token": 1}])
async def test_a_header_of_another_form_is_refused(garbage: Any) -> None:
    run = corner(MemoryStore().cache)
    await run.set("header", garbage)
    with pytest.raises(StoreCorruptedError, match="pipeline 'p', run 'r',") as caught:
        await run.header()
    assert "run_id" in str(caught.value.hint)


@pytest.mark.parametrize("failure", [OSError("disk"), Err(OSError("disk")), Err("disk")])
async def test_a_store_that_does_not_do_it_is_a_store_error_that_says_what(failure: Any) -> None:
    run = corner(Failing(failure, "get", "set", "delete"))
    for call, said in (
        (run.header(), "the record of pipeline 'p', run 'r', cannot be read: "),
        (run.begin({}), "cannot be written: "),
        (run.clear(), "cannot be cleared: "),
    ):
        with pytest.raises(StoreError, match=said) as caught:
            await call
        assert "disk" in str(caught.value)
        assert caught.value.hint
    with pytest.raises(StoreError, match=r"^the answer in the record of"):
        await run.set("a", 1, "the answer in ")


async def test_an_error_of_a_store_passes_as_it_is() -> None:
    error = StoreError("locked")
    with pytest.raises(StoreError) as caught:
        await corner(Failing(Err(error), "get")).header()
    assert caught.value is error


async def test_a_value_without_a_stored_form_is_refused() -> None:
    run = corner(MemoryStore().cache)
    with pytest.raises(NotStorableError):
        await run.set("a", object())
    assert await run.get("a") is None


@pytest.mark.parametrize("failure", [OSError("disk"), Err(StoreError("disk"))])
async def test_once_the_header_is_gone_a_rest_that_stays_is_logged_and_not_raised(
    failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Failing(failure, "delete_pattern")
    run = corner(cache)
    await run.begin({})
    with caplog.at_level(logging.WARNING):
        await run.clear()
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "disk" in caplog.text
    assert await corner(cache).header() is None


async def test_a_place_is_had_by_one_at_a_time_and_given_back_on_failure() -> None:
    owner = object()
    with pytest.raises(KeyError), claimed(owner, "a", "pipeline 'p'", "r"):
        with (
            pytest.raises(WorkflowStateError, match=r"pipeline 'p'.*'r'"),
            claimed(owner, "a", "pipeline 'p'", "r"),
        ):
            pytest.fail("it is taken")
        with claimed(owner, "b", "pipeline 'p'", "s"), claimed(object(), "a", "graph 'g'", "r"):
            raise KeyError
    with claimed(owner, "a", "pipeline 'p'", "r"):
        pass


def test_a_trio_run_that_follows_another_finds_nothing_claimed() -> None:
    owner = object()

    async def abandoned() -> None:
        claim = claimed(owner, "a", "pipeline 'p'", "r")
        claim.__enter__()
        kept.append(claim)

    kept: list[Any] = []
    trio.run(abandoned)
    trio.run(abandoned)
    assert len(kept) == 2


def test_a_cache_is_found_in_a_store_and_is_its_own() -> None:
    store = MemoryStore()
    assert cache_in(store) is store.cache
    assert cache_in(store.cache) is store.cache


@pytest.mark.parametrize(
    "given", [None, 3, "sqlite:///f.db", {}, MemoryStore, type(MemoryStore().cache), object()]
)
def test_in_anything_else_there_is_no_cache(given: object) -> None:
    assert cache_in(given) is None


def test_halves_of_a_character_are_not_the_character() -> None:
    assert digest_of(["\ud83d\ude00"]) != digest_of(["\U0001f600"])
