"""A host runs instances, and goes on with those that another left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    NotStorableError,
    WorkflowCancelledError,
    WorkflowNotFoundError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.events import (
    WorkflowCompletedEvent,
    WorkflowCrashedEvent,
    WorkflowRecordedEvent,
    WorkflowStartedEvent,
)
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.kernel import Backoff, Strategy, Supervisor
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import MemoryStore, SQLiteStore
from lexigram_actors.storage.instances import InstanceStatus

Hosting = Callable[..., Any]

WAITING, COMPLETED = InstanceStatus.WAITING, InstanceStatus.COMPLETED
FAILED, CANCELLED, PAUSED = InstanceStatus.FAILED, InstanceStatus.CANCELLED, InstanceStatus.PAUSED


@pytest.fixture(params=["memory", "sqlite"])
def hosting(request: pytest.FixtureRequest, tmp_path: Path) -> Hosting:
    """Return what opens a host on one store, time after time: as processes that come and go."""
    memory = MemoryStore(clock=lambda: 1e9 + trio.current_time())

    @asynccontextmanager
    async def opened(*definitions: Any, **options: Any) -> AsyncIterator[WorkflowHost]:
        if request.param == "memory":
            store = MemoryStore(clock=memory.instances.clock, tables=memory.tables)
            async with open_host(store, register=definitions, **options) as host:
                yield host
            return
        path, clock = tmp_path / "flows.db", memory.instances.clock
        async with SQLiteStore(path, inline=True, clock=clock) as sqlite:
            async with open_host(sqlite, register=definitions, poll=1e9, **options) as host:
                yield host

    return opened


class Ledger:
    """Counts what steps did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, name: str) -> str:
        self.done.append(name)
        return name


def two_steps(ledger: Ledger) -> Any:
    @workflow
    async def two_steps(ctx: WorkflowContext, input: str) -> str:
        first = await ctx.step(ledger, f"{input}1", name="first")
        signal = await ctx.wait_signal("go")
        second = await ctx.step(ledger, f"{input}2", name="second")
        return f"{first} {signal} {second}"

    return two_steps


