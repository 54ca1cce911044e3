from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.pipeline.plan import (
    Outline,
    Plan,
    Progress,
    fits,
    occurrences,
    problems_of,
)

NAMES = "abcdefghij"


@st.composite
def dags(draw: st.DrawFn) -> list[Outline]:
    """Steps whose dependencies make no circle, added in any order."""
    count = draw(st.integers(0, len(NAMES)))
    outlines = [
        Outline(NAMES[i], tuple(draw(st.sets(st.sampled_from(NAMES[:i])) if i else st.just(()))))
        for i in range(count)
    ]
    return draw(st.permutations(outlines))


def ancestors(steps: list[Outline], name: str) -> set[str]:
    by_name = {step.name: step for step in steps}
    found: set[str] = set()
    waiting = list(by_name[name].dependencies)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += by_name[each].dependencies
    return found


@given(dags())
def test_the_order_has_every_step_once_and_after_its_dependencies(steps: list[Outline]) -> None:
    assert problems_of(steps) == []
    order = [steps[position].name for position in Plan.of(steps).order]
    assert sorted(order) == sorted(step.name for step in steps)
    for step in steps:
        for dependency in step.dependencies:
            assert order.index(dependency) < order.index(step.name)


@given(dags())
def test_of_the_steps_that_may_start_the_one_added_first_does(steps: list[Outline]) -> None:
    done: set[str] = set()
    for position in Plan.of(steps).order:
        ready = [
            index
            for index, step in enumerate(steps)
            if step.name not in done and done.issuperset(step.dependencies)
        ]
        assert position == min(ready)
        done.add(steps[position].name)


@given(dags(), st.sets(st.sampled_from(NAMES)), st.randoms(use_true_random=False))
def test_side_by_side_exactly_the_steps_behind_a_failure_are_skipped(
    steps: list[Outline], failing: set[str], random: object
) -> None:
    plan = Plan.of(steps)
    progress = Progress(plan)
    running: list[int] = []
    ended: set[str] = set()
    skipped: dict[str, str] = {}
    while True:
        while random.random() < 0.7 and (position := progress.take()) is not None:
            assert ended.issuperset(steps[position].dependencies)
            running.append(position)
        if not running:
            if (position := progress.take()) is None:
                break
            running.append(position)
        position = running.pop(random.randrange(len(running)))
        name = steps[position].name
        assert name not in ended
        ended.add(name)
        for each, culprit in progress.end(position, failed=name in failing):
            skipped[steps[each].name] = steps[culprit].name
            ended.add(steps[each].name)
    assert ended == {step.name for step in steps}
    positions = {step.name: position for position, step in enumerate(steps)}
    for step in steps:
        guilty = ancestors(steps, step.name) & failing - set(skipped)
        assert (step.name in skipped) == bool(guilty)
        if guilty:
            assert skipped[step.name] == min(guilty, key=positions.__getitem__)


@given(dags(), st.sets(st.sampled_from(NAMES)))
def test_one_at_a_time_and_side_by_side_name_the_same_culprits(
    steps: list[Outline], failing: set[str]
) -> None:
    plan = Plan.of(steps)
    broken: dict[int, int] = {}
    order = []
    for position in plan.order:
        culprit = plan.culprit(position, broken)
        if culprit is None:
            order.append(position)
            if steps[position].name in failing:
                broken[position] = position
        else:
            broken[position] = culprit
    progress, same_order, same = Progress(plan), [], {}
    while (position := progress.take()) is not None:
        same_order.append(position)
        failed = steps[position].name in failing
        if failed:
            same[position] = position
        same.update(progress.end(position, failed=failed))
    assert order == same_order
    assert broken == same


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES))), max_size=10))
def test_steps_without_problems_can_all_run_and_steps_with_a_circle_are_refused(
    given_steps: list[tuple[str, set[str]]],
) -> None:
    steps = [Outline(name, tuple(dependencies)) for name, dependencies in given_steps]
    problems = problems_of(steps)
    names = [step.name for step in steps]
    sound = len(set(names)) == len(names) and all(
        dependency in names for step in steps for dependency in step.dependencies
    )
    if sound:
        stuck = {step.name for step in steps if step.name in ancestors(steps, step.name)}
        assert bool(problems) == bool(stuck)
    else:
        assert problems
    if not problems:
        assert len(Plan.of(steps).order) == len(steps)


FEW = st.sampled_from("abcdef")
"""Few names, so that they often meet."""


def outline(inside: st.SearchStrategy[tuple[Outline, ...]]) -> st.SearchStrategy[Outline]:
    """Any step, sound or not, with such groups of steps inside."""
    dependencies = st.lists(FEW, max_size=2).map(tuple)
    return st.builds(Outline, FEW, dependencies, st.lists(inside, max_size=2).map(tuple))


PLAIN = outline(st.just(()))
INSIDE = st.lists(outline(st.lists(PLAIN, max_size=2).map(tuple)), max_size=2).map(tuple)


@given(st.lists(PLAIN | outline(INSIDE), max_size=6))
def test_a_step_fits_exactly_where_nothing_is_wrong_with_it_and_those_before(
    steps: list[Outline],
) -> None:
    sound: list[Outline] = []
    for step in steps:
        by_name = {each.name: each for each in sound}
        fine = fits(step, by_name, occurrences(sound))
        assert fine == (problems_of([*sound, step]) == [])
        if fine:
            sound.append(step)
