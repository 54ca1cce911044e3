"""The rows of instances in SQLite, as the book takes them: each call is one transaction.

What a transaction does is in `statements`. Who runs the instances in a file is settled between
processes by `HostLock`, and between the hosts of one store by their leases.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, final

import trio

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.storage.book import Changes
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
)
from lexigram_actors.storage.sqlite import statements
from lexigram_actors.storage.sqlite.rows import SQLiteRows

if TYPE_CHECKING:
    from lexigram_actors.storage.sqlite.hostlock import HostLock

logger = logging.getLogger(__name__)


@final
class SQLiteInstanceRows:
    """Rows in the tables of instances."""

    __slots__ = ("entered", "entering", "lock", "rows", "told")

    def __init__(self, rows: SQLiteRows) -> None:
        self.rows = rows
        self.entered: set[str] = set()
        """The hosts of this store; while there is one, the lock is held."""
        self.lock: HostLock | None = None
        self.entering = trio.Lock()  # around what changes these two
        self.told: set[str] = set()

    # --- hosts

    async def enter(self, host: str, until: float, now: float) -> None:
        """Register a host; the first one of the store takes the lock, and clears out the dead."""
        worker = self.rows.running()
        async with self.entering:
            if self.lock is None:
                # Here: only who runs instances needs what the operating system has of locks.
                from lexigram_actors.storage.sqlite.hostlock import HostLock

                self.lock = HostLock(worker.path)
            try:
                await worker.write(
                    statements.enter,
                    self.lock,
                    host,
                    until,
                    now,
                    not self.entered,
                    host not in self.entered,
                )
                self.entered.add(host)
            finally:
                self.let_go_unless_entered()

    async def renew(self, host: str, until: float, now: float) -> None:
        """Let a lease that is not over end at `until`."""
        await self.rows.running().write(statements.renew, host, until, now)

    async def leave(self, host: str) -> None:
        """Let go of everything a host has; with the last one of the store the lock goes too."""
        worker = self.rows.running()
        async with self.entering:
            await worker.write(statements.leave, host)
            self.entered.discard(host)
            self.let_go_unless_entered()

    def forget_hosts(self) -> None:
        """Let the lock go when the store is closed. What the hosts had looks as after a crash."""
        self.entered.clear()
        self.let_go_unless_entered()

    def let_go_unless_entered(self) -> None:
        if self.lock is not None and not self.entered:
            self.lock.release()
            self.lock = None

    # --- owners

    async def create(self, instance: Instance, input: bytes) -> tuple[Instance, bool]:
        """Add an instance where its id is free; else return the one that is there."""
        created: tuple[Instance, bool] = await self.rows.running().write(
            statements.create, instance, input
        )
        return created

    async def claim(
        self,
        host: str,
        definitions: Collection[Definition],
        ids: Collection[str] | None,
        limit: int,
        now: float,
    ) -> list[Instance]:
        """Take what nobody has, by `(created_at, id)`."""
        taken: list[Instance]
        damages: list[StoreCorruptedError]
        taken, damages = await self.rows.running().write(
            statements.claim, host, definitions, ids, limit, now
        )
        for each in damages:
            self.tell(each)
        return taken

    def tell(self, damage: StoreCorruptedError) -> None:
        """Log damage that was passed over: once, as whoever claims does so again and again."""
        if damage.message not in self.told:
            self.told.add(damage.message)
            logger.error("%s: %s; nobody runs it", self.rows.path, damage.message)

    async def release(self, id: str, epoch: int) -> None:
        """Take the owner away."""
        await self.rows.running().write(statements.release, id, epoch)

    async def load(self, id: str) -> Loaded | None:
        """Return everything there is of an instance, as of one moment."""
        loaded: Loaded | None = await self.rows.running().read(statements.load, id)
        return loaded

    async def append(
        self,
        id: str,
        epoch: int,
        entries: Sequence[Entry],
        status: InstanceStatus | None,
        note: str,
    ) -> None:
        """Add entries that carry this epoch."""
        rows = [statements.journal_row(id, entry) for entry in entries]
        await self.rows.running().write(statements.append, id, epoch, rows, status, note)

    async def mark(self, changes: Changes) -> None:
        """Set status and note of those that have that epoch and have not ended."""
        await self.rows.running().write(statements.mark, changes)

    async def end(
        self,
        id: str,
        epoch: int,
        status: InstanceStatus,
        outcome: bytes,
        note: str,
        entries: Sequence[Entry],
        now: float,
    ) -> None:
        """Add entries and end the instance."""
        rows = [statements.journal_row(id, entry) for entry in entries]
        await self.rows.running().write(statements.end, id, epoch, status, outcome, note, rows, now)

    async def start_over(self, id: str, epoch: int, input: bytes, taken: Collection[int]) -> None:
        """Put another input, and take out the journal and the mail that was taken."""
        await self.rows.running().write(statements.start_over, id, epoch, input, taken)

    # --- anybody

    async def get(self, id: str) -> Instance | None:
        """Return an instance."""
        found: Instance | None = await self.rows.running().read(statements.get, id)
        return found

    async def input(self, id: str) -> bytes | None:
        """Return what it began with."""
        found: bytes | None = await self.rows.running().read(statements.input_of, id)
        return found

    async def outcome(self, id: str) -> bytes | None:
        """Return what it ended with."""
        found: bytes | None = await self.rows.running().read(statements.outcome_of, id)
        return found

    async def journal(self, id: str, after: int) -> list[Entry]:
        """Return the entries behind a position, in order."""
        entries: list[Entry] = await self.rows.running().read(statements.journal, id, after)
        return entries

    async def select(
        self,
        status: Collection[InstanceStatus] | None,
        name: str | None,
        parent: str | None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> list[Instance]:
        """Return instances by `(created_at, id)`, downwards."""
        found: list[Instance] = await self.rows.running().read(
            statements.select, status, name, parent, before, limit
        )
        return found

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many there are, by status."""
        found: dict[InstanceStatus, int] = await self.rows.running().read(statements.count)
        return found

    async def post(self, mail: Mail) -> Mail:
        """Add mail; or return the one that has its key."""
        posted: Mail = await self.rows.running().write(statements.post, mail)
        return posted

    async def mail_after(self, seq: int, limit: int) -> list[Mail]:
        """Return mail in order."""
        found: list[Mail] = await self.rows.running().read(statements.mail_after, seq, limit)
        return found

    async def last_mail(self) -> int:
        """Return the highest `seq` there ever was."""
        found: int = await self.rows.running().read(statements.last_mail)
        return found

    async def reopen(self, id: str, entries: Sequence[Entry]) -> Instance:
        """Put `reopened` in the place of an instance that failed, and add entries of its epoch."""
        instance: Instance = await self.rows.running().write(statements.reopen, id, entries)
        return instance

    async def fork(self, id: str, new_id: str, before: int, seed: str, now: float) -> Instance:
        """Add a `forked` instance, with copies of input and entries, those of epoch 0."""
        instance: Instance = await self.rows.running().write(
            statements.fork, id, new_id, before, seed, now
        )
        return instance

    async def delete(self, id: str) -> bool:
        """Remove an instance that has ended."""
        deleted: bool = await self.rows.running().write(statements.delete, id)
        return deleted

    async def delete_ended(
        self, ended_before: float, status: Collection[InstanceStatus], limit: int
    ) -> int:
        """Remove instances, by `(ended_at, id)`."""
        removed: int = await self.rows.running().write(
            statements.delete_ended, ended_before, status, limit
        )
        return removed
