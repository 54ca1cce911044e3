"""Who is asked about one request, level by level, as far as it can be told at its beginning. Pure.

The plan is part of what is recorded: who is asked does not change when a role gets other people,
or the code is changed, while a request is under way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import attrs
from attrs import field, frozen
from attrs.validators import deep_iterable, ge, instance_of, optional

from lexigram_actors.approval.levels import (
    ApprovalLevel,
    Roles,
    amount_problem,
    name_problem,
    names,
    needed_of,
)
from lexigram_actors.approval.models import OnExpiry, tuple_of
from lexigram_actors.checks import given
from lexigram_actors.errors import ConfigurationError, text_of

PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

LONGEST_VALUE: Final = 200
"""Characters of a value that a prompt shows."""

Part = str | Callable[[Any], Any] | None
"""A part of the request: its key, or a function of it; None: there is none."""


@final
@frozen(kw_only=True)
class PlannedLevel:
    """A level as it is for one request.

    Attributes:
        seats: Who is asked; nobody where it is never asked.
        needed: How many have to say yes.
        applies: Whether it is asked by itself.
        stands_in: Whether it is asked where one before it escalates.
    """

    name: str = field(validator=instance_of(str))
    seats: tuple[str, ...] = field(
        converter=tuple_of, validator=deep_iterable(instance_of(str), instance_of(tuple))
    )
    needed: int = field(validator=[instance_of(int), ge(0)])
    applies: bool = field(validator=instance_of(bool))
    stands_in: bool = field(validator=instance_of(bool))
    veto: bool = field(default=False, validator=instance_of(bool))
    expires_after: float | None = field(default=None, validator=optional(instance_of((int, float))))
    on_expiry: OnExpiry = field(default=OnExpiry.REJECT, converter=OnExpiry)
    allow_delegation: bool = field(default=True, validator=instance_of(bool))
    prompt: str = field(default="", validator=instance_of(str))


@final
@frozen
class Plan:
    """All levels for one request, and who may not decide it, be it passed on to them or not."""

    levels: tuple[PlannedLevel, ...] = field(converter=tuple_of)
    barred: str | None = field(default=None, validator=optional(instance_of(str)))

    def after(self, position: int, *, escalated: bool = False) -> int | None:
        """Return the level that is asked behind a position; None: no more."""
        for place in range(position + 1, len(self.levels)):
            level = self.levels[place]
            if level.applies or (escalated and level.stands_in):
                return place
        return None

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data."""
        rows = [attrs.asdict(level) for level in self.levels]
        for row in rows:
            row.update(seats=list(row["seats"]), on_expiry=row["on_expiry"].value)
        return {"levels": rows, "barred": self.barred}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Plan:
        """Return what `as_data` was made of; raises TypeError, ValueError or KeyError if it was
        something else.
        """
        return cls([PlannedLevel(**row) for row in data["levels"]], data["barred"])


def planned(
    chain: str,
    levels: Sequence[ApprovalLevel],
    roles: Roles,
    request: Any,
    *,
    amount: Part = None,
    requester: Part = None,
    self_approval: bool = False,
    prompt: str | Callable[[Any], str] | None = None,
) -> Plan:
    """Return the plan for a request.

    Raises:
        ConfigurationError: It cannot be decided: it lacks the amount or the requester, or too few
            people are left to ask. All problems are listed.
    """
    problems: list[str] = []
    barred = requester_of(request, requester, problems)
    size = None
    if any(level.minimum is not None for level in levels):
        size = amount_of(request, amount, problems)
    planning = Planning(
        chain, roles, request, size, None if self_approval else barred, prompt, problems
    )
    rows: list[PlannedLevel] = []
    for level in levels:
        escalates = any(row.on_expiry is OnExpiry.ESCALATE and row.seats for row in rows)
        rows.append(planning.level(level, is_escalated_to=escalates))
    if problems:
        raise ConfigurationError(f"nobody can decide this request of {chain!r}", problems=problems)
    return Plan(rows, planning.barred)


