"""Where items come from: a file of JSON lines, standard input, or the matches of a glob.

A source reads in blocking calls, which run in a thread, a chunk at a time: memory does not depend
on the number of items, and the event loop keeps turning while a pipe is silent.
"""

import errno
import glob
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Protocol

import trio

from lexigram_actors.cli.errors import ItemsError
from lexigram_actors.cli.jsonlines import JSONLines

CHUNK = 64 * 1024
PATHS_AT_ONCE = 1000
MAX_COUNTED = 1 << 30
"""Bytes of a file up to which its lines are counted for the bar; it takes about a second."""
STANDARD_INPUT = "-"
PATTERN_SIGNS = "*?["


class ItemSource(Protocol):
    """Hands out items in order, in blocking calls."""

    name: str
    """What the reader knows it by; a job is recorded under it."""
    is_stream: bool
    """A read may wait for ever, so a cancelled read is abandoned with its thread."""

    def total(self) -> int | None:
        """Return how many items there are, None where only reading them all would tell."""

    def estimate(self) -> int | None:
        """Return about how many items there are, None where that cannot be told. Blocks."""

    def read(self) -> list[Any] | None:
        """Return the next items, None at the end. May block. Raises `ItemsError`."""

    def digest(self) -> str:
        """Return a digest of all items; complete once `read` has returned None."""

    def close(self) -> None:
        """Close what is open."""


class LineSource:
    """Items are the lines of a file or of standard input."""

    def __init__(self, name: str, descriptor: int, is_stream: bool) -> None:
        self.name = name
        self.is_stream = is_stream
        self._descriptor = descriptor
        self._lines = JSONLines("standard input" if name == STANDARD_INPUT else name)
        self._ended = False

    def total(self) -> int | None:
        return None

    def estimate(self) -> int | None:
        if self.is_stream or os.path.getsize(self.name) > MAX_COUNTED:
            return None
        with open(self.name, "rb", buffering=0) as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def read(self) -> list[Any] | None:
        while not self._ended:
            chunk = self._read_chunk()
            self._ended = not chunk
            items = self._lines.feed(chunk) if chunk else self._lines.finish()
            if items:
                return items
        # An error found behind the last items is kept back until here.
        self._lines.finish()
        return None

    def _read_chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, CHUNK)
        except OSError as problem:
            closed = self.name == STANDARD_INPUT and problem.errno == errno.EBADF
            why = "it is closed" if closed else problem.strerror
            raise ItemsError(f"{self._lines.name} cannot be read: {why}.") from problem

    def digest(self) -> str:
        return self._lines.digest.hexdigest()

    def close(self) -> None:
        # A stream may have an abandoned read waiting on it; closing would free its number for
        # another file, which that read would then eat from. The end of the process closes it.
        if not self.is_stream:
            os.close(self._descriptor)


class PathSource:
    """Items are paths, as text."""

    is_stream = False

    def __init__(self, name: str, paths: list[str]) -> None:
        self.name = name
        self._paths = paths
        self._at = 0

    def total(self) -> int | None:
        return len(self._paths)

    def estimate(self) -> int | None:
        return len(self._paths)

    def read(self) -> list[Any] | None:
        paths = self._paths[self._at : self._at + PATHS_AT_ONCE]
        self._at += len(paths)
        return list(paths) or None

    def digest(self) -> str:
        return hashlib.blake2b(
            b"\0".join(os.fsencode(path) for path in self._paths), digest_size=16
        ).hexdigest()

    def close(self) -> None:
        return None


def find_matches(pattern: str, own_files: Collection[Path] = ()) -> list[str]:
    """Return the files that match, sorted. `**` matches folders at any depth. Blocks.

    The files that the command itself writes are left out, whatever the pattern.
    """
    own = {path.name: os.path.realpath(path) for path in own_files}
    matches = glob.iglob(pattern, recursive=True)
    return sorted({path for path in matches if os.path.isfile(path) and not _is_own(path, own)})


def _is_own(path: str, own: dict[str, str]) -> bool:
    real = own.get(os.path.basename(path))
    return real is not None and os.path.realpath(path) == real


def open_items(text: str, own_files: Collection[Path] = ()) -> ItemSource:
    """Open what `--items` names: `-` is standard input, an existing file holds JSON lines, a text
    with `*`, `?` or `[` is a pattern. May block: on a folder walk, or on opening a named pipe.

    Raises:
        ItemsError: there is no such file or no match, it is a folder, or it cannot be opened.
    """
    if text == STANDARD_INPUT:
        return LineSource(text, 0, is_stream=True)
    if os.path.isdir(text):
        raise ItemsError(
            f"--items {text!r} is a folder.",
            hint=f"one item per file in it: --items '{text.rstrip('/')}/**/*'",
        )
    if not os.path.exists(text) and any(sign in text for sign in PATTERN_SIGNS):
        paths = find_matches(text, own_files)
        if not paths:
            raise _no_match(text)
        return PathSource(text, paths)
    return _open_file(text)


def _open_file(text: str) -> ItemSource:
    try:
        descriptor = os.open(text, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as problem:
        raise ItemsError(
            f"--items {text!r}: there is no such file.",
            hint="give a file of JSON lines, - for standard input, or a quoted pattern "
            "such as 'data/**/*.txt'",
            cause=problem,
        ) from problem
    except OSError as problem:
        raise ItemsError(f"--items {text!r} cannot be opened: {problem.strerror}.") from problem
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    return LineSource(text, descriptor, is_stream=not is_file)


def _no_match(pattern: str) -> ItemsError:
    hint = "** goes through folders at any depth: 'data/**/*.txt'" if "**" not in pattern else None
    return ItemsError(f"--items {pattern!r} matches no file in {os.getcwd()}.", hint=hint)


async def numbered(
    source: ItemSource, at_end: Callable[[int], Awaitable[None]]
) -> AsyncIterator[list[Any]]:
    """Yield `[index, item]` for every item, then call `at_end` with their number.

    `at_end` is awaited before the iteration ends, so what it records is there before anybody can
    know that the items are over.
    """
    index = 0
    while True:
        items = await trio.to_thread.run_sync(source.read, abandon_on_cancel=source.is_stream)
        if items is None:
            break
        for item in items:
            yield [index, item]
            index += 1
    await at_end(index)
