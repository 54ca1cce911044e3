"""Stores of sagas: in memory, and over any key-value store."""

from __future__ import annotations

from copy import deepcopy
from hashlib import sha256
from typing import Any, final

from lexigram_actors.errors import NotStorableError, StoreCorruptedError, describe
from lexigram_actors.host.recorded import cache_in
from lexigram_actors.result import Err, Result
from lexigram_actors.saga.models import SagaState, SagaStoreProtocol
from lexigram_actors.storage.ports import CacheBackendProtocol, Store


@final
class MemorySagaStore:
    """Keeps sagas as long as the process lives; what is stored is a copy. No call checkpoints."""

    def __init__(self) -> None:
        self._sagas: dict[str, tuple[SagaState, dict[str, Any]]] = {}

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        """Keep it.

        Raises:
            NotStorableError: A result cannot be copied; nothing was kept.
        """
        try:
            kept = deepcopy(data)
        except Exception as error:
            raise NotStorableError(f"it cannot be copied: {describe(error)}") from error
        self._sagas[saga_id] = (SagaState(state), kept)

    async def load(self, saga_id: str) -> tuple[SagaState, dict[str, Any]] | None:
        """Return a copy of what is kept."""
        return deepcopy(self._sagas.get(saga_id))

    async def delete(self, saga_id: str) -> None:
        """Forget it."""
        self._sagas.pop(saga_id, None)


@final
class CacheSagaStore:
    """Keeps sagas in a key-value store: durable where that is.

    Args:
        cache: A `Store` of `open_store`, or any `CacheBackendProtocol`.

    Attributes:
        cache: Where they are.

    Raises:
        TypeError: It is neither.
    """

    def __init__(self, cache: CacheBackendProtocol | Store) -> None:
        found = cache_in(cache)
        if found is None:
            raise TypeError(f"expected a store or a cache, not {type(cache).__name__}")
        self.cache = found

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        """Keep it.

        Raises:
            NotStorableError: A result has no stored form.
            StoreError: The store cannot do it.
        """
        done(await self.cache.set(key_of(saga_id), {"state": str(state), **data}))

    async def load(self, saga_id: str) -> tuple[SagaState, dict[str, Any]] | None:
        """Return what is kept.

        Raises:
            StoreError: The store cannot read it.
        """
        data = done(await self.cache.get(key_of(saga_id)))
        if data is None:
            return None
        try:
            data = dict(data)
            return SagaState(data.pop("state")), data
        except (KeyError, TypeError, ValueError) as error:
            raise StoreCorruptedError(f"the record of saga {saga_id!r} is none") from error

    async def delete(self, saga_id: str) -> None:
        """Forget it.

        Raises:
            StoreError: The store cannot do it.
        """
        done(await self.cache.delete(key_of(saga_id)))


def key_of(saga_id: str) -> str:
    """Return the key of a saga: an id may be of any length and hold any character."""
    return f"lexigram:saga:{sha256(saga_id.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def done(result: Result[Any, Exception]) -> Any:
    """Return what a store answers; raise where it could not."""
    if isinstance(result, Err):
        raise result.error
    return result.unwrap()


def saga_store_in(given: object) -> SagaStoreProtocol | None:
    """Return a store of sagas: as it is given, or over a key-value store.

    Raises:
        TypeError: It is neither.
    """
    if given is None:
        return None
    if isinstance(given, SagaStoreProtocol) and not isinstance(given, type):
        return given
    if cache_in(given) is not None:
        return CacheSagaStore(given)  # type: ignore[arg-type]
    raise TypeError(
        f"store: expected a saga store (save, load, delete), a Store or a cache, "
        f"not {type(given).__name__}"
    )
