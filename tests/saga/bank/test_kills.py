"""The same with a process that is killed again and again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import trio

from lexigram_actors.storage import SQLiteStore
from tests.saga.bank.auditing import Audit, audit
from tests.saga.bank.bank import Bank
from tests.saga.bank.told import TOLD
from tests.saga.bank.transfers import transfers_from

ROOT: Final = Path(__file__).parents[3]
SEED: Final = 7
NUMBER: Final = 250
KILLS: Final = 8
TOO_LONG: Final = 30.0


class Processes:
    """Processes that make the same transfers, one after another."""

    def __init__(self, folder: Path) -> None:
        self.flows, self.bank = folder / "flows.db", folder / "bank.db"

    @contextmanager
    def begun(self, task: str) -> Iterator[subprocess.Popen[bytes]]:
        program = [sys.executable, "-m", "tests.saga.bank.kill_program"]
        arguments = [str(each) for each in (self.flows, self.bank, SEED, NUMBER, task)]
        with subprocess.Popen([*program, *arguments], cwd=ROOT, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def finished(self, task: str) -> None:
        with self.begun(task) as process:
            _, complaint = process.communicate(timeout=TOO_LONG)
            assert process.returncode == 0, complaint.decode()

    def killed(self, legs: int, delay: float) -> None:
        """Let one begin, and kill it a while after the bank has so many legs."""
        with self.begun("work") as process, closing(Bank(self.bank)) as bank:
            give_up_at = time.monotonic() + TOO_LONG
            while bank.size() < legs:
                assert process.poll() is None, "it ended before it was killed"
                assert time.monotonic() < give_up_at
                time.sleep(0.002)
            time.sleep(delay)
            process.kill()
            process.wait()
            assert process.returncode == -signal.SIGKILL, "it ended by itself"

    def audited(self) -> Audit:
        async def look() -> Audit:
            async with SQLiteStore(self.flows, inline=True) as store:
                with closing(Bank(self.bank)) as bank:
                    return await audit(bank, store, transfers_from(SEED, NUMBER))

        return trio.run(look)


def test_killed_processes_lose_and_make_no_money(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    processes = Processes(tmp_path)
    for kill in range(KILLS):
        # The more have ended the less is left to do: the last kill comes well before the end.
        processes.killed(1 + kill * NUMBER * 3 // 2 // KILLS, chance.uniform(0, 0.05))
    processes.finished("work")
    found = processes.audited()
    assert found.undone > 0
    assert found.stuck
    processes.finished("repair")
    after = processes.audited()
    assert not after.stuck
    TOLD.append(
        f"money: {NUMBER} transfers, {KILLS} kills, {found.completed} completed, "
        f"{found.undone} undone, {len(found.stuck)} stuck, and none in the end"
    )