@final
@frozen
class Planning:
    """What is known of a request while its levels are planned, and what is wrong with it."""

    chain: str
    roles: Roles
    request: Any
    amount: Any
    barred: str | None
    prompt: str | Callable[[Any], str] | None
    problems: list[str]

    def level(self, level: ApprovalLevel, *, is_escalated_to: bool) -> PlannedLevel:
        """Return what is planned for one level."""
        wanted = level.when is None or answer_of(level, self.request)
        applies = wanted and (level.minimum is None or self._reaches(level.minimum))
        stands_in = wanted and is_escalated_to
        asked = applies or stands_in
        seats = self._seats(level) if asked else ()
        return PlannedLevel(
            name=level.name,
            seats=seats,
            needed=needed_of(level.required, len(seats)) if asked else 0,
            applies=applies,
            stands_in=stands_in,
            veto=level.veto,
            expires_after=level.expires_after,
            on_expiry=level.on_expiry,
            allow_delegation=level.allow_delegation,
            prompt=self._prompt(level) if asked else "",
        )

    def _reaches(self, minimum: Any) -> bool:
        return self.amount is not None and bool(self.amount >= minimum)

    def _seats(self, level: ApprovalLevel) -> tuple[str, ...]:
        people = people_of(level, self.roles, self.request, self.problems)
        if people is None:
            return ()
        seats = tuple(person for person in people if person != self.barred)
        needed = needed_of(level.required, len(seats))
        if not 0 < needed <= len(seats):
            self.problems.append(too_few(level, needed, seats, self.barred))
        return seats

    def _prompt(self, level: ApprovalLevel) -> str:
        prompt = self.prompt if level.prompt is None else level.prompt
        return text_of_prompt(prompt, self.chain, level.name, self.request)


def too_few(level: ApprovalLevel, needed: int, seats: Sequence[str], barred: str | None) -> str:
    """Return the sentence about a level that could never be approved."""
    without = "" if barred is None else f" without the requester, {barred!r}"
    return f"level {level.name!r} needs {max(needed, 1)} to say yes, and asks {len(seats)}{without}"


def part_of(request: Any, part: Part) -> Any:
    """Return a part of the request; None where there is none."""
    if callable(part):
        return part(request)
    return request.get(part) if isinstance(request, Mapping) else None


def requester_of(request: Any, part: Part, problems: list[str]) -> str | None:
    """Return who asks for it; None where the chain does not care."""
    if part is None:
        return None
    found = part_of(request, part)
    problem = name_problem(found)
    if problem:
        problems.append(f"requester: {problem}")
        return None
    return str(found)


def amount_of(request: Any, part: Part, problems: list[str]) -> Any:
    """Return how much it is about; None, with a problem, where that is not known."""
    found = part_of(request, part)
    problem = amount_problem("amount", found)
    if problem:
        problems.append(problem)
        return None
    return found


def answer_of(level: ApprovalLevel, request: Any) -> bool:
    """Return what `when` says.

    Raises:
        TypeError: Neither yes nor no.
    """
    assert level.when is not None
    found: object = level.when(request)
    if not isinstance(found, bool):
        raise TypeError(
            f"when= of level {level.name!r} has to return True or False, not {given(found)}"
        )
    return found


def people_of(
    level: ApprovalLevel, roles: Roles, request: Any, problems: list[str]
) -> tuple[str, ...] | None:
    """Return who is asked at a level, each once, the approvers first; None: with a problem."""
    approvers = level.approvers
    people = names(approvers(request)) if callable(approvers) else approvers
    for role in level.roles:
        people += names(roles(role, request) if callable(roles) else roles[role])
    wrong = [problem for problem in map(name_problem, people) if problem]
    problems += [f"level {level.name!r}: {problem}" for problem in wrong]
    return None if wrong else names(people)


def text_of_prompt(
    prompt: str | Callable[[Any], str] | None, chain: str, level: str, request: Any
) -> str:
    """Return what people are asked; `{key}` is replaced by what the request has under it.

    `{level}` and `{chain}` are known too. Everything else stays as it is written.
    """
    if callable(prompt):
        return str(prompt(request))
    known = {"chain": chain, "level": level, **(request if isinstance(request, Mapping) else {})}

    def value(match: re.Match[str]) -> str:
        return shown(known[match[1]]) if match[1] in known else match[0]

    return PLACE.sub(value, "{chain}: approve, as {level}?" if prompt is None else prompt)


def shown(value: object) -> str:
    """Return a value as a prompt shows it: cut where it is long."""
    text = text_of(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}\u2026"
