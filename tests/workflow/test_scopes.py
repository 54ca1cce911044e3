"""Branches side by side and limits of time, live and replayed from every cut."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    Err,
    NonDeterminismError,
    Ok,
    WorkflowContext,
    WorkflowError,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowTimeoutError,
    workflow,
)
from tests.workflow.lives import Lives


class Log:
    """Says which steps began and which ended."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []

    async def work(self, name: str, seconds: float = 0.0) -> str:
        self.began.append(name)
        await trio.sleep(seconds)
        self.ended.append(name)
        return name

    async def fail(self, name: str, seconds: float = 0.0) -> None:
        self.began.append(name)
        await trio.sleep(seconds)
        raise ValueError(name)


@pytest.fixture
def log() -> Log:
    return Log()


async def same_from_every_cut(function: Any, log: Log) -> Lives:
    """Run; then again from each part of the journal: nothing recorded runs a second time."""
    lives = Lives(function)
    expected = await lives.run()
    for cut in range(len(lives.entries) + 1):
        log.began.clear()
        life = Lives(function)
        life.go_back(lives.entries[:cut])
        result = await life.run(lives.entries[:cut])
        assert plain(result) == plain(expected), f"cut at {cut}"
        recorded = {
            entry.path.rpartition("/")[2] for entry in lives.entries[:cut] if entry.kind == "step"
        }
        assert not recorded & set(log.began), f"cut at {cut}"
    assert log.began == []
    return lives


def plain(result: Any) -> Any:
    if isinstance(result, Err):
        return type(result.error), str(result.error)
    return result


async def test_branches_run_side_by_side_and_keep_their_order(
    log: Log, autojump_clock: MockClock
) -> None:
    async def branch(ctx: WorkflowContext, name: str, seconds: float) -> str:
        await ctx.step(log.work, name, seconds, name=name)
        return name.upper()

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.parallel() as group:
            slow = group.start(branch, "slow", 10.0)
            quick = group.start(branch, "quick", 1.0, name="express")
            own = await ctx.step(log.work, "own", 5.0, name="own")
        return [slow.value, quick.result(), own]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok(["SLOW", Ok("QUICK"), "own"])
    assert [entry.path for entry in lives.entries] == [
        "parallel/express/quick",
        "parallel/body/own",
        "parallel/branch/slow",
        "parallel",
    ]


async def test_the_first_failure_cancels_the_others_and_is_raised(
    log: Log, autojump_clock: MockClock
) -> None:
    async def bad(ctx: WorkflowContext) -> None:
        await ctx.step(log.fail, "bad", 5.0, name="bad")

    async def slow(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "slow 1", 1.0, name="slow 1")
        await ctx.step(log.work, "slow 2", 100.0, name="slow 2")

    @workflow
    async def order(ctx: WorkflowContext) -> str:
        try:
            async with ctx.parallel() as group:
                cut = group.start(slow)
                group.start(bad)
        except WorkflowStepError as error:
            assert not cut.is_done
            with pytest.raises(WorkflowStateError):
                cut.result()
            return await ctx.step(log.work, f"after {error.path}", name="after")
        return ""

    lives = await same_from_every_cut(order, log)
    assert lives.recorded() == [
        ("parallel/slow/slow 1", "step"),
        ("parallel/bad/bad", "step"),
        ("parallel", "scope"),
        ("after", "step"),
    ]
    # What had been cut off does not begin again, though there is all the time for it now.
    log.began.clear()
    await Lives(order).run(lives.entries[:3])
    assert log.began == ["after parallel/bad/bad"]


async def test_a_sleep_that_was_cut_off_stays_cut_off(log: Log, autojump_clock: MockClock) -> None:
    async def bad(ctx: WorkflowContext) -> None:
        await ctx.step(log.fail, "bad", 5.0)

    async def sleeper(ctx: WorkflowContext) -> None:
        await ctx.sleep(50)
        await ctx.step(log.work, "awake")

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(sleeper)
            group.start(bad)

    lives = Lives(order)
    first = await lives.run()
    lives.skew = 1000.0
    log.began.clear()
    assert plain(await lives.run()) == plain(first)
    assert log.began == []


async def test_without_fail_fast_all_run_and_every_failure_is_raised(
    log: Log, autojump_clock: MockClock
) -> None:
    async def bad(ctx: WorkflowContext, name: str, seconds: float) -> None:
        await ctx.step(log.fail, name, seconds, name=name)

    async def good(ctx: WorkflowContext) -> str:
        return await ctx.step(log.work, "good", 100.0, name="good")

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        try:
            async with ctx.parallel(fail_fast=False) as group:
                group.start(bad, "x", 3.0)
                fine = group.start(good)
                group.start(bad, "y", 1.0)
        except ExceptionGroup as failures:
            return [fine.value, *(str(each) for each in failures.exceptions)]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok(
        ["good", "step 'x' failed: ValueError: x", "step 'y' failed: ValueError: y"]
    )


