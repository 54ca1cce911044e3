"""Outputs of stages in a cache."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, final

import trio

from lexigram_actors.checks import given, require, whole
from lexigram_actors.errors import ConfigurationError, NotStorableError, StoreError
from lexigram_actors.result import Result
from lexigram_actors.saga.content_keys import (
    ContentCheckpointEntry,
    ContentCheckpointKey,
    seal,
    unseal,
)
from lexigram_actors.saga.content_stores import failures_of, store_error
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.ports import CacheBackendProtocol, Store


@final
class CacheContentCheckpointStore:
    """Keeps entries in a cache, under `content-checkpoint:` and the digest of their key.

    Of two writers at the very same moment the last one wins: a cache has no call that writes only
    where nothing is. Whatever the cache answers as an `Err`, or raises, is a `StoreError` here; a
    refusal of the value stays a `NotStorableError`.

    Args:
        cache: A cache, or a `Store` of ours, whose key-value view is used.
        default_ttl: Whole seconds until an entry expires. Default a day; None: never.
        codec: Knows your types among the outputs. None: there are none.
    """

    def __init__(
        self,
        cache: CacheBackendProtocol | Store,
        default_ttl: int | None = 86400,
        *,
        codec: Codec | None = None,
    ) -> None:
        if default_ttl is not None:
            require("default_ttl", default_ttl, whole(least=1))
        self.cache = cache_of(cache)
        self.default_ttl = default_ttl
        self.codec = codec or Codec()

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none or it has expired."""
        found = await answer("read", self.cache.get(place_of(key)))
        return None if found is None else unseal(key, found, self.codec)

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already, whose time to live then goes on."""
        sealed = seal(key, entry, self.codec)
        if not await answer("read", self.cache.exists(place_of(key))):
            await answer("write", self.cache.set(place_of(key), sealed, self.default_ttl))

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry; fine where there is none."""
        await answer("evict", self.cache.delete(place_of(key)))

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Not possible here: a cache does not tell which keys it has.

        An index beside the entries would not tell either: entries expire under it, and two writers
        would lose each other's. A list that leaves out entries is worse than none.

        Raises:
            StoreError: Always.
        """
        await trio.lowlevel.checkpoint()
        raise StoreError(
            f"a cache cannot list the checkpoints of stage {stage_id!r}: it has no call for that",
            details={"stage": stage_id, "tenant": tenant_id},
            hint="keep checkpoints that are to be listed in a DatabaseContentCheckpointStore",
        )


def cache_of(given_cache: CacheBackendProtocol | Store) -> CacheBackendProtocol:
    """Return the cache, or the key-value view of a store."""
    # The store first: a test double may answer to every name there is.
    cache: Any = given_cache.cache if isinstance(given_cache, Store) else given_cache
    if isinstance(cache, CacheBackendProtocol):
        return cache
    raise ConfigurationError(
        "CacheContentCheckpointStore takes a cache (get, set, delete, ...) or a store that was "
        f"opened with open_store, and got {given(given_cache)}"
    )


def place_of(key: ContentCheckpointKey) -> str:
    """Return the cache's key: short and plain, whatever the names of stage and tenant hold."""
    return f"content-checkpoint:{key.digest()}"


async def answer(doing: str, call: Awaitable[Result[Any, Exception]]) -> Any:
    """Return what the cache answers.

    Raises:
        StoreError: It answered with an `Err`, or raised.
        NotStorableError: It refused the value.
    """
    with failures_of(doing):
        result = await call
        if result.is_ok():
            return result.unwrap()
        failure: object = result.unwrap_err()
    if isinstance(failure, StoreError | NotStorableError):
        raise failure
    raise store_error(doing, failure) from (failure if isinstance(failure, Exception) else None)
