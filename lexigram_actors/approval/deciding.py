"""Where a request stands after what was said, and whether more may be said. Pure.

    plan, what was said ──▶ Standing ──▶ who is asked, until when, or what came of it

`standing` goes through what was said from the beginning; nothing else is remembered. `decided` and
`expired` return what is to be appended to it, or refuse. Time is a number that the caller gives.

**Invariants:** of a level that is asked, every seat that is not decided has one holder, all holders
are different, and none of them held another seat of the level before. The level is over as soon as
its outcome is certain, so while it is asked, both outcomes are possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

from attrs import evolve, frozen

from lexigram_actors.approval.answers import Answer
from lexigram_actors.approval.models import (
    ApprovalDecision,
    ApprovalStatus,
    LevelOutcome,
    OnExpiry,
    SeatOutcome,
    Verdict,
)
from lexigram_actors.approval.plan import Plan, PlannedLevel
from lexigram_actors.errors import AnswerInvalidError

MOST_DELEGATIONS: Final = 5
"""How often one seat may be passed on."""

PENDING = ApprovalStatus.PENDING


@final
@frozen
class Seat:
    """One answer that a level asks for: who has, and had, to give it, and what it is."""

    holders: tuple[str, ...]
    verdict: Verdict | None = None

    @property
    def holder(self) -> str:
        """Who is asked, or gave the answer."""
        return self.holders[-1]

    def after(self, decision: ApprovalDecision) -> Seat:
        """Return the seat after its holder said something."""
        if self.verdict is not None or decision.by != self.holder:
            raise ValueError(f"{decision.by!r} is not asked for the seat of {self.holders[0]!r}")
        if decision.verdict is Verdict.DELEGATED and decision.to is not None:
            return Seat((*self.holders, decision.to))
        return Seat(self.holders, decision.verdict)


@final
@frozen
class AskedLevel:
    """A level from when it was asked.

    Attributes:
        seats: By who was asked at first.
        status: EXPIRED also where it was escalated.
    """

    level: PlannedLevel
    asked_at: float
    seats: Mapping[str, Seat]
    status: ApprovalStatus = PENDING
    ended_at: float | None = None

    @classmethod
    def begun(cls, level: PlannedLevel, at: float) -> AskedLevel:
        """Return the level as it is asked at a time."""
        return cls(level, at, {person: Seat((person,)) for person in level.seats})

    @property
    def expires_at(self) -> float | None:
        """When it can be answered no more; None: never."""
        after = self.level.expires_after
        return None if after is None else self.asked_at + after

    @property
    def open(self) -> dict[str, Seat]:
        """The seats that are not decided, by who was asked at first."""
        return {first: seat for first, seat in self.seats.items() if seat.verdict is None}

    def after(self, decision: ApprovalDecision) -> AskedLevel:
        """Return the level after something was said, or its time was over."""
        if decision.verdict is Verdict.EXPIRED:
            consent = self.level.on_expiry is OnExpiry.APPROVE
            status = ApprovalStatus.APPROVED if consent else ApprovalStatus.EXPIRED
            return evolve(self, status=status, ended_at=decision.at)
        first = str(decision.seat)
        seat = self.seats[first].after(decision)
        changed = evolve(self, seats={**self.seats, first: seat})
        status = changed.certain
        return (
            changed if status is PENDING else evolve(changed, status=status, ended_at=decision.at)
        )

    @property
    def certain(self) -> ApprovalStatus:
        """What the answers so far make certain."""
        verdicts = [seat.verdict for seat in self.seats.values()]
        against = verdicts.count(Verdict.REJECTED)
        if verdicts.count(Verdict.APPROVED) >= self.level.needed:
            return ApprovalStatus.APPROVED
        if (self.level.veto and against) or len(verdicts) - against < self.level.needed:
            return ApprovalStatus.REJECTED
        return PENDING


@final
@frozen
class Standing:
    """Where a request stands.

    Attributes:
        asked: The levels that are or were asked, by position, in order.
        status: Of the request.
        position: Of the level that is asked, or decided; None where none applied.
        begun_at, ended_at: Unix seconds.
    """

    plan: Plan
    asked: Mapping[int, AskedLevel]
    status: ApprovalStatus
    begun_at: float
    ended_at: float | None = None

    @property
    def position(self) -> int | None:
        """Of the level that is asked, or was asked last; None where none applied."""
        return max(self.asked, default=None)

    @property
    def current(self) -> AskedLevel | None:
        """The level that is asked; None where the request is decided."""
        position = self.position
        return None if position is None or self.status is not PENDING else self.asked[position]

    @property
    def open(self) -> dict[str, Seat]:
        """The seats that are asked, by who was asked at first."""
        return {} if self.current is None else self.current.open

    @property
    def expires_at(self) -> float | None:
        """When the level that is asked can be answered no more; None: never."""
        return None if self.current is None else self.current.expires_at

    def levels(self) -> list[LevelOutcome]:
        """Return where each level stands."""
        return [self._level(place, level) for place, level in enumerate(self.plan.levels)]

    def _level(self, place: int, level: PlannedLevel) -> LevelOutcome:
        asked = self.asked.get(place)
        if asked is None:
            later = self.position is not None and place > self.position
            comes = self.status is PENDING and later and level.applies
            status = PENDING if comes else ApprovalStatus.SKIPPED
            seats = [SeatOutcome(holders=(person,)) for person in level.seats]
            return LevelOutcome(name=level.name, status=status, needed=level.needed, seats=seats)
        return LevelOutcome(
            name=level.name,
            status=asked.status,
            needed=level.needed,
            seats=[SeatOutcome(holders=s.holders, verdict=s.verdict) for s in asked.seats.values()],
            asked_at=asked.asked_at,
            ended_at=asked.ended_at,
            expires_at=asked.expires_at,
        )

    # --- one step further

    def after(self, decision: ApprovalDecision) -> Standing:
        """Return where it stands after something was said, or the time of the level was over."""
        position, current = self.position, self.current
        if position is None or current is None or current.level.name != decision.level:
            raise ValueError(f"nobody is asked at level {decision.level!r}")
        level = current.after(decision)
        asked = {**self.asked, position: level}
        if level.status is PENDING:
            return evolve(self, asked=asked)
        escalates = level.level.on_expiry is OnExpiry.ESCALATE
        if level.status is ApprovalStatus.APPROVED:
            following, without = self.plan.after(position), ApprovalStatus.APPROVED
        elif level.status is ApprovalStatus.EXPIRED and escalates:
            following, without = self.plan.after(position, escalated=True), ApprovalStatus.EXPIRED
        else:
            following, without = None, level.status
        return moved(evolve(self, asked=asked), following, without, decision.at)


def moved(
    standing: Standing, following: int | None, without: ApprovalStatus, at: float
) -> Standing:
    """Return where it stands when the next level is asked; without one, it is decided."""
    if following is None:
        return evolve(standing, status=without, ended_at=at)
    level = AskedLevel.begun(standing.plan.levels[following], at)
    return evolve(standing, asked={**standing.asked, following: level})


def begun(plan: Plan, at: float) -> Standing:
    """Return where a request stands at its beginning: approved where no level applies."""
    return moved(Standing(plan, {}, PENDING, at), plan.after(-1), ApprovalStatus.APPROVED, at)


def standing(plan: Plan, begun_at: float, said: Sequence[ApprovalDecision]) -> Standing:
    """Return where a request stands after everything that was said, in order.

    Raises:
        ValueError, KeyError: That was never said about this plan.
    """
    found = begun(plan, begun_at)
    for decision in said:
        found = found.after(decision)
    return found


# --- what may be said ------------------------------------------------------------------------


def expired(now: Standing, at: float) -> ApprovalDecision | None:
    """Return that the time of the level is over; None where it is not."""
    current, expires_at = now.current, now.expires_at
    if current is None or expires_at is None or at < expires_at:
        return None
    return ApprovalDecision(level=current.level.name, verdict=Verdict.EXPIRED, at=at)


def decided(asker: str, now: Standing, answer: Answer, at: float) -> ApprovalDecision:
    """Return what an answer says, as it counts.

    Whether it comes in time is left to the caller.

    Args:
        asker: The question, for the error.

    Raises:
        AnswerInvalidError: It does not count: it is not of somebody who is asked, or is passed on
            to somebody who cannot have it.
    """
    first = seat_held_by(now, answer.by)
    current = now.current
    if first is None or current is None:
        raise AnswerInvalidError(asker, why_not_asked(now, answer.by))
    if answer.verdict is Verdict.DELEGATED:
        problem = delegation_problem(now.plan, current, current.seats[first], answer.to)
        if problem:
            raise AnswerInvalidError(asker, problem)
    return ApprovalDecision(
        level=current.level.name,
        verdict=answer.verdict,
        by=answer.by,
        seat=first,
        to=answer.to,
        comment=answer.comment,
        at=at,
    )


def seat_held_by(now: Standing, person: str) -> str | None:
    """Return the seat for which somebody is asked, by who was asked at first; None: for none."""
    return next((first for first, seat in now.open.items() if seat.holder == person), None)


def why_not_asked(now: Standing, person: str) -> str:
    """Return why somebody is not asked now."""
    current = now.current
    if current is None:
        return f"the request is {now.status.value} already"
    for seat in current.seats.values():
        if seat.holder == person:
            return f"{person!r} has {seat.verdict} already, at level {current.level.name!r}"
        if person in seat.holders:
            return f"{person!r} has passed it on; {seat.holder!r} is asked now"
    asked = ", ".join(repr(seat.holder) for seat in current.open.values())
    return f"{person!r} is not asked at level {current.level.name!r}; asked are {asked}"


def delegation_problem(plan: Plan, current: AskedLevel, seat: Seat, to: str | None) -> str | None:
    """Return why a seat cannot be passed on to somebody; None: it can."""
    if not current.level.allow_delegation:
        return f"level {current.level.name!r} allows no delegation"
    if to == plan.barred:
        return f"{to!r} asks for it, and cannot decide it"
    if any(to in each.holders for each in current.seats.values()):
        return f"{to!r} is, or was, asked at level {current.level.name!r} already"
    if len(seat.holders) > MOST_DELEGATIONS:
        return f"it was passed on {MOST_DELEGATIONS} times already"
    return None
