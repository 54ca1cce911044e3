"""What a store offers, as structural protocols: an object that fits, fits.

The layers above name these, never a driver.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from lexigram_actors.result import Result
from lexigram_actors.storage.instances import InstanceStore


@runtime_checkable
class CacheBackendProtocol(Protocol):
    """Values by key, with an optional time to live.

    What can be expected to go wrong (a value with no stored form, a store that is locked, full or
    damaged) is an `Err`; misuse is raised. In the stores here:

    | | |
    | --- | --- |
    | a value or a key with no stored form, a key over 512 characters | `Err(NotStorableError)` |
    | the store could not do it | `Err(StoreError)` |
    | a key that is no `str`, a `ttl` that is no `int` (or is a `bool`) | raises `TypeError` |
    | a negative `ttl` | raises `ValueError` |
    """

    async def get(self, key: str) -> Result[Any | None, Exception]:
        """Return `Ok` of a fresh copy of the value; `Ok(None)` when absent or expired."""
        ...

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[None, Exception]:
        """Store the value in place of any other; `Ok` means it is durable.

        Args:
            ttl: Seconds until it is absent again. None: never. 0: at once.
        """
        ...

    async def delete(self, key: str) -> Result[bool, Exception]:
        """Remove the key; `Ok(True)` when it was there."""
        ...

    async def delete_many(self, keys: list[str]) -> Result[int, Exception]:
        """Remove the keys, all or none; `Ok` of how many were there."""
        ...

    async def delete_pattern(self, pattern: str) -> Result[int, Exception]:
        """Remove every key that matches, all or none; `Ok` of how many there were.

        `*` stands for any run of characters, an empty one too; every other character for itself.
        """
        ...

    async def exists(self, key: str) -> Result[bool, Exception]:
        """Say whether the key is there and has not expired."""
        ...


@runtime_checkable
class Store(Protocol):
    """One place that keeps things; each kind of thing has a view of it."""

    @property
    def cache(self) -> CacheBackendProtocol:
        """The key-value view."""
        ...

    @property
    def instances(self) -> InstanceStore:
        """Instances, their journals and their mail."""
        ...
