"""What is done to the tables of instances, on the thread that owns the connection.

Each function is one transaction's worth: what it raises undoes all it did, and it may run a second
time after that. Rows with a payload carry a checksum, as SQLite has none; it is looked at whenever
the row is read. What an owner changes all the time (status, note, owner, epoch) has none: then
adding an entry would have to read first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from attrs import evolve

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.storage.book import (
    CANCEL,
    Changes,
    damaged_mail,
    ends_uncancelled,
    forked,
    reopened,
    without_contents,
)
from lexigram_actors.storage.instances import (
    ENDED,
    RETRIABLE,
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
)
from lexigram_actors.storage.refusals import (
    RESTORE,
    damaged,
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
    unreadable,
)

if TYPE_CHECKING:
    import apsw

    from lexigram_actors.storage.sqlite.hostlock import HostLock

JournalRow = tuple[str, int, str, str, bytes, float, int, int, int]

FACTS: Final = (
    "id, kind, name, version, status, note, owner, epoch, run, copied, seed, parent, "
    "created_at, start_at, ended_at, checksum"
)
# Constants alone are put together below; what comes from outside is bound.
GET: Final = f"SELECT {FACTS} FROM instances WHERE id = ?"  # noqa: S608
CREATE: Final = f"""
INSERT INTO instances ({FACTS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""  # noqa: S608
IS_OWNED: Final = "id = ? AND epoch = ? AND ended_at IS NULL"
EXISTS: Final = "SELECT 1 FROM instances WHERE id = ?"
RELEASE: Final = f"UPDATE instances SET owner = NULL WHERE {IS_OWNED}"  # noqa: S608
MARK: Final = f"UPDATE instances SET status = ?, note = ? WHERE {IS_OWNED}"  # noqa: S608
OWNED: Final = f"SELECT 1 FROM instances WHERE {IS_OWNED}"  # noqa: S608
END: Final = f"""
UPDATE instances
SET status = ?, note = ?, owner = NULL, ended_at = ?, outcome = ?, outcome_checksum = ?
WHERE {IS_OWNED}
"""  # noqa: S608
OUTCOME: Final = """
SELECT status, epoch, ended_at, outcome, outcome_checksum FROM instances WHERE id = ?
"""
REWRITE: Final = """
UPDATE instances
SET status = ?, note = ?, owner = ?, epoch = ?, run = ?, copied = ?, ended_at = ?, checksum = ?,
    outcome = NULL, outcome_checksum = NULL
WHERE id = ?
"""
COUNT: Final = "SELECT status, count(*), min(id) FROM instances GROUP BY status"
PUT_INPUT: Final = """
INSERT INTO inputs (instance, value, checksum) VALUES (?, ?, ?)
ON CONFLICT (instance) DO UPDATE SET value = excluded.value, checksum = excluded.checksum
"""
INPUT: Final = "SELECT value, checksum FROM inputs WHERE instance = ?"

# The one statement that is run for each step of each workflow.
APPEND: Final = """
INSERT INTO journal (instance, position, path, kind, value, at, mail, epoch, checksum)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
FROM instances WHERE id = ?1 AND epoch = ?8 AND ended_at IS NULL
ON CONFLICT DO NOTHING
"""
ENTRIES: Final = """
SELECT instance, position, path, kind, value, at, mail, epoch, checksum
FROM journal WHERE instance = ? AND position > ? ORDER BY position
"""
ENTRY: Final = "SELECT path, kind, value, mail, epoch FROM journal WHERE instance=? AND position=?"

MAIL: Final = "seq, instance, kind, name, payload, at, key, checksum"
POST: Final = f"INSERT INTO mail ({MAIL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
LAST_MAIL: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'mail'"
MAIL_BY_KEY: Final = f"SELECT {MAIL} FROM mail WHERE instance = ? AND key = ?"  # noqa: S608
MAIL_OF: Final = f"SELECT {MAIL} FROM mail WHERE instance = ? ORDER BY seq"  # noqa: S608
MAIL_OF_SEQ: Final = f"SELECT {MAIL} FROM mail WHERE instance = ? AND seq = ?"  # noqa: S608
MAIL_OF_KIND: Final = "SELECT 1 FROM mail WHERE instance = ? AND kind = ?"
MAIL_WITH_SEQ: Final = f"SELECT {MAIL} FROM mail WHERE seq = ?"  # noqa: S608
MAIL_SEQS: Final = "SELECT seq FROM mail WHERE seq > ? ORDER BY seq LIMIT ?"
MAIL_AFTER: Final = f"SELECT {MAIL} FROM mail WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608

PUT_HOST: Final = """
INSERT INTO hosts (name, lease_until) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET lease_until = excluded.lease_until
"""
RENEW: Final = "UPDATE hosts SET lease_until = ? WHERE name = ? AND lease_until > ?"
DISOWN: Final = "UPDATE instances SET owner = NULL WHERE owner = ? AND ended_at IS NULL"
HAS_LEASE: Final = "SELECT 1 FROM hosts WHERE name = ? AND lease_until > ?"
# From owner to owner along the index: there are few of them, and many instances.
GONE_OWNERS: Final = """
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM instances WHERE ended_at IS NULL AND owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM instances WHERE ended_at IS NULL AND owner > owners.owner)
    FROM owners WHERE owners.owner IS NOT NULL
)
SELECT owner FROM owners
WHERE owner IS NOT NULL AND owner NOT IN (SELECT name FROM hosts WHERE lease_until > ?)
"""
FREE: Final = f"""
SELECT {FACTS} FROM instances WHERE ended_at IS NULL AND owner IS ?
    AND (kind, name, version) IN (VALUES %s) ORDER BY created_at, id
"""  # noqa: S608
TAKE: Final = "UPDATE instances SET owner = ?, epoch = ? WHERE id = ?"

ENDED_BEFORE: Final = """
SELECT id, status FROM instances WHERE ended_at IS NOT NULL AND ended_at < ? ORDER BY ended_at, id
"""


# --- hosts --------------------------------------------------------------------------------------


def enter(
    connection: apsw.Connection,
    lock: HostLock,
    host: str,
    until: float,
    now: float,
    is_first: bool,
    is_new: bool,
) -> None:
    lock.acquire(host)
    if is_first:
        connection.execute("DELETE FROM hosts")  # the lock is ours, so all of them are dead
    if is_new or not has_lease(connection, host, now):
        connection.execute(DISOWN, (host,))
    connection.execute(PUT_HOST, (host, until))


def renew(connection: apsw.Connection, host: str, until: float, now: float) -> None:
    connection.execute(RENEW, (until, host, now))
    if connection.changes() != 1:
        raise host_lease_over(host)


def leave(connection: apsw.Connection, host: str) -> None:
    connection.execute(DISOWN, (host,))
    connection.execute("DELETE FROM hosts WHERE name = ?", (host,))


def has_lease(connection: apsw.Connection, host: str | None, now: float) -> bool:
    return connection.execute(HAS_LEASE, (host, now)).fetchone() is not None


# --- owners -------------------------------------------------------------------------------------


def create(connection: apsw.Connection, instance: Instance, input: bytes) -> tuple[Instance, bool]:
    connection.execute(CREATE, instance_row(instance))
    if connection.changes() != 1:
        return existing(connection, instance.id), False
    put_input(connection, instance.id, input)
    return instance, True


def claim(
    connection: apsw.Connection,
    host: str,
    definitions: Collection[Definition],
    ids: Collection[str] | None,
    limit: int,
    now: float,
) -> tuple[list[Instance], list[StoreCorruptedError]]:
    """Take what nobody has, and return it with what is damaged, and was passed over."""
    if not has_lease(connection, host, now):
        raise host_lease_over(host)
    damages: list[StoreCorruptedError] = []
    if ids is None:
        free = free_instances(connection, definitions, limit, now, damages)
    else:
        free = free_among(connection, definitions, ids, now)
    free.sort(key=age)
    taken = [evolve(instance, owner=host, epoch=instance.epoch + 1) for instance in free[:limit]]
    for instance in taken:
        connection.execute(TAKE, (host, instance.epoch, instance.id))
    return taken, damages


def free_instances(
    connection: apsw.Connection,
    definitions: Collection[Definition],
    limit: int,
    now: float,
    damages: list[StoreCorruptedError],
) -> list[Instance]:
    """Return the oldest instances of each owner that is gone, up to `limit` of each.

    One that is damaged is added to `damages` instead: it must not keep the others from going on.
    """
    if not definitions:
        return []
    # Not one by one here: among what waits for other hosts there may be few of these.
    statement = FREE % ", ".join(["(?, ?, ?)"] * len(definitions))
    wanted = [part for definition in definitions for part in definition]
    owners = readable(connection.execute(GONE_OWNERS, (now,)), damages, "the owner of one")
    free: list[Instance] = []
    for owner in (None, *[owner for (owner,) in owners]):
        left = limit
        rows = connection.execute(statement, (owner, *wanted))
        for row in readable(rows, damages, "the row of one"):
            if not left:
                break
            try:
                free.append(instance_of(row))
            except StoreCorruptedError as error:
                damages.append(error)
            else:
                left -= 1
    return free


def readable(
    rows: Iterable[Any], damages: list[StoreCorruptedError], what: str
) -> Iterator[tuple[Any, ...]]:
    """Yield rows; for those with text that is no UTF-8 add to `damages` instead."""
    waiting = iter(rows)
    while True:
        try:
            row = next(waiting)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            damages.append(unreadable(what, error))
        else:
            yield row


def free_among(
    connection: apsw.Connection,
    definitions: Collection[Definition],
    ids: Collection[str],
    now: float,
) -> list[Instance]:
    found = (get(connection, id) for id in ids)
    return [
        instance
        for instance in found
        if instance is not None
        and instance.ended_at is None
        and instance.definition in definitions
        and not has_lease(connection, instance.owner, now)
    ]


def release(connection: apsw.Connection, id: str, epoch: int) -> None:
    connection.execute(RELEASE, (id, epoch))
    if connection.changes() != 1:
        raise lease_lost(id, epoch, get(connection, id))


def append(
    connection: apsw.Connection,
    id: str,
    epoch: int,
    rows: Sequence[JournalRow],
    status: InstanceStatus | None,
    note: str,
) -> None:
    for row in rows:
        connection.execute(APPEND, row)
        if connection.changes() != 1:
            accept_repetition(connection, row)
    if status is not None:
        connection.execute(MARK, (status, note, id, epoch))
        if connection.changes() != 1:
            raise lease_lost(id, epoch, get(connection, id))
    elif not rows:
        check_owned(connection, id, epoch)


def accept_repetition(connection: apsw.Connection, row: JournalRow) -> None:
    """Find out why an entry was not added: it is there already, or it is refused."""
    id, position, path, kind, value, _, mail, epoch, _ = row
    check_owned(connection, id, epoch)
    there = connection.execute(ENTRY, (id, position)).fetchone()
    if there != (path, kind, value, mail, epoch):
        raise position_taken(id, epoch, position)


def check_owned(connection: apsw.Connection, id: str, epoch: int) -> None:
    if connection.execute(OWNED, (id, epoch)).fetchone() is None:
        raise lease_lost(id, epoch, get(connection, id))


def mark(connection: apsw.Connection, changes: Changes) -> None:
    for id, (epoch, status, note) in changes.items():
        connection.execute(MARK, (status, note, id, epoch))


def end(
    connection: apsw.Connection,
    id: str,
    epoch: int,
    status: InstanceStatus,
    outcome: bytes,
    note: str,
    rows: Sequence[JournalRow],
    now: float,
) -> None:
    if has_ended_so(connection, id, epoch, status, outcome):
        return
    if ends_uncancelled(status) and connection.execute(MAIL_OF_KIND, (id, CANCEL)).fetchone():
        check_owned(connection, id, epoch)
        raise is_to_be_cancelled(existing(connection, id), status)
    for row in rows:
        connection.execute(APPEND, row)
        if connection.changes() != 1:
            accept_repetition(connection, row)
    checksum = end_checksum(id, status, epoch, now, outcome)
    connection.execute(END, (status, note, now, outcome, checksum, id, epoch))
    if connection.changes() != 1:
        raise lease_lost(id, epoch, get(connection, id))


def has_ended_so(
    connection: apsw.Connection, id: str, epoch: int, status: InstanceStatus, outcome: bytes
) -> bool:
    found = connection.execute(OUTCOME, (id,)).fetchone()
    if found is None or found[2] is None:
        return False
    return bool((found[0], found[1], found[3]) == (status, epoch, outcome))


def start_over(
    connection: apsw.Connection, id: str, epoch: int, input: bytes, taken: Collection[int]
) -> None:
    check_owned(connection, id, epoch)
    instance = existing(connection, id)
    rewrite(connection, evolve(instance, run=instance.run + 1, copied=0))
    put_input(connection, id, input)
    connection.execute("DELETE FROM journal WHERE instance = ?", (id,))
    for seq in taken:
        put_aside(connection, id, seq)


def put_aside(connection: apsw.Connection, id: str, seq: int) -> None:
    """Remove mail, but keep what has a key: posted again it is still the same."""
    row = connection.execute(MAIL_OF_SEQ, (id, seq)).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM mail WHERE seq = ?", (seq,))
    mail = mail_of(row)
    if mail.key is not None:
        mail = without_contents(mail)
        connection.execute(POST, (*mail, mail_checksum(mail)))


# --- anybody ------------------------------------------------------------------------------------


def load(connection: apsw.Connection, id: str) -> Loaded | None:
    with one_moment(connection):
        instance = get(connection, id)
        if instance is None:
            return None
        return Loaded(
            instance=instance,
            input=input_there(connection, id),
            entries=journal(connection, id, 0),
            mail=mail_for(connection, id),
        )


def mail_for(connection: apsw.Connection, id: str) -> list[Mail]:
    with naming(id, "its mail"):
        return [mail_of(row) for row in connection.execute(MAIL_OF, (id,)).fetchall()]


@contextmanager
def naming(id: str, what: str) -> Iterator[None]:
    """Let text that is no UTF-8 be damage to an instance, which is named."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise damaged(id, what, "it is no UTF-8") from error


@contextmanager
def one_moment(connection: apsw.Connection) -> Iterator[None]:
    """Let several statements read what one transaction left: other processes write meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def get(connection: apsw.Connection, id: str) -> Instance | None:
    with naming(id, "its row"):
        row = connection.execute(GET, (id,)).fetchone()
    return None if row is None else instance_of(row)


def existing(connection: apsw.Connection, id: str) -> Instance:
    """Return an instance.

    Raises:
        WorkflowNotFoundError: There is none.
    """
    instance = get(connection, id)
    if instance is None:
        raise not_found(id)
    return instance


def input_of(connection: apsw.Connection, id: str) -> bytes | None:
    if connection.execute(EXISTS, (id,)).fetchone() is None:
        return None
    return input_there(connection, id)


def input_there(connection: apsw.Connection, id: str) -> bytes:
    """Return the input of an instance that there is: each has one, and must not go on without."""
    row = connection.execute(INPUT, (id,)).fetchone()
    if row is None:
        raise damaged(id, "its input", "it is gone")
    return checked_input(id, *row)


def checked_input(id: str, value: Any, checksum: Any) -> bytes:
    if type(value) is not bytes or checksum != checksum_of((id,), value):
        raise damaged(id, "its input")
    found: bytes = value
    return found


def outcome_of(connection: apsw.Connection, id: str) -> bytes | None:
    with naming(id, "its outcome"):
        row = connection.execute(OUTCOME, (id,)).fetchone()
    return None if row is None else checked_outcome(id, *row)


def checked_outcome(
    id: str, status: Any, epoch: Any, ended_at: Any, outcome: Any, checksum: Any
) -> bytes | None:
    if ended_at is None and outcome is None:
        return None
    if type(outcome) is not bytes or checksum != end_checksum(id, status, epoch, ended_at, outcome):
        raise damaged(id, "its outcome")
    found: bytes = outcome
    return found


def journal(connection: apsw.Connection, id: str, after: int) -> list[Entry]:
    with naming(id, "its journal"):
        return [entry_of(row) for row in connection.execute(ENTRIES, (id, after)).fetchall()]


def select(
    connection: apsw.Connection,
    status: Collection[InstanceStatus] | None,
    name: str | None,
    parent: str | None,
    before: tuple[float, str] | None,
    limit: int,
) -> list[Instance]:
    conditions = ["TRUE"]
    values: list[Any] = []
    if status is not None:
        conditions.append(f"status IN ({', '.join('?' * len(status))})")
        values += status
    if name is not None:
        conditions.append("name = ?")
        values.append(name)
    if parent is not None:
        conditions.append("parent = ?")
        values.append(parent)
    if before is not None:
        conditions.append("(created_at, id) < (?, ?)")
        values += before
    statement = (
        f"SELECT {FACTS} FROM instances WHERE {' AND '.join(conditions)} "  # noqa: S608
        "ORDER BY created_at DESC, id DESC LIMIT ?"
    )
    return [instance_of(row) for row in connection.execute(statement, (*values, limit)).fetchall()]


def count(connection: apsw.Connection) -> dict[InstanceStatus, int]:
    rows: list[Any] = connection.execute(COUNT).fetchall()
    return {status_of(id, status): number for status, number, id in rows}


def post(connection: apsw.Connection, mail: Mail) -> Mail:
    instance = existing(connection, mail.instance)
    if mail.key is not None:
        there = connection.execute(MAIL_BY_KEY, (mail.instance, mail.key)).fetchone()
        if there is not None:
            return mail_of(there)
    if instance.ended_at is not None:
        raise takes_no_mail(instance)
    mail = mail._replace(seq=last_mail(connection) + 1)
    connection.execute(POST, (*mail, mail_checksum(mail)))
    return mail


def mail_after(connection: apsw.Connection, seq: int, limit: int) -> list[Mail]:
    try:
        rows = connection.execute(MAIL_AFTER, (seq, limit)).fetchall()
    except UnicodeDecodeError:
        return mail_one_by_one(connection, seq, limit)
    return [mail_or_damage(row) for row in rows]


def mail_or_damage(row: Any) -> Mail:
    """Return mail, or what stands in the place of mail that is damaged."""
    try:
        return mail_of(row)
    except StoreCorruptedError:
        return damaged_mail(row[0], row[1])


def mail_one_by_one(connection: apsw.Connection, seq: int, limit: int) -> list[Mail]:
    """Return mail among which there is text that is no UTF-8."""
    found: list[Mail] = []
    seqs: list[Any] = connection.execute(MAIL_SEQS, (seq, limit)).fetchall()
    for (each,) in seqs:
        try:
            row = connection.execute(MAIL_WITH_SEQ, (each,)).fetchone()
        except UnicodeDecodeError:
            found.append(damaged_mail(each, ""))
        else:
            found += [] if row is None else [mail_or_damage(row)]
    return found


def last_mail(connection: apsw.Connection) -> int:
    row = connection.execute(LAST_MAIL).fetchone()
    return 0 if row is None else row[0]


def reopen(connection: apsw.Connection, id: str, entries: Sequence[Entry]) -> Instance:
    failed = existing(connection, id)
    if failed.status not in RETRIABLE:
        raise has_not_failed(failed)
    instance = reopened(failed)
    rewrite(connection, instance)
    for entry in entries:
        row = journal_row(id, entry._replace(epoch=instance.epoch))
        connection.execute(APPEND, row)
        if connection.changes() != 1:
            raise journal_went_on(failed, entry.position)
    return instance


def fork(
    connection: apsw.Connection, id: str, new_id: str, before: int, seed: str, now: float
) -> Instance:
    origin = existing(connection, id)
    taken = get(connection, new_id)
    if taken is not None:
        raise id_taken(taken)
    entries = [entry for entry in journal(connection, id, 0) if entry.position < before]
    instance = forked(origin, new_id, len(entries), seed, now)
    create(connection, instance, input_there(connection, id))
    for entry in entries:
        connection.execute(APPEND, journal_row(new_id, entry._replace(epoch=0)))
    return instance


def delete(connection: apsw.Connection, id: str) -> bool:
    instance = get(connection, id)
    if instance is None:
        return False
    if instance.ended_at is None:
        raise has_not_ended(instance)
    remove(connection, id)
    return True


def delete_ended(
    connection: apsw.Connection, ended_before: float, status: Collection[str], limit: int
) -> int:
    oldest: list[str] = []
    for id, found in connection.execute(ENDED_BEFORE, (ended_before,)):
        if len(oldest) >= limit:
            break
        if found in status:
            oldest.append(id)
    for id in oldest:
        remove(connection, id)
    return len(oldest)


def remove(connection: apsw.Connection, id: str) -> None:
    connection.execute("DELETE FROM instances WHERE id = ?", (id,))
    for table in ("inputs", "journal", "mail"):
        connection.execute(f"DELETE FROM {table} WHERE instance = ?", (id,))  # noqa: S608


# --- to rows and back ----------------------------------------------------------------------------


def put_input(connection: apsw.Connection, id: str, input: bytes) -> None:
    connection.execute(PUT_INPUT, (id, input, checksum_of((id,), input)))


def rewrite(connection: apsw.Connection, instance: Instance) -> None:
    """Put an instance that has not ended in the place of what its row says."""
    values = instance_row(instance)
    status, note, owner, epoch, run, copied = values[4:10]
    ended_at, checksum = values[14:16]
    connection.execute(
        REWRITE, (status, note, owner, epoch, run, copied, ended_at, checksum, instance.id)
    )


def instance_row(instance: Instance) -> tuple[Any, ...]:
    """Return the columns `FACTS` of an instance."""
    facts = (
        instance.id,
        *instance.definition,
        instance.status,
        instance.note,
        instance.owner,
        instance.epoch,
        instance.run,
        instance.copied,
        instance.seed,
        instance.parent,
        instance.created_at,
        instance.start_at,
        instance.ended_at,
    )
    return (*facts, facts_checksum(facts))


def instance_of(row: tuple[Any, ...]) -> Instance:
    """Return the instance of a row of `FACTS`, or raise what says that it is damaged."""
    if row[15] != facts_checksum(row):
        raise damaged(row[0], "its row")
    status = status_of(row[0], row[4])
    if (status in ENDED) is (row[14] is None):
        # Taken for one that goes on, it would be run again; or for one that ended, never.
        raise damaged(row[0], "its end", "it has a status without a time, or the other way round")
    return Instance(
        id=row[0],
        definition=Definition(*row[1:4]),
        status=status,
        note=row[5],
        owner=row[6],
        epoch=row[7],
        run=row[8],
        copied=row[9],
        seed=row[10],
        parent=row[11],
        created_at=row[12],
        start_at=row[13],
        ended_at=row[14],
    )


def journal_row(id: str, entry: Entry) -> JournalRow:
    """Return the columns of an entry, those that `APPEND` takes."""
    path, kind, value, position, at, mail, epoch = entry
    checksum = checksum_of((id, position, path, kind, at, mail, epoch), value)
    return id, position, path, kind, value, at, mail, epoch, checksum


def entry_of(row: tuple[Any, ...]) -> Entry:
    id, position, path, kind, value, at, mail, epoch, checksum = row
    facts = (id, position, path, kind, at, mail, epoch)
    if type(value) is not bytes or checksum != checksum_of(facts, value):
        raise damaged(id, f"its entry {position}")
    return Entry(path, kind, value, position, at, mail, epoch)


def mail_checksum(mail: Mail) -> int:
    seq, instance, kind, name, payload, at, key = mail
    return checksum_of((seq, instance, kind, name, at, key), payload)


def mail_of(row: tuple[Any, ...]) -> Mail:
    mail = Mail(*row[:7])
    if type(mail.payload) is not bytes or row[7] != mail_checksum(mail):
        raise damaged(mail.instance, f"its mail {mail.seq}")
    return mail


def facts_checksum(row: tuple[Any, ...]) -> int:
    """Return the checksum over what an owner does not change as it works."""
    return checksum_of((*row[:4], *row[8:14]), b"")


def end_checksum(id: str, status: str, epoch: int, ended_at: float, outcome: bytes) -> int:
    return checksum_of((id, str(status), epoch, ended_at), outcome)


def checksum_of(facts: tuple[Any, ...], payload: bytes) -> int:
    """Return the checksum over everything in a row, so that none of it can change unseen."""
    return crc32(payload, crc32(repr(facts).encode()))


def status_of(id: str, text: str) -> InstanceStatus:
    try:
        return InstanceStatus(text)
    except ValueError as error:
        raise StoreCorruptedError(
            f"instance {id!r}: its status is damaged: {text!r}",
            details={"instance": id},
            hint=RESTORE,
            cause=error,
        ) from error


def age(instance: Instance) -> tuple[float, str]:
    """Return what instances are ordered by."""
    return instance.created_at, instance.id
