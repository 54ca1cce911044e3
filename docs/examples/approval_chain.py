"""An expense that managers, and above an amount the board, have to approve.

    managers: 2 of 3 ──▶ board, from 10,000: more than half ──▶ paid
        │ a day without enough answers: the board decides alone
        └── rejected, or expired: not paid

Everybody is asked in a question of their own; the answers come from a task here, and would come
from a web page, or a chat. In between the host is closed, as for a new release: what was said
stands, and so does what is asked.

    python docs/examples/approval_chain.py
"""

from __future__ import annotations

import tempfile
from typing import Any

import trio

from lexigram_actors import (
    WorkflowContext,
    WorkflowHost,
    WorkflowRecordedEvent,
    open_host,
    workflow,
)
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalOutcome

DAY = 24 * 3600.0

chain = ApprovalChain(
    "expense",
    [
        ApprovalLevel(
            "managers",
            ["ana", "bob", "cleo"],
            required=2,
            expires_after=DAY,
            on_expiry="escalate",
        ),
        ApprovalLevel("board", roles="director", required="majority", minimum=10_000),
    ],
    roles={"director": ["dora", "emil", "faye"]},
    requester="by",
    prompt="Pay {amount} EUR for {what}?",
)


@workflow
async def expense(ctx: WorkflowContext, request: dict[str, Any]) -> str:
    outcome = ApprovalOutcome.from_data(await ctx.run(chain, request, name="approval"))
    if not outcome.approved:
        return f"{outcome.status} by {outcome.level}"
    return await ctx.step(pay, request["amount"])


async def pay(amount: int) -> str:
    print(f"paid: {amount} EUR")
    return "paid"


async def say(host: WorkflowHost, level: str, person: str, verdict: str, **more: str) -> None:
    """Answer for a person, once they are asked."""
    handle = host.handle("expense-7")
    question = f"approval/{chain.question(level, person)}"
    async with handle.events(WorkflowRecordedEvent) as news:
        while question not in [each.id for each in await handle.questions()]:
            await anext(news)
    await handle.answer({"by": person, "verdict": verdict, **more}, question=question)
    print(f"{level}: {person} said {verdict}")


async def managers(host: WorkflowHost) -> None:
    await say(host, "managers", "bob", "delegated", to="gus")
    await say(host, "managers", "gus", "approved", comment="He needs it.")


async def directors(host: WorkflowHost) -> None:
    await say(host, "board", "faye", "rejected", comment="Too dear.")
    await say(host, "board", "dora", "approved")
    await say(host, "board", "emil", "approved")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/expenses.db"
        request = {"by": "ana", "what": "a lathe", "amount": 12_000}
        async with open_host(url, register=[expense]) as host:
            handle = await host.start(expense, request, id="expense-7")
            question = await handle.wait_question()
            print(question.prompt, "-", question.id)
            await managers(host)
            print("the first host closes")
        async with open_host(url, register=[expense]) as host, trio.open_nursery() as nursery:
            nursery.start_soon(say, host, "managers", "cleo", "approved")
            nursery.start_soon(directors, host)
            print((await host.handle("expense-7").result()).unwrap())


if __name__ == "__main__":
    trio.run(main)
