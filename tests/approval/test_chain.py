"""Chains by themselves: who is asked when, and what comes of their answers."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest

from lexigram_actors import AnswerInvalidError, RunContext
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalStatus, Verdict
from lexigram_actors.approval.deciding import MOST_DELEGATIONS
from lexigram_actors.errors import WorkflowStateError, WorkflowVersionMismatchError
from lexigram_actors.host.seam import Resumable
from tests.approval.chains import Clock, asked, began, chain_of, decided, outcome_of, says, told

THREE = ("ana", "bob", "cleo")


def no(by: str) -> dict[str, Any]:
    return says(by, "rejected")


def to(by: str, other: str) -> dict[str, Any]:
    return says(by, "delegated", to=other)


async def test_levels_are_asked_one_after_the_other() -> None:
    chain = chain_of(ApprovalLevel("manager", "ana"), ApprovalLevel("board", "bob"))
    assert isinstance(chain, Resumable)
    pause = await began(chain, run_id="order/7")
    (question,) = pause.pending
    assert (question.node, question.checkpoint_id) == ("manager/ana", "order/7/manager/ana")
    assert (question.prompt, question.seconds_left) == ("expense: approve, as manager?", inf)
    state = await told(chain, pause.state, says("ana", comment="fine"))
    assert asked(chain, state) == ["bob"]
    outcome = await told(chain, state, says("bob"))
    assert outcome.approved
    assert outcome.level == "board"
    assert [(each.level, each.by, each.comment) for each in outcome.decisions] == [
        ("manager", "ana", "fine"),
        ("board", "bob", None),
    ]


@pytest.mark.parametrize(
    ("required", "answers", "status"),
    [
        ("any", [says("bob")], "approved"),
        ("any", [no("ana"), says("bob")], "approved"),
        ("any", [no("ana"), no("bob"), no("cleo")], "rejected"),
        ("all", [says("ana"), says("bob"), says("cleo")], "approved"),
        ("all", [says("ana"), no("bob")], "rejected"),
        ("majority", [says("ana"), no("bob"), says("cleo")], "approved"),
        ("majority", [no("ana"), no("bob")], "rejected"),
        (2, [no("ana"), says("bob"), says("cleo")], "approved"),
        (3, [no("ana")], "rejected"),
    ],
)
async def test_a_level_is_over_as_soon_as_its_outcome_is_certain(
    required: Any, answers: Any, status: str
) -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=required))
    before = await decided(chain, *answers[:-1])
    assert len(asked(chain, before)) == 4 - len(answers)
    outcome = await told(chain, before, answers[-1])
    assert outcome.status.value == status


async def test_with_a_veto_one_no_is_enough() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, veto=True), ApprovalLevel("board", "dan"))
    outcome = await decided(chain, no("bob"))
    assert (outcome.status, outcome.level) == (ApprovalStatus.REJECTED, "m")
    assert [level.status.value for level in outcome.levels] == ["rejected", "skipped"]


async def test_levels_that_do_not_apply_are_passed_over() -> None:
    chain = chain_of(
        ApprovalLevel("small", "ana"),
        ApprovalLevel("large", "bob", minimum=1000),
        ApprovalLevel("legal", "cleo", when=lambda request: bool(request["legal"])),
    )
    outcome = await decided(chain, says("ana"), request={"amount": 5, "legal": False})
    assert [level.status.value for level in outcome.levels] == ["approved", "skipped", "skipped"]
    outcome = await decided(chain, says("ana"), says("cleo"), request={"amount": 5, "legal": True})
    assert outcome.level == "legal"


async def test_where_no_level_applies_it_is_approved() -> None:
    chain = chain_of(ApprovalLevel("large", "bob", minimum=1000))
    outcome = outcome_of(await chain.run(RunContext(input={"amount": 5})))
    assert outcome.approved
    assert outcome.level is None
    assert outcome.decisions == ()


async def test_where_it_stands_can_be_seen_meanwhile() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=2), ApprovalLevel("board", "dan"))
    outcome = chain.outcome(await decided(chain, no("ana"), to("bob", "eve")))
    assert (outcome.status, outcome.level) == (ApprovalStatus.PENDING, "m")
    assert outcome.ended_at is None
    assert [(seat.holders, seat.verdict) for seat in outcome.levels[0].seats] == [
        (("ana",), Verdict.REJECTED),
        (("bob", "eve"), None),
        (("cleo",), None),
    ]
    assert outcome.levels[1].status is ApprovalStatus.PENDING
    assert outcome.levels[1].asked_at is None


async def test_the_state_is_json_and_is_not_used_up() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=2))
    state = await decided(chain, says("ana", comment="\u00e4\n"), to("bob", "dan"))
    again = json.loads(json.dumps(state))
    assert again == state
    assert (await told(chain, again, says("dan"))).approved
    assert not (await told(chain, again, no("dan"), no("cleo"))).approved
    assert again == state


# --- who may answer what ----------------------------------------------------------------------


async def test_only_who_is_asked_can_answer_and_once() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=3), ApprovalLevel("board", "dan"))
    state = await decided(chain, says("ana"), to("bob", "eve"))
    for answer, said in [
        (says("ana"), "'ana' has approved already"),
        (no("ana"), "'ana' has approved already"),
        (says("bob"), "'bob' has passed it on; 'eve' is asked now"),
        (says("dan"), "'dan' is not asked at level 'm'; asked are 'eve', 'cleo'"),
        (says("mallory"), "is not asked"),
    ]:
        with pytest.raises(AnswerInvalidError, match=said):
            await chain.resume(state, answer)
    assert (await told(chain, state, says("eve"), says("cleo"), says("dan"))).approved


async def test_an_answer_to_somebody_elses_question_is_refused() -> None:
    chain = chain_of(ApprovalLevel("m", THREE))
    state = (await began(chain)).state
    with pytest.raises(AnswerInvalidError, match="somebody else"):
        chain.check_answer(state, "m/ana", says("bob"))
    with pytest.raises(AnswerInvalidError, match="somebody else"):
        await chain.resume(state, says("bob"), node="m/ana")
    with pytest.raises(WorkflowStateError, match="it asks 'm/ana', 'm/bob', 'm/cleo'"):
        chain.check_answer(state, "m/dan", says("dan"))
    assert chain.check_answer(state, "m/bob", says("bob"))["seat"] == "bob"


HOSTILE: list[Any] = [
    "approved",
    True,
    5,
    b"approved",
    [],
    ["by", "ana"],
    {},
    {"by": "ana"},
    {"verdict": "approved"},
    {1: 2},
    {"by": "ana", "verdict": "approved", "x": 1},
    {"by": "ana", "verdict": "approved", "seat": "bob"},
    says("ana", "APPROVED"),
    says("ana", "expired"),
    says("ana", "x" * 100_000),
    {"by": "ana", "verdict": ["approved"]},
    {"by": "ana", "verdict": {"approved": True}},
    {"by": "ana", "verdict": None},
    {"by": ["ana"], "verdict": "approved"},
    {"by": None, "verdict": "approved"},
    says("ana\0"),
    says("ana "),
    says("ANA"),
    says(""),
    says("\ud800"),
    says("a" * 1_000_000),
    says("ana", comment=5),
    says("ana", comment=["fine"]),
    says("ana", comment="\0"),
    says("ana", comment="\udc00"),
    says("ana", comment="x" * 4001),
    says("ana", to="bob"),
    says("ana", "delegated"),
    says("ana", "delegated", to=None),
    says("ana", "delegated", to=""),
    says("ana", "delegated", to=["bob"]),
    says("ana", "delegated", to="a\nb"),
    says("ana", "delegated", to="x" * 101),
]

nested: Any = "deep"
for _ in range(5000):
    nested = [nested]
HOSTILE.append(says("ana", comment=nested))


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
async def test_an_answer_that_says_nothing_changes_nothing(answer: Any) -> None:
    chain = chain_of(ApprovalLevel("m", "ana"))
    state = (await began(chain)).state
    before = json.dumps(state)
    with pytest.raises(AnswerInvalidError) as caught:
        chain.check_answer(state, "m/ana", answer)
    assert len(str(caught.value)) < 1500
    with pytest.raises(AnswerInvalidError):
        await chain.resume(state, answer, node="m/ana")
    assert json.dumps(state) == before


# --- passing it on ----------------------------------------------------------------------------


async def test_a_seat_is_passed_on_and_counts_once() -> None:
    chain = chain_of(ApprovalLevel("m", ["ana", "bob"], required="all"))
    state = await decided(chain, to("ana", "dan"), to("dan", "eve"), says("bob"))
    assert asked(chain, state) == ["eve"]
    outcome = await told(chain, state, says("eve"))
    assert outcome.approved
    assert [(d.by, d.seat, d.to) for d in outcome.decisions] == [
        ("ana", "ana", "dan"),
        ("dan", "ana", "eve"),
        ("bob", "bob", None),
        ("eve", "ana", None),
    ]


async def test_it_cannot_be_passed_on_to_who_is_or_was_asked() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=3), requester="by")
    start = (await began(chain, {"by": "rae"})).state
    state: Any = await told(chain, start, to("ana", "dan"), says("cleo"))
    for other in ("ana", "dan", "bob", "cleo"):
        with pytest.raises(AnswerInvalidError, match="is, or was, asked"):
            await chain.resume(state, to("dan", other))
    with pytest.raises(AnswerInvalidError, match="cannot decide it"):
        await chain.resume(state, to("dan", "rae"))


async def test_it_cannot_be_passed_on_for_ever_nor_where_that_is_not_allowed() -> None:
    chain = chain_of(ApprovalLevel("m", "p0"))
    passes = [to(f"p{n}", f"p{n + 1}") for n in range(MOST_DELEGATIONS + 1)]
    state = await decided(chain, *passes[:-1])
    with pytest.raises(AnswerInvalidError, match="5 times already"):
        await chain.resume(state, passes[-1])
    strict = chain_of(ApprovalLevel("m", "ana", allow_delegation=False))
    with pytest.raises(AnswerInvalidError, match="allows no delegation"):
        await decided(strict, to("ana", "bob"))


# --- time -------------------------------------------------------------------------------------


def timed(on_expiry: str, clock: Clock) -> ApprovalChain:
    return chain_of(
        ApprovalLevel("m", ["ana", "bob"], required=2, expires_after=60, on_expiry=on_expiry),
        ApprovalLevel("board", "cleo", minimum=1000),
        ApprovalLevel("end", "dan", expires_after=5),
        clock=clock,
    )


@pytest.mark.parametrize(
    ("on_expiry", "then"), [("approve", ["dan"]), ("escalate", ["cleo"]), ("reject", None)]
)
async def test_what_happens_when_the_time_is_over(on_expiry: str, then: Any) -> None:
    clock = Clock()
    chain = timed(on_expiry, clock)
    state = await decided(chain, says("ana"), request={"amount": 5})
    clock.now += 59
    assert [each.seconds_left for each in chain.pending(state)] == [1]
    assert asked(chain, await told(chain, state, None)) == ["bob"]
    clock.now += 1
    found = await told(chain, state, None)
    if then is None:
        assert (found.status, found.level, found.approved) == (ApprovalStatus.EXPIRED, "m", False)
        assert (found.decisions[-1].verdict, found.decisions[-1].by) == (Verdict.EXPIRED, None)
    else:
        assert asked(chain, found) == then
        clock.now += 1e9  # the next level has no limit, or one of its own that begins anew
        assert asked(chain, found) == then


async def test_who_is_escalated_to_decides_and_the_chain_goes_on() -> None:
    clock = Clock()
    chain = timed("escalate", clock)
    state = (await began(chain, {"amount": 5})).state
    clock.now += 61
    outcome = await told(chain, state, None, says("cleo"), says("dan"))
    assert outcome.approved
    assert [level.status.value for level in outcome.levels] == ["expired", "approved", "approved"]


async def test_escalated_to_nobody_it_has_expired() -> None:
    clock = Clock()
    chain = chain_of(
        ApprovalLevel("m", "ana", expires_after=60, on_expiry="escalate"),
        ApprovalLevel("never", "bob", when=lambda _: False),
        clock=clock,
    )
    state = (await began(chain)).state
    clock.now += 61
    assert (await told(chain, state, None)).status is ApprovalStatus.EXPIRED


async def test_an_answer_that_comes_too_late_is_refused() -> None:
    clock = Clock()
    chain = timed("reject", clock)
    state = (await began(chain, {"amount": 5})).state
    clock.now += 60
    with pytest.raises(AnswerInvalidError, match="too late"):
        await chain.resume(state, says("ana"))
    assert asked(chain, state) == ["ana", "bob"]
    assert (await told(chain, state, None)).status is ApprovalStatus.EXPIRED


# --- states of something else -----------------------------------------------------------------


async def test_a_state_of_something_else_is_refused() -> None:
    chain = chain_of(ApprovalLevel("m", THREE, required=2))
    state = await decided(chain, says("ana"))
    row = state["said"][0]
    for wrong in [
        {},
        None,
        {**state, "approval": "other"},
        {**state, "version": "1", "levels": 5},
        {**state, "said": None},
        {**state, "said": [row, row, row]},
        {**state, "said": [{**row, "level": "x"}]},
        {**state, "said": [{**row, "seat": "x"}]},
        {**state, "said": [{**row, "verdict": "x"}]},
        {**state, "begun_at": "x"},
        {**state, "levels": [{**state["levels"][0], "needed": -1}]},
        {**state, "levels": [{**state["levels"][0], "evil": 1}]},
    ]:
        with pytest.raises(WorkflowStateError):
            chain.pending(wrong)  # type: ignore[arg-type]
    with pytest.raises(WorkflowVersionMismatchError):
        chain.pending({**state, "version": 2})


async def test_a_state_in_which_it_is_decided_asks_nothing() -> None:
    chain = chain_of(ApprovalLevel("m", "ana"))
    state = (await began(chain)).state
    state["said"] = [chain.check_answer(state, "m/ana", says("ana"))]
    assert chain.pending(state) == []
    assert outcome_of(await chain.resume(state)).approved
    with pytest.raises(WorkflowStateError, match="it asks nothing"):
        chain.check_answer(state, "m/ana", says("ana"))
    with pytest.raises(AnswerInvalidError, match="approved already"):
        await chain.resume(state, says("ana"))


async def test_who_is_asked_is_fixed_when_it_begins() -> None:
    people = {"boss": ["ana"]}
    chain = chain_of(ApprovalLevel("a", "x"), ApprovalLevel("b", roles="boss"), roles=people)
    state = (await began(chain)).state
    people["boss"] = ["bob"]
    assert asked(chain, await told(chain, state, says("x"))) == ["ana"]


async def test_names_are_told_apart_whatever_is_in_them() -> None:
    chain = chain_of(ApprovalLevel("a/b", ["c", "d/e", "f%2F#2"], required="all"))
    nodes = [question.node for question in (await began(chain)).pending]
    assert nodes == ["a%2Fb/c", "a%2Fb/d%2Fe", "a%2Fb/f%252F#2"]
    assert nodes[1] == chain.question("a/b", "d/e")
    assert (await decided(chain, says("c"), says("d/e"), says("f%2F#2"))).approved


async def test_the_request_can_be_made_of_the_surroundings() -> None:
    chain = chain_of(
        ApprovalLevel("m", "ana", minimum=5), request=lambda context: context.state["priced"]
    )
    result = await chain.run(RunContext(state={"priced": {"amount": 4}}))
    assert outcome_of(result).approved
