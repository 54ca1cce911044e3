"""A file of whole lines: appended to in single writes, never left torn by an error.

    fresh       name.partial is made and written, and renamed to name by `finish`
    continued   name itself is appended to, after it was mended to end in a whole line

A process that is killed in the midst of a write may leave a torn last line; whoever opens the file
next mends it (`mend`). Every call here blocks: run them in a thread.
"""

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import IO

from lexigram_actors.cli.errors import (
    CommandError,
    OutputError,
    OutputExistsError,
    OutputPlaceError,
)
from lexigram_actors.cli.ownership import mark
from lexigram_actors.cli.reconcile import LINE_START, Plan

PARTIAL = ".partial"
REWRITTEN = ".rewritten"
WRONG_PLACE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EEXIST,
}


class LineFile:
    """Appends whole lines; `sync` writes reach the disk before `write` returns.

    Not to be used from two threads at once.
    """

    def __init__(self, path: Path, *, final: Path | None = None, token: str | None = None) -> None:
        """Open `path` for appending, made if it is not there. With `final` it must not be there,
        not even as a link, and `finish` renames it to that. A regular file is marked with `token`.

        Raises:
            OutputError: the file cannot be opened for writing.
        """
        self.path = path
        self.final = final
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags | (os.O_EXCL if final else 0), 0o644)
            self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            self._end = os.fstat(self._descriptor).st_size if self._is_regular else 0
        except OSError as problem:
            raise write_error(path, problem) from problem
        if token is not None and self._is_regular:
            mark(self._descriptor, token)

    @property
    def is_open(self) -> bool:
        """Whether neither `finish` nor `close` was called."""
        return self._descriptor >= 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in the file."""
        return self._end == 0

    def write(self, lines: bytes, *, sync: bool) -> None:
        """Append `lines`, which end in a line end, and return when they are written whole.

        Raises:
            OutputError: the disk is full or refuses. The file ends in a whole line again where
                that could be restored.
        """
        try:
            _write_all(self._descriptor, lines)
            if sync and self._is_regular:
                os.fsync(self._descriptor)
        except OSError as problem:
            self._take_back()
            raise write_error(self.path, problem) from problem
        self._end += len(lines)

    def finish(self) -> None:
        """Bring everything to the disk, close, and give the file its final name."""
        try:
            if self._is_regular:
                os.fsync(self._descriptor)
        except OSError as problem:
            raise write_error(self.path, problem) from problem
        finally:
            self.close()
        if self.final is not None:
            self._rename(self.final)

    def _rename(self, final: Path) -> None:
        try:
            os.replace(self.path, final)
            sync_folder(final.parent)
        except OSError as problem:
            raise write_error(final, problem) from problem
        self.path = final

    def close(self) -> None:
        """Close the file as it is, under the name it has. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _take_back(self) -> None:
        """Cut off what a failed write left; the next opening mends what this cannot."""
        if self._is_regular:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError:
                return


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):  # the disk filled up, or a pipe took a part
        written += os.write(descriptor, data[written:])


def mend(path: Path, plan: Plan) -> None:
    """Make the file what `plan` keeps of it. A kill at any moment leaves the old or the new one.

    Raises:
        OutputError: the disk is full or refuses; the file is as it was.
    """
    if plan.is_clean:
        return
    try:
        if not plan.later:
            with path.open("r+b") as file:
                file.truncate(plan.keep_bytes)
                os.fsync(file.fileno())
            return
        _rewrite(path, plan)
    except OSError as problem:
        raise write_error(path, problem) from problem


def _rewrite(path: Path, plan: Plan) -> None:
    temporary = path.with_name(path.name + REWRITTEN)
    remove_rewritten(temporary)
    with path.open("rb") as source, temporary.open("xb") as target:
        try:
            for start, end in ((0, plan.keep_bytes), *plan.later):
                _copy_stretch(source, target, start, end)
            target.flush()
            os.fsync(target.fileno())
            shutil.copystat(path, temporary)  # its mark goes along
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def replace_by_empty(path: Path) -> None:
    """Put a new empty file in the place of the one at `path`, with its permissions.

    Whoever knew the file by its mark or inode number does not know this one.

    Raises:
        OutputError: the folder refuses; the file is as it was.
    """
    temporary = path.with_name(path.name + REWRITTEN)
    remove_rewritten(temporary)
    try:
        temporary.touch(exist_ok=False)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as problem:
        raise write_error(path, problem) from problem


def remove_rewritten(path: Path) -> None:
    """Remove what a process left that was killed while it wrote a file anew.

    Raises:
        OutputExistsError: it is something else; it was not touched.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise write_error(path, problem) from problem
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        start = os.read(descriptor, len(LINE_START)) if is_regular else b"?"
    finally:
        os.close(descriptor)
    if not LINE_START.startswith(start):
        raise OutputExistsError(
            f"{path} is in the way, and was not written by this command.",
            details={"path": str(path)},
            hint="move it away, or choose another --out",
        )
    path.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file or a link; a pipe or a device stays. Fine when nothing is there.

    Raises:
        OutputError: the folder refuses, or it is a folder itself.
    """
    try:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as problem:
        raise write_error(path, problem) from problem


def _copy_stretch(source: IO[bytes], target: IO[bytes], start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        chunk = source.read(min(1 << 20, end - start))
        target.write(chunk)
        start += len(chunk)


def sync_folder(folder: Path) -> None:
    """Bring a new or renamed entry of `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, problem: OSError) -> CommandError:
    """Say why `path` cannot be written, and what to do."""
    hints = {
        errno.ENOENT: f"create the folder: mkdir -p {path.parent}",
        errno.ENOTDIR: f"{path.parent} is not a folder",
        errno.EISDIR: "give a file, not a folder",
        errno.EEXIST: "move away what stands there, or choose another place",
        errno.ELOOP: "a link stands there; move it away, or choose another place",
        errno.ENAMETOOLONG: "choose a shorter name: some letters are added to it meanwhile",
        errno.EACCES: "choose another place, or change the permissions",
        errno.EROFS: "choose a place that can be written",
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room within the quota",
        errno.EFBIG: "the file may not grow further here: see ulimit -f and the file system",
        errno.EPIPE: "whoever read the output has gone",
    }
    kind = OutputPlaceError if problem.errno in WRONG_PLACE else OutputError
    return kind(
        f"{path} cannot be written: {problem.strerror or problem}.",
        details={"path": str(path), "errno": problem.errno},
        hint=hints.get(problem.errno or 0),
        cause=problem,
    )
