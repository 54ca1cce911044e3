"""How to test an actor: the virtual clock of Trio, and no sleep.

    python -m pytest docs/examples/test_doorbell.py

`autojump_clock` is a fixture of pytest-trio.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import Actor, AskTimeout, open_system

pytestmark = pytest.mark.trio


class Doorbell(Actor[str]):
    """Counts rings, but takes a ring within ten seconds of another for the same visitor."""

    def __init__(self) -> None:
        self.visitors = 0
        self.quiet_from = 0.0

    async def receive(self, message: str) -> int:
        if message == "ring":
            if trio.current_time() >= self.quiet_from:
                self.visitors += 1
            self.quiet_from = trio.current_time() + 10.0
        elif message == "wait":
            await trio.sleep(60.0)
        return self.visitors


async def test_two_rings_within_ten_seconds_are_one_visitor(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        bell = await system.spawn(Doorbell)
        for pause in (9.0, 11.0, 0.0):
            await bell.tell("ring")
            await wait_all_tasks_blocked()  # until the ring is handled
            await trio.sleep(pause)
        assert await bell.ask("visitors") == 2


async def test_an_ask_gives_up_in_time(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        bell = await system.spawn(Doorbell)
        with pytest.raises(AskTimeout):
            await bell.ask("wait", timeout=5.0)
        assert trio.current_time() == 5.0