async def test_an_instance_goes_on_under_the_next_host_and_repeats_no_step(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    flow = two_steps(ledger)
    async with hosting(flow) as host:
        handle = await host.start(flow, "x", id="a")
        await handle.status.wait_value(WAITING)
    async with hosting(flow) as host:
        handle = await host.find("a")
        await handle.signal("go", "!")
        assert await handle.result() == Ok("x1 ! x2")
    assert ledger.done == ["x1", "x2"]


async def test_a_result_can_be_read_under_a_later_host(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def fails(ctx: WorkflowContext) -> Any:
        return Err(ValueError("no stock"))

    async with hosting(fails) as host:
        first = await (await host.start(fails, id="a")).result()
    async with hosting() as host:
        later = await host.handle("a").result()
        assert (await host.handle("a").describe()).status is FAILED
    assert type(first.unwrap_err()) is type(later.unwrap_err())
    assert str(first.unwrap_err()) == str(later.unwrap_err())
    assert "no stock" in str(later.unwrap_err())


async def test_starting_twice_with_one_id_is_starting_once(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    flow = two_steps(ledger)
    async with hosting(flow) as host:
        for _ in range(3):
            handle = await host.start(flow, "x", id="a")
        await handle.signal("go", 1)
        await handle.result()
        again = await host.start("two_steps", "x", id="a")
        assert await again.result() == Ok("x1 1 x2")
        with pytest.raises(WorkflowStateError, match="another input"):
            await host.start(flow, "y", id="a")
    assert ledger.done == ["x1", "x2"]


async def test_what_is_not_registered_is_refused(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    flow = two_steps(Ledger())
    async with hosting() as host:
        with pytest.raises(WorkflowNotFoundError):
            await host.start(flow, "x")
        with pytest.raises(WorkflowNotFoundError, match="unknown"):
            await host.start("unknown")
        with pytest.raises(TypeError):
            await host.start(42)
        with pytest.raises(WorkflowNotFoundError):
            await host.find("nobody")
        with pytest.raises(WorkflowNotFoundError):
            await host.handle("nobody").result()


async def test_two_definitions_of_one_name_and_version_are_refused(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    with pytest.raises(ConfigurationError, match="two_steps"):
        async with hosting(two_steps(Ledger()), two_steps(Ledger())):
            pass


async def test_an_instance_of_a_version_that_is_gone_is_left_as_it_is(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow(name="flow", version=1)
    async def one(ctx: WorkflowContext) -> Any:
        return await ctx.wait_signal("go")

    @workflow(name="flow", version=2)
    async def two(ctx: WorkflowContext) -> str:
        return "two"

    async with hosting(one) as host:
        handle = await host.start(one, id="a")
        await handle.status.wait_value(WAITING)
    async with hosting(two) as host:
        before = await host.operator.find("a")
        with pytest.raises(WorkflowVersionMismatchError) as caught:
            await host.start(two, id="a")
        assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
        with pytest.raises(WorkflowVersionMismatchError):
            await host.handle("a").result()
        assert await host.operator.find("a") == before
    async with hosting(two, one) as host:  # side by side: each goes on under its own
        await host.handle("a").signal("go", 7)
        assert await host.handle("a").result() == Ok(7)
        assert await (await host.start("flow", id="b")).result() == Ok("two")


async def test_an_instance_that_raises_is_started_again_and_then_parked(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()

    @workflow
    async def buggy(ctx: WorkflowContext) -> None:
        await ctx.step(ledger, "step", name="step")
        raise KeyError("bug")

    backoff = Backoff(initial=1.0, jitter=0.0)
    async with hosting(buggy, max_restarts=2, period=60, backoff=backoff) as host:
        async with host.events(WorkflowCrashedEvent) as crashes:
            begun = trio.current_time()
            handle = await host.start(buggy, id="a")
            error = (await handle.result()).unwrap_err()
            assert trio.current_time() - begun == pytest.approx(3.0)
            assert [(await anext(crashes)).delay for _ in range(3)] == [1.0, 2.0, None]
    assert "bug" in str(error)
    assert ledger.done == ["step"]
    async with hosting(buggy) as host:
        parked = await host.operator.select(status=[FAILED])
        assert [each.id for each in parked] == ["a"]


async def test_a_parked_instance_goes_on_when_it_is_retried(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger, broken = Ledger(), [True]

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(ledger, "step", name="step")
        if broken[0]:
            raise KeyError("bug")
        return "mended"

    async with hosting(flow, max_restarts=0) as host:
        handle = await host.start(flow, id="a")
        assert (await handle.result()).is_err()
        with pytest.raises(WorkflowStateError):
            await handle.signal("too late")
        broken[0] = False
        await handle.retry()
        assert await handle.result() == Ok("mended")
        with pytest.raises(WorkflowStateError):
            await handle.retry()
    assert ledger.done == ["step"]


async def test_a_failed_step_runs_again_when_its_instance_is_retried(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    calls: list[str] = []

    def good() -> None:
        calls.append("good")

    def bad() -> str:
        calls.append("bad")
        if calls.count("bad") == 1:
            raise OSError("disk full")
        return "saved"

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.step(good)
        return await ctx.step(bad)

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        assert "disk full" in str((await handle.result()).unwrap_err())
        await handle.retry()
        assert await handle.result() == Ok("saved")
    assert calls == ["good", "bad", "bad"]


async def test_a_fork_repeats_from_a_step(hosting: Hosting, autojump_clock: MockClock) -> None:
    ledger = Ledger()
    flow = two_steps(ledger)
    async with hosting(flow) as host:
        handle = await host.start(flow, "x", id="a")
        await handle.signal("go", 1)
        await handle.result()
        fork = await handle.fork("b", step="second")
        assert await fork.result() == Ok("x1 1 x2")
        with pytest.raises(WorkflowStateError):
            await handle.fork("b")
        with pytest.raises(WorkflowStateError):
            await handle.fork("c", step="nowhere")
    assert ledger.done == ["x1", "x2", "x2"]


async def test_cancelling_leaves_no_task_and_says_why(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def body() -> None:
            try:
                await trio.sleep_forever()
            finally:
                seen.append(f"stopped, asked: {ctx.cancel_reason}")

        await ctx.step(body)

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
        await handle.cancel("customer left", grace=3)
        assert trio.current_time() - begun == pytest.approx(3)
        assert seen == ["stopped, asked: customer left"]
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, WorkflowCancelledError)
        assert error.reason == "customer left"
        assert (await handle.describe()).status is CANCELLED
        await handle.cancel("again")  # nothing to do


async def test_a_cancelled_instance_never_completes_even_if_it_returns(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def polite(ctx: WorkflowContext) -> str:
        await ctx.wait_cancel_requested()
        return "done"

    async with hosting(polite) as host:
        handle = await host.start(polite, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
        await handle.cancel("enough", grace=30)
        assert trio.current_time() == begun  # it came to an end by itself
        assert (await handle.describe()).status is CANCELLED


async def test_a_cancellation_that_was_asked_for_outlives_its_host(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(ledger, "one", name="one")
        await ctx.sleep(1000)
        await ctx.step(ledger, "two", name="two")

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
    async with hosting() as host:
        await host.operator.cancel("a", "meanwhile", grace=0)
    async with hosting(flow) as host:
        error = (await host.handle("a").result()).unwrap_err()
        assert isinstance(error, WorkflowCancelledError)
    assert ledger.done == ["one"]


async def test_an_instance_of_an_unknown_definition_can_be_cancelled(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    flow = two_steps(Ledger())
    async with hosting(flow) as host:
        await (await host.start(flow, "x", id="a")).status.wait_value(WAITING)
    async with hosting() as host:
        await host.handle("a").cancel("nobody knows it")
        assert (await host.handle("a").describe()).status is CANCELLED


async def test_children_are_cancelled_with_their_parent(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def child(ctx: WorkflowContext) -> None:
        await ctx.sleep(1e6)

    @workflow
    async def parent(ctx: WorkflowContext) -> None:
        started = await ctx.start_child(child, id="c")
        await ctx.child_result(started)

    async with hosting(child, parent) as host:
        handle = await host.start(parent, id="p")
        await wait_all_tasks_blocked(0.01)
        await host.handle("c").status.wait_value(WAITING)
        await handle.cancel("all of it", grace=0)
        for id in ("p", "c"):
            assert (await host.handle(id).describe()).status is CANCELLED
        tree = await host.operator.tree("p")
        assert [each.instance.id for each in tree.children] == ["c"]


async def test_a_paused_instance_begins_nothing_until_it_is_resumed(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.wait_signal("go")
        await ctx.step(ledger, "step", name="step")
        return "done"

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await handle.pause()
        await handle.signal("go")
        await trio.sleep(10)
        assert handle.status.value is PAUSED
        assert ledger.done == []
    async with hosting(flow) as host:  # still
        handle = host.handle("a")
        await trio.sleep(10)
        assert handle.status.value is PAUSED
        assert (await handle.describe()).status is PAUSED
        await handle.resume()
        assert await handle.result() == Ok("done")
    assert ledger.done == ["step"]


async def test_a_delayed_start_keeps_its_time_over_hosts(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> float:
        return trio.current_time()

    async with hosting(flow) as host:
        begun = trio.current_time()
        await host.start(flow, id="a", delay=100)
        await trio.sleep(30)
    async with hosting(flow) as host:
        assert (await host.handle("a").result()).unwrap() == pytest.approx(begun + 100)


async def test_answers_are_checked_before_they_are_taken(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        return await ctx.ask_human("how many?", schema=int)

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        with pytest.raises(AnswerInvalidError):
            await handle.answer("many")
        assert [each.prompt for each in await handle.questions()] == ["how many?"]
        with pytest.raises(WorkflowStateError):
            await handle.answer(3, question="no such")
        await handle.answer(3)
        assert await handle.result() == Ok(3)
        with pytest.raises(WorkflowStateError):
            await handle.answer(4)


async def test_a_question_can_be_waited_for(hosting: Hosting, autojump_clock: MockClock) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.sleep(60)
        return await ctx.ask_human("how many?", schema=int)

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        question = await handle.wait_question()
        assert question.prompt == "how many?"
        await handle.answer(3, question=question.id)
        await handle.result()
        with pytest.raises(WorkflowStateError):
            await handle.wait_question()


async def test_queries_are_answered_while_it_runs(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        ctx.query("progress", lambda: 0.5)
        await ctx.sleep(100)

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        assert await handle.query("progress") == 0.5
        with pytest.raises(WorkflowStateError, match="progress"):
            await handle.query("unknown")
        await handle.result()
        with pytest.raises(WorkflowStateError):
            await handle.query("progress")


async def test_events_tell_what_happens(hosting: Hosting, autojump_clock: MockClock) -> None:
    ledger = Ledger()
    flow = two_steps(ledger)
    async with hosting(flow) as host:
        handle = host.handle("a")
        async with handle.events(
            WorkflowStartedEvent, WorkflowRecordedEvent, WorkflowCompletedEvent
        ) as events:
            await host.start(flow, "x", id="a")
            await (await host.start(flow, "y", id="b")).signal("go")
            await handle.signal("go")
            await handle.result()
            seen = [await anext(events) for _ in range(events.queued)]
    assert seen == [
        WorkflowStartedEvent("a", "two_steps"),
        WorkflowRecordedEvent("a", "first", "step"),
        WorkflowRecordedEvent("a", "go", "signal"),
        WorkflowRecordedEvent("a", "second", "step"),
        WorkflowCompletedEvent("a", "two_steps"),
    ]


async def test_a_result_that_cannot_be_stored_fails_the_instance(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        return {"deep": [object()]}

    async with hosting(flow) as host:
        error = (await (await host.start(flow)).result()).unwrap_err()
        assert isinstance(error, NotStorableError)
        assert error.path.endswith("deep[0]")
        with pytest.raises(NotStorableError):
            await host.start(flow, object())


async def test_old_instances_are_removed_after_the_retention(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def ends(ctx: WorkflowContext) -> None:
        pass

    @workflow
    async def fails(ctx: WorkflowContext) -> Any:
        return Err(ValueError("x"))

    async with hosting(ends, fails, retention=3600) as host:
        await (await host.start(ends, id="a")).result()
        await (await host.start(fails, id="b")).result()
        await trio.sleep(3000)
        assert len(await host.operator.select()) == 2
        await trio.sleep(1500)
        assert [each.id for each in await host.operator.select()] == ["b"]


async def test_under_rest_for_one_the_second_of_three_takes_the_third_along(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger, crashes = Ledger(), [1]

    @workflow
    async def flow(ctx: WorkflowContext, name: str) -> str:
        await ctx.step(ledger, f"{name} before", name="before")
        await ctx.wait_signal("go")
        if name == "two" and crashes:
            crashes.pop()
            raise RuntimeError("bug")
        await ctx.step(ledger, f"{name} after", name="after")
        return name

    async with hosting(flow) as host:
        names = ("one", "two", "three")
        specs = [host.child_spec(flow, name, id=name) for name in names]
        supervisor = await host.system.spawn(
            Supervisor(specs, strategy=Strategy.REST_FOR_ONE), name="three of them"
        )
        for name in names:
            await host.handle(name).status.wait_value(WAITING)
        restarted = []
        async with host.system.events.subscribe() as events:
            await host.handle("two").signal("go")
            assert await host.handle("two").result() == Ok("two")
            await host.handle("three").status.wait_value(WAITING)
            restarted = [await anext(events) for _ in range(events.queued)]
        assert ledger.done == ["one before", "two before", "three before", "two after"]
        for name in ("one", "three"):
            await host.handle(name).signal("go")
            assert await host.handle(name).result() == Ok(name)
        await supervisor.stop()
    ids = [getattr(each, "name", "") for each in restarted if "Restart" in type(each).__name__]
    assert ids == ["three of them/two", "three of them/three"]


async def test_closing_lets_a_step_end_and_be_recorded(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def slow() -> None:
            ledger("begun")
            await trio.sleep(2)
            ledger("ended")

        await ctx.step(slow)
        await ctx.step(ledger, "next", name="next")

    async with hosting(flow, grace=5) as host:
        await host.start(flow, id="a")
        await wait_all_tasks_blocked()
    assert ledger.done == ["begun", "ended"]
    async with hosting(flow) as host:
        await host.handle("a").result()
    assert ledger.done == ["begun", "ended", "next"]


async def test_a_step_that_takes_longer_than_the_grace_is_cut_off_and_runs_again(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    ledger = Ledger()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def slow() -> None:
            ledger("begun")
            await trio.sleep(20)
            ledger("ended")

        await ctx.step(slow)

    async with hosting(flow, grace=5) as host:
        await host.start(flow, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(5)
    async with hosting(flow) as host:
        assert (await host.handle("a").result()).is_ok()
    assert ledger.done == ["begun", "begun", "ended"]


async def test_closing_compensates_nothing(hosting: Hosting, autojump_clock: MockClock) -> None:
    ledger = Ledger()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.step(ledger, "do", name="do")
            await ctx.sleep(1000)
        except BaseException:
            with trio.CancelScope(shield=True):
                await ctx.step(ledger, "undo", name="undo")
            raise

    async with hosting(flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
    assert ledger.done == ["do"]
    async with hosting(flow) as host:
        await host.handle("a").status.wait_value(WAITING)
        await host.handle("a").cancel("now", grace=0)
    assert ledger.done == ["do", "undo"]


async def test_continuing_as_new_keeps_the_mail_that_was_not_taken(
    hosting: Hosting, autojump_clock: MockClock
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext, seen: list[int]) -> Any:
        seen = [*seen, await ctx.wait_signal("n")]
        if len(seen) < 3:
            await ctx.continue_as_new(seen)
        return seen

    async with hosting(flow) as host:
        handle = await host.start(flow, [], id="a")
        for number in (1, 2, 3):
            await handle.signal("n", number)
        assert await handle.result() == Ok([1, 2, 3])
        instance = await handle.describe()
        assert instance.run == 2
        assert len(await handle.history()) == 1
        assert await host.start(flow, [], id="a") is not None  # the input it began with is gone
