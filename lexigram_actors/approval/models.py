"""Values of approval chains: what people say, and what comes of it. Plain data, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from math import inf
from typing import Any, Self, final

import attrs
from attrs import field, frozen
from attrs.validators import instance_of, optional


class ApprovalPolicy(StrEnum):
    """How many of the people of a level have to say yes; a number says it exactly."""

    ALL = "all"
    ANY = "any"
    MAJORITY = "majority"
    """More than half."""


class ApprovalStatus(StrEnum):
    """Where a request, or one level of it, stands."""

    PENDING = "pending"
    """Not decided; of a level also that nobody is asked yet."""
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    """The time was over before there were enough answers, and that was no approval."""
    SKIPPED = "skipped"
    """Of a level: nobody was asked, nor will be."""


class OnExpiry(StrEnum):
    """What happens when the time of a level is over."""

    REJECT = "reject"
    """The request has expired."""
    APPROVE = "approve"
    """Silence is consent: the level counts as approved."""
    ESCALATE = "escalate"
    """The next level decides in its place, also where the amount does not reach its minimum."""


class Verdict(StrEnum):
    """What was said."""

    APPROVED = "approved"
    REJECTED = "rejected"
    DELEGATED = "delegated"
    """Somebody else shall say it."""
    EXPIRED = "expired"
    """Nobody said it in time."""


def tuple_of(items: Iterable[Any]) -> tuple[Any, ...]:
    """Return the items as a tuple."""
    return tuple(items)


def time_field() -> Any:
    """Unix seconds."""
    return field(converter=float)


@final
@frozen(kw_only=True)
class ApprovalDecision:
    """One thing that was said, or that nobody did.

    Attributes:
        level: At which level.
        verdict: What.
        by: By whom; None where the time was over.
        seat: Who was asked at first; another than `by` where that was passed on.
        to: Whom it was passed to; None where it was not.
        comment: In their words; None: nothing.
        at: Unix seconds when it was taken.
    """

    level: str = field(validator=instance_of(str))
    verdict: Verdict = field(converter=Verdict)
    by: str | None = field(default=None, validator=optional(instance_of(str)))
    seat: str | None = field(default=None, validator=optional(instance_of(str)))
    to: str | None = field(default=None, validator=optional(instance_of(str)))
    comment: str | None = field(default=None, validator=optional(instance_of(str)))
    at: float = time_field()

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**attrs.asdict(self), "verdict": self.verdict.value}


@final
@frozen(kw_only=True)
class SeatOutcome:
    """One of the answers that a level asks for.

    Attributes:
        holders: Who had it to give, one after the other: several where it was passed on.
        verdict: None: not given.
    """

    holders: tuple[str, ...] = field(converter=tuple_of)
    verdict: Verdict | None = field(default=None, converter=attrs.converters.optional(Verdict))


@final
@frozen(kw_only=True)
class LevelOutcome:
    """Where one level stands.

    Attributes:
        name: Of the level.
        status: PENDING with no `asked_at`: its turn has not come.
        needed: How many have to say yes; 0 where the level does not apply.
        seats: In the order of the approvers.
        asked_at, ended_at: Unix seconds; None: not.
        expires_at: Until when it can be answered; None: for good, or not asked.
    """

    name: str
    status: ApprovalStatus = field(converter=ApprovalStatus)
    needed: int
    seats: tuple[SeatOutcome, ...] = field(converter=tuple_of)
    asked_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None


@final
@frozen(kw_only=True)
class ApprovalOutcome:
    """What came of a request, or where it stands.

        outcome = ApprovalOutcome.from_data((await handle.result()).unwrap())
        if outcome.approved: ...

    Attributes:
        chain: The name of the chain.
        status: Never SKIPPED.
        level: Which level decided, or is asked; None where none applied.
        decisions: Everything that was said, in order.
        levels: All of them, in order.
        begun_at, ended_at: Unix seconds; `ended_at` is None while it is PENDING.
    """

    chain: str
    status: ApprovalStatus = field(converter=ApprovalStatus)
    level: str | None
    decisions: tuple[ApprovalDecision, ...] = field(converter=tuple_of)
    levels: tuple[LevelOutcome, ...] = field(converter=tuple_of)
    begun_at: float
    ended_at: float | None = None

    @property
    def approved(self) -> bool:
        """Whether it is approved, by everybody who had to."""
        return self.status is ApprovalStatus.APPROVED

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data, with `approved` in front."""
        data = {"approved": self.approved, **plain(attrs.asdict(self))}
        data["decisions"] = [each.as_data() for each in self.decisions]
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Return what `as_data` was made of.

        Raises:
            ValueError, TypeError, KeyError: The data is of something else.
        """
        facts = {key: value for key, value in data.items() if key != "approved"}
        facts["decisions"] = [ApprovalDecision(**each) for each in data["decisions"]]
        facts["levels"] = [level_from(each) for each in data["levels"]]
        return cls(**facts)


def level_from(data: Mapping[str, Any]) -> LevelOutcome:
    """Return what the data of one level was made of."""
    return LevelOutcome(**{**data, "seats": [SeatOutcome(**seat) for seat in data["seats"]]})


def plain(value: Any) -> Any:
    """Return a value with lists and strings for tuples and the members of enums."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


@final
@frozen
class ApprovalQuestion:
    """What one person is asked.

    Attributes:
        node: Names it: the level, a slash, and the person.
        prompt: The text.
        checkpoint_id: The same, behind the id of the run where it has one.
        schema: None: whoever asks from outside, a graph say, leaves the checks to the chain.
        seconds_left: How long it may still be answered; `inf`: for good.
        level: The name of the level.
        approver: Who is asked.
    """

    node: str
    prompt: str
    checkpoint_id: str
    schema: None = None
    seconds_left: float = inf
    level: str = ""
    approver: str = ""
