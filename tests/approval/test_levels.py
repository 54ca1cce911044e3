"""What a chain is made of: wrong settings are refused at once, and all of them."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest

from lexigram_actors import ConfigurationError, RunContext
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalPolicy, OnExpiry
from tests.approval.chains import chain_of


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": ""}, "is no name"),
        ({"name": 7}, "is no name"),
        ({"name": "a\nb"}, "is no name"),
        ({"name": "x" * 101}, "is no name"),
        ({"name": " manager"}, "is no name"),
        ({"approvers": ("ana", "")}, "is no name"),
        ({"approvers": ("ana\0",)}, "is no name"),
        ({"approvers": None}, "is no name"),
        ({"approvers": ()}, "nobody is asked"),
        ({"roles": ("\ud800",)}, "is no name"),
        ({"required": 0}, "required"),
        ({"required": True}, "required"),
        ({"required": "most"}, "required"),
        ({"required": 1.0}, "required"),
        ({"minimum": "much"}, "minimum"),
        ({"minimum": nan}, "minimum"),
        ({"minimum": True}, "minimum"),
        ({"expires_after": 0}, "expires_after"),
        ({"expires_after": inf}, "expires_after"),
        ({"expires_after": 5, "on_expiry": "wait"}, "on_expiry"),
        ({"on_expiry": "approve"}, "needs expires_after"),
        ({"allow_delegation": 1}, "allow_delegation"),
        ({"veto": "yes"}, "veto"),
        ({"when": True}, "when"),
        ({"prompt": 3}, "prompt"),
    ],
)
def test_a_level_with_a_wrong_setting_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ApprovalLevel(**{"name": "manager", "approvers": "ana", **settings})


def test_every_wrong_setting_is_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ApprovalLevel("", required=0, expires_after=-1)
    assert len(caught.value.problems) == 4


def test_a_level_takes_names_one_or_several_and_each_once() -> None:
    assert ApprovalLevel("m", "ana").approvers == ("ana",)
    assert ApprovalLevel("m", ["ana", "bob", "ana"]).approvers == ("ana", "bob")
    level = ApprovalLevel("m", roles="r", required="all", expires_after=1, on_expiry="approve")
    assert level.roles == ("r",)
    assert level.required is ApprovalPolicy.ALL
    assert level.on_expiry is OnExpiry.APPROVE


@pytest.mark.parametrize(
    ("levels", "options", "said"),
    [
        ([], {}, "there is none"),
        (["manager"], {}, "is no ApprovalLevel"),
        ([ApprovalLevel("a", "x"), ApprovalLevel("a", "y")], {}, "two levels are 'a'"),
        ([ApprovalLevel("a", "x", required=2)], {}, "needs 2 to say yes, and asks 1"),
        ([ApprovalLevel("a", roles="boss")], {}, "nobody is known to be 'boss'"),
        ([ApprovalLevel("a", roles="boss")], {"roles": {"boss": []}}, "needs 1 .* asks 0"),
        ([ApprovalLevel("a", roles="boss")], {"roles": {"boss": [1]}}, "is no name"),
        ([ApprovalLevel("a", "x")], {"roles": 5}, "neither a mapping nor a function"),
        (
            [ApprovalLevel("a", "x", expires_after=1, on_expiry="escalate")],
            {},
            "nobody to escalate to",
        ),
        ([ApprovalLevel("a", "x")], {"self_approval": None}, "self_approval"),
        ([ApprovalLevel("a", "x")], {"prompt": 5}, "prompt"),
        ([ApprovalLevel("a", "x")], {"version": 0}, "version"),
    ],
)
def test_a_wrong_chain_is_refused(levels: Any, options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ApprovalChain("c", levels, **options)


def test_a_chain_needs_a_name() -> None:
    with pytest.raises(ConfigurationError, match="is no name"):
        ApprovalChain("", [ApprovalLevel("a", "x")])


# --- requests ---------------------------------------------------------------------------------

BIG = ApprovalLevel("board", "bob", minimum=100)


@pytest.mark.parametrize(
    ("amount", "applies"),
    [(99, False), (100, True), (99.99, False), (1e300, True), (Decimal(100), True), (-5, False)],
)
def test_a_level_applies_where_the_amount_reaches_its_minimum(amount: Any, applies: bool) -> None:
    plan = chain_of(BIG).plan({"amount": amount})
    assert [level.applies for level in plan.levels] == [applies]


@pytest.mark.parametrize(
    "request_", [None, 7, {}, {"amount": "9"}, {"amount": nan}, [("amount", 9)]]
)
async def test_a_request_without_the_amount_that_is_needed_is_an_err(request_: Any) -> None:
    error = (await chain_of(BIG).run(RunContext(input=request_))).unwrap_err()
    assert isinstance(error, ConfigurationError)
    assert "amount" in str(error)


def test_amounts_and_requesters_come_from_functions_too() -> None:
    chain = chain_of(
        ApprovalLevel("board", lambda request: [request["boss"], "ana"], minimum=100),
        amount=lambda request: sum(request["items"]),
        requester=lambda request: request["by"],
    )
    plan = chain.plan({"items": [60, 50], "by": "ana", "boss": "bob"})
    assert plan.levels[0].seats == ("bob",)
    assert plan.barred == "ana"


def test_a_role_is_looked_up_for_the_request() -> None:
    def people(role: str, request: Any) -> list[str]:
        return [f"{role} of {request['team']}"]

    chain = chain_of(ApprovalLevel("head", roles=["head", "deputy"]), roles=people)
    plan = chain.plan({"team": "sales"})
    assert plan.levels[0].seats == ("head of sales", "deputy of sales")


def test_the_requester_does_not_count() -> None:
    level = ApprovalLevel("two", ["ana", "bob", "cleo"], required="all")
    chain = chain_of(level, requester="by")
    assert chain.plan({"by": "ana"}).levels[0].seats == ("bob", "cleo")
    assert chain.plan({"by": "ana"}).levels[0].needed == 2
    allowed = chain_of(level, requester="by", self_approval=True)
    assert allowed.plan({"by": "ana"}).levels[0].needed == 3


@pytest.mark.parametrize(
    ("level", "request_", "said"),
    [
        (ApprovalLevel("one", "ana"), {"by": "ana"}, "without the requester, 'ana'"),
        (ApprovalLevel("two", ["ana", "bob"], required=2), {"by": "bob"}, "needs 2 .* asks 1"),
        (ApprovalLevel("one", "ana"), {}, "requester"),
        (ApprovalLevel("one", "ana"), {"by": ["bob"]}, "requester"),
        (ApprovalLevel("one", lambda _: []), {"by": "bob"}, "asks 0"),
        (ApprovalLevel("one", lambda _: None), {"by": "bob"}, "is no name"),
    ],
)
async def test_a_request_that_nobody_could_approve_is_an_err(
    level: Any, request_: Any, said: str
) -> None:
    chain = chain_of(level, requester="by")
    with pytest.raises(ConfigurationError, match=said):
        chain.plan(request_)
    assert (await chain.run(RunContext(input=request_))).is_err()


def test_a_condition_has_to_say_yes_or_no() -> None:
    with pytest.raises(TypeError, match="True or False"):
        chain_of(ApprovalLevel("a", "x", when=lambda _: 1)).plan({})  # type: ignore[arg-type, return-value]


def test_a_prompt_shows_what_the_request_has_and_nothing_else() -> None:
    def text(prompt: Any, request: Any) -> str:
        return chain_of(ApprovalLevel("m", "x"), prompt=prompt).plan(request).levels[0].prompt

    assert text(None, {}) == "expense: approve, as m?"
    assert text("Pay {amount} for {what}?", {"amount": 5, "what": "{amount}"}) == (
        "Pay 5 for {amount}?"
    )
    assert text("{a.__class__} {b[0]} {c} {level}", {"a": 1}) == "{a.__class__} {b[0]} {c} m"
    assert len(text("{long}", {"long": "x" * 10_000})) == 200
    assert text(lambda request: f"<{request}>", 5) == "<5>"


def test_the_diagram_shows_every_state() -> None:
    chain = chain_of(
        ApprovalLevel('evil"]', "ana", expires_after=60, on_expiry="escalate"),
        ApprovalLevel("board", roles="r", required="all", minimum=5, when=lambda _: True),
        roles={"r": "bob"},
    )
    drawn = chain.to_mermaid()
    for each in ("board", "approved", "rejected", "expired", "escalated", "all of r", "from 5"):
        assert each in drawn
    assert 'evil"' not in drawn
    assert chain.to_dot().startswith("digraph")
    assert "2 levels" in repr(chain)
