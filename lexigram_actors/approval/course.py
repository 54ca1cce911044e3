"""A request under way: what its pause holds, and what people are told of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final, final

from attrs import frozen

from lexigram_actors.approval.deciding import Seat, Standing, standing
from lexigram_actors.approval.models import ApprovalDecision, ApprovalOutcome, ApprovalQuestion
from lexigram_actors.approval.plan import Plan
from lexigram_actors.host.seam import escaped

SLACK: Final = 0.01
"""Seconds by which a timer may be early: another clock wakes than the one that is asked."""


@final
@frozen(kw_only=True)
class Course:
    """A request under way: all that its pause holds."""

    plan: Plan
    begun_at: float
    said: tuple[ApprovalDecision, ...] = ()
    run_id: str | None = None

    def standing(self) -> Standing:
        """Return where it stands."""
        return standing(self.plan, self.begun_at, self.said)

    def after(self, decision: ApprovalDecision | None) -> Course:
        """Return it after something more was said; None: nothing was."""
        if decision is None:
            return self
        said = (*self.said, decision)
        return Course(plan=self.plan, begun_at=self.begun_at, said=said, run_id=self.run_id)

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data."""
        said = [decision.as_data() for decision in self.said]
        facts = {"begun_at": self.begun_at, "run_id": self.run_id}
        return {**facts, **self.plan.as_data(), "said": said}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Course:
        """Return what `as_data` was made of; raises an `Exception` if it was something else."""
        course = cls(
            plan=Plan.from_data(data),
            begun_at=float(data["begun_at"]),
            said=tuple(ApprovalDecision(**row) for row in data["said"]),
            run_id=data["run_id"],
        )
        course.standing()
        return course


def question_name(level: str, person: str) -> str:
    """Return the name of the question that a person is asked at a level."""
    return f"{escaped(level)}/{escaped(person)}"


def at_timer(now: Standing, at: float) -> float:
    """Return the time, moved to the end of the level's where a timer was early."""
    expires_at = now.expires_at
    return at if expires_at is None or at < expires_at - SLACK else max(at, expires_at)


def open_questions(now: Standing) -> dict[str, str]:
    """Return whose seat each open question is about, by its name."""
    if now.current is None:
        return {}
    level = now.current.level.name
    return {question_name(level, seat.holder): first for first, seat in now.open.items()}


def questions(course: Course, at: float) -> list[ApprovalQuestion]:
    """Return what is asked."""
    now = course.standing()
    return [question_to(course, now, seat, at) for seat in now.open.values()]


def question_to(course: Course, now: Standing, seat: Seat, at: float) -> ApprovalQuestion:
    """Return what the holder of a seat is asked."""
    assert now.current is not None
    level = now.current.level
    node = question_name(level.name, seat.holder)
    return ApprovalQuestion(
        node,
        level.prompt,
        node if course.run_id is None else f"{course.run_id}/{node}",
        None,
        inf if now.expires_at is None else max(0.0, now.expires_at - at),
        level.name,
        seat.holder,
    )


def outcome_of(name: str, course: Course, now: Standing) -> ApprovalOutcome:
    """Return where a request stands, as people are told."""
    position = now.position
    return ApprovalOutcome(
        chain=name,
        status=now.status,
        level=None if position is None else now.plan.levels[position].name,
        decisions=course.said,
        levels=now.levels(),
        begun_at=now.begun_at,
        ended_at=now.ended_at,
    )
