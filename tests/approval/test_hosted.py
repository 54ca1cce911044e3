"""Chains in a host: every person has a question, and everything is on record."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    AnswerInvalidError,
    InstanceStatus,
    Ok,
    Pipeline,
    SubworkflowNode,
    WorkflowBuilder,
    WorkflowContext,
    step,
    workflow,
)
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalStatus
from lexigram_actors.errors import HumanInputRequiredError, WorkflowStateError
from lexigram_actors.host.operator import Operator
from tests.approval.chains import chain_of, outcome_of, says
from tests.host.hosts import Home


@pytest.fixture(params=["memory", "sqlite"])
def home(request: Any, tmp_path: Path) -> Home:
    return Home(tmp_path / "approvals.db" if request.param == "sqlite" else None)


async def people_asked(handle: Any) -> list[str]:
    """Return what is asked, once nothing moves by itself any more."""
    await wait_all_tasks_blocked(0.001)
    return [question.id for question in await handle.questions()]


def two_levels(**options: Any) -> ApprovalChain:
    return chain_of(
        ApprovalLevel("manager", ["ana", "bob"], required=2, **options),
        ApprovalLevel("board", "cleo"),
    )


async def test_people_answer_in_any_order_and_all_is_approved(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, {"amount": 5}, id="x")
        assert await people_asked(handle) == ["manager/ana", "manager/bob"]
        await handle.answer(says("bob", comment="ok"), question="manager/bob")
        assert await people_asked(handle) == ["manager/ana"]
        await handle.answer(says("ana"))
        assert await people_asked(handle) == ["board/cleo"]
        await handle.answer(says("cleo"))
        outcome = outcome_of(await handle.result())
    assert outcome.approved
    assert [each.by for each in outcome.decisions] == ["bob", "ana", "cleo"]
    assert outcome.ended_at is not None
    assert outcome.ended_at >= outcome.decisions[0].at >= 1e9


async def test_answers_that_come_at_once_all_count(home: Home, autojump_clock: MockClock) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        async with trio.open_nursery() as nursery:
            for person in ("ana", "bob"):
                answering = partial(handle.answer, question=chain.question("manager", person))
                nursery.start_soon(answering, says(person))
        assert await people_asked(handle) == ["board/cleo"]


async def test_a_rejection_withdraws_what_else_is_asked(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        await handle.answer(says("ana", "rejected", comment="no"), question="manager/ana")
        outcome = outcome_of(await handle.result())
        assert (await handle.describe()).status is InstanceStatus.COMPLETED
        assert await handle.questions() == []
        with pytest.raises(WorkflowStateError):
            await handle.answer(says("bob"), question="manager/bob")
    assert (outcome.status, outcome.level) == (ApprovalStatus.REJECTED, "manager")


async def test_a_delegate_gets_a_question_of_their_own(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        await handle.answer(says("ana", "delegated", to="dan"), question="manager/ana")
        assert await people_asked(handle) == ["manager/bob", "manager/dan"]
        with pytest.raises(AnswerInvalidError, match="is, or was, asked"):
            await handle.answer(says("dan", "delegated", to="ana"), question="manager/dan")
        await handle.answer(says("dan"), question="manager/dan")
        await handle.answer(says("bob"), question="manager/bob")
        assert await people_asked(handle) == ["board/cleo"]


async def test_two_who_pass_it_to_the_same_person_at_once(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        for person in ("ana", "bob"):  # before the host has taken either
            answer = says(person, "delegated", to="dan")
            await host.operator.answer("x", answer, question=f"manager/{person}")
        assert await people_asked(handle) == ["manager/bob", "manager/dan"]
        assert [row.path for row in await handle.history() if row.kind == "refused"] == [
            "manager/bob"
        ]


async def test_an_answer_that_does_not_count_leaves_the_question_open(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        for wrong in (says("bob"), "yes", says("ana", "maybe"), {}):
            with pytest.raises(AnswerInvalidError):
                await handle.answer(wrong, question="manager/ana")
            # From another process nobody can tell: the host refuses it when it sees it.
            await host.operator.answer("x", wrong, question="manager/ana")
            assert await people_asked(handle) == ["manager/ana", "manager/bob"]
        await handle.answer(says("ana"), question="manager/ana")
        assert await people_asked(handle) == ["manager/bob"]


@pytest.mark.parametrize(
    ("on_expiry", "status"), [("reject", "expired"), ("escalate", "approved"), ("approve", None)]
)
async def test_the_time_of_a_level_is_over(
    on_expiry: str, status: Any, home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels(expires_after=3600.0, on_expiry=on_expiry)
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        begun = trio.current_time()
        await people_asked(handle)
        await handle.answer(says("ana"), question="manager/ana")
        (bob,) = [q for q in await handle.questions() if q.id == "manager/bob"]
        assert bob.expires_at == pytest.approx(1e9 + begun + 3600, abs=1)
        await trio.sleep(3605)
        if on_expiry != "reject":
            assert await people_asked(handle) == ["board/cleo"]
            await handle.answer(says("cleo"))
        outcome = outcome_of(await handle.result())
    assert outcome.status.value == (status or "approved")
    assert outcome.levels[0].status.value == ("approved" if status is None else "expired")
    assert "manager/bob#2" not in [row.path for row in await history(home, "x")]


async def history(home: Home, id: str) -> Any:
    async with home.store() as store:
        return await Operator(store).history(id)


async def test_hosts_come_and_go_between_the_answers(home: Home, autojump_clock: MockClock) -> None:
    chain = two_levels(expires_after=100.0, on_expiry="escalate")
    async with home.host(chain) as host:
        await people_asked(await host.start(chain, None, id="x"))
    async with home.store() as store:  # nobody is at work
        await Operator(store).answer("x", says("bob"), question="manager/bob")
    async with home.host(two_levels(expires_after=100.0, on_expiry="escalate")) as host:
        assert await people_asked(host.handle("x")) == ["manager/ana"]
    await trio.sleep(1000)  # and the time is over while nobody is at work
    async with home.host(two_levels(expires_after=100.0, on_expiry="escalate")) as host:
        handle = host.handle("x")
        assert await people_asked(handle) == ["board/cleo"]
        await handle.answer(says("cleo", "rejected"))
        outcome = outcome_of(await handle.result())
    assert outcome.status is ApprovalStatus.REJECTED
    assert [each.verdict.value for each in outcome.decisions] == ["approved", "expired", "rejected"]


async def test_cancelled_while_it_asks_nothing_is_asked_any_more(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = two_levels()
    async with home.host(chain) as host:
        handle = await host.start(chain, None, id="x")
        await people_asked(handle)
        await handle.answer(says("ana"), question="manager/ana")
        await people_asked(handle)
        await handle.cancel("not needed any more")
        assert (await handle.describe()).status is InstanceStatus.CANCELLED
        assert await handle.questions() == []


async def test_a_request_that_cannot_be_decided_fails_the_instance(
    home: Home, autojump_clock: MockClock
) -> None:
    chain = chain_of(ApprovalLevel("board", "cleo", minimum=5))
    async with home.host(chain) as host:
        handle = await host.start(chain, {"amount": "much"}, id="x")
        error = (await handle.result()).unwrap_err()
        assert "'much' is no finite number" in str(error)
        assert (await handle.describe()).status is InstanceStatus.FAILED


# --- inside of something else -----------------------------------------------------------------


async def test_a_part_of_a_durable_function(home: Home, autojump_clock: MockClock) -> None:
    chain = chain_of(ApprovalLevel("m", "ana"))

    @workflow
    async def pay(ctx: WorkflowContext, amount: int) -> str:
        decision = await ctx.run(chain, {"amount": amount})
        return "paid" if decision["approved"] else "not paid"

    async with home.host(pay) as host:
        for id, verdict, said in (("y", "approved", "paid"), ("n", "rejected", "not paid")):
            handle = await host.start(pay, 5, id=id)
            assert await people_asked(handle) == ["expense/m/ana"]
            await handle.answer(says("ana", verdict))
            assert await handle.result() == Ok(said)


async def test_a_step_of_a_pipeline(home: Home, autojump_clock: MockClock) -> None:
    chain = chain_of(
        ApprovalLevel("m", "ana", minimum=5), request=lambda context: context.state["price"]
    )
    pipeline = Pipeline(
        "buy",
        [
            step("price", lambda _: {"amount": 7}),
            step("approval", chain, ["price"]),
            step("buy", lambda c: c.get_step_result("approval")["approved"], ["approval"]),
        ],
    )
    async with home.host(pipeline) as host:
        handle = await host.start(pipeline, None, id="x")
        assert await people_asked(handle) == ["approval/m/ana"]
        await handle.answer(says("ana"))
        assert (await handle.result()).unwrap()["buy"] is True


def graph_around(chain: ApprovalChain) -> Any:
    node = SubworkflowNode("approval", workflow=chain, output_key="decision", on_error="raise")
    return (
        WorkflowBuilder("buy")
        .add_node("approval", node=node)
        .add_node("end", node=lambda state: {"output": state["decision"]["status"]})
        .add_edge("approval", "end")
        .set_entry("approval")
        .set_terminal("end")
        .build()
    )


async def test_a_node_of_a_graph_without_a_host() -> None:
    chain = two_levels()
    engine = graph_around(chain)
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute({"amount": 5}, run_id="r")
    state = caught.value.state
    for person in ("ana", "bob"):
        node = f"approval/{chain.question('manager', person)}"
        assert node in [question.node for question in engine.pending(state)]
        wrong = await engine.resume(state, says("eve"), node=node)
        assert isinstance(wrong.unwrap_err().cause, AnswerInvalidError)  # the state still holds
        with pytest.raises(HumanInputRequiredError) as caught:
            await engine.resume(state, says(person), node=node)
        state = caught.value.state
    result = await engine.resume(state, says("cleo", "rejected"))
    assert result.unwrap().output == "rejected"


async def test_a_node_of_a_graph_in_a_host(home: Home, autojump_clock: MockClock) -> None:
    chain = two_levels(expires_after=100.0, on_expiry="approve")
    engine = graph_around(chain)
    async with home.host(engine) as host:
        handle = await host.start(engine, {"amount": 5}, id="x")
        assert await people_asked(handle) == ["approval/manager/ana", "approval/manager/bob"]
        # The graph knows nothing of who may say what: it is asked again.
        await handle.answer(says("eve"), question="approval/manager/ana")
        assert await people_asked(handle) == ["approval/manager/bob", "approval/manager/ana#2"]
        await handle.answer(says("ana"), question="approval/manager/ana#2")
        assert await people_asked(handle) == ["approval/manager/bob"]
        await trio.sleep(200)
        assert await people_asked(handle) == ["approval/board/cleo"]
        await handle.answer(says("cleo"))
        assert (await handle.result()).unwrap()["output"] == "approved"
