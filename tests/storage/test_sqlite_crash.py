"""Killed in the middle of many writers: all that was acknowledged is there, nothing is torn."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import pytest

from lexigram_actors.storage import SQLiteStore
from tests.storage import crash_workload
from tests.storage.crash_workload import SETS, WRITERS, value_of

POINTS = [(when, at) for when in ("before", "inside", "after") for at in (1, 2, 7, 40)]


@attrs.define
class Notes:
    """What the killed program had sent and had been told, by key."""

    sent: dict[str, int]
    acknowledged: dict[str, int]

    @staticmethod
    def read(text: str) -> Notes:
        notes = Notes(defaultdict(int), defaultdict(int))
        whole, _, _ = text.rpartition("\n")  # the last line may be cut off
        for line in whole.splitlines():
            kind, key, number = line.split()
            (notes.sent if kind == "s" else notes.acknowledged)[key] = int(number)
        return notes


class Program:
    """The workload as a process; what it notes goes to a file, which loses nothing."""

    def __init__(self, path: Path, *mode: str) -> None:
        self.notes = path.with_suffix(".notes")
        with self.notes.open("wb") as notes:
            self.process = subprocess.Popen(
                [sys.executable, crash_workload.__file__, str(path), *mode], stdout=notes
            )

    def wait_dead(self) -> Notes:
        """Return what it noted, when it has died as it should."""
        assert self.process.wait(timeout=60) in (137, -signal.SIGKILL)
        return Notes.read(self.notes.read_text())

    def kill_after(self, notes: int) -> Notes:
        """Kill it from outside when it has noted so many bytes."""
        deadline = time.monotonic() + 60
        while self.notes.stat().st_size < notes:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.process.kill()
        return self.wait_dead()


async def check(path: Path, notes: Notes) -> None:
    """Compare what is on disk with what the program knew."""
    async with SQLiteStore(path) as store:
        for key in (f"w{number}" for number in range(WRITERS)):
            value = (await store.cache.get(key)).unwrap()
            number = value["number"] if value else 0
            assert notes.acknowledged[key] <= number <= notes.sent[key], key
            assert value is None or value == value_of(key, number)
        for name in (f"d{number}" for number in range(SETS)):
            values = [(await store.cache.get(f"{name}.{part}")).unwrap() for part in range(10)]
            # Deleted together or not at all: written one after the other, so the newer come first.
            missing = [value is None for value in values]
            assert missing == sorted(missing), name
            assert all(value is None or value > notes.acknowledged[name] for value in values), name


@pytest.mark.parametrize(("when", "at"), POINTS)
async def test_death_at_a_commit(tmp_path: Path, when: str, at: int) -> None:
    path = tmp_path / "store.db"
    notes = Program(path, when, str(at)).wait_dead()
    if at > 2:
        assert notes.acknowledged
    await check(path, notes)


@pytest.mark.parametrize("run", range(8))
async def test_death_from_outside_at_any_time(tmp_path: Path, run: int) -> None:
    path = tmp_path / "store.db"
    notes = random.randrange(500, 40_000)
    await check(path, Program(path, "run").kill_after(notes))


async def test_death_again_and_again_on_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(3):
        notes = Program(path, "after", "30").wait_dead()
        async with SQLiteStore(path) as store:
            for key in (f"w{number}" for number in range(WRITERS)):
                value: Any = (await store.cache.get(key)).unwrap()
                assert value == value_of(key, value["number"])  # of this run, or of an earlier one
                assert notes.acknowledged[key] <= value["number"]
