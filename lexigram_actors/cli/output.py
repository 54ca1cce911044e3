"""The two files that a run writes: results, one line per item that succeeded, and errors.

    plain    NAME.partial until the run reached the end of its items, then NAME: whoever sees NAME
             sees all of it
    a job    NAME itself, line by line, each on the disk before its batch is recorded
    special  a pipe or a device such as /dev/null: written directly

The errors file is made with the first failed item. In a job it holds the failures of the latest
run only, because a continued job tries them again.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from lexigram_actors.cli.calling import Failure
from lexigram_actors.cli.encode import to_json
from lexigram_actors.cli.errors import OutputExistsError
from lexigram_actors.cli.lines import PARTIAL, REWRITTEN, LineFile, remove_file, write_error
from lexigram_actors.cli.processing import Attempted
from lexigram_actors.errors.base import json_safe

LOCK = ".lock"
ENDINGS = ("", PARTIAL, REWRITTEN, LOCK)
"""Of the neighbours that a run may write beside a file."""


@frozen
class Places:
    """Where a run writes. Symbolic links are followed once, at the start."""

    out: Path
    errors: Path

    @property
    def is_special(self) -> bool:
        """Whether the results go to a pipe or a device."""
        return is_special(self.out)

    @property
    def lock(self) -> Path:
        """The lock file that says a process is writing here."""
        return beside(self.out, LOCK)

    @property
    def all(self) -> list[Path]:
        """Every path that a run may write, for a pattern of items to leave out."""
        return [beside(path, end) for path in (self.out, self.errors) for end in ENDINGS]


def beside(path: Path, ending: str) -> Path:
    """Return the neighbour of `path` whose name has `ending` behind it."""
    return path.with_name(path.name + ending)


def find_places(out: Path, errors: Path | None) -> Places:
    """Resolve where to write; the errors go beside the results unless told otherwise.

    Raises:
        OutputPlaceError: the folder is missing, is none, or `out` is one.
    """
    real = followed(out)
    if errors is None:
        # Nothing is put beside a device: that would be in /dev.
        base = Path("out.jsonl") if is_special(real) else real
        errors = base.with_name(f"{base.name.removesuffix('.jsonl')}.errors.jsonl")
    places = Places(real, followed(errors))
    for path in (places.out, places.errors):
        _check_place(path)
    return places


def _check_place(path: Path) -> None:
    if os.path.isdir(path):
        raise write_error(path, IsADirectoryError(21, os.strerror(21)))
    try:
        os.stat(os.path.join(path.parent, ""))  # with a slash behind it, only a folder will do
    except FileNotFoundError as problem:
        raise write_error(path, FileNotFoundError(2, "there is no such folder")) from problem
    except OSError as problem:
        raise write_error(path, problem) from problem


def followed(path: Path) -> Path:
    """Follow links, except to a pipe: its real name (as of /dev/stdout) is none to open."""
    return path.absolute() if is_special(path) else Path(os.path.realpath(path))


def is_special(path: Path) -> bool:
    """Say whether a pipe or a device stands there."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to start where results of another run stand.

    Raises:
        OutputExistsError: names the file and the two ways on.
    """
    for path in paths:
        if os.path.isfile(path) and os.path.getsize(path) > 0:
            left = " by a run that was interrupted" if path.name.endswith(PARTIAL) else ""
            raise OutputExistsError(
                f"{path} exists already{', left' + left if left else ''}.",
                details={"path": str(path)},
                hint="move it away, choose another --out or --errors, or discard it "
                "with --overwrite",
            )


class Output:
    """Writes what becomes of items. Closed by `finish` or `abandon`."""

    def __init__(self, places: Places, *, is_job: bool, token: str) -> None:
        """Open the results file; leftovers of earlier runs are removed. What is made is marked
        with `token`.

        A pipe or a device is never removed or replaced.

        Raises:
            OutputError: it cannot be opened.
        """
        self.places = places
        self.is_job = is_job
        self.token = token
        self._errors: LineFile | None = None
        for stale in self._leftovers():
            remove_file(stale)
        self._results = self._open(places.out)

    def _leftovers(self) -> list[Path]:
        if self.is_job:
            return [self.places.errors]
        return [beside(path, PARTIAL) for path in (self.places.out, self.places.errors)]

    def _open(self, path: Path) -> LineFile:
        if self.is_job or is_special(path):
            return LineFile(path, token=self.token)
        return LineFile(beside(path, PARTIAL), final=path, token=self.token)

    @property
    def results_path(self) -> Path:
        """Where the results are at this moment."""
        return self._results.path

    @property
    def errors_path(self) -> Path | None:
        """Where the errors are at this moment, None while there are none."""
        return None if self._errors is None else self._errors.path

    async def write(self, batch: list[list[Any]], attempted: list[Attempted]) -> None:
        """Write one line per item of `batch`; in a job they are on the disk when this returns.

        Not interrupted by a cancellation: the lines of a batch are written whole.
        """
        results, errors = [], []
        for (index, item), one in zip(batch, attempted, strict=True):
            if isinstance(one.outcome, Failure):
                errors.append(error_line(index, item, one.outcome, one.retries))
            else:
                results.append(b'{"index":%d,"result":%b}\n' % (index, one.outcome))
        if self.is_job or self.places.is_special:
            await trio.to_thread.run_sync(self._write, b"".join(results), b"".join(errors))
        else:
            self._write(b"".join(results), b"".join(errors))

    def _write(self, results: bytes, errors: bytes) -> None:
        if errors:
            if self._errors is None:
                self._errors = self._open(self.places.errors)
            self._errors.write(errors, sync=self.is_job)
        if results:
            self._results.write(results, sync=self.is_job)

    def finish(self) -> None:
        """All items are through: bring the files to the disk and give them their names. Blocks."""
        self._results.finish()
        if self._errors is not None:
            self._errors.finish()
        elif not self.is_job:
            remove_file(self.places.errors)

    def abandon(self) -> None:
        """The run ended early: close the files under the names they have. Fine after `finish`."""
        if self._results.final and self._results.is_open and self._results.is_empty:
            self._results.path.unlink(missing_ok=True)
        self._results.close()
        if self._errors is not None:
            self._errors.close()


def error_line(index: int, item: Any, failure: Failure, retries: int) -> bytes:
    """Return the line of the errors file for a failed item."""
    facts = {
        "index": index,
        "item": item,
        "error": json_safe(failure.error),
        "error_type": failure.error_type,
        "where": json_safe(failure.where),
        "retries": retries,
    }
    try:
        return to_json(facts) + b"\n"
    except ValueError:  # the function has put something into the item that is not JSON
        return to_json({**facts, "item": json_safe(item)}) + b"\n"
