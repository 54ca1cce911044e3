"""I4 in a host: crashed at any call of its store it ends as promised."""

from __future__ import annotations

import random
from typing import Final

import pytest

from lexigram_actors.testing import CrashPoint, World, crash_everywhere
from lexigram_actors.testing.faults import HOWS
from lexigram_actors.testing.schedules import Schedule
from lexigram_actors.testing.world import StoreKind
from tests.saga.faults.cases import tried
from tests.saga.faults.grids import FAULTS, UNDO_FAULTS
from tests.saga.faults.hosted import Hosted
from tests.saga.faults.living import Operation
from tests.saga.faults.plans import NAMES, SAGA_TIMEOUT, VARIANTS, Case
from tests.saga.faults.states import Event

MOST: Final = {"memory": 11, "sqlite": 4}
"""Points that are tried of each, evenly spread."""

TWICE: Final = 1

WITHIN: Final = 1e7

CRASHED: Final = {
    "completed": Hosted(Case("mixed")),
    "err": Hosted(Case("mixed", "err", "d")),
    "once, stuck": Hosted(Case("none", "raise", "e", "raise", "bc")),
    "late": Hosted(Case("all", "late", "c")),
    "overdue": Hosted(Case("without", "overdue", "d")),
    "cancelled": Hosted(Case("mixed", "cancel", "d")),
    "cancelled with grace": Hosted(Case("none", "cancel", "c"), grace=5),
    "cancelled between attempts": Hosted(Case("all", "wait", "c")),
    "cancelled while undoing": Hosted(Case("mixed", "err", "d", "raise", "a", cut_at="b")),
    "group": Hosted(Case("group", "err", "c", "err", "b")),
    "group cancelled": Hosted(Case("group", "cancel", "c")),
    "pivot": Hosted(Case("pivot", "err", "d")),
    "pivot, gone on with": Hosted(Case("pivot", "mended", "d"), [("go on", "")]),
    "probes": Hosted(Case("probes", "cancel", "c")),
    "paused": Hosted(Case("mixed"), paused_at=Event("do", "c")),
    "paused while undoing": Hosted(Case("mixed", "err", "d"), paused_at=Event("undo", "b")),
    "retry": Hosted(Case("mixed", "err", "d", "raise", "ab", heals=1), [("retry", "")]),
    "skip": Hosted(Case("none", "err", "d", "err", "ab", heals=1), [("skip", "a"), ("retry", "")]),
    "force": Hosted(Case("none", "cancel", "d", "late", "b"), [("force", "b"), ("force", "d")]),
}

LIVES: Final = 40
"""Cases that are drawn, from each of two seeds."""

OVER: Final = {
    variant: Case(variant, "overdue", "e") for variant in ("all", "mixed", "without", "group")
}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("name", CRASHED)
def test_crashed_at_any_call_of_its_store_it_ends_as_promised(name: str, store: StoreKind) -> None:
    hosted = CRASHED[name]
    report = crash_everywhere(
        hosted.program, check=hosted.check, store=store, within=WITHIN, most=MOST[store]
    )
    assert report.crashes >= report.points > 3
    tried(f"hosted {name} {store}", report.points)


@pytest.mark.parametrize("name", CRASHED)
def test_crashed_again_while_it_recovers_it_ends_as_promised(name: str) -> None:
    hosted = CRASHED[name]
    report = crash_everywhere(
        hosted.program, check=hosted.check, twice=True, within=WITHIN, most=TWICE
    )
    tried(f"hosted {name} twice", report.points)


def random_case(chance: random.Random) -> Hosted:
    """Return anything that may go wrong with anything, and what an operator does then."""
    variant = chance.choice(list(VARIANTS))
    fault = chance.choice([*FAULTS, "err", "cancel"])
    failing = "".join(name for name in NAMES if chance.random() < 0.3)
    case = Case(
        variant,
        fault,
        chance.choice(NAMES),
        chance.choice(UNDO_FAULTS),
        failing,
        heals=chance.choice([0, 1, 2, 4]),
        cut_at=chance.choice(["", "", *NAMES]),
        probe=chance.choice(["yes", "no", "raise"]),
    )
    possible: list[Operation] = [("retry", ""), ("skip", chance.choice(NAMES)), ("force", "a")]
    if variant == "pivot":
        possible = [("go on", "")]
    operations = chance.choices(possible, k=chance.randrange(3))
    paused_at = Event(chance.choice(["do", "undo", "undid"]), chance.choice(NAMES))
    grace = chance.choice([0.0, 0.5, 5.0])
    return Hosted(case, operations, grace, chance.choice([None, None, paused_at]))


def live_at_random(seed: int) -> int:
    """Live a case that is drawn from a seed, with up to three crashes; return how many came."""
    chance = random.Random(seed)
    hosted, world = random_case(chance), World()
    schedules: tuple[Schedule, ...] = ("shuffled", "priority")
    points: list[CrashPoint | None] = [
        CrashPoint(chance.randrange(1, 40), chance.choice(HOWS)) for _ in range(chance.randrange(4))
    ]
    try:
        for point in [*points, None]:
            world.live(
                hosted.program,
                point,
                within=WITHIN,
                seed=chance.randrange(10**6),
                schedule=chance.choice(schedules),
            )
        world.look(hosted.check)
    except BaseException as error:
        error.add_note(f"{hosted}, {points}; repeat it with: live_at_random({seed})")
        raise
    return world.crashes


@pytest.mark.parametrize("first", [0, random.SystemRandom().randrange(10**6)], ids=["fixed", "new"])
def test_whatever_comes_together_it_ends_as_promised(first: int) -> None:
    crashes = sum(live_at_random(seed) for seed in range(first, first + LIVES))
    assert crashes > LIVES / 5
    tried(f"at random from {first}", LIVES)


@pytest.mark.parametrize("name", OVER)
def test_a_saga_whose_time_is_over_when_the_process_comes_back_is_undone(name: str) -> None:
    """What was at work at the crash is in doubt then: it does not run again."""
    hosted = Hosted(OVER[name])
    number = 1
    while True:
        world = World()
        if world.live(hosted.program, CrashPoint(number, "after"), within=WITHIN):
            break
        world.time.jump(SAGA_TIMEOUT + 1)
        assert world.live(hosted.program, within=WITHIN)
        world.look(hosted.check)
        number += 1
    assert number > 10
    tried(f"time is over {name}", number - 1)
