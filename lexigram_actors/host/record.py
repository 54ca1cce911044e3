"""A journal as a key-value store: how pipelines, graphs and bulk operations record in a host."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any, Final, final

from lexigram_actors.errors import NotStorableError, StoreError
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.result import Err, Ok, Result

RECORD: Final = "record"
"""The kind of the entries: the path is the key."""


@final
class JournalRecord:
    """A `CacheBackendProtocol` that writes to the journal of one instance.

    A key that is set again hides what was there. Nothing is removed before the instance ends:
    a part of it that forgets its record at its own end would run again after a crash, if what is
    around it had not recorded that end yet. So `delete` and its like do nothing, and say `Ok`.

    What is recorded cannot be changed by whoever goes on using the value: `get` returns a copy of
    what the store has. So one that was set in this incarnation is read again when it is asked for,
    which is rare (a part is run once more), and `set`, which is not, copies nothing.
    """

    __slots__ = ("_journal", "_unread", "_values")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._values: dict[str, Any] = {
            entry.path: entry.value for entry in journal.entries if entry.kind == RECORD
        }
        self._unread: dict[str, int] = {}
        """Where keys were set in this incarnation, by the position of the entry before."""

    async def get(self, key: str) -> Result[Any | None, Exception]:
        """Return `Ok` of the value, or of None; first wait while new work may not begin.

        Raises:
            Suspended: The store cannot read it.
        """
        if not self._journal.is_open:
            await self._journal.ready()
        if key in self._unread:
            try:
                await self._read_again()
            except StoreError as error:
                # No failure of a part, to be handled or told as a text: nobody can go on.
                self._journal.fail(error)
                raise Suspended from None
        return Ok(deepcopy(self._values.get(key)))

    async def _read_again(self) -> None:
        """Take over from the store what was set in this incarnation."""
        unread = self._unread.copy()
        for entry in await self._journal.stored(min(unread.values())):
            if entry.kind == RECORD and entry.path in unread:  # others may be taken back
                self._values[entry.path] = entry.value
        for key, position in unread.items():
            if self._unread.get(key) == position:  # else it was set again meanwhile
                del self._unread[key]

    def reload(self, stored: Collection[int]) -> None:
        """Forget what was taken back; take over what was read again, at these positions."""
        stands = {entry.path: entry for entry in self._journal.entries if entry.kind == RECORD}
        for key in self._values.keys() - stands.keys():
            del self._values[key]
            self._unread.pop(key, None)
        for key, entry in stands.items():
            if entry.position in stored:
                self._values[key] = entry.value
                self._unread.pop(key, None)

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Result[None, Exception]:
        """Record the value; then wait while new work may not begin. `ttl` counts for nothing."""
        try:
            entry = await self._journal.append(key, RECORD, value)
        except NotStorableError as error:
            return Err(error)
        if self._journal.is_stored:
            self._values[key] = None
            self._unread[key] = entry.position - 1
        else:
            self._values[key] = deepcopy(value)
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
