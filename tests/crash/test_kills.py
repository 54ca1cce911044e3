"""Killed at random moments, a process goes on where it was: nothing is lost, nothing done twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.instances import Entry, InstanceStatus
from tests.crash.kill_program import STEPS
from tests.crash.points import tried

ROOT: Final = Path(__file__).parents[2]
KILLS: Final = 20
SEED: Final = 20
TOO_LONG: Final = 30.0

Step = tuple[str, str]
"""The id of an instance, and the name of one of its steps."""


@define
class Lives:
    """A program that is killed again and again, its store, and its ledger."""

    folder: Path
    read: int = 0
    """How many lines of the ledger belong to earlier lives."""
    recorded: set[Step] = field(factory=set)
    """The steps that were recorded when the last life was over."""
    starts: Counter[Step] = field(factory=Counter)
    in_flight: int = 0
    """How many steps had begun and were not recorded, at all the kills together."""
    acknowledged: set[str] = field(factory=set)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def database(self) -> Path:
        return self.folder / "flows.db"

    @contextmanager
    def begun(self) -> Iterator[subprocess.Popen[bytes]]:
        """Let another life begin."""
        command = [sys.executable, "-m", "tests.crash.kill_program", self.database, self.ledger]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        try:
            with process:
                try:
                    yield process
                finally:
                    process.kill()
        finally:
            self.look_back()

    def lines(self) -> list[str]:
        """Return what the life that goes on, or was the last, has written."""
        if not self.ledger.exists():
            return []
        return self.ledger.read_text().splitlines()[self.read :]

    def wait_for(self, progress: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until this life is at work, and so many steps have begun in all lives together."""
        give_up_at = time.monotonic() + TOO_LONG
        while True:
            lines = self.lines()
            begun = {step_in(line) for line in lines if "/" in line}
            if lines and len(begun | set(self.starts)) >= progress:
                return
            assert process.poll() is None, "it ended by itself, before it was killed"
            assert time.monotonic() < give_up_at, f"{lines[-5:]} after {TOO_LONG} s"
            time.sleep(0.001)

    def look_back(self) -> None:
        """Compare what the life that is over did with what is recorded of it, and of earlier."""
        lines = self.lines()
        self.read += len(lines)
        started = Counter(step_in(line) for line in lines if "/" in line)
        again = self.recorded & set(started)
        assert not again, f"recorded before a kill, and begun again after it: {sorted(again)}"
        twice = [step for step, times in started.items() if times > 1]
        assert not twice, f"begun twice in one life: {twice}"
        self.acknowledged |= {line.removeprefix("begun ") for line in lines if "begun " in line}
        statuses, recorded = trio.run(read_store, self.database)
        lost = self.recorded - recorded
        assert not lost, f"recorded before, and gone: {sorted(lost)}"
        assert self.acknowledged <= set(statuses), "a start was acknowledged, and is gone"
        self.recorded = recorded
        self.starts += started
        self.in_flight += len(set(started) - recorded)


def step_in(line: str) -> Step:
    id, name = line.split("/")
    return id, name


async def read_store(path: Path) -> tuple[dict[str, InstanceStatus], set[Step]]:
    """Return what each instance does, and the steps that are recorded."""
    if not path.exists():
        return {}, set()
    async with SQLiteStore(path, inline=True) as store:
        found = await store.instances.select(limit=1000)
        recorded = {
            (each.id, name)
            for each in found
            for entry in await store.instances.journal(each.id)
            for name in steps_in(each.id, entry)
        }
    return {each.id: each.status for each in found}, recorded


def steps_in(id: str, entry: Entry) -> list[str]:
    """Return the names of the steps that an entry records."""
    if entry.kind == "step":
        return [entry.path.rpartition("/")[2]]
    if entry.kind != "record" or entry.path.startswith("%"):
        return []
    if id.startswith("graph"):
        return [each["node"] for each in entry.value]
    return [entry.value["step"]]


def test_a_process_killed_twenty_times_loses_nothing_and_repeats_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    lives = Lives(tmp_path)
    # Several kills at the same progress: they come while the process recovers.
    moments = [0, *chance.choices(range(sum(map(len, STEPS.values())) - len(STEPS)), k=KILLS - 4)]
    moments += chance.sample(moments, k=3)
    for progress in sorted(moments):
        with lives.begun() as process:
            lives.wait_for(progress, process)
            time.sleep(chance.uniform(0, 0.01))
            process.kill()
            process.wait()
            assert process.returncode == -signal.SIGKILL, "it ended by itself"
    assert len(moments) == KILLS
    assert lives.recorded, "no kill came after anything was recorded"
    with lives.begun() as process:
        _, complaint = process.communicate(timeout=TOO_LONG)
        assert process.returncode == 0, complaint.decode()
    statuses, recorded = trio.run(read_store, lives.database)
    assert set(statuses) == set(STEPS)
    assert set(statuses.values()) == {InstanceStatus.COMPLETED}
    assert recorded == {(id, name) for id, names in STEPS.items() for name in names}
    extra = lives.starts.total() - len(recorded)
    assert 0 < extra <= lives.in_flight
    tried("kills", KILLS)
