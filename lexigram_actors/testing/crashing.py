"""Crashing a program at every call of its store, and letting it come back.

    def check(world: World) -> None:
        assert world.result == "shipped"
        check_steps(world.ledger, world.crashes)

    report = crash_everywhere(program, store="sqlite", check=check)

`program(world)` is run once undisturbed, which shows what calls it makes of `world.store`. Then,
for each of them and each way to die there, in a new world: it runs until it dies there, comes back,
and runs to its end. So it has to begin what it does in such a way that doing it twice is once:
instances have ids of its own choice, and what is there already is gone on with.

**Limits.** A life ends between Python statements, where the store is called, not within them; what
a program does between two calls has either wholly happened or, after `"before"`, wholly happened as
well: a death in the middle of an effect looks like one before the next call. Clean-up code runs in
a life that is over, as no process would; it reaches neither store nor `world.effect`.
`crash_in_child` shows the same with processes that really die.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from lexigram_actors.testing.cancelling import WITHIN
from lexigram_actors.testing.faults import HOWS, READS, CrashPoint, How
from lexigram_actors.testing.sampling import spread
from lexigram_actors.testing.schedules import Schedule, name_of
from lexigram_actors.testing.world import StoreKind, World

Program = Callable[[World], Awaitable[Any]]
Check = Callable[[World], Awaitable[None] | None]

SECOND_CRASH_EVERY: Final = 4
"""Of the calls of a recovery, every fourth is tried for a second crash."""


class CrashReport(NamedTuple):
    """What `crash_everywhere` did.

    Attributes:
        points: How many points, or pairs of points, were tried.
        crashes: How many crashes that were.
        lives: How many times the program began, the undisturbed run included.
        calls_after_death: How many calls and effects of dead programs were refused: a few are
            clean-up, many are a loop that catches `BaseException`.
    """

    points: int
    crashes: int
    lives: int
    calls_after_death: int


class Manner(NamedTuple):
    """How each life is lived."""

    store: StoreKind
    seed: int
    schedule: Schedule
    within: float


def crash_everywhere(
    program: Program,
    *,
    check: Check,
    store: StoreKind = "memory",
    hows: Sequence[How] = HOWS,
    twice: bool = False,
    seed: int = 0,
    schedule: Schedule = "shuffled",
    within: float = WITHIN,
    most: int | None = None,
    only: CrashPoint | Sequence[CrashPoint] | None = None,
) -> CrashReport:
    """Crash `program` at each call that it makes of its store, let it come back, and check.

    Not to be called inside of a Trio run: each life is one. A failure bears a note: the line that
    repeats it.

    Args:
        check: Called with each world when its program has ended, and with the undisturbed one; it
            may read `world.store`. Raises if something is wrong.
        store: Which sort. In memory nobody can die inside of a transaction.
        hows: In which ways to die.
        twice: Whether to crash again in the life after, at every fourth of its calls.
        seed: Of the order of tasks, and of which fourth.
        schedule: What is made of the seed.
        within: Seconds of virtual time that each life may take.
        most: Try at most so many first points, evenly spread; None: all.
        only: Try this point alone; several: of one life after the other.

    Raises:
        AssertionError: A life did not end, nothing was injected, or a program did not come to the
            call at which it was to die.
    """
    manner = Manner(store, seed, schedule, within)
    worlds = Tally()
    with new_world(manner) as undisturbed:
        live_to_the_end(undisturbed, program, manner)
        undisturbed.look(check)
        worlds.add(undisturbed)
    calls = undisturbed.lives[0].calls
    if only is not None:
        points = [only] if isinstance(only, CrashPoint) else list(only)
        worlds.add(crash_at(points, program, check, manner))
        return worlds.report(1)
    tried = 0
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    for first in spread(points_in(calls, hows, store), most):
        world = crash_at([first], program, check, manner)
        worlds.add(world)
        tried += 1
        if not twice or len(world.lives) == 1:
            continue
        seconds = points_in(world.lives[1].calls, hows, store)
        for second in seconds[chance.randrange(SECOND_CRASH_EVERY) :: SECOND_CRASH_EVERY]:
            worlds.add(crash_at([first, second], program, check, manner))
            tried += 1
    if not worlds.crashes:
        raise AssertionError(f"{name_of(program)} makes no call of world.store: nothing crashed")
    return worlds.report(tried)


def points_in(calls: Sequence[str], hows: Sequence[How], store: StoreKind) -> list[CrashPoint]:
    """Return where a life with these calls can end."""
    return [
        CrashPoint(number, how, name)
        for number, name in enumerate(calls, 1)
        for how in hows
        if how == "before" or name not in READS
        if how != "inside" or store == "sqlite"
    ]


def crash_at(points: Sequence[CrashPoint], program: Program, check: Check, manner: Manner) -> World:
    """Let a program die at the points, one a life, and live to its end."""
    with new_world(manner) as world, told_how_to_repeat(points, program, manner):
        ended = False
        for point in points:
            ended = live(world, program, manner, point)
            if not world.lives[-1].is_struck:
                raise AssertionError(
                    f"life {world.life} made {len(world.lives[-1].calls)} calls, and none was "
                    f"number {point.call} ({point.name}): does the program do the same each time?"
                )
        if not ended:
            live_to_the_end(world, program, manner)
        world.look(check)
    return world


def live(world: World, program: Program, manner: Manner, point: CrashPoint | None) -> bool:
    return world.live(
        program, point, within=manner.within, seed=manner.seed, schedule=manner.schedule
    )


def live_to_the_end(world: World, program: Program, manner: Manner) -> None:
    if not live(world, program, manner, None):
        raise AssertionError("a life of which nobody disturbed anything did not come to its end")


@contextmanager
def new_world(manner: Manner) -> Iterator[World]:
    """Make a world, with a folder of its own if it needs one."""
    place = TemporaryDirectory() if manner.store == "sqlite" else nullcontext()
    with place as folder:
        yield World(manner.store, folder)


@contextmanager
def told_how_to_repeat(
    points: Sequence[CrashPoint], program: Program, manner: Manner
) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        where = ", ".join(f"{point!r} ({point.name})" for point in points)
        error.add_note(
            f"crashed at {where}; repeat it with: crash_everywhere({name_of(program)}, "
            f"store={manner.store!r}, seed={manner.seed}, schedule={manner.schedule!r}, "
            f"only={list(points)!r}, check=...)"
        )
        raise


class Tally:
    """Adds up what happened in many worlds."""

    def __init__(self) -> None:
        self.crashes = 0
        self.lives = 0
        self.calls_after_death = 0

    def add(self, world: World) -> None:
        self.crashes += world.crashes
        self.lives += len(world.lives)
        self.calls_after_death += world.calls_after_death

    def report(self, points: int) -> CrashReport:
        return CrashReport(points, self.crashes, self.lives, self.calls_after_death)
