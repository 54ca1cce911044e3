"""Virtual time: it goes on over several runs, and jumps where it is told to."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.testing import VirtualTime, run, virtual_clock
from lexigram_actors.testing.clock import START


def test_thirty_days_pass_at_once() -> None:
    began = time.monotonic()
    trio.run(trio.sleep, 30 * 86400, clock=virtual_clock())
    assert time.monotonic() - began < 1


def test_virtual_time_goes_on_over_several_runs_and_stands_still_between() -> None:
    now = VirtualTime()
    assert now() == START

    async def one_run() -> None:
        await trio.sleep(10)  # before anybody looks
        assert now() == start + 10
        await trio.sleep(5)  # after the last look

    for number in range(3):
        start = START + 15 * number
        run(one_run)
        assert now() == start + 15


async def test_virtual_time_made_in_a_run_begins_with_its_start(autojump_clock: MockClock) -> None:
    await trio.sleep(100)
    now = VirtualTime(5.0)
    assert now() == 5.0
    await trio.sleep(2)
    assert now() == 7.0


async def test_a_jump_of_the_wall_clock_wakes_nobody(autojump_clock: MockClock) -> None:
    now = VirtualTime(0.0)
    now.jump(86400)
    assert now() == 86400
    now.jump(-2 * 86400)
    assert now() == -86400
    assert trio.current_time() == 0
    with pytest.raises(ValueError, match="finite"):
        now.jump(float("nan"))


def test_virtual_time_follows_a_real_clock_too() -> None:
    now = VirtualTime(0.0)

    async def main() -> float:
        now()
        return trio.current_time()

    trio.run(main)
    assert 0 <= now() < 60
