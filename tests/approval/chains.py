"""Chains, and what people say about them."""

from __future__ import annotations

from typing import Any

import pytest

from lexigram_actors import HumanInputRequiredError, RunContext
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalOutcome
from lexigram_actors.result import Result


def says(by: str, verdict: str = "approved", **more: Any) -> dict[str, Any]:
    """Return an answer."""
    return {"by": by, "verdict": verdict, **more}


class Clock:
    """A clock on the wall that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def chain_of(*levels: ApprovalLevel, **options: Any) -> ApprovalChain:
    return ApprovalChain("expense", levels, **options)


async def began(chain: ApprovalChain, request: Any = None, run_id: str | None = None) -> Any:
    """Return the pause in which it asks."""
    with pytest.raises(HumanInputRequiredError) as caught:
        await chain.run(RunContext(input=request, run_id=run_id))
    return caught.value


async def told(chain: ApprovalChain, state: Any, *answers: Any) -> ApprovalOutcome | Any:
    """Give the answers; return the outcome, or the state of the last pause."""
    for answer in answers:
        try:
            result = await chain.resume(state, answer)
        except HumanInputRequiredError as pause:
            state = pause.state
            continue
        return outcome_of(result)
    return state


async def decided(chain: ApprovalChain, *answers: Any, request: Any = None) -> Any:
    """Begin, give the answers, and return what came of it."""
    return await told(chain, (await began(chain, request)).state, *answers)


def outcome_of(result: Result[Any, Exception]) -> ApprovalOutcome:
    data = result.unwrap()
    outcome = ApprovalOutcome.from_data(data)
    assert data["approved"] is outcome.approved
    assert outcome.as_data() == data
    return outcome


def asked(chain: ApprovalChain, state: Any) -> list[str]:
    """Return who is asked."""
    return [question.approver for question in chain.pending(state)]
