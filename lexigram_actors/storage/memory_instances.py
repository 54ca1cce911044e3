"""The rows of instances in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from heapq import nlargest, nsmallest
from typing import Final, final

import trio
from attrs import define, evolve, field

from lexigram_actors.storage.book import (
    CANCEL,
    Changes,
    ends_uncancelled,
    forked,
    reopened,
    without_contents,
)
from lexigram_actors.storage.instances import (
    RETRIABLE,
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
)
from lexigram_actors.storage.refusals import (
    has_not_ended,
    has_not_failed,
    host_lease_over,
    id_taken,
    is_to_be_cancelled,
    journal_went_on,
    lease_lost,
    not_found,
    position_taken,
    takes_no_mail,
)

NEVER: Final = float("-inf")


@final
@define(eq=False, repr=False)
class MemoryInstance:
    """An instance with all it has. Mail is here and in the tables' mail, or in neither."""

    instance: Instance
    input: bytes
    outcome: bytes | None = None
    journal: dict[int, Entry] = field(factory=dict)
    mail: dict[int, Mail] = field(factory=dict)
    seqs: dict[str, int] = field(factory=dict)
    """Of its mail that has a key, by key."""

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the entries behind a position, in order."""
        return [self.journal[position] for position in sorted(self.journal) if position > after]


@final
@define(eq=False)
class MemoryTables:
    """What a `MemoryStore` keeps.

    Given to another `MemoryStore` it plays the disk of a process that died and came back:
    `MemoryStore(tables=store.tables)`. Whoever makes it closes nothing.
    """

    instances: dict[str, MemoryInstance] = field(factory=dict, repr=False)
    mail: dict[int, Mail] = field(factory=dict, repr=False)  # by seq, which rises
    hosts: dict[str, float] = field(factory=dict, repr=False)  # until when each has its lease
    last_mail: int = 0
    cache: dict[str, tuple[bytes, float | None]] = field(factory=dict, repr=False)


@final
class MemoryInstanceRows:
    """Rows in dicts. After the checkpoint that begins each call nothing comes between."""

    __slots__ = ("entered", "tables")

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.entered: set[str] = set()

    # --- hosts

    async def enter(self, host: str, until: float, now: float) -> None:
        """Register a host."""
        await trio.lowlevel.checkpoint()
        if host not in self.entered or not self.has_lease(host, now):
            self.disown(host)
        self.entered.add(host)
        self.tables.hosts[host] = until

    async def renew(self, host: str, until: float, now: float) -> None:
        """Let a lease that is not over end at `until`."""
        await trio.lowlevel.checkpoint()
        if not self.has_lease(host, now):
            raise host_lease_over(host)
        self.tables.hosts[host] = until

    async def leave(self, host: str) -> None:
        """Let go of everything a host has, and forget it."""
        await trio.lowlevel.checkpoint()
        self.entered.discard(host)
        self.tables.hosts.pop(host, None)
        self.disown(host)

    def has_lease(self, host: str | None, now: float) -> bool:
        return host is not None and self.tables.hosts.get(host, NEVER) > now

    def disown(self, host: str) -> None:
        for row in self.tables.instances.values():
            if row.instance.owner == host:
                row.instance = evolve(row.instance, owner=None)

    # --- owners

    async def create(self, instance: Instance, input: bytes) -> tuple[Instance, bool]:
        """Add an instance where its id is free; else return the one that is there."""
        await trio.lowlevel.checkpoint()
        found = self.tables.instances.get(instance.id)
        if found is not None:
            return found.instance, False
        self.tables.instances[instance.id] = MemoryInstance(instance, input)
        return instance, True

    async def claim(
        self,
        host: str,
        definitions: Collection[Definition],
        ids: Collection[str] | None,
        limit: int,
        now: float,
    ) -> list[Instance]:
        """Take what nobody has, by `(created_at, id)`."""
        await trio.lowlevel.checkpoint()
        if not self.has_lease(host, now):
            raise host_lease_over(host)
        rows = self.tables.instances
        wanted = rows.values() if ids is None else (rows[id] for id in ids if id in rows)
        free = (
            row
            for row in wanted
            if row.instance.ended_at is None
            and row.instance.definition in definitions
            and not self.has_lease(row.instance.owner, now)
        )
        taken = nsmallest(limit, free, key=age)
        for row in taken:
            row.instance = evolve(row.instance, owner=host, epoch=row.instance.epoch + 1)
        return [row.instance for row in taken]

    async def release(self, id: str, epoch: int) -> None:
        """Take the owner away."""
        await trio.lowlevel.checkpoint()
        row = self.owned(id, epoch)
        row.instance = evolve(row.instance, owner=None)

    async def load(self, id: str) -> Loaded | None:
        """Return everything there is of an instance."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        if row is None:
            return None
        return Loaded(
            instance=row.instance,
            input=row.input,
            entries=row.entries(),
            mail=list(row.mail.values()),
        )

    async def append(
        self,
        id: str,
        epoch: int,
        entries: Sequence[Entry],
        status: InstanceStatus | None,
        note: str,
    ) -> None:
        """Add entries that carry this epoch."""
        await trio.lowlevel.checkpoint()
        row = self.owned(id, epoch)
        added = self.to_add(row, epoch, entries)
        row.journal.update(added)
        if status is not None:
            row.instance = evolve(row.instance, status=status, note=note)

    async def mark(self, changes: Changes) -> None:
        """Set status and note of those that have that epoch and have not ended."""
        await trio.lowlevel.checkpoint()
        for id, (epoch, status, note) in changes.items():
            row = self.tables.instances.get(id)
            if row is not None and is_owned(row.instance, epoch):
                row.instance = evolve(row.instance, status=status, note=note)

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
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        if row is not None and row.instance.ended_at is not None:
            facts = (row.instance.epoch, row.instance.status, row.outcome)
            if facts == (epoch, status, outcome):
                return
        row = self.owned(id, epoch)
        if ends_uncancelled(status) and any(mail.kind == CANCEL for mail in row.mail.values()):
            raise is_to_be_cancelled(row.instance, status)
        row.journal.update(self.to_add(row, epoch, entries))
        row.outcome = outcome
        row.instance = evolve(row.instance, status=status, note=note, owner=None, ended_at=now)

    async def start_over(self, id: str, epoch: int, input: bytes, taken: Collection[int]) -> None:
        """Put another input, and take out the journal and the mail that was taken."""
        await trio.lowlevel.checkpoint()
        row = self.owned(id, epoch)
        row.input = input
        row.journal.clear()
        self.put_aside(row, [seq for seq in taken if seq in row.mail])
        row.instance = evolve(row.instance, run=row.instance.run + 1, copied=0)

    def owned(self, id: str, epoch: int) -> MemoryInstance:
        """Return an instance that its owner may write to."""
        row = self.tables.instances.get(id)
        if row is None or not is_owned(row.instance, epoch):
            raise lease_lost(id, epoch, None if row is None else row.instance)
        return row

    def to_add(self, row: MemoryInstance, epoch: int, entries: Sequence[Entry]) -> dict[int, Entry]:
        """Return those entries that are not there yet, by position."""
        added: dict[int, Entry] = {}
        for entry in entries:
            there = row.journal.get(entry.position) or added.get(entry.position)
            if there is None:
                added[entry.position] = entry
            elif there._replace(at=entry.at) != entry:
                raise position_taken(row.instance.id, epoch, entry.position)
        return added

    # --- anybody

    async def get(self, id: str) -> Instance | None:
        """Return an instance."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        return None if row is None else row.instance

    async def input(self, id: str) -> bytes | None:
        """Return what it began with."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        return None if row is None else row.input

    async def outcome(self, id: str) -> bytes | None:
        """Return what it ended with."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        return None if row is None else row.outcome

    async def journal(self, id: str, after: int) -> list[Entry]:
        """Return the entries behind a position, in order."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        return [] if row is None else row.entries(after)

    async def select(
        self,
        status: Collection[InstanceStatus] | None,
        name: str | None,
        parent: str | None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> list[Instance]:
        """Return instances by `(created_at, id)`, downwards."""
        await trio.lowlevel.checkpoint()
        fitting = (
            row
            for row in self.tables.instances.values()
            if (status is None or row.instance.status in status)
            and (name is None or row.instance.definition.name == name)
            and (parent is None or row.instance.parent == parent)
            and (before is None or age(row) < before)
        )
        return [row.instance for row in nlargest(limit, fitting, key=age)]

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many there are, by status."""
        await trio.lowlevel.checkpoint()
        return dict(Counter(row.instance.status for row in self.tables.instances.values()))

    async def post(self, mail: Mail) -> Mail:
        """Add mail; or return the one that has its key."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(mail.instance)
        if row is None:
            raise not_found(mail.instance)
        if mail.key is not None:
            there = row.seqs.get(mail.key)
            if there is not None:
                return row.mail[there]
        if row.instance.ended_at is not None:
            raise takes_no_mail(row.instance)
        self.tables.last_mail += 1
        mail = mail._replace(seq=self.tables.last_mail)
        row.mail[mail.seq] = self.tables.mail[mail.seq] = mail
        if mail.key is not None:
            row.seqs[mail.key] = mail.seq
        return mail

    async def mail_after(self, seq: int, limit: int) -> list[Mail]:
        """Return mail in order."""
        await trio.lowlevel.checkpoint()
        found: list[Mail] = []
        for mail in reversed(self.tables.mail.values()):  # who asks knows nearly all
            if mail.seq <= seq:
                break
            found.append(mail)
        found.reverse()
        return found[:limit]

    async def last_mail(self) -> int:
        """Return the highest `seq` there ever was."""
        await trio.lowlevel.checkpoint()
        return self.tables.last_mail

    async def reopen(self, id: str, entries: Sequence[Entry]) -> Instance:
        """Put `reopened` in the place of an instance that failed, and add entries of its epoch."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        if row is None:
            raise not_found(id)
        if row.instance.status not in RETRIABLE:
            raise has_not_failed(row.instance)
        instance = reopened(row.instance)
        added: dict[int, Entry] = {}
        for entry in entries:
            if entry.position in row.journal or entry.position in added:
                raise journal_went_on(row.instance, entry.position)
            added[entry.position] = entry._replace(epoch=instance.epoch)
        row.journal.update(added)
        row.instance, row.outcome = instance, None
        return instance

    async def fork(self, id: str, new_id: str, before: int, seed: str, now: float) -> Instance:
        """Add a `forked` instance, with copies of input and entries, those of epoch 0."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        if row is None:
            raise not_found(id)
        there = self.tables.instances.get(new_id)
        if there is not None:
            raise id_taken(there.instance)
        copies = {
            position: entry._replace(epoch=0)
            for position, entry in row.journal.items()
            if position < before
        }
        instance = forked(row.instance, new_id, len(copies), seed, now)
        self.tables.instances[new_id] = MemoryInstance(instance, row.input, journal=copies)
        return instance

    async def delete(self, id: str) -> bool:
        """Remove an instance that has ended."""
        await trio.lowlevel.checkpoint()
        row = self.tables.instances.get(id)
        if row is None:
            return False
        if row.instance.ended_at is None:
            raise has_not_ended(row.instance)
        self.remove(row)
        return True

    async def delete_ended(
        self, ended_before: float, status: Collection[InstanceStatus], limit: int
    ) -> int:
        """Remove instances, by `(ended_at, id)`."""
        await trio.lowlevel.checkpoint()
        ended = [
            (row.instance.ended_at, id)
            for id, row in self.tables.instances.items()
            if row.instance.ended_at is not None
            and row.instance.ended_at < ended_before
            and row.instance.status in status
        ]
        oldest = nsmallest(limit, ended)
        for _, id in oldest:
            self.remove(self.tables.instances[id])
        return len(oldest)

    def remove(self, row: MemoryInstance) -> None:
        self.remove_mail(row, list(row.mail))
        del self.tables.instances[row.instance.id]

    def put_aside(self, row: MemoryInstance, seqs: Collection[int]) -> None:
        """Remove mail, but keep what has a key: posted again it is still the same."""
        self.remove_mail(row, [seq for seq in seqs if row.mail[seq].key is None])
        for seq in seqs:
            if seq in row.mail:
                row.mail[seq] = self.tables.mail[seq] = without_contents(row.mail[seq])

    def remove_mail(self, row: MemoryInstance, seqs: Collection[int]) -> None:
        for seq in seqs:
            del row.mail[seq], self.tables.mail[seq]


def age(row: MemoryInstance) -> tuple[float, str]:
    """Return what instances are ordered by."""
    return row.instance.created_at, row.instance.id


def is_owned(instance: Instance, epoch: int) -> bool:
    """Say whether whoever has this epoch may write."""
    return instance.epoch == epoch and instance.ended_at is None
