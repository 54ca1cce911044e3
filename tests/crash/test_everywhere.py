"""Crashed at every call of its store, a hosted instance of any kind ends as if it had not been.

The invariants are those of the design: a step that is over never starts again, a crash costs no
more starts than were under way, every start that was acknowledged comes to an end, and a
checkpoint is never ahead of what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from attrs import frozen

from lexigram_actors.testing import World, check_steps, crash_everywhere
from tests.crash import programs
from tests.crash.points import tried


@frozen
class Case:
    """A program, what must hold of its end, and of its effects."""

    program: Callable[[World], Any]
    check: Callable[[World], Any]
    after: Mapping[str, Sequence[str]] | None = None
    at_once: int = 1
    again: Mapping[str, int] = {}
    """Effects that begin more than once without any crash, with how often more."""

    def examine(self, world: World) -> Any:
        expected = dict.fromkeys(each.name for each in world.ledger)
        undisturbed = [
            each
            for name in expected
            for each in [next(e for e in world.ledger if e.name == name)] * self.starts(name)
        ]
        check_steps(
            world.ledger,
            world.crashes,
            undisturbed=undisturbed,
            after=self.after,
            at_once=self.at_once,
        )
        return self.check(world)

    def starts(self, name: str) -> int:
        """Return how often an effect begins without any crash."""
        return 1 + self.again.get(name, 0)


CASES = {
    "order": Case(
        programs.order, programs.check_order, programs.ORDER_AFTER, at_once=3, again={"flaky": 1}
    ),
    "question": Case(programs.question, programs.check_question),
    "pipeline": Case(programs.pipeline, programs.check_pipeline),
    "graph": Case(
        programs.graph,
        programs.check_graph,
        programs.GRAPH_AFTER,
        at_once=2,
        again={"right": 1, "left": 1},
    ),
    "bulk": Case(programs.bulk, programs.check_bulk, {}, at_once=2),
    "nested": Case(programs.nested, programs.check_nested, {"child": ["stage"]}),
    "failure": Case(programs.failure, programs.check_failure, {}, again={"pay": 1}),
    "cancelled": Case(programs.cancelled, programs.check_cancelled),
    "again": Case(programs.again, programs.check_again),
    "many": Case(programs.many, programs.check_many, {}, at_once=4),
}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("name", CASES)
def test_crashed_at_any_call_of_its_store_it_ends_as_if_it_had_not_been(
    name: str, store: Any
) -> None:
    case = CASES[name]
    report = crash_everywhere(case.program, check=case.examine, store=store, within=1e6)
    tried(f"{name} {store}", report.points)


@pytest.mark.parametrize("name", CASES)
def test_crashed_again_while_it_recovers_it_ends_as_if_it_had_not_been(name: str) -> None:
    case = CASES[name]
    report = crash_everywhere(case.program, check=case.examine, twice=True, most=40, within=1e6)
    tried(f"{name} twice", report.points)
