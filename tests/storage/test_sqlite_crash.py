"""Killed in the middle of many writers: all that was acknowledged is there, nothing is torn."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

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


def start(path: Path, *mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, crash_workload.__file__, str(path), *mode],
        stdout=subprocess.PIPE,
        text=True,
    )


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
    process = start(path, when, str(at))
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 137
    notes = Notes.read(text)
    if at > 2:
        assert notes.acknowledged
    await check(path, notes)


@pytest.mark.parametrize("run", range(6))
async def test_death_from_outside_at_any_time(tmp_path: Path, run: int) -> None:
    path = tmp_path / "store.db"
    lines = random.randrange(50, 4_000)  # noqa: S311
    process = start(path)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    await check(path, Notes.read("".join(seen) + rest))


async def test_death_again_and_again_on_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(3):
        text, _ = start(path, "after", "30").communicate(timeout=60)
        notes = Notes.read(text)
        async with SQLiteStore(path) as store:
            for key in (f"w{number}" for number in range(WRITERS)):
                value = (await store.cache.get(key)).unwrap()
                assert value == value_of(key, value["number"])  # of this run, or of an earlier one
                assert notes.acknowledged[key] <= value["number"]
