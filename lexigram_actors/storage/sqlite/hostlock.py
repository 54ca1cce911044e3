"""The lock by which one process at a time runs the instances in a file.

A lock of the operating system on a file beside the database: it ends with the process, however
that ends, so what a killed host had is free at once. Leases alone would keep it until they are
over, and a clock would decide.

It belongs to the open file (`flock`), not to the process: two stores in one process exclude each
other too, and no other handle that is closed takes it away. Such a lock would go on in a child
made by `fork`, and outlive its owner there: so a child closes its copy. A program that is started
does not get the file at all.

Rejected: locks of `fcntl`, which are not inherited, but do not conflict within a process.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final, final
from weakref import WeakSet

from lexigram_actors.errors import StoreError

LONGEST_NOTE: Final = 4096


@final
class HostLock:
    """The lock of one store. Taken and let go on one thread at a time.

    Args:
        path: Of the database; the file of the lock is beside it, and stays there.
    """

    __slots__ = ("__weakref__", "handle", "path")

    def __init__(self, path: str) -> None:
        self.path = f"{path}-host"
        self.handle: int | None = None

    def acquire(self, host: str) -> None:
        """Take the lock, noting who has it; fine when this store has it already.

        Raises:
            StoreError: Another store has it, or the file system has no locks.
            OSError: The file cannot be made or opened.
        """
        if self.handle is not None:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.path, flags, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise occupied(self.path, noted(handle)) from None
            except OSError as error:
                raise without_locks(self.path, error) from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {host} {time.time():.0f}\n".encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        self.handle = handle
        HELD.add(self)

    def release(self) -> None:
        """Let the lock go, if this store has it."""
        handle, self.handle = self.handle, None
        if handle is not None:
            HELD.discard(self)
            try:
                os.ftruncate(handle, 0)
                # Not by closing alone: a program that is just starting has a copy for a moment.
                fcntl.flock(handle, fcntl.LOCK_UN)
            finally:
                os.close(handle)

    def forget(self) -> None:
        """Close a copy that `fork` made; the lock stays with the process that took it."""
        handle, self.handle = self.handle, None
        if handle is not None:
            os.close(handle)


def noted(handle: int) -> dict[str, str]:
    """Return what the owner of the lock noted of itself; empty where that cannot be read."""
    text = os.pread(handle, LONGEST_NOTE, 0).decode("utf-8", "replace").strip()
    process, _, rest = text.partition(" ")
    host, _, started = rest.rpartition(" ")
    return {"process": process, "host": host, "started": started} if host else {}


def occupied(path: str, owner: dict[str, str]) -> StoreError:
    """Say who runs the instances in the file."""
    who = f"host {owner['host']!r} of process {owner['process']}" if owner else "another host"
    return StoreError(
        f"{path}: {who} runs the instances in this file, and only one process at a time can",
        details=owner,
        hint="stop the other one; to look at instances, signal and answer them, no host is needed",
    )


def without_locks(path: str, error: OSError) -> StoreError:
    """Say that the file cannot be locked, as on some network file systems."""
    return StoreError(
        f"{path}: it cannot be locked: {error.strerror or error}",
        hint="put the database on a local disk; a network file system will not do",
        cause=error,
    )


# Of the process as a whole, as `fork` is.
HELD: Final[WeakSet[HostLock]] = WeakSet()


def forget_all() -> None:
    for lock in list(HELD):
        lock.forget()
    HELD.clear()


os.register_at_fork(after_in_child=forget_all)
