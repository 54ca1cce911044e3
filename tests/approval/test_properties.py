"""What holds for any chain and whatever people say, against a naive model.

These need Hypothesis. They stand apart, so that the rest of the suite also runs without it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors import AnswerInvalidError
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalOutcome, ApprovalStatus
from lexigram_actors.approval.answers import read_answer
from lexigram_actors.approval.course import Course, outcome_of, questions
from lexigram_actors.approval.deciding import MOST_DELEGATIONS, decided, expired, standing
from lexigram_actors.approval.models import Verdict
from tests.approval.chains import says

PEOPLE = [f"p{number}" for number in range(6)]
LIMIT = 10.0


@st.composite
def levels(draw: Any, place: int, last: bool) -> ApprovalLevel:
    people = draw(st.lists(st.sampled_from(PEOPLE[:5]), min_size=1, max_size=4, unique=True))
    required = draw(st.sampled_from(["all", "any", "majority", *range(1, len(people) + 1)]))
    after = draw(st.sampled_from([None, LIMIT]))
    choices = ["reject", "approve", *([] if last else ["escalate"])]
    return ApprovalLevel(
        f"level {place}",
        people,
        required=required,
        veto=draw(st.booleans()),
        minimum=draw(st.sampled_from([None, 0, 100])),
        expires_after=after,
        on_expiry=draw(st.sampled_from(choices)) if after else "reject",
        allow_delegation=draw(st.booleans()),
    )


@st.composite
def chains(draw: Any) -> ApprovalChain:
    count = draw(st.integers(1, 4))
    found = [draw(levels(place, place == count - 1)) for place in range(count)]
    return ApprovalChain("any", found, requester="by", self_approval=False)


person = st.sampled_from(PEOPLE)
answers = st.one_of(
    st.builds(lambda by, verdict: says(by, verdict), person, st.sampled_from(["approved"] * 2)),
    st.builds(lambda by: says(by, "rejected"), person),
    st.builds(lambda by, to: says(by, "delegated", to=to), person, person),
)
moves = st.lists(st.one_of(answers, st.sampled_from([None])), max_size=25)


class Model:
    """The same, counted on fingers: who was asked, who has said what, level by level."""

    def __init__(self, chain: ApprovalChain, amount: int, barred: str) -> None:
        self.chain = chain
        self.amount = amount
        self.barred = barred
        self.status = "pending"
        self.place = -1
        self.seats: list[list[str]] = []
        self.next(escalated=False, otherwise="approved")

    def next(self, *, escalated: bool, otherwise: str) -> None:
        levels = list(self.chain.levels)
        for place in range(self.place + 1, len(levels)):
            level = levels[place]
            if escalated or level.minimum is None or level.minimum <= self.amount:
                self.place, self.level = place, level
                self.seats = [[each] for each in level.approvers if each != self.barred]
                self.votes: list[str | None] = [None] * len(self.seats)
                return
        self.status = otherwise

    def say(self, answer: dict[str, Any]) -> bool:
        """Return whether it counts."""
        holders = [seat[-1] for seat in self.seats]
        if self.status != "pending" or answer["by"] not in holders:
            return False
        seat = holders.index(answer["by"])
        if self.votes[seat] is not None:
            return False
        if answer["verdict"] == "delegated":
            everybody = {each for seat in self.seats for each in seat} | {self.barred}
            tired = len(self.seats[seat]) > MOST_DELEGATIONS
            if not self.level.allow_delegation or answer["to"] in everybody or tired:
                return False
            self.seats[seat].append(answer["to"])
            return True
        self.votes[seat] = answer["verdict"]
        self.count()
        return True

    def count(self) -> None:
        votes = Counter(self.votes)
        number = len(self.votes)
        needed = {"all": number, "any": 1, "majority": number // 2 + 1}.get(
            str(self.level.required), self.level.required
        )
        if votes["approved"] >= int(needed):
            self.next(escalated=False, otherwise="approved")
        elif votes["approved"] + votes[None] < int(needed) or (
            self.level.veto and votes["rejected"]
        ):
            self.status = "rejected"

    def wait(self) -> None:
        if self.status != "pending" or self.level.expires_after is None:
            return
        if self.level.on_expiry == "approve":
            self.next(escalated=False, otherwise="approved")
        elif self.level.on_expiry == "escalate":
            self.next(escalated=True, otherwise="expired")
        else:
            self.status = "expired"

    @property
    def asked(self) -> list[str]:
        if self.status != "pending":
            return []
        return [s[-1] for s, vote in zip(self.seats, self.votes, strict=True) if vote is None]


def begin(chain: ApprovalChain, amount: int) -> Course | None:
    try:
        return Course(plan=chain.plan({"amount": amount, "by": "p0"}), begun_at=0.0)
    except ValueError:
        return None  # too few are left


@given(chains(), st.sampled_from([5, 500]), moves)
def test_it_comes_to_what_a_naive_model_comes_to(
    chain: ApprovalChain, amount: int, said: list[Any]
) -> None:
    course = begin(chain, amount)
    if course is None:
        return
    model, at = Model(chain, amount, "p0"), 0.0
    for move in said:
        before = course
        if move is None:
            at += LIMIT
            course = course.after(expired(course.standing(), at))
            model.wait()
        else:
            counts = model.say(move)
            try:
                answer = read_answer("x", move)
                course = course.after(decided("x", course.standing(), answer, at))
            except AnswerInvalidError:
                assert not counts
            assert (course is not before) is counts
        now = course.standing()
        assert now.status.value == model.status
        assert [seat.holder for seat in now.open.values()] == model.asked
        check_invariants(course, at)


def check_invariants(course: Course, at: float) -> None:
    """What holds wherever a request stands."""
    now = course.standing()
    holders = [seat.holder for seat in now.open.values()]
    assert len(set(holders)) == len(holders)
    assert "p0" not in holders
    # There is somebody to ask, or it is decided.
    assert bool(holders) is (now.status is ApprovalStatus.PENDING)
    assert (now.ended_at is None) is (now.status is ApprovalStatus.PENDING)
    # Nobody counts twice at a level, and no seat does.
    final = [each for each in course.said if each.by and each.verdict is not Verdict.DELEGATED]
    for who in ("by", "seat"):
        counted = Counter((each.level, getattr(each, who)) for each in final)
        assert all(count == 1 for count in counted.values())
    # It survives JSON, and what is told of it does.
    assert Course.from_data(json.loads(json.dumps(course.as_data()))) == course
    outcome = outcome_of("any", course, now)
    assert ApprovalOutcome.from_data(json.loads(json.dumps(outcome.as_data()))) == outcome
    assert [each.approver for each in questions(course, at)] == holders
    for level in outcome.levels:
        votes = [seat.verdict for seat in level.seats]
        if level.status is ApprovalStatus.APPROVED and "expired" not in course_verdicts(course):
            assert votes.count(Verdict.APPROVED) == level.needed


def course_verdicts(course: Course) -> set[str]:
    return {each.verdict.value for each in course.said}


@given(
    st.integers(1, 5),
    st.sampled_from(["all", "any", "majority"]),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_outcome_does_not_depend_on_who_is_first_nor_on_when_or_on_what_else_they_say(
    count: int, required: str, votes: list[bool], chance: Any
) -> None:
    people = PEOPLE[:count]
    chain = ApprovalChain("any", [ApprovalLevel("level", people, required=required)])

    def status(order: list[str]) -> str:
        course, at = Course(plan=chain.plan({}), begun_at=0.0), 0.0
        for who in order:
            now = course.standing()
            if now.status is not ApprovalStatus.PENDING:
                break
            at += chance.random()
            comment = "".join(chance.choices("abc", k=chance.randrange(5)))
            yes = votes[people.index(who)]
            answer = says(who, "approved" if yes else "rejected", comment=comment)
            course = course.after(decided("x", now, read_answer("x", answer), at))
        return course.standing().status.value

    shuffled = chance.sample(people, len(people))
    assert status(people) == status(shuffled) != "pending"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["by", "verdict", "comment", "to", "x"]), inner)
    ),
)


@given(values)
def test_whatever_is_answered_it_is_read_or_refused(value: Any) -> None:
    chain = ApprovalChain("any", [ApprovalLevel("level", "ana")])
    now = Course(plan=chain.plan({}), begun_at=0.0).standing()
    with pytest.raises(AnswerInvalidError):  # nobody is called like that
        decided("x", now, read_answer("x", value), 0.0)


@given(chains(), moves)
def test_time_alone_never_leaves_a_request_hanging_where_every_level_has_a_limit(
    chain: ApprovalChain, said: list[Any]
) -> None:
    course = begin(chain, 500)
    if course is None:
        return
    at = 0.0
    for _ in range(len(chain.levels)):
        at += LIMIT
        course = course.after(expired(course.standing(), at))
    now = standing(course.plan, course.begun_at, course.said)
    if now.status is ApprovalStatus.PENDING:
        assert now.expires_at is None
