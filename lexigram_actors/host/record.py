"""A journal as a key-value store: how pipelines, graphs and bulk operations record in a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from lexigram_actors.errors import NotStorableError
from lexigram_actors.result import Err, Ok, Result

if TYPE_CHECKING:
    from lexigram_actors.host.journal import Journal

RECORD: Final = "record"
"""The kind of the entries: the path is the key."""


@final
class JournalRecord:
    """A `CacheBackendProtocol` that writes to the journal of one instance.

    A key that is set again hides what was there. Nothing is removed before the instance ends:
    a part of it that forgets its record at its own end would run again after a crash, if what is
    around it had not recorded that end yet. So `delete` and its like do nothing, and say `Ok`.
    """

    __slots__ = ("_journal", "_values")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._values: dict[str, Any] = {
            entry.path: entry.value for entry in journal.entries if entry.kind == RECORD
        }

    async def get(self, key: str) -> Result[Any | None, Exception]:
        """Return `Ok` of the value, or of None."""
        return Ok(self._values.get(key))

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[None, Exception]:
        """Record the value; then wait while new work may not begin. `ttl` counts for nothing."""
        try:
            await self._journal.append(key, RECORD, value)
        except NotStorableError as error:
            return Err(error)
        self._values[key] = value
        if not self._journal.is_open:
            await self._journal.ready()
        return Ok(None)

    async def delete(self, key: str) -> Result[bool, Exception]:
        """Do nothing."""
        return Ok(False)

    async def delete_many(self, keys: list[str]) -> Result[int, Exception]:
        """Do nothing."""
        return Ok(0)

    async def delete_pattern(self, pattern: str) -> Result[int, Exception]:
        """Do nothing."""
        return Ok(0)

    async def exists(self, key: str) -> Result[bool, Exception]:
        """Say whether the key is there."""
        return Ok(key in self._values)
