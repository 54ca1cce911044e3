"""Decides what of a results file stands when a job is continued. Pure: bytes to a plan.

A line is written before its batch is recorded, never after. So after any end of the process the
file holds every recorded result, perhaps a torn last line, and perhaps whole lines of batches that
were not recorded and will run again. The plan drops the latter two, and keeps the rest in place.
"""

import re
from collections.abc import Iterable
from typing import Protocol

from attrs import frozen

LINE_START = b'{"index":'
LINE = re.compile(rb'\{"index":(\d{1,18}),"result":.*\}\n', re.DOTALL)


class Recorded(Protocol):
    """What the checkpoint says of a job."""

    @property
    def batch_size(self) -> int:
        """Items a batch, the last one perhaps fewer."""

    @property
    def batches(self) -> frozenset[int]:
        """Numbers of the recorded batches, from 0."""

    @property
    def items(self) -> int:
        """Number of items in them."""


@frozen
class Plan:
    """What to do with the file before it is appended to."""

    kept: int
    """Lines that stay."""
    keep_bytes: int
    """Length of the file up to where nothing has to go; what stays behind it is in `later`."""
    later: tuple[tuple[int, int], ...]
    """Stretches (start, end) behind `keep_bytes` that stay: the file must be written anew."""
    dropped: int
    """Whole lines that go, because their batch is not recorded or they stand twice."""
    torn: bool
    """Whether the file ends in something that is not a whole line."""
    missing: int
    """Recorded results that the file does not hold. Above 0 the job cannot be continued."""
    broken_line: int | None
    """A line that this command did not write, from 1. Such a file must not be touched."""

    @property
    def is_clean(self) -> bool:
        """Whether the file can be appended to as it is."""
        return not self.dropped and not self.torn


def index_of(line: bytes) -> int | None:
    """Return the index of a whole line as this command writes it, else None."""
    match = LINE.fullmatch(line)
    return int(match[1]) if match else None


def plan(lines: Iterable[bytes], recorded: Recorded | None) -> Plan:
    """Decide for `lines`, each with its line end, the last perhaps without.

    `recorded` is what the checkpoint holds, None when it holds nothing.
    """
    survey = _Survey(recorded)
    for line in lines:
        survey.add(line)
    return survey.plan()


@frozen
class Whole:
    """What is recorded of a job that is through: all its items."""

    items: int

    @property
    def batch_size(self) -> int:
        """One batch holds them all."""
        return max(self.items, 1)

    @property
    def batches(self) -> frozenset[int]:
        """The one."""
        return frozenset({0})


def is_torn(line: bytes) -> bool:
    """Say whether `line` may be the beginning of a line of ours, or what a power cut leaves."""
    if line.endswith(b"\n"):
        return False
    return line.startswith(LINE_START) or LINE_START.startswith(line) or not line.strip(b"\0")


class _Survey:
    """Walks the lines once, in memory of one byte for each recorded item."""

    def __init__(self, recorded: Recorded | None) -> None:
        self.batches = recorded.batches if recorded else frozenset()
        self.batch_size = recorded.batch_size if recorded else 1
        self.expected = recorded.items if recorded else 0
        self.seen = bytearray()
        self.position = 0
        self.number = 0
        self.kept = 0
        self.dropped = 0
        self.stretches: list[list[int]] = []
        self.torn = False
        self.broken: int | None = None

    def add(self, line: bytes) -> None:
        start, self.position = self.position, self.position + len(line)
        self.number += 1
        index = index_of(line)
        if index is None:
            self.torn = is_torn(line)
            if not self.torn:
                self.broken = self.broken or self.number
        elif index // self.batch_size in self.batches and self._is_first(index):
            self._keep(start)
        else:
            self.dropped += 1

    def _is_first(self, index: int) -> bool:
        if index >= len(self.seen):
            self.seen.extend(bytes(max(index + 1 - len(self.seen), len(self.seen))))
        first = not self.seen[index]
        self.seen[index] = 1
        return first

    def _keep(self, start: int) -> None:
        self.kept += 1
        if self.stretches and self.stretches[-1][1] == start:
            self.stretches[-1][1] = self.position
        else:
            self.stretches.append([start, self.position])

    def plan(self) -> Plan:
        from_start = self.stretches and self.stretches[0][0] == 0
        later = self.stretches[1:] if from_start else self.stretches
        return Plan(
            kept=self.kept,
            keep_bytes=self.stretches[0][1] if from_start else 0,
            later=tuple((start, end) for start, end in later),
            dropped=self.dropped,
            torn=self.torn,
            missing=self.expected - self.kept,
            broken_line=self.broken,
        )
