"""Instances in any store: everything that is the same in all of them.

Ids, names and values are checked here, values turned into bytes, times read from the store's
clock; a store adds only where the rows are kept. So all of them accept and refuse the same, and
hand out copies.

In the rows `Entry.value`, `Mail.payload`, `Loaded.input` and an outcome are bytes; everything else
is as the callers see it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, final

from lexigram_actors.errors import NotStorableError, StoreCorruptedError
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.encoding import LARGEST_INT, SMALLEST_INT, has_surrogates
from lexigram_actors.storage.instances import (
    ENDED,
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
    NewInstance,
)
from lexigram_actors.storage.keys import check_key

logger = logging.getLogger(__name__)

MAX_PATH_LENGTH: Final = 4096
LONGEST_MAIL_KEY: Final = MAX_PATH_LENGTH + 512
"""An answer is known by the path of its question, and something before it."""

MAX_NOTE_LENGTH: Final = 1000

CANCEL: Final = "cancel"
"""The kind of mail that keeps an instance from ending as if nobody had asked."""

Changes = Mapping[str, tuple[int, InstanceStatus, str]]


class InstanceRows(Protocol):
    """Where the rows are. Each call is one transaction, and a checkpoint.

    The arguments were checked. What is refused is raised as `InstanceStore` says; failures of the
    store as `StoreError`. `now`, like `until`, is seconds of the store's clock.
    """

    async def enter(self, host: str, until: float, now: float) -> None:
        """Register a host.

        When this store has not entered it before, or its lease was over, what the name owned
        belongs to a host that is no more, and to nobody from now on.
        """
        ...

    async def renew(self, host: str, until: float, now: float) -> None:
        """Let a lease that is not over end at `until`."""
        ...

    async def leave(self, host: str) -> None:
        """Let go of everything a host has, and forget it."""
        ...

    async def create(self, instance: Instance, input: bytes) -> tuple[Instance, bool]:
        """Add an instance where its id is free; else return the one that is there."""
        ...

    async def claim(
        self,
        host: str,
        definitions: Collection[Definition],
        ids: Collection[str] | None,
        limit: int,
        now: float,
    ) -> list[Instance]:
        """Take what nobody has, by `(created_at, id)`."""
        ...

    async def release(self, id: str, epoch: int) -> None:
        """Take the owner away."""
        ...

    async def load(self, id: str) -> Loaded | None:
        """Return everything there is of an instance, as of one moment."""
        ...

    async def append(
        self,
        id: str,
        epoch: int,
        entries: Sequence[Entry],
        status: InstanceStatus | None,
        note: str,
    ) -> None:
        """Add entries that carry this epoch."""
        ...

    async def mark(self, changes: Changes) -> None:
        """Set status and note of those that have that epoch and have not ended."""
        ...

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
        """Add entries and end the instance, unless `ends_uncancelled` and it has such mail."""
        ...

    async def start_over(self, id: str, epoch: int, input: bytes, taken: Collection[int]) -> None:
        """Put another input, and take out the journal and the mail that was taken."""
        ...

    async def get(self, id: str) -> Instance | None:
        """Return an instance."""
        ...

    async def input(self, id: str) -> bytes | None:
        """Return what it began with."""
        ...

    async def outcome(self, id: str) -> bytes | None:
        """Return what it ended with."""
        ...

    async def journal(self, id: str, after: int) -> list[Entry]:
        """Return the entries behind a position, in order."""
        ...

    async def select(
        self,
        status: Collection[InstanceStatus] | None,
        name: str | None,
        parent: str | None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> list[Instance]:
        """Return instances by `(created_at, id)`, downwards."""
        ...

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many there are, by status."""
        ...

    async def post(self, mail: Mail) -> Mail:
        """Add mail, whose `seq` is yet to be given; or return the one that has its key."""
        ...

    async def mail_after(self, seq: int, limit: int) -> list[Mail]:
        """Return mail in order."""
        ...

    async def last_mail(self) -> int:
        """Return the highest `seq` there ever was."""
        ...

    async def reopen(self, id: str, entries: Sequence[Entry]) -> Instance:
        """Put `reopened` in the place of an instance that failed, and add entries of its epoch."""
        ...

    async def fork(self, id: str, new_id: str, before: int, seed: str, now: float) -> Instance:
        """Add a `forked` instance, with copies of input and entries, those of epoch 0."""
        ...

    async def delete(self, id: str) -> bool:
        """Remove an instance that has ended."""
        ...

    async def delete_ended(
        self, ended_before: float, status: Collection[InstanceStatus], limit: int
    ) -> int:
        """Remove instances, by `(ended_at, id)`."""
        ...


