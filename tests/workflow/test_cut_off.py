"""What a function does after something had cut it off: cleaning up is replayed like all else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    Ok,
    WorkflowContext,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowTimeoutError,
    current_step,
    workflow,
)
from lexigram_actors.storage.instances import Entry
from tests.workflow.lives import Lives

began: list[str] = []


async def work(seconds: float) -> str:
    began.append(current_step().path)
    await trio.sleep(seconds)
    return current_step().path


async def fail(seconds: float) -> None:
    await work(seconds)
    raise ValueError("no")


async def cleaned(ctx: WorkflowContext) -> None:
    """Do something long, and undo it in two steps."""
    try:
        await ctx.step(work, 100)
    finally:
        with trio.CancelScope(shield=True):
            await ctx.step(work, 1, name="undo")
            await ctx.step(work, 1, name="undo more")


async def failing(ctx: WorkflowContext) -> None:
    await ctx.step(fail, 3)


async def limited(ctx: WorkflowContext) -> None:
    async with ctx.move_on_after(50):
        await cleaned(ctx)


@workflow
async def part(ctx: WorkflowContext) -> None:
    await cleaned(ctx)


@workflow(timeout=5)
async def short(ctx: WorkflowContext) -> None:
    await cleaned(ctx)


async def by_a_failure_beside(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        group.start(cleaned)
        group.start(failing)


async def in_the_block(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        group.start(failing)
        await cleaned(ctx)


async def in_a_part(ctx: WorkflowContext) -> None:
    async def run(inner: WorkflowContext) -> None:
        await inner.run(part)

    async with ctx.parallel() as group:
        group.start(failing)
        group.start(run)


async def in_a_limit_further_in(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        group.start(failing)
        group.start(limited)


async def by_a_limit(ctx: WorkflowContext) -> None:
    async with ctx.fail_after(5):
        await cleaned(ctx)


async def by_the_time_of_a_part(ctx: WorkflowContext) -> None:
    await ctx.run(short)


async def lived(function: Any, entries: list[Entry]) -> str:
    """Go on from entries, at the time of the last; nothing that is recorded may begin."""
    lives = Lives(function)
    lives.go_back(entries)
    began.clear()
    outcome = str(await lives.run(entries))
    assert not {entry.path for entry in entries if entry.kind == "step"} & set(began)
    return outcome


@pytest.mark.parametrize(
    "cut_off",
    [
        by_a_failure_beside,
        in_the_block,
        in_a_part,
        in_a_limit_further_in,
        by_a_limit,
        by_the_time_of_a_part,
    ],
)
async def test_a_clean_up_goes_on_wherever_it_was_ended(
    cut_off: Callable[[WorkflowContext], Awaitable[None]], autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> str:
        said = "nothing"
        try:
            await cut_off(ctx)
        except (WorkflowStepError, WorkflowTimeoutError) as error:
            said = str(error)
        await ctx.step(work, 1, name="last")
        return said

    lives = Lives(order)
    outcome = str(await lives.run())
    assert "cut" in [entry.kind for entry in lives.entries]
    for cut in range(len(lives.entries) + 1):
        assert await lived(order, lives.entries[:cut]) == outcome, cut


async def test_a_clean_up_is_given_what_was_recorded_inside_of_what_was_cut_off(
    autojump_clock: MockClock,
) -> None:
    undone: list[str | None] = []

    async def undo(seat: str | None) -> None:
        undone.append(seat)
        await trio.sleep(1)

    async def booking(ctx: WorkflowContext) -> None:
        seat = None
        try:
            async with ctx.move_on_after(100):
                seat = await ctx.step(lambda: "12A", name="reserve")
                async with ctx.parallel():
                    await ctx.step(work, 50)
        finally:
            with trio.CancelScope(shield=True):
                await ctx.step(undo, seat, name="undo")
                await ctx.step(undo, seat, name="undo more")

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(failing)
            group.start(booking)

    lives = Lives(order)
    await lives.run()
    for cut in range(len(lives.entries) + 1):
        await lived(order, lives.entries[:cut])
    assert set(undone) == {"12A"}


async def test_called_again_a_function_goes_on_with_what_its_failure_had_cut_off(
    autojump_clock: MockClock,
) -> None:
    failures = [OSError("down")]

    async def charge() -> None:
        await trio.sleep(3)
        if failures:
            raise failures.pop()

    async def pay(ctx: WorkflowContext) -> None:
        await ctx.step(charge)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(pay)
            group.start(cleaned)

    began.clear()
    lives = Lives(order)
    assert await lives.run() == Ok(None)
    names = [path.removeprefix("parallel/cleaned/") for path in began]
    assert names == ["work", "undo", "undo more"] * 2
    assert await lived(order, lives.entries) == "Ok(None)"


# --- cancellations that are nobody's ----------------------------------------------------------


async def stray() -> None:
    """Raise a cancellation of a scope that is no more."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    raise kept[0]


async def in_a_step(ctx: WorkflowContext) -> None:
    await ctx.step(stray)


async def in_the_function(ctx: WorkflowContext) -> None:
    await stray()


async def in_a_group(ctx: WorkflowContext) -> None:
    try:
        await stray()
    except trio.Cancelled as cancelled:
        raise BaseExceptionGroup("", [cancelled]) from None  # noqa: ASYNC104


async def in_a_branch(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        group.start(in_the_function)
        group.start(cleaned)


async def in_the_block_of_branches(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        group.start(cleaned)
        await stray()


async def in_a_limit(ctx: WorkflowContext) -> None:
    async with ctx.move_on_after(9):
        await stray()


@pytest.mark.parametrize(
    "raised",
    [
        in_a_step,
        in_the_function,
        in_a_group,
        in_a_branch,
        in_the_block_of_branches,
        in_a_limit,
    ],
)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_ends_nothing_quietly(
    raised: Callable[[WorkflowContext], Awaitable[None]], autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await raised(ctx)
        await ctx.step(work, 1, name="later")

    lives = Lives(order)
    result = await lives.run()
    assert isinstance(result.unwrap_err(), WorkflowStateError | WorkflowStepError)
    assert "nothing had cancelled it" in str(result)
    assert await lived(order, lives.entries) == str(result)
    assert "later" not in [entry.path for entry in lives.entries]


@pytest.mark.parametrize("is_cut", [True, False])
async def test_a_wait_under_a_shield_is_over_in_the_replay_where_it_was_over_in_time(
    is_cut: bool, autojump_clock: MockClock
) -> None:
    """The limit fires before the clean-up, or during it; the wait is the last of the block."""

    @workflow
    async def order(ctx: WorkflowContext) -> bool:
        async with ctx.move_on_after(1) as limit:
            try:
                if is_cut:
                    await ctx.sleep(50)
            finally:
                with trio.CancelScope(shield=True):
                    await ctx.sleep(6)
            await ctx.sleep(4)
        return limit.fired

    lives = Lives(order)
    assert await lives.run() == Ok(True)
    for cut in range(len(lives.entries) + 1):
        life = Lives(order)
        life.go_back(lives.entries[:cut])
        assert await life.run(lives.entries[:cut]) == Ok(True)
