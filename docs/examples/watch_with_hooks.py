"""Hooks that count what happens and ring an alarm, in a host and without one.

The alarm is slow, as a message to a pager is; the runs do not wait for it. What is told is what was
recorded: each begin and each end once, whatever had to be tried again.

    python docs/examples/watch_with_hooks.py
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

from lexigram_actors import (
    Err,
    HookRegistry,
    Pipeline,
    WorkflowCompletedHook,
    WorkflowContext,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
    observing,
    open_host,
    step,
    workflow,
)

IN_STOCK = {"book", "lamp"}


async def ship(item: str) -> str:
    await trio.sleep(0.01)
    return f"parcel with a {item}"


@workflow
async def order(ctx: WorkflowContext, item: str) -> Any:
    """Ship what is there."""
    if item not in IN_STOCK:
        return Err(LookupError(f"no {item} in stock"))
    return await ctx.step(ship, item)


def told(counts: Counter[str], alarms: list[str]) -> HookRegistry:
    """Return hooks that count, and an alarm for what failed."""
    hooks = HookRegistry()

    def count(hook: WorkflowStartedHook | WorkflowStateTransitionedHook) -> None:
        if isinstance(hook, WorkflowStartedHook):
            counts["begun"] += 1
        else:
            counts[f"{hook.from_state} -> {hook.to_state}"] += 1

    async def alarm(hook: WorkflowCompletedHook) -> None:
        if not hook.succeeded:
            await trio.sleep(0.2)
            alarms.append(hook.workflow_id)

    hooks.add(WorkflowStartedHook, count)
    hooks.add(WorkflowStateTransitionedHook, count)
    hooks.add(WorkflowCompletedHook, alarm)
    return hooks


async def main() -> None:
    counts: Counter[str] = Counter()
    alarms: list[str] = []
    hooks = told(counts, alarms)

    # In a host: `hooks=`.
    async with open_host("memory:", register=[order], hooks=hooks) as host:
        handles = [await host.start(order, each, id=each) for each in ("book", "lamp", "chair")]
        for handle in handles:
            await handle.result()
        print("all have ended; alarms so far:", alarms)

    # Without one: around whatever is run.
    async def sweep(context: Any) -> str:
        return "clean"

    async with observing(hooks=hooks):
        await Pipeline("evening", [step("sweep", sweep)]).execute()

    for what, number in sorted(counts.items()):
        print(f"{number} {what}")
    print("alarms:", *alarms)


if __name__ == "__main__":
    trio.run(main)
