"""A function that is called again after a failure: what it is given, and what it does again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    Err,
    NonDeterminismError,
    Ok,
    Pipeline,
    RunContext,
    WorkflowContext,
    WorkflowStepError,
    step,
    workflow,
)
from lexigram_actors.host.opening import open_host
from lexigram_actors.storage import MemoryStore
from tests.workflow.lives import Lives


class Till:
    """Fails as often as it was told to, and knows what it was asked for."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked: list[Any] = []

    def pay(self, what: Any = "pay") -> Any:
        self.asked.append(what)
        if self.failures:
            self.failures -= 1
            raise ValueError("no")
        return what


@pytest.mark.parametrize("is_hosted", [False, True])
async def test_every_call_is_given_what_was_recorded_whatever_the_last_has_made_of_it(
    is_hosted: bool, autojump_clock: MockClock
) -> None:
    till = Till(2)
    given: list[Any] = []

    @workflow(retries=2)
    async def order(ctx: WorkflowContext) -> Any:
        items = await ctx.step(lambda: ["book"], name="items")
        given.append([*items])
        items.append("pen")
        await ctx.step(till.pay)
        return items

    if is_hosted:
        async with open_host(MemoryStore(), register=[order]) as host:
            result = await (await host.start(order, id="a")).result()
    else:
        result = await order.__runnable__.run(RunContext())  # type: ignore[attr-defined]
    assert result == Ok(["book", "pen"])
    assert given == [["book"]] * 3


async def test_without_a_host_what_cannot_be_copied_is_given_as_it_is() -> None:
    class Single:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there is one")

    single, till = Single(), Till(1)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        found = await ctx.step(lambda: single, name="find")
        await ctx.step(till.pay)
        return found

    assert await order.__runnable__.run(RunContext()) == Ok(single)  # type: ignore[attr-defined]


async def test_a_signal_that_was_taken_after_the_failure_is_there_again(
    autojump_clock: MockClock,
) -> None:
    till = Till(2)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        try:
            return await ctx.step(till.pay)
        except WorkflowStepError as error:
            failure = error
        advice = await ctx.wait_signal("advice")
        till.asked.append([*advice])
        advice.append("changed")
        raise failure

    async with open_host(MemoryStore(), register=[order]) as host:
        handle = await host.start(order, id="a")
        await handle.signal("advice", ["wait"])
        assert (await handle.result()).is_err()
    assert till.asked == ["pay", ["wait"], "pay", ["wait"]]


async def test_a_retry_reaches_through_a_pipeline_into_the_function_that_failed(
    autojump_clock: MockClock,
) -> None:
    till = Till()
    done: list[str] = []

    async def extract(_: Any) -> str:
        done.append("extract")
        return "rows"

    @workflow
    async def load(ctx: WorkflowContext) -> Any:
        await ctx.step(done.append, "open", name="open")
        return await ctx.step(till.pay)

    etl = Pipeline(
        "etl",
        [step("extract", extract), step("load", load.__runnable__, ["extract"])],  # type: ignore[attr-defined]
    )

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        await ctx.step(done.append, "order", name="order")
        return (await ctx.run(etl))["load"]

    till.failures = 1
    async with open_host(MemoryStore(), register=[order]) as host:
        assert await (await host.start(order, id="a")).result() == Ok("pay")
    assert (done, till.asked) == (["order", "extract", "open"], ["pay", "pay"])


async def test_a_part_that_is_called_again_has_its_whole_time_again(
    autojump_clock: MockClock,
) -> None:
    slow = [True]
    done: list[str] = []

    async def work() -> str:
        if slow:
            slow.clear()
            await trio.sleep(100)
        await trio.sleep(9)
        return "done"

    @workflow(timeout=10)
    async def part(ctx: WorkflowContext) -> Any:
        await ctx.step(done.append, "first", name="first")
        return await ctx.step(work)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.run(part)

    async with open_host(MemoryStore(), register=[order]) as host:
        assert await (await host.start(order, id="a")).result() == Ok("done")
    assert done == ["first"]


async def test_a_retry_does_not_take_a_place_in_a_child_for_one_of_its_own(
    autojump_clock: MockClock,
) -> None:
    till = Till(2)

    @workflow
    async def child(ctx: WorkflowContext) -> Any:
        return await ctx.step(till.pay, "child", name="pay")

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        with suppress(WorkflowStepError):
            await ctx.step(till.pay, "own", name="pay")
        await ctx.step(till.asked.append, "handled", name="handled")
        return await ctx.child_result(await ctx.start_child(child))

    async with open_host(MemoryStore(), register=[order, child]) as host:
        handle = await host.start(order, id="a")
        assert (await handle.result()).is_err()
        assert await (await host.retry("a/child")).result() == Ok("child")
        assert await (await host.retry("a")).result() == Ok("child")
    assert till.asked == ["own", "handled", "child", "child"]


CHANGES = {
    "renamed": ("abc", "axc"),
    "in another order": ("abc", "bac"),
    "left out": ("abc", "ac"),
    "left out at the end": ("abc", "ab"),
    "put in before": ("ab", "xab"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("scope", ["function", "branch", "limit"])
async def test_after_a_change_of_the_code_nothing_recorded_is_done_again(
    change: str, scope: str, autojump_clock: MockClock
) -> None:
    began: list[str] = []

    def function_of(names: str) -> Any:
        async def body(ctx: WorkflowContext) -> None:
            for name in names:
                await ctx.step(began.append, name, name=name)

        @workflow(name="order", retries=2)
        async def order(ctx: WorkflowContext) -> None:
            if scope == "function":
                await body(ctx)
            elif scope == "branch":
                async with ctx.parallel() as group:
                    group.start(body, name="branch")
            else:
                async with ctx.move_on_after(99):
                    await body(ctx)
            await ctx.sleep(5)

        return order

    old, new = CHANGES[change]
    before = Lives(function_of(old))
    await before.die_at(1)
    mismatches = 0
    for cut in range(len(before.entries) + 1):
        entries = before.entries[:cut]
        done = "".join(e.path.rpartition("/")[2] for e in entries if e.kind == "step")
        after = Lives(function_of(new))
        after.go_back(entries)
        began.clear()
        if new.startswith(done):
            assert await after.run(entries) == Ok(None)
        else:
            mismatches += 1
            with pytest.raises(NonDeterminismError) as caught:
                await after.run(entries)
            assert caught.value.recorded
            assert caught.value.found
        assert not set(began) & set(done)
    assert mismatches


async def test_of_two_branches_that_fail_both_are_tried_again(autojump_clock: MockClock) -> None:
    failing = ["a", "b"]
    began: list[str] = []

    async def branch(ctx: WorkflowContext, name: str) -> None:
        def act() -> Any:
            began.append(name)
            if name in failing:
                failing.remove(name)
                return Err("no")
            return name

        await ctx.step(act, name="act")

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel(fail_fast=False) as group:
            for name in "abc":
                group.start(branch, name, name=name)

    assert await Lives(order).run() == Ok(None)
    assert sorted(began) == ["a", "a", "b", "b", "c"]
