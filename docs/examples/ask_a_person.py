"""An expense that a person has to approve, asked and answered in different processes.

    check ──▶ ask: "Pay 1,200.00 EUR for a desk?" ──▶ pay, or tell why not

A process begins the instance, waits until it asks, and ends: the question stands in the store. An
operator who has the store, and not the code, lists what is open and answers, first with something
that does not fit. A later host checks the answer, refuses it, takes the next, and goes on.

    python docs/examples/ask_a_person.py

Needs the extra `schemas`.
"""

from __future__ import annotations

import tempfile
from typing import Any, TypedDict

import trio

from lexigram_actors import (
    InstanceStatus,
    Operator,
    WorkflowContext,
    WorkflowRecordedEvent,
    open_host,
    open_store,
    workflow,
)


class Decision(TypedDict):
    """What the approver is asked for."""

    approved: bool
    by: str


async def check(expense: dict[str, Any]) -> str:
    print("checked: within the budget")
    return f"Pay {expense['amount']:,.2f} EUR for {expense['what']}?"


async def pay(amount: float) -> str:
    print(f"paid: {amount:,.2f} EUR")
    return "transfer-1"


@workflow
async def approve_expense(ctx: WorkflowContext, expense: dict[str, Any]) -> str:
    prompt = await ctx.step(check, expense)
    decision = await ctx.ask_human(prompt, name="approval", schema=Decision)
    if not decision["approved"]:
        return f"refused by {decision['by']}"
    return f"{await ctx.step(pay, expense['amount'])}, approved by {decision['by']}"


async def begin(url: str) -> None:
    """Begin an instance; the host closes while it waits."""
    async with open_host(url, register=[approve_expense]) as host:
        expense = {"what": "a desk", "amount": 1200.0}
        handle = await host.start(approve_expense, expense, id="expense-7")
        await handle.status.wait_value(InstanceStatus.WAITING)
        print("the first host closes")


async def answer(url: str) -> None:
    """Answer as an operator does: with the store, and no workflow."""
    async with open_store(url) as store:
        operator = Operator(store)
        for instance in await operator.select(name="approve_expense"):
            for question in await operator.questions(instance.id):
                print(f"{instance.id} asks {question.id}: {question.prompt}")
        await operator.answer("expense-7", {"approved": "perhaps", "by": "Ada"})


async def go_on(url: str) -> None:
    """Be the next host: it refuses what does not fit, and asks on."""
    async with open_host(url) as host:
        handle = await host.find("expense-7")
        async with handle.events(WorkflowRecordedEvent) as events:
            await host.register(approve_expense)  # from here on it runs
            async for event in events:
                if event.kind == "refused":
                    break
        refused = [row for row in await handle.history() if row.kind == "refused"]
        print("refused:", refused[0].outcome)
        await handle.answer({"approved": True, "by": "Ada"})
        print((await handle.result()).unwrap())


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/expenses.db"
        await begin(url)
        await answer(url)
        await go_on(url)


if __name__ == "__main__":
    trio.run(main)
