"""A process that makes transfers, or sees to what is stuck, until it is done or killed.

python -m tests.saga.bank.kill_program flows.db bank.db SEED NUMBER work|repair
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import trio

from lexigram_actors import open_host
from tests.saga.bank.bank import Bank
from tests.saga.bank.transfers import Pace, Surroundings, runnable_of, transfers_from
from tests.saga.bank.working import make_transfers, see_to_stuck

QUICK: Final = Pace(work=0.002, retry=0.01, timeout=0.05)


async def main(arguments: list[str]) -> None:
    flows, bank_path, seed, number, task = arguments
    transfers = transfers_from(int(seed), int(number))
    with closing(Bank(Path(bank_path))) as bank:
        around = Surroundings(bank=bank, pace=QUICK, repaired=task == "repair")
        runnable = runnable_of(transfers, around)
        async with open_host(f"sqlite:///{flows}", register=[runnable]) as host:
            if task == "repair":
                await see_to_stuck(host, bank, lambda: None)
            else:
                await make_transfers(host, runnable, transfers, set())


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