async def test_several_failures_that_nobody_handles_are_one_outcome(log: Log) -> None:
    async def bad(ctx: WorkflowContext, name: str) -> Err[str]:
        return Err(name)

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.parallel(fail_fast=False) as group:
            group.start(bad, "x")
            group.start(bad, "y")

    error = (await Lives(order).run()).unwrap_err()
    assert isinstance(error, WorkflowError)
    assert "2 failures: x; y" in str(error)


async def test_a_bug_in_a_branch_passes_and_the_next_life_goes_on(
    log: Log, autojump_clock: MockClock
) -> None:
    bugs = [True]

    async def buggy(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "before", name="before")
        if bugs:
            bugs.clear()
            raise ZeroDivisionError

    async def slow(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "slow", 10.0, name="slow")

    @workflow
    async def order(ctx: WorkflowContext) -> str:
        async with ctx.parallel() as group:
            group.start(slow)
            group.start(buggy)
        return "done"

    lives = Lives(order)
    with pytest.raises(ZeroDivisionError):
        await lives.run()
    assert lives.recorded() == [("parallel/buggy/before", "step")]
    assert await lives.run() == Ok("done")
    assert log.ended == ["before", "slow"]


async def test_a_block_that_raises_cancels_its_branches_also_in_the_replay(
    log: Log, autojump_clock: MockClock
) -> None:
    async def slow(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "quick", name="quick")
        await ctx.step(log.work, "slow", 100.0, name="slow")

    @workflow
    async def order(ctx: WorkflowContext) -> str:
        try:
            async with ctx.parallel() as group:
                group.start(slow)
                await ctx.sleep(10)
                raise WorkflowError("the block gives up")
        except WorkflowError as error:
            return await ctx.step(log.work, error.message, name="after")

    lives = await same_from_every_cut(order, log)
    log.began.clear()
    await Lives(order).run(lives.entries[:-1])
    assert log.began == ["the block gives up"]


async def test_a_failure_that_does_not_come_again_is_no_replay(
    log: Log, autojump_clock: MockClock
) -> None:
    fails = True

    async def bad(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "x")
        if fails:
            raise WorkflowError("no")

    async def slow(ctx: WorkflowContext) -> None:
        await ctx.step(log.work, "slow", 100.0)

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(bad)

    lives = Lives(order)
    await lives.run()
    fails = False
    with pytest.raises(NonDeterminismError) as caught:
        await lives.run()
    assert caught.value.path == "parallel/bad"


async def test_a_branch_more_where_the_scope_had_ended_is_no_replay(log: Log) -> None:
    names = ["a"]

    async def branch(ctx: WorkflowContext, name: str) -> None:
        await ctx.step(log.work, name, name=name)

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            for name in names:
                group.start(branch, name)
        await ctx.step(log.work, "end")

    lives = Lives(order)
    await lives.run()
    names.append("b")
    with pytest.raises(NonDeterminismError):
        await lives.run()


async def test_an_empty_scope_leaves_a_record(log: Log) -> None:
    async def branch(ctx: WorkflowContext, item: int) -> int:
        return item

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        nothing = await ctx.map(branch, [])
        plain = await ctx.map(branch, [1, 2])
        await ctx.step(log.work, "end", name="end")
        return [nothing, plain]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([[], [1, 2]])


async def test_map_keeps_the_order_and_its_limit(log: Log, autojump_clock: MockClock) -> None:
    at_work = most = 0

    async def measured(seconds: float) -> float:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await trio.sleep(seconds)
        at_work -= 1
        return seconds

    async def branch(ctx: WorkflowContext, seconds: float) -> float:
        return await ctx.step(measured, seconds)

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.map(branch, [5.0, 4.0, 3.0, 2.0, 1.0], limit=2, name="all")

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([5.0, 4.0, 3.0, 2.0, 1.0])
    assert most == 2


async def test_scopes_stand_inside_each_other(log: Log, autojump_clock: MockClock) -> None:
    async def leaf(ctx: WorkflowContext, name: str) -> str:
        async with ctx.move_on_after(20):
            await ctx.step(log.work, name, 3.0, name=name)
            await ctx.sleep(2)
        return await ctx.step(log.work, f"{name}!", name=f"{name}!")

    async def branch(ctx: WorkflowContext, name: str) -> list[str]:
        async with ctx.parallel() as group:
            leaves = [group.start(leaf, f"{name}{n}", name=f"leaf {n}") for n in range(2)]
        return [each.value for each in leaves]

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.map(branch, ["a", "b"])

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([["a0!", "a1!"], ["b0!", "b1!"]])


