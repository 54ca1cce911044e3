"""The file of a store, looked at without changing anything in it."""

import fcntl
import os
import shlex
from contextlib import closing

import apsw
from attrs import frozen

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.storage.sqlite.failures import store_error
from lexigram_actors.storage.sqlite.hostlock import noted
from lexigram_actors.storage.sqlite.opening import check_inside, inspect_file, log_length
from lexigram_actors.storage.sqlite.schema import MIGRATIONS, REMEDY, version_of

CURRENT_VERSION = len(MIGRATIONS)


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


def examine(path: str) -> ExaminedFile:
    """Check a file whole, and return what there is to know of it. Blocks.

    Raises:
        StoreError: it is damaged, another program's, or cannot be read.
    """
    path = os.path.realpath(path)
    version = check_file(path)
    state = os.stat(path)
    return ExaminedFile(
        path,
        state.st_size,
        log_length(path),
        version,
        bool(state.st_mode & 0o077),
        host_of(path),
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
    if file.version < CURRENT_VERSION:
        findings.append(
            Finding(
                f"the file is of an earlier program (schema version {file.version}, now "
                f"{CURRENT_VERSION}); its instances were not read",
                "make a copy of it; the next host that opens it brings it up to date",
            )
        )
    return findings


def check_file(path: str) -> int:
    """Check a file whole, reading it only, and return its schema version. Blocks.

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
            return version_of(connection)
    except (apsw.Error, OSError) as error:
        raise store_error(error, path) from error


def host_of(path: str) -> RunningHost | None:
    """Return the host that has the file now; None where none has.

    Asked is the lock, which ends with its process. Where a note stands that nobody stands behind
    any more, the lock is held for a moment to find that out.
    """
    try:
        handle = os.open(f"{path}-host", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
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
