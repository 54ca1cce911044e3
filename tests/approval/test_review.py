"""Names that are written in two ways, states of no version, numbers that nobody can write."""

from __future__ import annotations

from typing import Any

import pytest

from lexigram_actors.approval import ApprovalChain, ApprovalLevel
from lexigram_actors.errors import AnswerInvalidError, ConfigurationError, WorkflowStateError
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err
from tests.approval.chains import began, chain_of, says

COMPOSED, DECOMPOSED = "Jos\u00e9", "Jose\u0301"


async def test_nobody_decides_their_own_request_under_another_spelling() -> None:
    chain = chain_of(ApprovalLevel("l", [COMPOSED, "ana"]), requester="by")
    result = await chain.run(RunContext(input={"by": DECOMPOSED}))
    assert isinstance(result, Err)
    assert "requester" in str(result.error)
    pause = await began(chain, {"by": COMPOSED})
    assert [question.approver for question in pause.pending] == ["ana"]
    with pytest.raises(AnswerInvalidError, match="no name"):
        await chain.resume(pause.state, says("ana", "delegated", to=DECOMPOSED))


def test_one_person_does_not_count_twice() -> None:
    with pytest.raises(ConfigurationError, match="NFC"):
        ApprovalLevel("l", [COMPOSED, DECOMPOSED], required="all")


@pytest.mark.parametrize("version", [None, "1", 1.0, True])
async def test_a_state_of_no_version_is_none_of_the_chain(version: Any) -> None:
    chain = ApprovalChain("x", [ApprovalLevel("l", "ana")])
    state = {**(await began(chain, {})).state, "version": version}
    with pytest.raises(WorkflowStateError, match="no state"):
        await chain.resume(state, says("ana"))


async def test_a_number_that_python_does_not_write_is_no_obstacle() -> None:
    chain = chain_of(ApprovalLevel("l", "ana"), prompt="pay {amount}?")
    pause = await began(chain, {"amount": 10**5000})
    assert pause.pending[0].prompt.startswith("pay ")
