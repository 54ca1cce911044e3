"""Any steps, and anything that may have happened to them: what is kept of it, and what comes next.

The model here is written down another way: a log of what happened, of which each question is
answered anew, and the way back as a list that is worked out from the outset.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import ConfigurationError, StoreCorruptedError, StoreError
from lexigram_actors.host.compensation import (
    AGAIN,
    BEGAN,
    COMPENSATING,
    DONE,
    FORCED,
    PROBED,
    RESUMED,
    SKIPPED,
    STUCK,
    UNDOING,
    UNDONE,
)
from lexigram_actors.saga import SagaState, SagaStep
from lexigram_actors.saga.plan import Park, Plan, Probe, Undo
from lexigram_actors.saga.progress import Progress, progress_from

NAMES = ["a", "b", "c", "d", "e", "f"]
names = st.sampled_from(NAMES)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
FAILURE = {"step": "f", "error": {"type": "OSError", "message": "no"}}

Entry = tuple[str, str, Any]

entries: st.SearchStrategy[Entry] = st.one_of(
    st.tuples(st.just(BEGAN), st.just(""), st.none() | st.floats(0, 1e12)),
    st.tuples(st.just(DONE), names, st.builds(lambda value: {"value": value}, plain)),
    st.tuples(
        st.just(COMPENSATING),
        st.just(""),
        st.builds(lambda doubt: {**FAILURE, "in_doubt": doubt}, st.lists(names, unique=True)),
    ),
    st.tuples(st.just(PROBED), names, st.booleans()),
    st.tuples(st.sampled_from([UNDOING, UNDONE, AGAIN, SKIPPED, FORCED]), names, st.none()),
    st.tuples(
        st.just(STUCK),
        names,
        st.builds(
            lambda error: {"reason": "its undo failed", "error": error},
            st.none() | st.just(FAILURE["error"]),
        ),
    ),
    st.tuples(st.just(RESUMED), st.just(""), st.none()),
)


def folded(log: list[Entry], version: int = 1) -> Progress:
    """Return what a journal with these entries is read as."""
    progress = Progress(version)
    for kind, step, value in log:
        progress.apply(kind, step, value)
    return progress


def facts(progress: Progress) -> dict[str, Any]:
    """Return all of it that can be told."""
    orders = {name: list(getattr(progress, name)) for name in ("done", "undone", "in_doubt")}
    return {**progress.as_data(), **orders, "state": progress.state}


# --- what is kept --------------------------------------------------------------------------------


@given(st.lists(entries), st.integers(0, 99), st.integers(0, 99))
def test_what_is_stored_is_read_as_it_was(log: list[Entry], version: int, epoch: int) -> None:
    progress = folded(log, version)
    progress.epoch = epoch
    found = progress_from(str(progress.state), progress.as_data())
    assert facts(found) == facts(progress)
    assert found.as_data() == progress.as_data()
    assert found.news == []


@given(st.lists(entries))
def test_what_is_stored_may_go_through_json(log: list[Entry]) -> None:
    progress = folded(log)
    data = json.loads(json.dumps(progress.as_data()))
    assert facts(progress_from(str(progress.state), data)) == facts(progress)


@given(st.lists(entries))
def test_the_entries_make_up_what_the_live_object_knows(log: list[Entry]) -> None:
    live = Progress(1)
    for kind, step, value in log:
        live.note(kind, step, value)
    assert live.news == log
    assert facts(folded(live.news)) == facts(live)


@given(st.lists(entries), st.lists(entries))
def test_it_makes_no_difference_where_it_was_stored_in_between(
    first: list[Entry], then: list[Entry]
) -> None:
    progress = folded(first)
    read = progress_from(str(progress.state), progress.as_data())
    for kind, step, value in then:
        read.apply(kind, step, value)
    assert facts(read) == facts(folded([*first, *then]))


@given(st.lists(entries))
def test_what_is_stored_is_no_part_of_the_live_object(log: list[Entry]) -> None:
    progress = folded(log)
    before = facts(progress)
    data = progress.as_data()
    for value in data.values():
        if isinstance(value, dict | list):
            value.clear()
    assert facts(progress) == before


fields = ["version", "epoch", "deadline", "done", "undone", "in_doubt", "failure", "undoing"]
junk = st.one_of(
    plain,
    st.floats(),
    st.lists(st.lists(plain, max_size=3), max_size=2),
    st.dictionaries(names, plain),
)


@given(
    st.lists(entries),
    st.dictionaries(st.sampled_from([*fields, "stuck", "skipped", "again"]), junk),
    st.sampled_from([*map(str, SagaState), "walking", ""]),
)
def test_a_record_is_read_or_refused_and_nothing_else(
    log: list[Entry], damage: dict[str, Any], state: str
) -> None:
    data = {**folded(log).as_data(), **damage}
    try:
        found = progress_from(state, data)
    except StoreCorruptedError as error:
        assert isinstance(error, StoreError)
    else:
        again = progress_from(str(found.state), found.as_data())
        assert again.as_data() == found.as_data() or found.deadline != found.deadline


# --- a model: the log is asked -------------------------------------------------------------------


@define
class Model:
    """What holds after a log, each question answered from all of it."""

    log: list[Entry]

    def last(self, step: str, *kinds: str) -> int:
        found = [i for i, (kind, of, _) in enumerate(self.log) if of == step and kind in kinds]
        return found[-1] if found else -1

    def happened(self, step: str) -> bool:
        return any(
            of == step and (kind == DONE or (kind == PROBED and value))
            for kind, of, value in self.log
        )

    def is_undone(self, step: str) -> bool:
        return self.last(step, UNDONE, FORCED) > self.last(step, DONE)

    def is_skipped(self, step: str) -> bool:
        return self.last(step, SKIPPED) >= 0

    def is_stuck(self, step: str) -> bool:
        return self.last(step, STUCK) > self.last(step, UNDONE, FORCED, SKIPPED, AGAIN)

    def is_wanted_again(self, step: str) -> bool:
        return self.last(step, AGAIN) > self.last(step, UNDONE, FORCED, SKIPPED, STUCK)

    def is_in_doubt(self, step: str) -> bool:
        entered = -1
        for i, (kind, of, value) in enumerate(self.log):
            if kind == COMPENSATING and step in value["in_doubt"]:
                entered = i
            elif kind == RESUMED or (of == step and kind in (DONE, PROBED)):
                entered = -1
        return entered >= 0

    def has_failed(self) -> bool:
        kinds = [kind for kind, _, _ in self.log if kind in (COMPENSATING, RESUMED)]
        return bool(kinds) and kinds[-1] == COMPENSATING


@given(st.lists(entries))
def test_what_is_known_is_what_the_log_says(log: list[Entry]) -> None:
    progress, model = folded(log), Model(log)
    for name in NAMES:
        assert (name in progress.done) == model.happened(name)
        assert (name in progress.undone) == model.is_undone(name)
        assert (name in progress.skipped) == model.is_skipped(name)
        assert (name in progress.stuck) == model.is_stuck(name)
        assert (name in progress.again) == model.is_wanted_again(name)
        assert (name in progress.in_doubt) == model.is_in_doubt(name)
        assert (name in progress.left) == (model.is_stuck(name) or model.is_skipped(name))
    assert (progress.failure is not None) == model.has_failed()


# --- the way back --------------------------------------------------------------------------------


def act() -> None: ...


@frozen
class Shape:
    """A step, as far as the plan looks at it."""

    name: str
    has_undo: bool = True
    idempotent: bool = False
    has_probe: bool = False
    pivot: bool = False

    def step(self) -> SagaStep:
        return SagaStep(
            self.name,
            act,
            act if self.has_undo else None,
            idempotent=self.idempotent,
            probe=act if self.has_probe else None,
            pivot=self.pivot,
        )


shapes = st.builds(
    lambda name, undo, idempotent, probe, pivot: Shape(name, undo, idempotent, probe, pivot == 0),
    names,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
)


@define
class Case:
    """A saga that has gone some way, and is to be undone."""

    shapes: list[Shape]
    asks: bool
    done: list[str]
    in_doubt: list[str]
    earlier: list[Entry]
    fates: dict[str, str] = field(factory=dict)

    def plan(self) -> Plan:
        plan = Plan("probe" if self.asks else "auto")
        for shape in self.shapes:
            plan.add((shape.step(),))
        return plan

    def log(self) -> list[Entry]:
        return [
            (BEGAN, "", None),
            *[(DONE, name, {"value": None}) for name in self.done],
            (COMPENSATING, "", {**FAILURE, "in_doubt": self.in_doubt}),
            *self.earlier,
        ]


settling = st.tuples(st.sampled_from([UNDONE, SKIPPED, FORCED]), names, st.none()) | st.tuples(
    st.just(STUCK), names, st.just({"reason": "", "error": None})
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    made = draw(st.lists(shapes, unique_by=lambda shape: shape.name, max_size=6))
    order = draw(st.permutations(NAMES))  # with steps that the class has no more
    split = draw(st.integers(0, 6))
    end = draw(st.integers(split, min(6, split + 2)))
    earlier = draw(st.lists(settling, max_size=3))
    if draw(st.booleans()):
        earlier.append((UNDOING, draw(names), None))
    fates = draw(st.fixed_dictionaries({name: st.sampled_from(FATES) for name in NAMES}))
    return Case(made, draw(st.booleans()), order[:split], order[split:end], earlier, fates)


FATES = ["undone", "fails", "happened", "not", "cannot say"]


def predicted(case: Case) -> list[tuple[str, str]]:
    """Return all that is done on the way back, as a list worked out from the outset."""
    shapes = {shape.name: shape for shape in case.shapes}
    if any(shapes[name].pivot for name in case.done if name in shapes):
        return []
    model = Model(case.log())
    cut_off = [step for kind, step, _ in case.earlier if kind == UNDOING]
    way: list[tuple[str, str]] = []
    late: list[tuple[str, str]] = []  # a step that is found to have happened is the last done

    def undo(name: str) -> list[tuple[str, str]]:
        shape = shapes[name]
        if not shape.has_undo:
            return []
        if name in cut_off and not shape.idempotent:
            return [("park", name)]
        return [("undo", name)]

    def settled(name: str) -> bool:
        return model.is_undone(name) or model.is_skipped(name) or model.is_stuck(name)

    doubtful = [name for name in reversed(case.in_doubt) if not settled(name)]
    pivots = [name for name in doubtful if name in shapes and shapes[name].pivot]
    doubtful = [*pivots, *(name for name in doubtful if name not in pivots)]
    for name in doubtful:
        shape = shapes.get(name)
        if shape is None:
            way.append(("park", name))
        elif case.asks and shape.has_probe:
            way.append(("probe", name))
            if case.fates[name] in ("undone", "fails", "happened"):
                if shape.pivot:
                    return way
                late = [*undo(name), *late]
            elif case.fates[name] == "cannot say":
                way.append(("stuck", name))
        elif shape.has_undo and shape.idempotent:
            way.append(("undo", name))
        else:
            way.append(("park", name))
    way += late
    for name in reversed(case.done):
        if name not in case.in_doubt and not settled(name):
            way += [("park", name)] if name not in shapes else undo(name)
    return way


def walked(case: Case) -> tuple[list[tuple[str, str]], Progress]:
    """Go all the way back, as a saga does."""
    plan, progress = case.plan(), folded(case.log())
    way: list[tuple[str, str]] = []
    for _ in range(50):
        action = plan.backward(progress)
        match action:
            case None:
                return way, progress
            case Park(name, reason):
                assert reason
                way.append(("park", name))
                progress.note(STUCK, name, {"reason": reason, "error": None})
            case Probe(step):
                way.append(("probe", step.name))
                fate = case.fates[step.name]
                if fate == "cannot say":
                    way.append(("stuck", step.name))
                    progress.note(STUCK, step.name, {"reason": "", "error": None})
                else:
                    progress.note(PROBED, step.name, fate != "not")
            case Undo(step):
                way.append(("undo", step.name))
                failed = case.fates[step.name] == "fails"
                value = {"reason": "", "error": None} if failed else None
                progress.note(STUCK if failed else UNDONE, step.name, value)
    raise AssertionError("it does not come to an end")


@given(cases())
def test_the_way_back_is_the_one_that_was_worked_out(case: Case) -> None:
    assert walked(case)[0] == predicted(case)


@given(cases())
def test_on_the_way_back_nothing_is_done_twice_nor_to_what_is_settled(case: Case) -> None:
    model = Model(case.log())
    way, _ = walked(case)
    assert len(set(way)) == len(way)
    ends = [name for what, name in way if what in ("undo", "park", "stuck")]
    assert len(set(ends)) == len(ends)
    for name in {name for _, name in way}:
        assert not model.is_undone(name)
        assert not model.is_skipped(name)
        assert not model.is_stuck(name)


@given(cases())
def test_what_is_undone_was_done_or_in_doubt_and_in_the_reverse_order(case: Case) -> None:
    way, _ = walked(case)
    undone = [name for what, name in way if what == "undo"]
    assert set(undone) <= {*case.done, *case.in_doubt}
    done = [name for name in undone if name in case.done]
    assert done == [name for name in reversed(case.done) if name in done]
    assert undone == [*[name for name in undone if name not in case.done], *done]


@given(cases())
def test_at_the_end_every_step_that_was_done_is_accounted_for(case: Case) -> None:
    _, progress = walked(case)
    plan = case.plan()
    if plan.is_past_pivot(progress):
        return
    for name in progress.done:
        step = plan.steps.get(name)
        settled = name in progress.undone or name in progress.left
        assert settled or (step is not None and step.compensation is None)
    for name in progress.in_doubt:
        assert name in progress.undone or name in progress.left
    assert plan.backward(progress) is None


@given(cases())
def test_it_is_the_same_way_whenever_it_was_stored_in_between(case: Case) -> None:
    plan, progress = case.plan(), folded(case.log())
    read = progress_from(str(progress.state), progress.as_data())
    assert plan.backward(read) == plan.backward(progress)


@given(cases(), st.lists(names, unique=True))
def test_what_a_person_wants_again_is_undone_if_there_is_a_way(
    case: Case, again: list[str]
) -> None:
    _, progress = walked(case)
    plan = case.plan()
    settled = {*progress.undone, *progress.skipped}
    wanted = [name for name in again if name in progress.stuck and name not in settled]
    for name in wanted:
        progress.note(AGAIN, name)
    before = set(progress.stuck)
    met: list[str] = []
    while (action := plan.backward(progress)) is not None:
        name = action.name if isinstance(action, Park) else action.step.name
        met.append(name)
        if isinstance(action, Undo):
            progress.note(UNDONE, name)
        elif isinstance(action, Park):
            step = plan.steps.get(name)
            assert step is None or step.compensation is None
            progress.note(STUCK, name, {"reason": "", "error": None})
        else:
            progress.note(PROBED, name, True)
    assert set(met) <= set(wanted)
    assert before <= set(progress.stuck)
    if not plan.is_past_pivot(progress):
        undoable = {name for name, step in plan.steps.items() if step.compensation is not None}
        happened = {*case.done, *case.in_doubt}
        assert {*met} & undoable == {*wanted} & undoable & happened


# --- the way forward -----------------------------------------------------------------------------


stages = st.lists(st.lists(shapes, min_size=1, max_size=3), max_size=5)


@given(stages)
def test_a_plan_takes_each_name_once_and_is_untouched_by_what_it_refuses(
    given: list[list[Shape]],
) -> None:
    plan = Plan()
    taken: list[list[str]] = []
    for stage in given:
        named = [shape.name for shape in stage]
        every = [name for each in taken for name in each]
        if len({*named, *every}) == len(named) + len(every):
            plan.add(tuple(shape.step() for shape in stage))
            taken.append(named)
        else:
            with pytest.raises(ConfigurationError):
                plan.add(tuple(shape.step() for shape in stage))
        assert [[step.name for step in each] for each in plan.stages] == taken
        assert list(plan.steps) == [name for each in taken for name in each]
    pivots = [shape.name for stage in given for shape in stage if shape.pivot]
    assert set(plan.pivots) <= set(pivots)


@given(st.lists(shapes, unique_by=lambda shape: shape.name), st.lists(names), st.data())
def test_what_is_ahead_is_what_is_not_done_in_the_order_it_was_added(
    given: list[Shape], done: list[str], data: st.DataObject
) -> None:
    plan = Plan()
    left = list(given)
    while left:
        size = data.draw(st.integers(1, len(left)))
        plan.add(tuple(shape.step() for shape in left[:size]))
        left = left[size:]
    progress = folded([(DONE, name, {"value": None}) for name in done])
    ahead = [step.name for stage in plan.ahead(progress) for step in stage]
    assert ahead == [shape.name for shape in given if shape.name not in done]
