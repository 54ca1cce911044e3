"""I4 for sagas on their own: whatever goes wrong, wherever, and wherever the process dies."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from lexigram_actors.storage.sqlite.store import SQLiteStore
from lexigram_actors.testing import run
from tests.saga.faults.cases import tried
from tests.saga.faults.dying import How
from tests.saga.faults.grids import (
    ROWS,
    cut_while_undoing,
    exactly,
    plain,
    sample,
    with_failing_undos,
)
from tests.saga.faults.living import Course, Crash, Operation, Shelf, try_case
from tests.saga.faults.plans import VARIANTS, Case

SEED: Final = 20
FRESH_SEED: Final = random.SystemRandom().randrange(10**6)
"""Which cases are tried; what fails bears a note with the case itself."""

MOST: Final = 40


# --- no process dies -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fault_at_any_step_undoes_exactly_what_was_done(variant: str) -> None:
    cases = [Case(variant), *plain(variant), *cut_while_undoing(variant)]
    tried(f"faults {variant}", run(all_of, cases))


@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_undos_fail_the_others_are_undone_and_these_are_listed(variant: str) -> None:
    cases = list(with_failing_undos(plain(variant)))
    chosen = [*sample(cases, MOST, SEED), *sample(cases, MOST, FRESH_SEED)]
    tried(f"failing undos {variant}", run(all_of, chosen))


async def all_of(cases: Iterable[Case]) -> int:
    number = 0
    for case in cases:
        course = await try_case(case)
        if case.variant in ROWS:
            exactly(case, course.trial.events)
        number += 1
    return number


# --- one dies --------------------------------------------------------------------------------


def cases_to_crash(variant: str) -> list[Case]:
    """Return some cases of each sort."""
    cases = [Case(variant), *plain(variant, "b", ("late", "wait"))]
    cases += plain(variant, "d", ("raise", "cancel"))
    failing = list(with_failing_undos(plain(variant, "d", ("err", "cancel"))))
    cut = list(cut_while_undoing(variant))
    more = [(failing, SEED), (failing, FRESH_SEED), (cut, FRESH_SEED)]
    return [*cases, *(case for choice, seed in more for case in sample(choice, 1, seed))]


async def every_crash(case: Case, how: How, shelf: Shelf | None = None) -> AsyncIterator[Course]:
    """Try a case with one crash at each moment, until one comes too late."""
    moment = 1
    while True:
        course = await try_case(case, Crash(moment, how), shelf=shelf)
        if not course.struck[0]:
            return
        yield course
        moment = course.struck[0] + 1


async def crash_all(cases: Sequence[Case], how: How, shelf: Shelf | None = None) -> int:
    number = 0
    for case in cases:
        crashes = 0
        async for _ in every_crash(case, how, shelf):
            crashes += 1
        assert crashes > len(case.steps) or how != "dies", f"{case} had {crashes} moments"
        number += crashes
    return number


@pytest.mark.parametrize("variant", VARIANTS)
def test_after_a_crash_at_any_moment_it_ends_as_promised(variant: str) -> None:
    tried(f"crashes {variant}", run(crash_all, cases_to_crash(variant), "dies"))


@pytest.mark.parametrize("how", ["reported", "refused"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_after_a_failure_of_its_store_it_stops_and_can_be_executed_again(
    variant: str, how: How
) -> None:
    tried(f"{how} {variant}", run(crash_all, cases_to_crash(variant), how))


@pytest.mark.parametrize("variant", VARIANTS)
def test_after_two_crashes_it_ends_as_promised(variant: str) -> None:
    async def crash_twice() -> int:
        chance = random.Random(SEED)
        number = 0
        for case in cases_to_crash(variant):
            for _ in range(5):
                crashes = [Crash(chance.randrange(1, 40)), Crash(chance.randrange(1, 25))]
                course = await try_case(case, *crashes)
                number += sum(1 for each in course.struck if each) == 2
        return number

    number = run(crash_twice)
    assert number > 10
    tried(f"two crashes {variant}", number)


@pytest.mark.parametrize("variant", ["mixed", "group"])
def test_so_it_is_on_a_sqlite_file(variant: str, tmp_path: Path) -> None:
    async def on_file() -> int:
        async with SQLiteStore(tmp_path / "s.db", synchronous="normal", inline=True) as store:
            return await crash_all(cases_to_crash(variant)[::4], "dies", Shelf(store.cache))

    tried(f"crashes on a file {variant}", run(on_file))


# --- an operator -----------------------------------------------------------------------------

OPERATIONS: Final[tuple[tuple[Operation, ...], ...]] = (
    (("retry", ""),),
    (("skip", "a"), ("retry", "")),
    (("force", "b"), ("retry", "")),
    (("retry", ""), ("skip", "a"), ("force", "b")),
)


def stuck_cases(variant: str) -> Iterator[Case]:
    for failing in ("a", "ab", "bc"):
        for heals in (0, 1, 4):
            yield Case(variant, "err", "d", "raise", failing, heals)
    yield Case(variant, "cancel", "c", "err", "a", 1)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "pivot"])
def test_an_operator_ends_what_is_stuck_whatever_crashes_meanwhile(variant: str) -> None:
    async def operate() -> int:
        number = 0
        for case in stuck_cases(variant):
            for operations in OPERATIONS:
                await try_case(case, operations=operations)
                number += 1
        return number

    async def crash() -> int:
        number = 0
        for case in list(stuck_cases(variant))[1::3]:
            for operations in OPERATIONS[:3]:
                moment = 1
                while True:
                    never = Crash(10**6)
                    course = await try_case(case, never, Crash(moment), operations=operations)
                    if not any(course.struck):
                        break
                    moment = max(course.struck) + 1
                    number += 1
        return number

    tried(f"operator {variant}", run(operate) + run(crash))


def test_what_has_stopped_past_its_pivot_goes_on_when_it_is_executed_again() -> None:
    async def go_on() -> int:
        number = 0
        for at in "de":
            case, moment = Case("pivot", "mended", at), 1
            while True:
                crashes = [Crash(10**6), Crash(moment)]
                course = await try_case(case, *crashes, operations=[("go on", "")])
                assert course.trial.events[-1].how == "ok"
                if not any(course.struck):
                    break
                moment = max(course.struck) + 1
                number += 1
        return number

    tried("past the pivot", run(go_on))
