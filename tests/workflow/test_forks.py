"""What a fork makes of the times that its original had set."""

from __future__ import annotations

from typing import Any

import trio
from attrs import evolve
from trio.testing import MockClock

from lexigram_actors import Ok, WorkflowContext, current_step, workflow
from lexigram_actors.host.history import fork_position
from tests.workflow.lives import Lives

LATER = 1e6


def forked(lives: Lives, function: Any, step: str) -> Lives:
    """Return a fork at a step, long after the original."""
    before = fork_position(lives.entries, step)
    copied = [entry._replace(epoch=0) for entry in lives.entries if entry.position < before]
    fork = Lives(function, copied=len(copied))
    fork.instance = evolve(fork.instance, id="fork")
    fork.entries = copied
    fork.skew = LATER
    return fork


async def quick(ctx: WorkflowContext) -> None:
    await ctx.sleep(2)
    await ctx.step(lambda: None, name="quick")


async def test_times_that_were_running_at_a_fork_begin_anew_in_it(
    autojump_clock: MockClock,
) -> None:
    @workflow(timeout=10)
    async def part(ctx: WorkflowContext) -> str:
        await ctx.step(lambda: None, name="begin")
        await ctx.step(trio.sleep, 5)
        return "in time"

    async def limited(ctx: WorkflowContext) -> Any:
        async with ctx.move_on_after(10):
            await ctx.step(lambda: None, name="begin")
            return await ctx.run(part)
        return None

    async def signalled(ctx: WorkflowContext) -> Any:
        return await ctx.wait_signal("go", timeout=10)

    @workflow(timeout=20)
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.parallel() as group:
            branches = [group.start(limited), group.start(signalled)]
            group.start(quick)
        return [branch.value for branch in branches]

    lives = Lives(order)
    lives.signal("go", 1)
    assert await lives.run() == Ok(["in time", 1])
    # At that step the other branch is in the middle of its part.
    fork = forked(lives, order, "parallel/quick/quick")
    assert await fork.run() == Ok(["in time", 1])
    times = [entry for entry in fork.entries if entry.kind in ("deadline", "limit")]
    assert len(times) == 6
    assert min(entry.value for entry in times[3:]) > lives.instance.created_at + LATER
    # What it has set itself holds in its later lives.
    assert await fork.run() == Ok(["in time", 1])
    assert len([entry for entry in fork.entries if entry.kind == "limit"]) == 2


async def test_a_signal_is_waited_for_anew_in_a_fork(autojump_clock: MockClock) -> None:
    async def signalled(ctx: WorkflowContext) -> Any:
        return await ctx.wait_signal("go", timeout=10)

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.parallel() as group:
            branch = group.start(signalled)
            group.start(quick)
        return branch.value

    lives = Lives(order)
    await lives.run()
    fork = forked(lives, order, "parallel/quick/quick")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            await trio.sleep(9)
            fork.signal("go", "came")

        assert await fork.run() == Ok("came")


async def test_a_limit_that_was_over_before_the_fork_is_over_in_it(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> bool:
        async with ctx.move_on_after(5) as limit:
            await ctx.step(trio.sleep, 100)
        await ctx.step(lambda: None, name="last")
        return limit.fired

    lives = Lives(order)
    await lives.run()
    fork = forked(lives, order, "last")
    assert await fork.run() == Ok(True)
    assert [entry.kind for entry in fork.entries] == ["limit", "scope", "step"]


async def test_the_keys_of_the_steps_of_a_fork_are_its_own() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> str:
        await ctx.step(lambda: None, name="first")
        return await ctx.step(lambda: current_step().idempotency_key, name="key")

    lives = Lives(order)
    original = await lives.run()
    assert await forked(lives, order, "key").run() != original
