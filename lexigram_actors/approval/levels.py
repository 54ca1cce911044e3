"""What a chain is made of: `ApprovalLevel`, and the checks of names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, Final, final
from unicodedata import is_normalized

from attrs import field, frozen

from lexigram_actors.approval.models import ApprovalPolicy, OnExpiry
from lexigram_actors.checks import given, number, problems_of
from lexigram_actors.errors import ConfigurationError

LONGEST_NAME: Final = 100
"""Characters of the name of a person, a role, a level or a chain."""

People = str | Iterable[str]
"""One name, or several."""

Roles = Mapping[str, People] | Callable[[str, Any], People]
"""Who has a role; as a function, of the role and the request."""


def name_problem(name: object) -> str | None:
    """Return what is wrong with a name; None: nothing.

    Names become parts of the ids of questions, which people read, and of paths in a journal. One
    that is written in two ways would be two people, of whom one may decide for the other.
    """
    fits = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
    if fits and name == str(name).strip() and is_normalized("NFC", str(name)):
        return None
    return (
        f"{given(name)} is no name: that is text of 1 to {LONGEST_NAME} characters, all of them "
        "printable, in Unicode's form NFC, and no blanks around"
    )


def names(people: object) -> tuple[Any, ...]:
    """Return one name, or several, as a tuple; each once."""
    if isinstance(people, str) or not isinstance(people, Iterable):
        return (people,)
    found = list(people)
    return tuple(each for place, each in enumerate(found) if each not in found[:place])


def names_or_function(people: Any) -> Any:
    """Return the names; a function as it is."""
    return people if callable(people) else names(people)


def policy_or_number(required: Any) -> Any:
    """Return a policy for its name; anything else as it is."""
    known = isinstance(required, str) and required in list(ApprovalPolicy)
    return ApprovalPolicy(required) if known else required


def expiry_or_text(choice: Any) -> Any:
    """Return what to do for its name; anything else as it is."""
    return OnExpiry(choice) if isinstance(choice, str) and choice in list(OnExpiry) else choice


@final
@frozen
class ApprovalLevel:
    """People who are asked at the same time, and how many of them have to say yes.

        ApprovalLevel("manager", "ana")
        ApprovalLevel("board", roles="director", required="majority", minimum=10_000)

    Args:
        name: Unique in the chain.
        approvers: Their names; or a function of the request that returns them.
        roles: Whoever has one of these roles is asked too; the chain knows who.
        required: How many have to say yes: a number, or `"all"`, `"any"`, `"majority"`.
        minimum: Ask only where the amount of the request is that much; None: always.
        when: Ask only where this function of the request returns True; None: always.
        expires_after: Seconds, from when the level is asked, in which it can be answered; None: for
            good.
        on_expiry: What happens then: `"reject"`, `"approve"` or `"escalate"`.
        allow_delegation: Whether one may pass it on to somebody else.
        veto: Whether one no is enough. Else the request is rejected as soon as too few are left who
            could say yes.
        prompt: What is asked here instead of the chain's prompt.

    A level where nobody says yes in time, and too few said no to reject it, has expired: what was
    said counts for nothing then.

    Raises:
        ConfigurationError: Something of it is wrong.
    """

    name: str
    approvers: Any = field(default=(), converter=names_or_function)
    roles: tuple[str, ...] = field(default=(), kw_only=True, converter=names)
    required: int | ApprovalPolicy | str = field(
        default=1, kw_only=True, converter=policy_or_number
    )
    minimum: Any = field(default=None, kw_only=True)
    when: Callable[[Any], bool] | None = field(default=None, kw_only=True)
    expires_after: float | None = field(default=None, kw_only=True)
    on_expiry: OnExpiry | str = field(
        default=OnExpiry.REJECT, kw_only=True, converter=expiry_or_text
    )
    allow_delegation: bool = field(default=True, kw_only=True)
    veto: bool = field(default=False, kw_only=True)
    prompt: str | Callable[[Any], str] | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems = [problem for problem in self._problems() if problem]
        if problems:
            raise ConfigurationError(f"wrong approval level {given(self.name)}", problems=problems)

    def _problems(self) -> list[str | None]:
        people = () if callable(self.approvers) else self.approvers
        return [
            *map(name_problem, (self.name, *people, *self.roles)),
            None if self.approvers or self.roles else "approvers or roles: nobody is asked",
            self._required_problem(),
            None if self.minimum is None else amount_problem("minimum", self.minimum),
            self._time_problem(),
            self._expiry_problem(),
            *(flag_problem(name, getattr(self, name)) for name in ("allow_delegation", "veto")),
            None if self.when is None or callable(self.when) else "when: it must be a function",
            prompt_problem(self.prompt),
        ]

    def _required_problem(self) -> str | None:
        needed = self.required
        if isinstance(needed, ApprovalPolicy) or (type(needed) is int and needed >= 1):
            return None
        return f"required: {given(needed)} is no number of at least 1, 'all', 'any' or 'majority'"

    def _time_problem(self) -> str | None:
        said = problems_of(TIMES, {"expires_after": self.expires_after})
        return f"expires_after: {said['expires_after']}" if said else None

    def _expiry_problem(self) -> str | None:
        if not isinstance(self.on_expiry, OnExpiry):
            return f"on_expiry: {given(self.on_expiry)} is not 'reject', 'approve' or 'escalate'"
        if self.expires_after is None and self.on_expiry is not OnExpiry.REJECT:
            return f"on_expiry: {self.on_expiry.value!r} needs expires_after"
        return None


TIMES: Final = {"expires_after": number(above=0, optional=True)["rule"]}


def needed_of(required: int | ApprovalPolicy | str, people: int) -> int:
    """Return how many of so many people have to say yes; may be more than there are."""
    if isinstance(required, int):
        return required
    return {"all": people, "any": 1, "majority": people // 2 + 1}[required]


def amount_problem(what: str, amount: object) -> str | None:
    """Return what is wrong with an amount; None: nothing."""
    if isinstance(amount, int) and not isinstance(amount, bool):
        return None
    if isinstance(amount, float | Decimal) and isfinite(amount):
        return None
    return f"{what}: {given(amount)} is no finite number"


def flag_problem(what: str, value: object) -> str | None:
    """Return what is wrong with a flag; None: nothing."""
    return None if isinstance(value, bool) else f"{what}: {given(value)} is not True or False"


def prompt_problem(prompt: object) -> str | None:
    """Return what is wrong with a prompt; None: nothing."""
    if prompt is None or isinstance(prompt, str) or callable(prompt):
        return None
    return f"prompt: {given(prompt)} is neither text nor a function"


def chain_problems(levels: Sequence[object], roles: object) -> list[str]:
    """Return what is wrong with the levels of a chain as a whole."""
    problems = [f"{given(each)} is no ApprovalLevel" for each in levels if not is_level(each)]
    known = [each for each in levels if isinstance(each, ApprovalLevel)]
    if not known:
        problems.append("levels: there is none")
    found = [level.name for level in known]
    problems += [f"two levels are {name!r}" for name in sorted(set(found)) if found.count(name) > 1]
    if known and known[-1].on_expiry is OnExpiry.ESCALATE:
        problems.append(f"level {known[-1].name!r} is the last: there is nobody to escalate to")
    if isinstance(roles, Mapping):
        for level in known:
            problems += static_problems(level, roles)
    elif not callable(roles):
        problems.append(f"roles: {given(roles)} is neither a mapping nor a function")
    return problems


def is_level(candidate: object) -> bool:
    """Say whether it is a level."""
    return isinstance(candidate, ApprovalLevel)


def static_problems(level: ApprovalLevel, roles: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with who is asked, as far as no request is needed to tell."""
    missing = [role for role in level.roles if role not in roles]
    if missing:
        return [f"level {level.name!r}: nobody is known to be {role!r}" for role in missing]
    problems = [
        problem
        for role in level.roles
        for problem in map(name_problem, names(roles[role]))
        if problem
    ]
    if problems or callable(level.approvers):
        return problems
    people = set(level.approvers).union(*(names(roles[role]) for role in level.roles))
    needed = needed_of(level.required, len(people))
    if not people or needed > len(people):
        return [f"level {level.name!r} needs {max(needed, 1)} to say yes, and asks {len(people)}"]
    return []
