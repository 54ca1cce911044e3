"""The file of a store, looked at without changing anything in it."""

import fcntl
import os
import shlex
from collections.abc import Sequence
from contextlib import closing

import apsw
from attrs import frozen

from lexigram_actors.cli.showing import one_line
from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.storage.sqlite.failures import store_error
from lexigram_actors.storage.sqlite.hostlock import noted
from lexigram_actors.storage.sqlite.opening import check_inside, inspect_file, log_length
from lexigram_actors.storage.sqlite.schema import MIGRATIONS, REMEDY, version_of
from lexigram_actors.storage.sqlite.statements import readable
from lexigram_actors.storage.sqlite.verifying import Damage, find_damage

CURRENT_VERSION = len(MIGRATIONS)

NAMED = 5
"""Instances, or keys, that a finding names."""


@frozen
class Finding:
    """Something that wants looking after, and what to do."""

    what: str
    hint: str


@frozen
class RunningHost:
    """The host that has the file now, as it noted itself."""

    name: str
    process: str

    @property
    def text(self) -> str:
        """Return it for a person."""
        return f"{self.name} (process {self.process})"


@frozen
class ExaminedFile:
    """A file that is whole."""

    path: str
    bytes: int
    log_bytes: int
    version: int
    others_may: bool
    """Whether others than its owner may read or write it."""
    host: RunningHost | None
    hosts: frozenset[str]
    """The names of all hosts that are entered in it; it says nothing of those that were killed."""
    lock_problem: str
    """Why it cannot be said whether a host runs; empty where it can."""
    damage: Damage


def examine(path: str) -> ExaminedFile:
    """Check a file whole, and return what there is to know of it. Blocks.

    Raises:
        StoreError: it is damaged, another program's, or cannot be read.
    """
    path = os.path.realpath(path)
    version, hosts, damage = check_file(path)
    state = os.stat(path)
    host, lock_problem = None, ""
    try:
        host = host_of(path)
    except OSError as error:
        lock_problem = f"{path}-host: {error.strerror or error}"
    return ExaminedFile(
        path,
        state.st_size,
        log_length(path),
        version,
        bool(state.st_mode & 0o077),
        host,
        hosts,
        lock_problem,
        damage,
    )


def file_findings(file: ExaminedFile) -> list[Finding]:
    """Judge the file."""
    findings: list[Finding] = []
    if file.others_may:
        findings.append(
            Finding(
                "others than its owner may read or write the file, and all that is recorded in it",
                f"chmod 600 {shlex.quote(file.path)}",
            )
        )
    if file.lock_problem:
        findings.append(
            Finding(
                f"whether a host runs cannot be said: {file.lock_problem}",
                "ask as the user that runs the hosts; what is no plain file there, move away",
            )
        )
    findings += damage_findings(file.damage)
    if file.version < CURRENT_VERSION:
        findings.append(
            Finding(
                f"the file is of an earlier program (schema version {file.version}, now "
                f"{CURRENT_VERSION}); its instances were not read",
                "make a copy of it; the next host that opens it brings it up to date",
            )
        )
    return findings


def damage_findings(damage: Damage) -> list[Finding]:
    """Judge the rows."""
    findings: list[Finding] = []
    if damage.instances:
        findings.append(
            Finding(f"what is recorded of {named(damage.instances)} is damaged", REMEDY)
        )
    for table, number in damage.unreadable:
        findings.append(Finding(f"{number:,} rows in {table} are damaged, and no UTF-8", REMEDY))
    if damage.keys:
        findings.append(
            Finding(
                f"what is stored under {named(damage.keys)} is damaged",
                "delete these keys, and compute the values anew; or restore a backup",
            )
        )
    return findings


def named(ids: Sequence[str], total: int | None = None) -> str:
    """Return the first of some ids, and how many more there are."""
    shown = ", ".join(one_line(each) for each in ids[:NAMED])
    more = (len(ids) if total is None else total) - min(len(ids), NAMED)
    return f"{shown} and {more:,} more" if more > 0 else shown


def check_file(path: str) -> tuple[int, frozenset[str], Damage]:
    """Check a file whole, reading it only; return its version, hosts and damaged rows. Blocks.

    In a file of an earlier version no rows are looked at.

    Raises:
        StoreError: it is damaged, another program's, or cannot be read.
    """
    try:
        inspect_file(path)
        with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            check_inside(connection, path)
            said = connection.pragma("integrity_check", 1)
            if said != "ok":
                raise StoreCorruptedError(f"{path} is damaged: {said}", hint=REMEDY)
            version = version_of(connection)
            if version != CURRENT_VERSION:
                return version, frozenset(), Damage()
            undecoded: list[StoreCorruptedError] = []
            names = readable(connection.execute("SELECT name FROM hosts"), undecoded, "hosts")
            return version, frozenset(name for (name,) in names), find_damage(connection)
    except (apsw.Error, OSError, UnicodeDecodeError) as error:
        raise store_error(error, path) from error


def host_of(path: str) -> RunningHost | None:
    """Return the host that has the file now; None where none has.

    Asked is the lock, which ends with its process. Where a note stands that nobody stands behind
    any more, the lock is held for a moment to find that out.

    Raises:
        OSError: The file of the lock cannot be read, or is none.
    """
    # Without waiting: what stands there may be a pipe that nobody writes to.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(f"{path}-host", flags)
    except FileNotFoundError:
        return None
    try:
        owner = noted(handle)
        if not owner or _is_free(handle):
            return None
        return RunningHost(owner["host"], owner["process"])
    finally:
        os.close(handle)


def _is_free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