@final
class InstanceBook:
    """An `InstanceStore` over the rows of a store."""

    __slots__ = ("clock", "codec", "lease", "poll", "rows")

    def __init__(
        self,
        rows: InstanceRows,
        codec: Codec,
        clock: Callable[[], float],
        *,
        lease: float,
        poll: float,
    ) -> None:
        self.rows = rows
        self.codec = codec
        self.clock = clock
        self.lease = lease
        self.poll = poll

    # --- hosts

    async def enter(self, host: str, lease: float) -> None:
        """Register a host, or begin its lease anew, for `lease` seconds."""
        check_name(host, "host")
        now = self.now()
        await self.rows.enter(host, now + checked_lease(lease), now)

    async def renew(self, host: str, lease: float) -> None:
        """Let a host's lease end `lease` seconds from now."""
        check_name(host, "host")
        now = self.now()
        await self.rows.renew(host, now + checked_lease(lease), now)

    async def leave(self, host: str) -> None:
        """Let go of everything a host has."""
        check_name(host, "host")
        await self.rows.leave(host)

    # --- owners

    async def create(self, new: NewInstance, *, host: str | None = None) -> tuple[Instance, bool]:
        """Begin an instance, owned by `host` with epoch 1, or by nobody."""
        check_new(new)
        if host is not None:
            check_name(host, "host")
        instance = Instance(
            id=new.id,
            definition=Definition(*new.definition),
            status=InstanceStatus.PENDING,
            owner=host,
            epoch=0 if host is None else 1,
            seed=new.seed,
            parent=new.parent,
            created_at=self.now(),
            start_at=None if new.start_at is None else moment(new.start_at, "start_at"),
        )
        return await self.rows.create(instance, self.codec.dumps(new.input))

    async def claim(
        self,
        host: str,
        definitions: Collection[Definition],
        *,
        ids: Collection[str] | None = None,
        limit: int = 100,
    ) -> list[Instance]:
        """Take instances that have not ended and whose owner is gone, the oldest first."""
        check_name(host, "host")
        check_count(limit, "limit")
        for definition in definitions:
            check_definition(definition)
        if ids is not None:
            check_collection(ids, "ids")
            for id in ids:
                check_id(id)
            ids = frozenset(ids)
        return await self.rows.claim(host, frozenset(definitions), ids, limit, self.now())

    async def release(self, id: str, epoch: int) -> None:
        """Give up an instance that has not ended, so that another host may take it."""
        check_id(id)
        check_count(epoch, "epoch")
        await self.rows.release(id, epoch)

    async def load(self, id: str) -> Loaded | None:
        """Return an instance with its input, its journal and its mail, as of one moment."""
        check_id(id)
        rows = await self.rows.load(id)
        if rows is None:
            return None
        return Loaded(
            instance=rows.instance,
            input=self.decoded(rows.input, id, "its input"),
            entries=self.entries_of(id, rows.entries),
            mail=[self.mail_of(mail) for mail in rows.mail],
        )

    async def append(
        self,
        id: str,
        epoch: int,
        entries: Sequence[Entry],
        *,
        status: InstanceStatus | None = None,
        note: str = "",
    ) -> None:
        """Add entries, all or none, at the positions they carry."""
        check_id(id)
        check_count(epoch, "epoch")
        if status is not None:
            check_going_on(status)
            note = cleaned(note)
        packed = [self.packed(entry, epoch) for entry in entries]
        await self.rows.append(id, epoch, packed, status, note)

    async def mark(self, changes: Changes) -> None:
        """Set status and note of instances, by id: `(epoch, status, note)`."""
        cleaned_changes = {}
        for id, (epoch, status, note) in changes.items():
            check_id(id)
            check_count(epoch, "epoch")
            check_going_on(status)
            cleaned_changes[id] = (epoch, status, cleaned(note))
        await self.rows.mark(cleaned_changes)

    async def end(
        self,
        id: str,
        epoch: int,
        status: InstanceStatus,
        outcome: Any,
        *,
        note: str = "",
        entries: Sequence[Entry] = (),
    ) -> None:
        """End an instance; from then on it has no owner and takes no mail."""
        check_id(id)
        check_count(epoch, "epoch")
        check_status(status)
        if status not in ENDED:
            raise TypeError(f"an instance cannot end as {status!r}; use append or mark for that")
        data = self.codec.dumps(outcome)
        packed = [self.packed(entry, epoch) for entry in entries]
        await self.rows.end(id, epoch, status, data, cleaned(note), packed, self.now())

    async def start_over(self, id: str, epoch: int, input: Any, taken: Collection[int]) -> None:
        """Begin again with a new input, an empty journal, and the mail that was not `taken`."""
        check_id(id)
        check_count(epoch, "epoch")
        for seq in taken:
            check_count(seq, "seq")
        await self.rows.start_over(id, epoch, self.codec.dumps(input), frozenset(taken))

    # --- anybody

    async def get(self, id: str) -> Instance | None:
        """Return an instance; None: there is none."""
        check_id(id)
        return await self.rows.get(id)

    async def input(self, id: str) -> Any:
        """Return what an instance began with; None also where there is none."""
        check_id(id)
        return self.decoded(await self.rows.input(id), id, "its input")

    async def outcome(self, id: str) -> Any:
        """Return what an instance ended with; None also while it has not ended."""
        check_id(id)
        return self.decoded(await self.rows.outcome(id), id, "its outcome")

    async def journal(self, id: str, after: int = 0) -> list[Entry]:
        """Return the entries behind position `after`, in order."""
        check_id(id)
        check_count(after, "after")
        return self.entries_of(id, await self.rows.journal(id, after))

    async def select(
        self,
        *,
        status: Collection[InstanceStatus] | None = None,
        name: str | None = None,
        parent: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 100,
    ) -> list[Instance]:
        """Return instances, the newest first (of one moment, by id downwards)."""
        if status is not None:
            status = checked_statuses(status)
        if name is not None:
            check_name(name, "name")
        if parent is not None:
            check_id(parent)
        if before is not None:
            created_at, id = before
            check_id(id)
            before = (moment(created_at, "before"), id)
        check_count(limit, "limit")
        return await self.rows.select(status, name, parent, before, limit)

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many instances there are, by status; those with none are left out."""
        return await self.rows.count()

    async def post(
        self, id: str, kind: str, name: str = "", payload: Any = None, *, key: str | None = None
    ) -> Mail:
        """Put something into the mail of an instance, and return it with its `seq`."""
        check_id(id)
        check_name(kind, "kind")
        check_long(name, "name")
        if key is not None:
            check_long(key, "key", LONGEST_MAIL_KEY)
        data = self.codec.dumps(payload)
        return self.mail_of(await self.rows.post(Mail(0, id, kind, name, data, self.now(), key)))

    async def mail_after(self, seq: int, limit: int = 1000) -> list[Mail]:
        """Return the mail of all instances behind `seq`, in order."""
        check_count(seq, "seq")
        check_count(limit, "limit")
        return [self.mail_or_damage(mail) for mail in await self.rows.mail_after(seq, limit)]

    async def last_mail(self) -> int:
        """Return the `seq` of the last mail there was; 0: there was none."""
        return await self.rows.last_mail()

    async def reopen(self, id: str, entries: Sequence[Entry] = ()) -> Instance:
        """Let an instance that failed go on: without owner, PENDING, entries added."""
        check_id(id)
        return await self.rows.reopen(id, [self.packed(entry, 0) for entry in entries])

    async def fork(self, id: str, new_id: str, before: int, seed: str) -> Instance:
        """Begin a new instance with the input and the entries of another, before a position."""
        check_id(id)
        check_id(new_id)
        check_count(before, "before")
        check_key(seed, what="seed")
        return await self.rows.fork(id, new_id, before, seed, self.now())

    async def delete(self, id: str) -> bool:
        """Remove an instance that has ended, with all it has; False: there is none."""
        check_id(id)
        return await self.rows.delete(id)

    async def delete_ended(
        self, ended_before: float, status: Collection[InstanceStatus], limit: int = 1000
    ) -> int:
        """Remove up to `limit` instances that ended before then; return how many."""
        check_count(limit, "limit")
        return await self.rows.delete_ended(
            moment(ended_before, "ended_before"), checked_statuses(status), limit
        )

    # --- to rows and back

    def now(self) -> float:
        return float(self.clock())

    def packed(self, entry: Entry, epoch: int) -> Entry:
        """Return an entry as its row is: checked, its value as bytes."""
        path, kind, value, position, at, mail, _ = entry
        check_long(path, "path")
        check_name(kind, "kind")
        check_count(position, "position")
        check_count(mail, "mail")
        if not position:
            raise TypeError(f"an entry needs a position, from 1: {path!r} has none")
        return Entry(path, kind, self.codec.dumps(value), position, moment(at, "at"), mail, epoch)

    def entries_of(self, id: str, rows: Iterable[Entry]) -> list[Entry]:
        return [
            row._replace(value=self.decoded(row.value, id, f"its entry {row.position}"))
            for row in rows
        ]

    def mail_of(self, row: Mail) -> Mail:
        return row._replace(payload=self.decoded(row.payload, row.instance, f"its mail {row.seq}"))

    def mail_or_damage(self, row: Mail) -> Mail:
        """Return mail; where it cannot be read what stands in its place, and log that."""
        try:
            mail = self.mail_of(row)
        except StoreCorruptedError as error:
            logger.error("%s; nobody gets it", error.message)  # noqa: TRY400 - all of it is said
            return self.mail_of(damaged_mail(row.seq, row.instance))
        if mail.kind == DAMAGED:
            of = mail.instance
            logger.error("instance %r: its mail %d is damaged; nobody gets it", of, mail.seq)
        return mail

    def decoded(self, data: bytes | None, id: str, what: str) -> Any:
        """Return the value of bytes, or raise damage that names the instance."""
        if data is None:
            return None
        try:
            return self.codec.loads(data)
        except StoreCorruptedError as error:
            raise StoreCorruptedError(
                f"instance {id!r}, {what}: {error.message}",
                details={"instance": id},
                hint=error.hint,
                cause=error,
            ) from error


# --- what becomes of an instance -----------------------------------------------------------------


def reopened(instance: Instance) -> Instance:
    """Return an instance that failed as it is when it is reopened.

    Its epoch rises, so that a late repetition of the call that ended it is refused.
    """
    return Instance(
        id=instance.id,
        definition=instance.definition,
        status=InstanceStatus.PENDING,
        epoch=instance.epoch + 1,
        run=instance.run,
        copied=instance.copied,
        seed=instance.seed,
        parent=instance.parent,
        created_at=instance.created_at,
        start_at=instance.start_at,
    )


def forked(instance: Instance, new_id: str, copied: int, seed: str, now: float) -> Instance:
    """Return the new instance that is a fork of another."""
    return Instance(
        id=new_id,
        definition=instance.definition,
        status=InstanceStatus.PENDING,
        copied=copied,
        seed=seed,
        created_at=now,
    )


def ends_uncancelled(status: InstanceStatus) -> bool:
    """Say whether an end with this status would pass over that somebody asked for another."""
    return status in (InstanceStatus.COMPLETED, InstanceStatus.FAILED)


# --- checks --------------------------------------------------------------------------------------


def check_id(id: str) -> None:
    """Refuse an id of an instance that some store could not keep."""
    check_name(id, "id")


def check_name(name: str, what: str) -> None:
    """Refuse what is no text of 1 to 512 characters that every store can keep."""
    check_key(name, what=what)
    if not name:
        raise NotStorableError(f"the {what} is empty, and has to have a character", path=what)


def check_long(text: str, what: str, longest: int = MAX_PATH_LENGTH) -> None:
    """Refuse a path, or what is made of one, that some store could not keep; it may be empty."""
    if not isinstance(text, str):
        raise TypeError(f"a {what} must be a str, and is {text!r}")
    if len(text) > longest:
        raise NotStorableError(
            f"the {what} has {len(text)} characters, and at most {longest} are possible: "
            f"{text[:40]!r}...; use shorter names, or nest less",
            path=what,
        )
    if "\0" in text or (not text.isascii() and has_surrogates(text)):
        raise NotStorableError(
            f"the {what} has a NUL character or a lone surrogate: {text!r}", path=what
        )


def cleaned(note: str) -> str:
    """Return a note as it is kept.

    It is for a person, and often made of the message of an error: too long it is cut, and what no
    store could keep is replaced. It must not keep an instance from ending.
    """
    if not isinstance(note, str):
        raise TypeError(f"a note must be a str, and is {note!r}")
    note = note[:MAX_NOTE_LENGTH]
    if note.isascii() and "\0" not in note:
        return note
    return note.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def check_new(new: NewInstance) -> None:
    """Refuse a new instance that some store could not keep."""
    if not isinstance(new, NewInstance):
        raise TypeError(f"create takes a NewInstance, and got {new!r}")
    check_id(new.id)
    check_definition(new.definition)
    check_key(new.seed, what="seed")
    if new.parent is not None:
        check_id(new.parent)


def check_definition(definition: Definition) -> None:
    """Refuse what is no kind, name and version."""
    kind, name, version = definition
    check_name(kind, "kind")
    check_name(name, "name")
    if type(version) is not int:
        raise TypeError(f"the version of {name!r} must be an int, and is {version!r}")
    if not SMALLEST_INT <= version <= LARGEST_INT:
        raise NotStorableError(
            f"the version of {name!r} is beyond 64 bits: {version}", path="version"
        )


def check_status(status: InstanceStatus) -> None:
    """Refuse what is no status."""
    if type(status) is not InstanceStatus:
        raise TypeError(f"a status must be an InstanceStatus, and is {status!r}")


def check_going_on(status: InstanceStatus) -> None:
    """Refuse a status that only `end` gives."""
    check_status(status)
    if status in ENDED:
        raise TypeError(f"only end() lets an instance be {status!r}; it needs an outcome as well")


def checked_statuses(status: Collection[InstanceStatus]) -> frozenset[InstanceStatus]:
    """Return a collection of statuses, or refuse what is none."""
    check_collection(status, "status")
    for each in status:
        check_status(each)
    return frozenset(status)


def check_collection(given: object, what: str) -> None:
    """Refuse one text where several were meant."""
    if isinstance(given, str):
        raise TypeError(f"{what} takes a collection, as [{given!r}], and got the str {given!r}")


def check_count(number: int, what: str) -> None:
    """Refuse what is no int from 0 that every store can keep."""
    if type(number) is not int or not 0 <= number <= LARGEST_INT:
        raise TypeError(f"{what} must be an int from 0, of 64 bits, and is {number!r}")


TAKEN: Final = "taken"
"""The kind of mail that only stands for its key."""


def without_contents(mail: Mail) -> Mail:
    """Return what is kept of mail that was taken, as rows have it."""
    return mail._replace(kind=TAKEN, name="", payload=b"null")


DAMAGED: Final = "damaged"
"""The kind of what stands in the place of mail that cannot be read."""


def damaged_mail(seq: int, instance: str) -> Mail:
    """Return what stands in the place of mail that cannot be read, as rows have it.

    Without it one damaged row would keep all instances from their mail.
    """
    return Mail(seq, instance, DAMAGED, payload=b"null")


def checked_lease(lease: float) -> float:
    """Return the seconds of a lease, which may be infinite, or refuse what is none."""
    is_number = type(lease) is float or type(lease) is int
    if not is_number or not lease > 0:
        raise TypeError(f"a lease must be positive seconds (float), and is {lease!r}")
    return lease if type(lease) is float else float(min(lease, LARGEST_INT))


def moment(seconds: float, what: str) -> float:
    """Return seconds as every store keeps them, or refuse what is no finite number."""
    if type(seconds) is not float and type(seconds) is not int:
        raise TypeError(f"{what} must be seconds (float), and is {seconds!r}")
    if abs(seconds) > LARGEST_INT or not math.isfinite(seconds):
        raise NotStorableError(f"{what} must be finite seconds, of 64 bits", path=what)
    return float(seconds) + 0.0  # no store tells -0.0 from 0.0
