"""The record of a job: what was asked for, kept beside the operation's own checkpoint.

The operation records which batches are done. This record says whose they are (TARGET, items,
output, batch size), so that a command which asks for something else is refused, and how many
items there are once their end was seen, so that a finished job is known as finished even when the
process ended between the last result and the last word.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import asdict, frozen

from lexigram_actors.cli.errors import JobMismatchError
from lexigram_actors.cli.items import STANDARD_INPUT
from lexigram_actors.cli.output import Places
from lexigram_actors.cli.target import TargetName
from lexigram_actors.result import Err, Result

if TYPE_CHECKING:
    from lexigram_actors.storage.ports import CacheBackendProtocol

FORMAT = 1
T = TypeVar("T")


@frozen
class JobRecord:
    """A job as it was first asked for. Paths are relative to the folder of the checkpoint file,
    so that a folder that holds it all may be moved.
    """

    target: str
    items: str
    out: str
    batch_size: int
    total: int | None = None
    """Number of items, known once their end was seen."""
    digest: str = ""
    """Digest of all items, with `total`."""
    finished: bool = False
    """Every item succeeded, and its result reached the disk."""
    errors: str = ""
    """Where the failures of the latest run went."""
    token: str = ""
    """What the files of this job are marked with."""
    inode: int = 0
    """The number of the results file where files cannot be marked, else 0."""


def describe_job(
    target: TargetName, items: str, places: Places, batch_size: int, checkpoint: Path
) -> JobRecord:
    """Describe a job for its record."""
    folder = checkpoint.parent
    return JobRecord(
        target=f"{_relative(target.module, folder)}:{target.attribute}"
        if target.is_file
        else str(target),
        items=items if items == STANDARD_INPUT else _relative(items, folder),
        out=_relative(str(places.out), folder),
        batch_size=batch_size,
        errors=_relative(str(places.errors), folder),
    )


def _relative(path: str, folder: Path) -> str:
    return os.path.relpath(os.path.abspath(path), folder)


def check_same(job: str, recorded: JobRecord, asked: JobRecord) -> None:
    """Refuse to continue a job that was started differently.

    Raises:
        JobMismatchError: shows each difference, the recorded and the asked-for value.
    """
    names = {"target": "TARGET", "items": "--items", "out": "--out", "batch_size": "--batch-size"}
    differences = {
        shown: (getattr(recorded, name), getattr(asked, name))
        for name, shown in names.items()
        if getattr(recorded, name) != getattr(asked, name)
    }
    if differences:
        listing = "; ".join(
            f"{name} was {old}, now {new}" for name, (old, new) in differences.items()
        )
        raise JobMismatchError(
            f"the recorded job {job!r} is a different one: {listing}.",
            details={"job": job, "differences": differences},
            hint="give the same values to continue it, another --id for another job, "
            "or --overwrite to discard it and start again",
        )


def _value(result: "Result[T, Exception]") -> T:
    """Return what a store answered, or raise what it failed with."""
    if isinstance(result, Err):
        raise result.unwrap_err()
    return result.unwrap()


class JobRecords:
    """Reads and writes job records in a key-value store. Raises the store's own errors."""

    def __init__(self, cache: "CacheBackendProtocol", job: str) -> None:
        self._cache = cache
        self._key = f"bulk-command:{job}"
        self._job = job

    async def load(self) -> JobRecord | None:
        """Return the record, None when there is none."""
        stored = _value(await self._cache.get(self._key))
        return None if stored is None else self._structure(stored)

    async def save(self, record: JobRecord) -> None:
        """Write the record; it is on the disk when this returns."""
        _value(await self._cache.set(self._key, {"format": FORMAT, **asdict(record)}))

    def _structure(self, stored: Any) -> JobRecord:
        try:
            fields = dict(stored)
            if fields.pop("format") == FORMAT:
                return JobRecord(**fields)
        except (TypeError, ValueError, KeyError):
            pass
        raise JobMismatchError(
            f"the record of job {self._job!r} was not written by this version of the command.",
            hint="continue it with the version that began it, or give another --id",
        )
