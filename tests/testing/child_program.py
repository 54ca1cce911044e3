"""Crashes in child processes, in a process of its own: `child_program.py [thread]`."""

from __future__ import annotations

import sys

from lexigram_actors.testing import World, check_steps, crash_in_child
from tests.testing.toy import STEPS, Toy, steps_of


async def check(world: World) -> None:
    assert world.result == list(STEPS)
    assert await steps_of(world) == list(STEPS)
    check_steps(world.ledger, world.crashes)
    assert world.acknowledged


if __name__ == "__main__":
    bug = "forgets what is recorded" if "bug" in sys.argv else "none"
    inline = "thread" not in sys.argv
    most = None if inline else 5
    print(crash_in_child(Toy(bug, 0.01), check=check, inline=inline, most=most))  # noqa: T201
