"""Cancellation at every step: a sound scenario passes, and each planted bug is found."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any

import pytest
import trio

from lexigram_actors.testing import CancelAt, at_every_step, cancel_at_every_step, run


async def sound() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1)
        nursery.start_soon(trio.sleep, 2)
    await trio.sleep(1)


def test_a_sound_scenario_passes_and_each_step_is_tried_once() -> None:
    seen: list[float] = []
    report = cancel_at_every_step(sound, check=lambda point: seen.append(point.cancelled_at))
    assert report.points == report.steps >= 6
    assert 0 < report.delivered <= report.points
    assert seen[0] == inf
    assert sorted(seen[1:]) == seen[1:]
    assert set(seen[1:]) == {0, 1, 2, 3}


def failure_of(scenario: Any, **options: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        cancel_at_every_step(scenario, **options)
    return caught.value


async def swallows() -> None:
    await trio.sleep(1)
    with suppress(BaseException):
        await trio.sleep(1)


def test_a_swallowed_cancellation_is_found() -> None:
    error = failure_of(swallows)
    assert "let trio.Cancelled pass" in str(error)


def test_the_noted_step_repeats_the_failure_alone() -> None:
    (note,) = failure_of(swallows).__notes__
    only = int(note.rpartition("only=")[2])
    assert failure_of(swallows, only=only).__notes__ == [note]
    assert cancel_at_every_step(swallows, only=only - 1).points == 1


def test_what_may_finish_is_let_finish() -> None:
    assert cancel_at_every_step(swallows, may_finish=True).delivered > 0


def test_a_time_limit_of_its_own_is_no_cancellation_that_was_swallowed() -> None:
    async def limited() -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await trio.sleep(5)

    with pytest.raises(AssertionError, match="none of"):
        cancel_at_every_step(limited)


def test_a_failure_on_the_way_out_is_found() -> None:
    async def fails() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise OSError("in its clean-up") from None  # noqa: ASYNC104 - the bug

    assert isinstance(failure_of(fails), OSError)


def test_clean_up_without_end_is_found() -> None:
    async def cleans_up() -> None:
        try:
            await trio.sleep(1)
        finally:
            with trio.move_on_after(10_000, shield=True):
                await trio.sleep(20_000)

    assert "did not end within 100" in str(failure_of(cleans_up, within=100))


def test_a_task_left_behind_is_found() -> None:
    async def leaves() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            trio.lowlevel.spawn_system_task(trio.sleep, 5, name="left")
            raise

    assert "left" in str(failure_of(leaves))


def test_a_failing_check_is_told_with_its_step() -> None:
    async def check(point: CancelAt) -> None:
        assert point.cancelled_at != 1

    (note,) = failure_of(sound, check=check).__notes__
    assert "before step" in note


def test_no_more_steps_are_tried_than_wanted() -> None:
    assert cancel_at_every_step(sound, most=3).points == 3


def test_only_the_part_that_is_in_the_scope_is_cancelled() -> None:
    unharmed = 0

    def attempt(instrument: CancelAt) -> None:
        async def main() -> None:
            nonlocal unharmed
            with instrument.scope:
                await sound()
            instrument.counts = False
            await trio.sleep(1)
            unharmed += 1

        run(main, seed=0, instruments=[instrument])

    report = at_every_step(attempt)
    assert unharmed == report.points + 1


def test_a_scope_that_nobody_enters_is_reported() -> None:
    def attempt(instrument: CancelAt) -> None:
        run(sound, seed=0, instruments=[instrument])

    with pytest.raises(AssertionError, match="none of"):
        at_every_step(attempt)
