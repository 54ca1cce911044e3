"""`@workflow`, and what surrounds the calls of the function: its time, and calling it again."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    ConfigurationError,
    DurableFunction,
    Err,
    Ok,
    RunContext,
    Runnable,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowInstance,
    WorkflowStepError,
    WorkflowTimeoutError,
    WorkflowVersionMismatchError,
    workflow,
)
from tests.workflow.lives import Lives

# --- the decorator ---------------------------------------------------------------------------


def test_the_decorator_marks_the_function_and_returns_it() -> None:
    async def onboarding(ctx: WorkflowContext) -> None: ...

    marked: Any = workflow(name="welcome", timeout=300.0, retries=1, version=2)(onboarding)
    assert marked is onboarding
    assert marked.__workflow__ is True
    assert marked.__workflow_name__ == "welcome"
    assert marked.__workflow_timeout__ == 300.0
    assert marked.__workflow_retries__ == 1
    assert marked.__workflow_version__ == 2
    runnable = marked.__runnable__
    assert isinstance(runnable, DurableFunction)
    assert isinstance(runnable, Runnable)
    assert (runnable.kind, runnable.name, runnable.version) == ("workflow", "welcome", 2)


@pytest.mark.parametrize("decorate", [workflow, workflow()])
def test_the_name_is_the_functions_own_without_another(decorate: Any) -> None:
    async def onboarding(ctx: WorkflowContext, input: int = 0) -> None: ...

    assert decorate(onboarding).__workflow_name__ == "onboarding"
    assert decorate(onboarding).__workflow_timeout__ is None


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"timeout": -1.0}, {"retries": -1}, {"retries": 1.5}, {"version": 0}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        workflow(**wrong)


def test_only_async_functions_of_one_or_two_arguments_are_workflows() -> None:
    def plain(ctx: Any) -> None: ...
    async def none() -> None: ...
    async def three(ctx: Any, a: Any, b: Any) -> None: ...

    for fn in (plain, none, three):
        with pytest.raises(ConfigurationError):
            workflow(fn)
        with pytest.raises(ConfigurationError):
            workflow(name="x")(fn)


# --- definitions -----------------------------------------------------------------------------


def test_an_instance_knows_the_version_it_was_made_under() -> None:
    definition = WorkflowDefinition("order")
    assert (definition.steps, definition.version) == ([], 1)
    instance = WorkflowInstance.create(definition)
    assert instance.workflow_name == "order"
    assert instance.instance_id != WorkflowInstance.create(definition).instance_id
    instance.validate_definition_version(definition)
    with pytest.raises(WorkflowVersionMismatchError) as caught:
        instance.validate_definition_version(WorkflowDefinition("order", version=2))
    assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
    with pytest.raises(AttributeError):
        definition.version = 3  # type: ignore[misc]
    with pytest.raises(ConfigurationError):
        WorkflowDefinition("order", version=0)


# --- running ---------------------------------------------------------------------------------


async def test_it_runs_without_a_host(autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext, item: str) -> str:
        await ctx.sleep(3600)
        async with ctx.move_on_after(5) as limit:
            await ctx.step(trio.sleep, 10)
        assert limit.fired
        return await ctx.step(str.upper, item, name="shout")

    result = await order.__runnable__.run(RunContext(input="book"))  # type: ignore[attr-defined]
    assert result == Ok("BOOK")
    assert trio.current_time() == pytest.approx(3605, abs=0.1)


async def test_a_result_is_passed_as_it_is() -> None:
    @workflow
    async def good(ctx: WorkflowContext) -> Any:
        return Ok(1)

    @workflow
    async def bad(ctx: WorkflowContext) -> Any:
        return Err(KeyError("x"))

    assert await Lives(good).run() == Ok(1)
    assert isinstance((await Lives(bad).run()).unwrap_err(), KeyError)


async def test_the_time_counts_from_the_first_start(autojump_clock: MockClock) -> None:
    stopped: list[str] = []

    async def slow() -> None:
        try:
            await trio.sleep(1000)
        finally:
            stopped.append("slow")

    @workflow(timeout=100, retries=3)
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(lambda: None, name="first")
        await ctx.step(slow)

    lives = Lives(order)
    await lives.die_at(20)
    lives.skew = 30.0
    begun = trio.current_time()
    result = await lives.run()
    assert isinstance(result.unwrap_err(), WorkflowTimeoutError)
    assert trio.current_time() - begun == pytest.approx(50, abs=0.1)
    assert stopped == ["slow", "slow"]
    assert isinstance((await lives.run()).unwrap_err(), WorkflowTimeoutError)


async def test_what_succeeded_is_not_done_again_when_the_function_is_called_again() -> None:
    done: list[str] = []
    failures = [OSError("down"), OSError("still down")]

    def charge() -> str:
        done.append("charge")
        if failures:
            raise failures.pop(0)
        return "charged"

    @workflow(retries=2)
    async def order(ctx: WorkflowContext) -> str:
        await ctx.step(done.append, "reserve", name="reserve")
        try:
            return await ctx.step(charge)
        except WorkflowStepError as failure:
            error = failure
        await ctx.step(done.append, "apologise", name="apologise")
        raise error

    lives = Lives(order)
    assert await lives.run() == Ok("charged")
    assert done == ["reserve", "charge", "apologise", "charge", "apologise", "charge"]
    done.clear()
    assert await lives.run() == Ok("charged")
    assert done == []
    kinds = [kind for _, kind in lives.recorded()]
    again = ["step", "step", "retry", "void"]  # the charge, the apology
    assert kinds == ["step", *again, *again, "step"]


async def test_calls_are_counted_across_crashes() -> None:
    calls: list[int] = []

    def charge() -> None:
        calls.append(1)
        raise OSError("down")

    @workflow(retries=2)
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(charge)

    lives = Lives(order)
    result = await lives.run()
    assert isinstance(result.unwrap_err(), WorkflowStepError)
    assert len(calls) == 3
    for cut in range(len(lives.entries) + 1):
        if lives.entries[cut - 1].kind == "retry":
            continue  # never alone: it is written together with what it takes back
        calls.clear()
        recorded = sum(entry.kind == "step" for entry in lives.entries[:cut])
        result = await Lives(order).run(lives.entries[:cut])
        assert isinstance(result.unwrap_err(), WorkflowStepError)
        assert len(calls) == 3 - recorded, cut


async def test_a_retry_takes_back_the_ends_of_the_scopes_around_the_failure(
    autojump_clock: MockClock,
) -> None:
    done: list[str] = []
    failures = [OSError("down")]

    async def charge() -> None:
        done.append("charge")
        await trio.sleep(1)
        if failures:
            raise failures.pop()

    async def work(name: str, seconds: float) -> None:
        done.append(name)
        await trio.sleep(seconds)

    async def pay(ctx: WorkflowContext) -> None:
        await ctx.step(work, "before", 0, name="before")
        await ctx.step(charge)

    async def ship(ctx: WorkflowContext) -> None:
        await ctx.step(work, "pack", 0, name="pack")
        await ctx.step(work, "send", 5, name="send")

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> str:
        async with ctx.parallel() as group:
            group.start(pay)
            group.start(ship)
        await ctx.step(work, "end", 0, name="end")
        return "done"

    lives = Lives(order)
    assert await lives.run() == Ok("done")
    assert sorted(done) == sorted(["before", "charge", "pack", "send", "charge", "send", "end"])
    done.clear()
    assert await lives.run() == Ok("done")
    assert done == []


async def test_a_retry_reaches_into_the_parts_of_the_function() -> None:
    done: list[str] = []
    failures = [OSError("down")]

    def charge() -> str:
        done.append("charge")
        if failures:
            raise failures.pop()
        return "charged"

    @workflow
    async def pay(ctx: WorkflowContext) -> str:
        await ctx.step(done.append, "check", name="check")
        return await ctx.step(charge)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> str:
        return await ctx.run(pay)

    lives = Lives(order)
    assert await lives.run() == Ok("charged")
    assert done == ["check", "charge", "charge"]
    assert await lives.run() == Ok("charged")
    assert done == ["check", "charge", "charge"]


async def test_a_retry_repeats_nothing_that_stands_beside_the_failure(
    autojump_clock: MockClock,
) -> None:
    done: list[str] = []
    failures = [OSError("down")]

    async def charge() -> None:
        await trio.sleep(5)
        if failures:
            raise failures.pop()

    async def pay(ctx: WorkflowContext) -> None:
        await ctx.step(charge)

    async def send(ctx: WorkflowContext) -> None:
        await ctx.step(done.append, "send")

    @workflow
    async def both(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(pay)
            group.start(send)

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> None:
        await ctx.run(both)

    assert await Lives(order).run() == Ok(None)
    assert done == ["send"]


async def test_thirty_days_pass_in_a_moment(autojump_clock: MockClock) -> None:
    failures = [OSError("down")] * 4

    def remind() -> str:
        if failures:
            raise failures.pop()
        return "reminded"

    @workflow(timeout=40 * 86400)
    async def subscription(ctx: WorkflowContext) -> Any:
        reminders = 0
        for _ in range(29):
            await ctx.sleep(86400)
            reminders += await ctx.step(remind, retry=5) == "reminded"
        paid = await ctx.wait_signal("paid", timeout=2 * 86400)
        return [reminders, paid, (ctx.now().timestamp() - begun) / 86400]

    lives = Lives(subscription)
    begun = lives.instance.created_at
    for day in range(1, 30, 4):
        await lives.die_at(day * 86400)
    lives.signal("paid", "by card")
    reminders, paid, days = (await lives.run()).unwrap()
    assert (reminders, paid) == (29, "by card")
    assert days == pytest.approx(29, abs=0.01)
