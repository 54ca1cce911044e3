"""Crashes at every call of the store: a sound program passes, and each planted bug is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import trio

from lexigram_actors import LexigramError
from lexigram_actors.testing import (
    CrashPoint,
    SimulatedCrash,
    World,
    check_steps,
    crash_everywhere,
)
from lexigram_actors.testing.world import StoreKind
from tests.testing.spinning import complaint_about_spinning
from tests.testing.toy import STEPS, Toy, steps_of

STORES: list[StoreKind] = ["memory", "sqlite"]


async def check(world: World) -> None:
    """What must hold of the toy, whatever happened."""
    assert world.result == list(STEPS)
    assert await steps_of(world) == list(STEPS)
    check_steps(world.ledger, world.crashes)
    assert [world.started(name) > 0 for name in STEPS] == [True] * 3


@pytest.mark.parametrize("store", STORES)
def test_a_sound_program_survives_a_crash_at_every_call(store: StoreKind) -> None:
    report = crash_everywhere(Toy(), store=store, check=check)
    writes = 1 + 1 + len(STEPS) + 1 + 1  # enter, create, steps, end, leave
    assert report.points == writes * (4 if store == "sqlite" else 3) + 1  # and a load
    assert report.crashes == report.points
    assert report.lives > report.points


@pytest.mark.parametrize("store", STORES)
def test_a_sound_program_survives_a_crash_during_its_recovery(store: StoreKind) -> None:
    once = crash_everywhere(Toy(), store=store, check=check, hows=["before", "after"])
    twice = crash_everywhere(Toy(), store=store, check=check, hows=["before", "after"], twice=True)
    assert twice.points > 2 * once.points
    assert twice.crashes > twice.points


def test_the_same_seed_tries_the_same_points_and_the_number_can_be_limited() -> None:
    reports = [crash_everywhere(Toy(), check=check, twice=True, seed=5, most=4) for _ in range(2)]
    assert reports[0] == reports[1]
    assert crash_everywhere(Toy(), check=check, most=4).points == 4


# --- planted bugs ----------------------------------------------------------------------------


def failure_of(program: Any, check: Callable[[World], Any], **options: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        crash_everywhere(program, check=check, **options)
    return caught.value


def told_point(error: BaseException) -> list[CrashPoint]:
    (note,) = error.__notes__
    assert "\n" not in note
    found = re.findall(r"CrashPoint\((\d+), '(\w+)'\)", note.partition("only=")[2])
    return [CrashPoint(int(call), how) for call, how in found]


@pytest.mark.parametrize("store", STORES)
def test_a_promise_made_before_it_is_written_is_found_as_lost(store: StoreKind) -> None:
    async def until_the_first_crash(world: World) -> None:
        """A caller who heard the promise, and no more of it."""
        if world.life == 1:
            await Toy("promises before it is written")(world)

    async def kept(world: World) -> None:
        for name in world.acknowledged:
            assert await world.store.instances.get(name) is not None, f"{name} is lost"

    error = failure_of(until_the_first_crash, kept, store=store)
    assert "is lost" in str(error)
    (point,) = told_point(error)
    assert point.how == "before"


def test_an_acknowledged_write_that_the_store_forgets_is_found() -> None:
    async def check_it_is_there(world: World) -> None:
        assert await steps_of(world) == list(STEPS)

    async def forgetful(world: World) -> list[str]:
        result = await Toy()(world)
        if world.life == 2:
            journal = world._tables.instances["order"].journal
            journal.pop(max(journal))
        return result

    assert told_point(failure_of(forgetful, check_it_is_there))


@pytest.mark.parametrize("store", STORES)
def test_a_step_recorded_before_it_acts_is_found_as_left_out(store: StoreKind) -> None:
    error = failure_of(Toy("records before it acts"), check, store=store)
    assert isinstance(error, AssertionError)


@pytest.mark.parametrize("store", STORES)
def test_an_effect_repeated_after_it_was_recorded_is_found(store: StoreKind) -> None:
    error = failure_of(Toy("forgets what is recorded"), check, store=store)
    assert told_point(error)


def test_the_noted_point_repeats_the_failure_alone() -> None:
    program = Toy("forgets what is recorded")
    points = told_point(failure_of(program, check))
    again = failure_of(program, check, only=points)
    assert told_point(again) == points
    report = crash_everywhere(Toy(), check=check, only=points[0])
    assert (report.points, report.crashes) == (1, 1)


def test_a_bug_in_a_second_recovery_is_found_by_two_crashes_only() -> None:
    def check_effects(world: World) -> None:
        assert world.life < 3 or world.started("only in a third life") == 0

    async def program(world: World) -> None:
        await Toy()(world)
        if world.life == 3:
            await world.effect("only in a third life")

    crash_everywhere(program, check=check_effects)
    error = failure_of(program, check_effects, twice=True)
    assert len(told_point(error)) == 2


# --- dead is dead ----------------------------------------------------------------------------


def test_what_a_dead_program_does_is_refused_and_counted() -> None:
    async def program(world: World) -> None:
        try:
            await world.store.cache.set("key", 1)
        finally:
            with trio.move_on_after(1, shield=True):
                if world.lives[-1].is_dead:
                    await be_late(world)

    async def be_late(world: World) -> None:
        with pytest.raises(SimulatedCrash):
            await world.store.cache.set("key", 2)
        with pytest.raises(SimulatedCrash):
            await world.acknowledge("late")
        await world.effect("late")

    async def nothing_came_late(world: World) -> None:
        assert (await world.store.cache.get("key")).unwrap() == 1
        assert not world.ledger
        assert not world.acknowledged

    report = crash_everywhere(program, check=nothing_came_late, hows=["before", "after"])
    assert report.crashes == 2
    assert report.calls_after_death == 3 * report.crashes


def test_what_was_under_way_when_the_process_died_is_not_acknowledged() -> None:
    told: list[str] = []

    async def write(world: World, key: str) -> None:
        await world.store.cache.set(key, 1)
        told.append(key)

    async def program(world: World) -> None:
        if world.life > 1:
            return
        told.clear()
        async with trio.open_nursery() as nursery:
            for key in "abc":
                nursery.start_soon(write, world, key)

    def check_told(world: World) -> None:
        if world.crashes and world.lives[0].is_dead:
            assert len(told) < 3

    crash_everywhere(program, check=check_told, store="sqlite")


def test_a_program_that_survives_its_death_is_given_up() -> None:
    async def program(world: World) -> None:
        for _ in range(3_000):  # not for ever: it swallows its end by the garbage collector too
            try:
                await world.store.cache.get("key")
                return
            except BaseException:  # noqa: ASYNC103 - the bug
                if not trio.lowlevel.in_trio_run():
                    return  # noqa: ASYNC104 - collected

    def crash() -> None:
        crash_everywhere(program, check=lambda world: None, only=CrashPoint(1, "before"))

    assert "no time passed" in complaint_about_spinning(crash)


def test_a_life_that_waits_for_ever_is_given_up() -> None:
    async def program(world: World) -> None:
        await world.store.cache.get("key")
        if world.life > 1:
            await trio.sleep_forever()

    error = failure_of(program, lambda world: None)
    assert "did not end within" in str(error)


def test_a_run_in_which_nothing_crashed_fails() -> None:
    async def idle(world: World) -> None:
        await trio.lowlevel.checkpoint()

    error = failure_of(idle, lambda world: None)
    assert "nothing crashed" in str(error)
    calls = iter(range(3))

    async def fickle(world: World) -> None:
        for _ in range(3 - next(calls)):
            await world.store.cache.set("key", 1)

    error = failure_of(fickle, lambda world: None, hows=["after"], only=CrashPoint(3, "after"))
    assert "does the program do the same each time" in str(error)


def test_a_program_that_fails_by_itself_is_not_excused() -> None:
    async def program(world: World) -> None:
        await world.store.cache.get("key")
        if world.life == 2:
            raise OSError("in good health")

    assert isinstance(failure_of(program, lambda world: None), OSError)
    assert isinstance(failure_of(program, raising), ZeroDivisionError)


async def raising(world: World) -> None:
    raise ZeroDivisionError


def test_a_failure_that_is_only_reported_reaches_the_program_in_the_manner_of_the_view() -> None:
    seen: list[Any] = []

    async def program(world: World) -> None:
        answer = await world.store.cache.set("key", 1)
        seen.append(answer.unwrap_err() if answer.is_err() else None)
        try:
            await world.store.instances.enter("host", 10)
        except LexigramError as error:
            seen.append(error)
        assert (await world.store.cache.get("key")).unwrap() == 1

    def nothing(world: World) -> None: ...

    report = crash_everywhere(program, check=nothing, hows=["reported"])
    assert report.points == report.crashes == 2
    assert len([each for each in seen if each]) == 2


def test_death_inside_of_a_commit_undoes_it() -> None:
    present: list[Any] = []

    async def program(world: World) -> None:
        present.append((await world.store.cache.get("key")).unwrap())
        await world.store.cache.set("key", 1)

    async def nothing(world: World) -> None: ...

    for how, found in (("inside", None), ("after", 1)):
        present.clear()
        crash_everywhere(program, check=nothing, store="sqlite", only=CrashPoint(2, how))
        assert present[-1] == found


def test_time_goes_on_over_the_lives() -> None:
    times: list[float] = []

    async def program(world: World) -> None:
        times.append(world.time())
        await trio.sleep(5)
        await world.store.cache.get("key")

    crash_everywhere(program, check=lambda world: None)
    first, *_, last = times
    assert last - first == pytest.approx(6)


def test_a_world_is_used_as_it_is_meant() -> None:
    with pytest.raises(ValueError, match="'memory' or 'sqlite'"):
        World("postgres")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="folder"):
        World("sqlite")
    with pytest.raises(RuntimeError, match="open only while"):
        _ = World().store
    with pytest.raises(ValueError, match="ways"):
        CrashPoint(1, "sideways")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        crash_everywhere(Toy(), check=check, most=0)
