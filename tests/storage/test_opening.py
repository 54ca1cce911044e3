"""`open_store`: what its URLs mean, and what it says of those that mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.result import Ok
from lexigram_actors.storage import Codec, MemoryStore, SQLiteStore, Store, open_store
from tests.storage.conftest import FakeClock


async def test_memory_is_gone_with_its_block() -> None:
    for _ in range(2):
        async with open_store("memory:") as store:
            assert isinstance(store, MemoryStore)
            assert await store.cache.exists("k") == Ok(False)
            await store.cache.set("k", 1)


async def test_three_slashes_are_relative_and_four_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite:///flows.db") as store:
        assert isinstance(store, SQLiteStore)
        await store.cache.set("k", (1, 2))
    async with open_store(f"sqlite:///{tmp_path}/flows.db") as store:
        assert isinstance(store, Store)
        assert await store.cache.get("k") == Ok((1, 2))


async def test_a_path_is_taken_as_it_stands(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/a b%20#ü.db"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a b%20#ü.db"]


async def test_codec_and_clock_reach_the_store(tmp_path: Path, clock: FakeClock) -> None:
    codec = Codec(max_bytes=10)
    for url in ("memory:", f"sqlite:///{tmp_path}/s.db"):
        async with open_store(url, codec=codec, clock=clock) as store:
            await store.cache.set("k", 1, ttl=5)
            assert (await store.cache.set("k", "x" * 20)).is_err()
            clock.advance(5)
            assert await store.cache.get("k") == Ok(None)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "it begins with memory: or sqlite:///"),
        ("flows.db", "it begins with memory: or sqlite:///"),
        ("memory", "it begins with memory: or sqlite:///"),
        ("memory://", "it begins with memory: or sqlite:///"),
        ("mysql://h/d", "it begins with memory: or sqlite:///"),
        ("sqlite:flows.db", "three slashes"),
        ("sqlite://flows.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "the path of a file"),
        ("sqlite:///f.db?mode=ro", "no parameters"),
        ("sqlite:///a\0b", "the path of a file"),
        ("sqlite:///:memory:", "the store in memory is memory:"),
        ("sqlite://:memory:", "the store in memory is memory:"),
        ("postgresql://h/d", "this build has no PostgreSQL store"),
        ("postgres://h/d", "this build has no PostgreSQL store"),
        (None, "the URL of a store is text, and was NoneType"),
        (Path("f.db"), "the URL of a store is text, and was PosixPath"),
        ("sqlite:///\ud800", "must be UTF-8"),
    ],
    ids=repr,
)
async def test_a_url_without_meaning_shows_the_forms(url: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with open_store(url):
            pass
    assert message in str(caught.value)
    if "UTF-8" not in message:
        assert "sqlite:////absolute/path.db" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:canary@host/db", "mysql://host/db?password=canary", "me:canary@host/f.db"],
)
async def test_a_refused_url_does_not_show_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with open_store(url):
            pass
    assert "canary" not in str(caught.value)
    assert "canary" not in str(caught.value.to_dict())


@pytest.mark.parametrize("url", ["memory:", "sqlite:///nowhere/f.db"])
async def test_a_mode_that_there_is_not_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'full'.*'normal'.*'off'"):
        async with open_store(url, synchronous="off"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("path", ["", ":memory:", b"f.db", "a\0b"], ids=repr)
def test_a_sqlite_store_wants_the_path_of_a_file(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="give the path of a file"):
        SQLiteStore(path)


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan"), True, "5", None], ids=repr)
def test_a_busy_timeout_is_finite_seconds(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="busy_timeout must be seconds"):
        SQLiteStore("f.db", busy_timeout=timeout)


async def test_what_the_block_raises_passes_through(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:///{tmp_path}/s.db"):
        with pytest.raises(KeyError):
            async with open_store(url):
                raise KeyError


async def test_leaving_a_cancelled_block_closes_and_goes_on_cancelling(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(f"sqlite:///{tmp_path}/s.db"):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


def test_importing_the_stores_loads_no_driver() -> None:
    code = (
        "import sys, lexigram_actors.storage\n"
        "wanted = {'apsw', 'orjson', 'cattrs', 'asyncio', 'pickle'}\n"
        "print(wanted & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