async def test_a_hundred_orders_of_completion_replay_alike(autojump_clock: MockClock) -> None:
    import random

    delays: dict[int, float] = {}
    started: list[int] = []

    async def work(n: int) -> int:
        started.append(n)
        await trio.sleep(delays[n])
        return n

    async def branch(ctx: WorkflowContext, n: int) -> int:
        first = await ctx.step(work, n)
        return first + await ctx.step(work, n)

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.map(branch, range(6))

    orders = set()
    for seed in range(100):
        chosen = random.Random(seed)
        delays.update({n: chosen.random() for n in range(6)})
        lives = Lives(order)
        expected = await lives.run()
        orders.add(tuple(entry.path for entry in lives.entries))
        started.clear()
        cut = chosen.randrange(len(lives.entries) + 1)
        assert await Lives(order).run(lives.entries[:cut]) == expected == Ok([0, 2, 4, 6, 8, 10])
        recorded = sum(entry.kind == "step" for entry in lives.entries[:cut])
        assert len(started) == 12 - recorded
    assert len(orders) > 90


# --- limits of time --------------------------------------------------------------------------


async def test_a_limit_cuts_off_what_is_under_way(log: Log, autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.move_on_after(10) as limit:
            await ctx.step(log.work, "quick", 5.0, name="quick")
            await ctx.step(log.work, "slow", 100.0, name="slow")
            await ctx.step(log.work, "never", name="never")
        return [limit.fired, await ctx.step(log.work, "after", name="after")]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([True, "after"])
    assert lives.recorded() == [
        ("move_on_after", "limit"),
        ("move_on_after/quick", "step"),
        ("move_on_after", "scope"),
        ("after", "step"),
    ]


async def test_a_limit_that_had_not_fired_does_not_fire_in_a_later_life(
    log: Log, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.move_on_after(10) as limit:
            await ctx.step(log.work, "quick", 5.0, name="quick")
        await ctx.step(log.work, "after", name="after")
        return limit.fired

    lives = await same_from_every_cut(order, log)
    lives.skew = 86400.0
    assert await lives.run() == Ok(False)


async def test_the_time_of_a_limit_goes_on_while_the_process_is_down(
    log: Log, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.fail_after(100):
            await ctx.step(log.work, "slow", 50.0)

    lives = Lives(order)
    await lives.die_at(10)
    lives.skew = 80.0
    begun = trio.current_time()
    result = await lives.run()
    assert isinstance(result.unwrap_err(), WorkflowTimeoutError)
    assert trio.current_time() - begun == pytest.approx(10, abs=0.1)
    assert plain(await lives.run()) == plain(result)


async def test_a_limit_cuts_off_branches_too(log: Log, autojump_clock: MockClock) -> None:
    async def branch(ctx: WorkflowContext, name: str) -> None:
        await ctx.step(log.work, name, 3.0, name=name)
        await ctx.step(log.work, f"{name} slow", 100.0, name=f"{name} slow")

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.move_on_after(10) as limit:
            await ctx.map(branch, ["a", "b"])
        return [limit.fired, await ctx.step(log.work, "after", name="after")]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([True, "after"])
    log.began.clear()
    await Lives(order).run(lives.entries[:-1])
    assert log.began == ["after"]


async def test_an_inner_limit_ends_first_and_an_outer_one_later(
    log: Log, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        async with ctx.move_on_after(30, name="outer") as outer:
            async with ctx.move_on_after(10, name="inner") as inner:
                await ctx.sleep(100)
            await ctx.step(log.work, "between", name="between")
            await ctx.sleep(100)
        await ctx.step(log.work, "after", name="after")
        return [outer.fired, inner.fired]

    lives = await same_from_every_cut(order, log)
    assert await lives.run() == Ok([True, True])


async def test_what_was_late_stays_late_though_it_is_quick_now(
    log: Log, autojump_clock: MockClock
) -> None:
    seconds = 100.0

    @workflow
    async def order(ctx: WorkflowContext) -> bool:
        async with ctx.move_on_after(10) as limit:
            await ctx.step(log.work, "quick")
            await trio.sleep(seconds)
        return limit.fired

    lives = Lives(order)
    assert await lives.run() == Ok(True)
    seconds = 0.0
    assert await lives.run() == Ok(True)


async def test_the_failure_that_came_first_is_the_one_in_every_life(
    log: Log, autojump_clock: MockClock
) -> None:
    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        raise ValueError("second")

    async def second(ctx: WorkflowContext) -> None:
        await ctx.step(shielded)

    async def first(ctx: WorkflowContext) -> None:
        await ctx.step(log.fail, "first", 1.0)

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(second)
            group.start(first)

    lives = Lives(order)
    for _ in range(2):
        error = (await lives.run()).unwrap_err()
        assert str(error) == "step 'fail' failed: ValueError: first"
    assert ("parallel/second/shielded", "step") in lives.recorded()


async def test_a_branch_cannot_begin_the_whole_again(log: Log) -> None:
    async def branch(ctx: WorkflowContext) -> None:
        ctx.continue_as_new()

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(branch)

    assert isinstance((await Lives(order).run()).unwrap_err(), WorkflowStateError)


async def test_a_branch_is_started_in_the_block_only(log: Log) -> None:
    async def branch(ctx: WorkflowContext) -> None: ...

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        group = ctx.parallel()
        with pytest.raises(WorkflowStateError):
            group.start(branch)
        async with group:
            pass
        with pytest.raises(WorkflowStateError):
            group.start(branch)

    assert await Lives(order).run() == Ok(None)
