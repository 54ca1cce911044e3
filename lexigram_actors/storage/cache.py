"""The key-value view: everything that is the same in every store.

Keys, values and times to live are checked here, and values turned into bytes; a store adds only
where the bytes are kept. So all of them accept and refuse the same, and hand out copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol, final

import trio

from lexigram_actors.errors import NotStorableError, StoreCorruptedError, StoreError
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.keys import KeyPattern, check_key, check_ttl

FOR_GOOD: Final = 10**11
"""A time to live from here on, three thousand years, is as good as none."""


class Rows(Protocol):
    """Where the bytes are. Each call is atomic, and a checkpoint.

    `now` is seconds; a row whose `expires_at` is not after it is absent, and may be removed.
    Failures are raised as `StoreError`.
    """

    async def read(self, key: str, now: float) -> bytes | None:
        """Return the bytes under a key."""
        ...

    async def write(self, key: str, value: bytes, expires_at: float | None, now: float) -> None:
        """Put the bytes under a key; return when they are durable."""
        ...

    async def remove(self, keys: Collection[str], now: float) -> int:
        """Remove keys; return how many of them were there."""
        ...

    async def remove_matching(self, pattern: KeyPattern, now: float) -> int:
        """Remove the keys that match; return how many there were."""
        ...


@final
class KeyValueCache:
    """A `CacheBackendProtocol` over the rows of a store.

    A call that is cancelled has changed nothing. One whose write had begun when the cancellation
    came returns its outcome instead, and the cancellation is felt at the next checkpoint.
    """

    __slots__ = ("clock", "codec", "rows")

    def __init__(self, rows: Rows, codec: Codec, clock: Callable[[], float]) -> None:
        self.rows = rows
        self.codec = codec
        self.clock = clock

    async def get(self, key: str) -> Result[Any | None, Exception]:
        """Return `Ok` of a fresh copy of the value; `Ok(None)` when absent or expired."""
        try:
            check_key(key)
            data = await self.rows.read(key, self.clock())
            return Ok(None if data is None else self.decoded(key, data))
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[None, Exception]:
        """Store the value in place of any other; `Ok` means it is durable."""
        check_ttl(ttl)
        try:
            check_key(key)
            data = self.codec.dumps(value)
            now = self.clock()
            expires_at = None if ttl is None or ttl >= FOR_GOOD else float(now + ttl)
            await self.rows.write(key, data, expires_at, now)
            return Ok(None)
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    async def delete(self, key: str) -> Result[bool, Exception]:
        """Remove the key; `Ok(True)` when it was there."""
        try:
            check_key(key)
            return Ok(await self.rows.remove((key,), self.clock()) == 1)
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    async def delete_many(self, keys: list[str]) -> Result[int, Exception]:
        """Remove the keys, all or none; `Ok` of how many were there."""
        if isinstance(keys, str):
            raise TypeError(f"delete_many takes a list of keys, and got the str {keys!r}")
        try:
            unique = dict.fromkeys(keys)
            for key in unique:
                check_key(key)
            return Ok(await self.rows.remove(unique, self.clock()))
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    async def delete_pattern(self, pattern: str) -> Result[int, Exception]:
        """Remove every key that matches, all or none; `Ok` of how many there were.

        `*` stands for any run of characters, an empty one too; every other character for itself.
        """
        try:
            check_key(pattern, what="pattern")
            return Ok(await self.rows.remove_matching(KeyPattern.parse(pattern), self.clock()))
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    async def exists(self, key: str) -> Result[bool, Exception]:
        """Say whether the key is there and has not expired."""
        try:
            check_key(key)
            return Ok(await self.rows.read(key, self.clock()) is not None)
        except NotStorableError as error:
            return await refused(error)
        except StoreError as error:
            return Err(error)

    def decoded(self, key: str, data: bytes) -> Any:
        """Return the value of the bytes under a key, or raise damage that names the key."""
        try:
            return self.codec.loads(data)
        except StoreCorruptedError as error:
            raise StoreCorruptedError(
                f"the value under the key {key!r}: {error.message}",
                details={"key": key},
                hint=error.hint,
                cause=error,
            ) from error


async def refused(error: NotStorableError) -> Err[Exception]:
    """Return the refusal, after the checkpoint that the store would have been."""
    await trio.lowlevel.checkpoint()
    return Err(error)
