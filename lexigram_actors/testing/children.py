"""Crashing a program for good: in a child process that ends at a call of its store.

What `crash_everywhere` plays, with real deaths: no clean-up runs, nothing is closed, and the
SQLite file is left as the kernel has it. It takes longer, so it is for one program of each sort.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final, NoReturn

import trio

from lexigram_actors.testing.cancelling import WITHIN
from lexigram_actors.testing.crashing import (
    Check,
    CrashReport,
    Manner,
    Program,
    Tally,
    live_to_the_end,
    points_in,
    told_how_to_repeat,
)
from lexigram_actors.testing.faults import KILLED, CrashPoint, How, Life
from lexigram_actors.testing.ledger import Effect
from lexigram_actors.testing.sampling import spread
from lexigram_actors.testing.schedules import run
from lexigram_actors.testing.world import World

FAILED: Final = 1
"""The exit status of a child that did not come to its end."""

EFFECT: Final = "effect"
ACKNOWLEDGED: Final = "acknowledged"
CHILD_HOWS: Final[tuple[How, ...]] = ("before", "inside", "after")


def crash_in_child(
    program: Program,
    *,
    check: Check,
    hows: Sequence[How] = CHILD_HOWS,
    inline: bool = True,
    within: float = WITHIN,
    most: int | None = None,
    only: CrashPoint | None = None,
) -> CrashReport:
    """Let `program` die in a child at each call of its store, on a SQLite file, and come back here.

    As `crash_everywhere`, but for the deaths. What the program keeps in Python objects dies with
    the child, except for `world.ledger` and `world.acknowledged`.

    Only where forking is safe: on POSIX, in a process with one thread, outside of a Trio run. A
    test can see to that by starting a fresh interpreter.

    Args:
        inline: Whether the SQL of the child runs in the calling task, on a virtual clock. Else it
            has the store's own thread, and real time; and which call is the n-th may vary.

    Raises:
        RuntimeError: Forking is not safe here.
        AssertionError: As `crash_everywhere`; or the child failed, and did not die.
    """
    refuse_to_fork_here()
    if "reported" in hows:
        raise ValueError("a failure that is only reported kills nobody; use crash_everywhere")
    manner = Manner("sqlite", 0, "shuffled", within)
    tally = Tally()
    with TemporaryDirectory() as folder:
        undisturbed = World("sqlite", folder)
        live_to_the_end(undisturbed, program, manner)
        undisturbed.look(check)
        tally.add(undisturbed)
    calls = undisturbed.lives[0].calls
    points = spread(points_in(calls, hows, "sqlite"), most) if only is None else [only]
    for point in points:
        with TemporaryDirectory() as folder, told_how_to_repeat([point], program, manner):
            world = World("sqlite", folder)
            die_in_child(world, program, point, Path(folder) / "ledger", inline=inline)
            live_to_the_end(world, program, manner)
            world.look(check)
            tally.add(world)
    if not points:
        raise AssertionError("the program makes no call of world.store: nothing crashed")
    return tally.report(len(points))


def refuse_to_fork_here() -> None:
    """Refuse to fork where the child could not go on."""
    if not hasattr(os, "fork"):
        raise RuntimeError("this system has no fork; use crash_everywhere")
    if threading.active_count() > 1:
        raise RuntimeError(
            f"forking is not safe while there are other threads ({threading.enumerate()}); call "
            "crash_in_child in a process of its own"
        )
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("crash_in_child makes Trio runs: call it outside of one")


def die_in_child(
    world: World, program: Program, point: CrashPoint, record: Path, *, inline: bool
) -> None:
    """Let the next life of `world` be lived, and end, in a child; take over what is known of it."""
    life = Life(len(world.lives) + 1, point, exits=True)
    world.lives.append(life)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        be_the_child(world, program, life, record, inline=inline)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != KILLED:
        raise AssertionError(
            f"the child was to die at {point!r} ({point.name}), and ended with status {status}"
        )
    life.is_dead = life.is_struck = True
    take_over(world, record)


def be_the_child(
    world: World, program: Program, life: Life, record: Path, *, inline: bool
) -> NoReturn:
    """Live, and end the process: with `KILLED` by the life itself, or else with a failure."""
    try:
        with record.open("w") as lines:
            world.ledger = Written(lines, EFFECT, world.ledger)
            world.acknowledged = Written(lines, ACKNOWLEDGED, world.acknowledged)
            live_here(world, program, life, inline=inline)
    except BaseException:  # noqa: BLE001, ASYNC103 - nothing of the parent may be run here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(FAILED)


def live_here(world: World, program: Program, life: Life, *, inline: bool) -> None:
    async def main() -> None:
        async with world.opened(life, inline=inline):
            await program(world)

    if inline:
        run(main, seed=0)
    else:
        trio.run(main)


# --- what is known of a life that ended elsewhere --------------------------------------------


class Written(list[Any]):
    """A list whose items are written down as well, each at once, so that they outlive the process.

    One `write` of the system each: a process that dies has written it or not.
    """

    def __init__(self, lines: IO[str], what: str, items: Iterable[Any]) -> None:
        super().__init__(items)
        self._lines = lines
        self._what = what

    def append(self, item: Any) -> None:
        super().append(item)
        self._lines.write(json.dumps([self._what, item]) + "\n")
        self._lines.flush()


def take_over(world: World, record: Path) -> None:
    """Add to the world what the child has written down."""
    for line in record.read_text().splitlines():
        what, item = json.loads(line)
        if what == EFFECT:
            world.ledger.append(Effect(*item))
        else:
            world.acknowledged.append(item)
