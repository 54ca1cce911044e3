"""Which cases are tried: every fault at every step, crossed with what else may go wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Final, TypeVar

from tests.saga.faults.plans import NAMES, VARIANTS, Case, Fault, UndoFault
from tests.saga.faults.predicting import predict
from tests.saga.faults.states import Event

FAULTS: Final[tuple[Fault, ...]] = ("once", "err", "raise", "late", "overdue", "cancel", "wait")
UNDO_FAULTS: Final[tuple[UndoFault, ...]] = ("raise", "err", "late")
ROWS: Final = tuple(name for name in VARIANTS if name != "group")
"""The variants without steps side by side: what happens can be told exactly."""

Item = TypeVar("Item")


def subsets(names: str) -> list[str]:
    """Return every choice of some of the letters."""
    every = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    return ["".join(each) for each in every]


def undone_in(case: Case) -> str:
    """Return the steps that may be undone in a case."""
    if case.variant == "group":
        stage = next(step.stage for step in case.steps if step.name == case.at)
        return "".join(step.name for step in case.steps if step.stage <= stage)
    return "".join(sorted({event.name for event in predict(case) if event.what == "undo"}))


def plain(variant: str, steps: str = NAMES, faults: Sequence[Fault] = FAULTS) -> list[Case]:
    """Return one fault at one step, each at each."""
    return [
        Case(variant, fault, at, probe=answer)
        for fault in faults
        for at in steps
        for answer in (("yes", "no", "raise") if variant == "probes" else ("yes",))
        if answer == "yes" or fault in ("late", "overdue", "cancel")
    ]


def with_failing_undos(
    cases: Sequence[Case], undos: Sequence[UndoFault] = UNDO_FAULTS
) -> Iterator[Case]:
    """Yield the cases with every set of failing undos, failing in each way."""
    for case in cases:
        for failing in subsets(undone_in(case))[1:]:
            for undo in undos:
                yield Case(case.variant, case.fault, case.at, undo, failing, probe=case.probe)


def cut_while_undoing(variant: str) -> Iterator[Case]:
    """Yield cases in which the saga is cancelled while a step is undone."""
    for case in plain(variant, faults=("err",)):
        undone = undone_in(case)
        for cut_at in undone:
            for failing in sorted({"", cut_at, undone[0]}):
                undo: UndoFault = "raise" if failing else ""
                yield Case(variant, "err", case.at, undo, failing, cut_at=cut_at)


def exactly(case: Case, events: Sequence[Event]) -> None:
    """Check that what happened is what was predicted."""
    expected = predict(case)
    assert list(events[:-1]) == expected[:-1]
    assert events[-1].stuck == expected[-1].stuck
    # Cancelled while it undoes it may say either how it failed, or that it was cancelled.
    assert events[-1].how == expected[-1].how or case.cut_at


def sample(items: Sequence[Item], most: int, seed: int) -> list[Item]:
    """Return some of the items, the same for the same seed."""
    return list(items) if len(items) <= most else random.Random(seed).sample(items, most)
