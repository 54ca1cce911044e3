"""One process at a time: an advisory lock on a file beside what it guards.

The system takes the lock away with the process, however that ends, so a kill leaves nothing to
clean up: a lock file that was left behind is taken over.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lexigram_actors.cli.errors import OutputBusyError, OutputExistsError
from lexigram_actors.cli.lines import write_error

FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def locked(path: Path, guarded: str) -> Iterator[None]:
    """Hold the lock file `path` inside the block; it is removed at the end.

    Raises:
        OutputBusyError: another running process holds it. `guarded` names what it is for.
        OutputExistsError: the file at `path` is no lock file of this command; it was not touched.
        OutputError: the lock file cannot be made there.
    """
    descriptor = _acquire(path, guarded)
    try:
        yield
    finally:
        # Removed while it is still held: whoever waits for nothing cannot take a file that goes.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, guarded: str) -> int:
    while True:
        try:
            descriptor = os.open(path, FLAGS, 0o644)
        except OSError as problem:
            raise write_error(path, problem) from problem
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise _busy(guarded, holder) from problem
        except OSError as problem:
            os.close(descriptor)
            raise write_error(path, problem) from problem
        if _is_still_there(descriptor, path):
            if not _is_lock(descriptor):
                os.close(descriptor)
                raise _in_the_way(path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        os.close(descriptor)  # its owner removed it between our open and our lock


def _is_still_there(descriptor: int, path: Path) -> bool:
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _is_lock(descriptor: int) -> bool:
    """Say whether the file holds a process id, or nothing (its process was killed early)."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return not os.pread(descriptor, 21, 0).strip(b"0123456789")


def _in_the_way(path: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{path} is in the way: it has the name of a lock file, and is none of this command.",
        details={"path": str(path)},
        hint="move it away, or choose another --out",
    )


def _busy(guarded: str, holder: str) -> OutputBusyError:
    process = f"process {holder}" if holder else "another process"
    return OutputBusyError(
        f"{guarded} is in use by {process}, which is still running.",
        details={"process": holder},
        hint="wait until it ends, stop it, or choose another --out (and --id)",
    )
