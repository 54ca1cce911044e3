"""Money moves between accounts while everything crashes; none is lost, none is made."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from lexigram_actors.testing import CrashPoint, SimulatedCrash, World
from lexigram_actors.testing.faults import How
from tests.crash.programs import hosting
from tests.saga.bank.auditing import Audit, audit
from tests.saga.bank.bank import Bank, Kind
from tests.saga.bank.told import TOLD
from tests.saga.bank.transfers import Surroundings, TransferSaga, runnable_of, transfers_from
from tests.saga.bank.working import make_transfers, see_to_stuck

TRANSFERS: Final = 1500
"""For each of two seeds."""

SEED: Final = 20
CALLS: Final = (100, 500)
"""After how many calls of its store a process dies."""

FEWER_CALLS: Final = (150, 400)
"""After how many one dies in which an operator is at work."""

DEATHS: Final[tuple[How, ...]] = ("before", "inside", "after")

WITHIN: Final = 1e7
MOST_LIVES: Final = 1000


class Bankers:
    """The processes, one after another, of one seed."""

    def __init__(self, folder: Path, seed: int, number: int) -> None:
        self.world = World("sqlite", folder)
        self.path = folder / "bank.db"
        self.seed = seed
        self.chance = random.Random(f"crashes {seed}")
        self.transfers = transfers_from(seed, number)
        self.ended: set[int] = set()

    @contextmanager
    def around(self, world: World, *, repaired: bool) -> Iterator[Surroundings]:
        life = world.lives[-1]

        def alive() -> None:
            if life.is_dead:
                raise SimulatedCrash("a dead process reaches no bank")

        with closing(Bank(self.path)) as bank:
            yield Surroundings(bank=bank, alive=alive, repaired=repaired)

    async def work(self, world: World) -> None:
        with self.around(world, repaired=False) as around:
            runnable = runnable_of(self.transfers, around)
            async with hosting(world, runnable) as host:
                await make_transfers(host, runnable, self.transfers, self.ended)

    async def repair(self, world: World) -> None:
        with self.around(world, repaired=True) as around:
            async with hosting(world, runnable_of(self.transfers, around)) as host:
                await see_to_stuck(host, around.bank, around.alive)

    def lives(self, program: Any, calls: tuple[int, int]) -> int:
        """Let processes die at random calls, until one ends; return how many died."""
        for crashes in range(MOST_LIVES):
            point = CrashPoint(self.chance.randint(*calls), self.chance.choice(DEATHS))
            if self.world.live(program, point, within=WITHIN, seed=self.chance.randrange(10**9)):
                return crashes + self.world.lives[-1].is_struck
        raise AssertionError(f"it does not come to its end in {MOST_LIVES} lives")

    def audited(self) -> Audit:
        found: list[Audit] = []

        async def look(world: World) -> None:
            with closing(Bank(self.path)) as bank:
                found.append(await audit(bank, world.store, self.transfers))

        self.world.look(look)
        return found[0]


def move_money(folder: Path, seed: int, number: int = TRANSFERS) -> str:
    """Make transfers under crashes, and repair what is stuck; return what there was, in a line."""
    bankers = Bankers(folder, seed, number)
    try:
        crashes = bankers.lives(bankers.work, CALLS)
        audit = bankers.audited()
        assert crashes > 0, "no process died"
        assert audit.undone > 0, "no transfer was undone"
        assert audit.stuck, "no undo failed"
        more = bankers.lives(bankers.repair, FEWER_CALLS)
        after = bankers.audited()
        assert not after.stuck, f"still stuck: {after.stuck}"
        assert after.completed == audit.completed
    except BaseException as error:
        error.add_note(f"repeat it with: move_money(folder, seed={seed}, number={number})")
        raise
    return (
        f"money: seed {seed}: {number:,} transfers, {crashes} + {more} crashes, "
        f"{audit.completed:,} completed, {audit.undone:,} undone, {len(audit.stuck):,} stuck, "
        f"{sum(map(len, audit.stuck.values())):,} steps that an operator saw to"
    )


@pytest.mark.parametrize(
    "seed", [SEED, random.SystemRandom().randrange(10**6)], ids=["fixed", "fresh"]
)
def test_under_random_crashes_every_amount_is_accounted_for(seed: int, tmp_path: Path) -> None:
    TOLD.append(move_money(tmp_path, seed))


def test_money_that_is_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(saga: TransferSaga, kind: Kind) -> None:
        """Say that a leg is undone, and leave it standing."""

    monkeypatch.setattr(TransferSaga, "undo", undo)
    with pytest.raises(AssertionError, match="not listed"):
        move_money(tmp_path, SEED, number=40)
