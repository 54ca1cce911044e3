"""Orders of tasks: repeated from a seed, by priority, all of them; and Trio left as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import permutations
from typing import Any

import pytest
import trio
import trio._core._run as scheduler

from lexigram_actors.testing import Orders, every_order, run
from lexigram_actors.testing.schedules import arranged
from tests.testing.spinning import complaint_about_spinning


@pytest.fixture(autouse=True)
def trio_is_as_it_was() -> Iterator[None]:
    names = ("_r", "_ALLOW_DETERMINISTIC_SCHEDULING")
    earlier = [vars(scheduler)[name] for name in names]
    yield
    assert [vars(scheduler)[name] for name in names] == earlier


async def note_steps(names: str = "abcdef", times: int = 4) -> str:
    """Let tasks note their names at each of their steps."""
    notes: list[str] = []

    async def noting(name: str) -> None:
        for _ in range(times):
            notes.append(name)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(noting, name)
    return "".join(notes)


@pytest.mark.parametrize("schedule", ["shuffled", "priority"])
def test_the_same_seed_gives_the_same_order_and_another_one_another(schedule: Any) -> None:
    orders = [run(note_steps, seed=seed, schedule=schedule) for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len(set(orders)) == 3


def test_a_seed_counts_from_the_first_task_on_whatever_ran_before() -> None:
    first = run(note_steps, seed=1)
    run(note_steps)
    trio.run(note_steps)
    assert run(note_steps, seed=1) == first


def test_arguments_are_handed_on_and_what_is_raised_passes() -> None:
    assert set(run(note_steps, "xy", 1, seed=0)) == {"x", "y"}

    async def failing() -> None:
        raise OSError("it")

    with pytest.raises(OSError, match="it"):
        run(failing, seed=0)


def test_a_schedule_of_no_such_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'shuffled' or 'priority'"):
        run(note_steps, seed=1, schedule="random")  # type: ignore[arg-type]


def test_no_two_runs_with_a_schedule_at_a_time() -> None:
    with arranged(list.reverse), pytest.raises(RuntimeError, match="one at a time"):
        run(note_steps, seed=1)


@pytest.mark.parametrize("name", ["_r", "_ALLOW_DETERMINISTIC_SCHEDULING"])
def test_a_trio_without_that_door_is_reported(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(scheduler, name)
        with pytest.raises(RuntimeError, match=f"Trio {trio.__version__} chooses"):
            run(note_steps, seed=1)


def test_a_trio_that_does_not_ask_any_more_is_reported() -> None:
    def untouched(*args: Any, **kwargs: Any) -> None:
        """As if the door were still there and led nowhere."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "run", untouched)
        with pytest.raises(RuntimeError, match=f"Trio {trio.__version__} chooses"):
            run(note_steps, seed=1)


async def overtaken(times: int = 14) -> None:
    """Wrong if one task comes first at each of its steps."""
    in_front = 0
    turns: list[str] = []

    async def racing(name: str) -> None:
        nonlocal in_front
        for _ in range(times):
            turns.append(name)
            if len(turns) % 2 and name == "b":
                in_front += 1
            await trio.lowlevel.checkpoint()
        assert in_front < times

    async with trio.open_nursery() as nursery:
        nursery.start_soon(racing, "a")
        nursery.start_soon(racing, "b")


def found_by(schedule: Any, seeds: int) -> int:
    found = 0
    for seed in range(seeds):
        try:
            run(overtaken, seed=seed, schedule=schedule)
        except* AssertionError:
            found += 1
    return found


def test_an_order_that_a_shuffle_does_not_come_upon_is_found_by_priorities() -> None:
    assert found_by("shuffled", 100) == 0
    assert found_by("priority", 100) > 10


def test_priorities_change_within_a_run() -> None:
    changed = 0
    for seed in range(100):
        notes = run(note_steps, "ab", 40, seed=seed, schedule="priority")
        changed += len({notes[place : place + 2] for place in range(0, 80, 2)}) > 1
    assert changed > 20


# --- every order -----------------------------------------------------------------------------


def test_every_order_of_a_small_scenario_is_tried_once() -> None:
    seen: list[str] = []

    async def scenario() -> None:
        seen.append(await note_steps("abc", 1))

    assert every_order(scenario) == Orders(36, complete=True)  # they end in some order as well
    assert set(seen) == {"".join(each) for each in permutations("abc")}


async def lost_update() -> None:
    """Wrong only if both read before either writes."""
    count = 0

    async def add(pauses: int) -> None:
        nonlocal count
        for _ in range(pauses):
            await trio.lowlevel.checkpoint()
        seen = count
        await trio.lowlevel.checkpoint()
        count = seen + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, 0)
        nursery.start_soon(add, 1)
    assert count == 2


def test_an_order_that_fails_is_found_and_its_note_repeats_it() -> None:
    with pytest.raises(AssertionError) as caught:
        every_order(lost_update)
    (note,) = caught.value.__notes__
    picks = note.partition("picks=")[2].removesuffix(")")
    with pytest.raises(AssertionError):
        run(lost_update, picks=[int(pick) for pick in picks.strip("[]").split(", ")])
    run(lost_update, picks=[])


def test_it_gives_up_at_the_limit_and_says_so() -> None:
    assert every_order(note_steps, "abc", 3, limit=50) == Orders(50, complete=False)


def test_a_scenario_that_does_something_else_each_time_is_reported() -> None:
    names = iter(["abc", "abc", "ab", "a", "a"])

    async def scenario() -> None:
        await note_steps(next(names), 1)

    with pytest.raises(RuntimeError, match="did something else"):
        every_order(scenario)


def test_a_task_that_swallows_its_cancellation_for_ever_does_not_hang_the_run() -> None:
    async def stubborn() -> None:
        for _ in range(5_000):  # not for ever: it swallows its end by the garbage collector too
            with suppress(BaseException):
                await trio.sleep(1)

    async def main() -> None:
        with trio.move_on_after(3):
            await stubborn()

    complaint = complaint_about_spinning(lambda: run(main, seed=1))
    assert re.match("no time passed while these tasks ran: .*main", complaint)
