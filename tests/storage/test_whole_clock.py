"""A clock may tell whole seconds: what is kept must not depend on the type of its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from lexigram_actors import Ok, open_store


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/kept.db"])
async def test_a_clock_of_whole_seconds_is_as_good_as_any(url: str, tmp_path: Path) -> None:
    now = 1_000
    async with open_store(url.format(tmp_path), clock=lambda: now) as store:
        await store.cache.set("key", "value", ttl=10)
        assert await store.cache.get("key") == Ok("value")
        now = 1_010
        assert await store.cache.get("key") == Ok(None)
