"""What `observing` tells of runs without a host, and what its hooks may do to them: nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    BulkOperation,
    BulkOperationConfig,
    GraphConfig,
    Pipeline,
    WorkflowBuilder,
    WorkflowContext,
    open_system,
    run_supervised,
    step,
    workflow,
)
from lexigram_actors.errors import ConfigurationError, HumanInputRequiredError
from lexigram_actors.events import (
    EventBus,
    HookRegistry,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowCompletedHook,
    WorkflowFailedEvent,
    WorkflowStartedEvent,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
    WorkflowStatusEvent,
)
from lexigram_actors.graph import WorkflowEngine, WorkflowRunner
from lexigram_actors.host.observing import OBSERVER, Observer, observed, observing
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.testing import cancel_at_every_step

Told = list[Any]


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Told]:
    """Observe; what is told is complete when the block is left: of the bus, then of the hooks."""
    told: Told = []
    given: Told = []
    hooks = HookRegistry()
    hooks.add(object, given.append)
    async with observing(hooks=hooks, **options) as observer:
        async with observer.events.subscribe() as events:
            yield told
            told += [await anext(events) for _ in range(events.queued)]
    told += given


def story(id: str, name: str, *statuses: str, why: str = "") -> Told:
    """Return what is told of a run that goes through these statuses."""
    events: Told = []
    given: Told = []
    for before, status in pairwise(statuses):
        if before == "pending":
            events.append(WorkflowStartedEvent(id, name))
            given.append(WorkflowStartedHook(id, name))
        note = "" if status in ("running", "completed") else why
        events.append(WorkflowStatusEvent(id, name, before, status, note))
        given.append(WorkflowStateTransitionedHook(id, before, status))
        if status == "completed":
            events.append(WorkflowCompletedEvent(id, name))
        elif status == "failed":
            events.append(WorkflowFailedEvent(id, name, why))
        elif status == "cancelled":
            events.append(WorkflowCancelledEvent(id, name, why))
        if status in ("completed", "failed", "cancelled"):
            given.append(WorkflowCompletedHook(id, name, status == "completed"))
    return events + given


COMPLETED = ("pending", "running", "completed")
FAILED = ("pending", "running", "failed")
CANCELLED = ("pending", "running", "cancelled")


# --- one of every kind ---------------------------------------------------------------------------


Work = Callable[[], Awaitable[Any]]


def a_pipeline(work: Work) -> Pipeline:
    async def stage(context: Any) -> Any:
        return await work()

    return Pipeline("kind", [step("one", stage), step("two", stage)])


def an_engine(work: Work) -> WorkflowEngine:
    async def node(state: dict[str, Any]) -> dict[str, Any]:
        await work()
        return {}

    return (
        WorkflowBuilder("kind")
        .add_node("a", node=node)
        .add_node("b", node=node)
        .add_edge("a", "b")
        .set_entry("a")
        .set_terminal("b")
        .build()
    )


def an_operation(work: Work) -> BulkOperation[int, int]:
    async def process(items: list[int]) -> list[int]:
        await work()
        return items

    config = BulkOperationConfig(batch_size=2, retry_attempts=0, failure_limit=0)
    return BulkOperation(config, process)


def a_function(work: Work) -> Any:
    @workflow(name="kind")
    async def function(ctx: WorkflowContext) -> None:
        await ctx.step(work, name="one")
        await ctx.step(work, name="two")

    return function.__runnable__  # type: ignore[attr-defined]


async def run_pipeline(work: Work) -> None:
    await a_pipeline(work).execute(run_id="id")


async def run_pipeline_all(work: Work) -> None:
    await a_pipeline(work).execute(run_id="id", fail_fast=False)


async def run_pipeline_inside(work: Work) -> None:
    await a_pipeline(work).run(RunContext(run_id="id"))


async def run_graph(work: Work) -> None:
    await an_engine(work).execute("x", run_id="id")


async def run_stream(work: Work) -> None:
    async with an_engine(work).astream("x", run_id="id") as events:
        async for _ in events:
            pass


async def run_runner(work: Work) -> None:
    await WorkflowRunner(an_engine(work), max_retries=2, retry_delay=1).run("x", run_id="id")


async def run_runnable_runner(work: Work) -> None:
    runner = WorkflowRunner(an_engine(work), max_retries=1, retry_delay=1)
    await runner.as_runnable().run(RunContext(run_id="id"))


async def run_bulk(work: Work) -> None:
    await an_operation(work).as_runnable("kind").run(RunContext(input=[1, 2, 3], run_id="id"))


async def run_function(work: Work) -> None:
    await a_function(work).run(RunContext(run_id="id"))


async def run_own_kind(work: Work) -> None:
    async def own() -> Result[None, Exception]:
        try:
            await work()
        except OSError as error:
            return Err(error)
        return Ok(None)

    await observed("id", "kind", own)


KINDS = [
    run_pipeline,
    run_pipeline_all,
    run_pipeline_inside,
    run_graph,
    run_stream,
    run_runner,
    run_runnable_runner,
    run_bulk,
    run_function,
    run_own_kind,
]
each_kind = pytest.mark.parametrize("run", KINDS, ids=lambda run: run.__name__)


async def hang(payload: object) -> None:
    await trio.sleep_forever()


async def well() -> None:
    await trio.sleep(1)


async def badly() -> None:
    await trio.sleep(1)
    raise OSError("no route")


@each_kind
async def test_a_run_tells_of_its_begin_and_its_end_once_and_in_order(
    run: Any, autojump_clock: MockClock
) -> None:
    async with listening() as told:
        await run(well)
    assert told == story("id", "kind", *COMPLETED)


@each_kind
async def test_a_run_that_fails_tells_why_once(run: Any, autojump_clock: MockClock) -> None:
    async with listening() as told:
        await run(badly)
    why = next(each.error for each in told if isinstance(each, WorkflowFailedEvent))
    assert "no route" in why
    assert told == story("id", "kind", *FAILED, why=why)


@each_kind
async def test_a_run_that_is_cancelled_tells_so_once(run: Any, autojump_clock: MockClock) -> None:
    async with listening() as told:
        with trio.move_on_after(0.5) as limit:
            await run(well)
        assert limit.cancelled_caught
    why = next(each.reason for each in told if isinstance(each, WorkflowCancelledEvent))
    assert told == story("id", "kind", *CANCELLED, why=why)


@each_kind
async def test_a_run_inside_another_tells_nothing_of_its_own(
    run: Any, autojump_clock: MockClock
) -> None:
    for outer in (run_pipeline, run_graph, run_bulk, run_function):
        async with listening() as told:
            await outer(lambda: run(well))
        assert told == story("id", "kind", *COMPLETED), outer


@each_kind
async def test_nothing_is_told_outside_of_the_block(run: Any, autojump_clock: MockClock) -> None:
    async with listening() as told:
        pass
    await run(well)
    assert not told
    assert OBSERVER.get() is None


@each_kind
async def test_a_second_run_is_told_of_as_well(run: Any, autojump_clock: MockClock) -> None:
    async with listening() as told:
        await run(well)
        await run(well)
    once = story("id", "kind", *COMPLETED)
    half = len(once) // 2
    assert told == once[:half] * 2 + once[half:] * 2


# --- names and ends ------------------------------------------------------------------------------


async def test_without_a_run_id_the_name_is_the_id(autojump_clock: MockClock) -> None:
    async with listening() as told:
        await a_pipeline(well).execute()
        await an_engine(well).execute("x")
        await a_function(well).run(RunContext())
    assert {each.workflow_id for each in told} == {"kind"}


async def test_a_bulk_run_that_is_iterated_over_is_told_of(autojump_clock: MockClock) -> None:
    operation = an_operation(well)
    async with listening() as told:
        async for _ in operation.execute([1, 2, 3], operation_id="numbers"):
            pass
    name = told[0].workflow_name
    assert told == story(name, name, *COMPLETED)  # without a store it has no other name


async def test_a_bulk_run_that_is_left_early_is_cancelled(autojump_clock: MockClock) -> None:
    operation = an_operation(well)
    async with listening() as told:
        async with operation.execute(range(100)) as run:
            async for _ in run:
                break
    name = told[0].workflow_name
    why = next(each.reason for each in told if isinstance(each, WorkflowCancelledEvent))
    assert told == story(name, name, *CANCELLED, why=why)


async def test_a_bulk_run_that_never_began_is_not_told_of() -> None:
    async with listening() as told:
        run = an_operation(well).execute([1])
        await run.aclose()
    assert not told


async def test_a_graph_that_takes_too_long_fails(autojump_clock: MockClock) -> None:
    async with listening() as told:
        engine = an_engine(well)
        result = await engine.execute("x", run_id="id", config=GraphConfig(total_timeout=0.5))
        assert result.is_err()
    kinds = [type(each).__name__ for each in told]
    assert kinds.count("WorkflowFailedEvent") == kinds.count("WorkflowCompletedHook") == 1


async def test_a_bug_that_is_raised_is_a_failure() -> None:
    async def buggy() -> None:
        raise KeyError("bug")

    async with listening() as told:
        with pytest.raises(KeyError):
            await observed("id", "kind", buggy)
    assert told == story("id", "kind", *FAILED, why="KeyError: 'bug'")


async def test_a_bug_beside_a_cancellation_is_a_failure() -> None:
    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
            raise KeyError("bug")

    async with listening() as told:
        with pytest.RaisesGroup(KeyError):
            await observed("id", "kind", both)
    assert [each.succeeded for each in told if isinstance(each, WorkflowCompletedHook)] == [False]
    assert any(isinstance(each, WorkflowFailedEvent) for each in told)


async def test_what_is_refused_before_it_begins_is_not_told_of() -> None:
    async with listening() as told:
        with pytest.raises(TypeError):
            await a_pipeline(well).execute(run_id=3)  # type: ignore[arg-type]
    assert not told


# --- pauses --------------------------------------------------------------------------------------


def asking() -> WorkflowEngine:
    async def node(state: dict[str, Any]) -> dict[str, Any]:
        return {}

    return (
        WorkflowBuilder("asks")
        .add_node("before", node=node)
        .add_node("ask", human_prompt="go on?", output_key="verdict")
        .add_edge("before", "ask")
        .set_entry("before")
        .set_terminal("ask")
        .build()
    )


@pytest.mark.parametrize("way", ["engine", "runner", "stream"])
async def test_a_pause_for_a_person_is_no_end(way: str) -> None:
    engine = asking()
    runner = WorkflowRunner(engine)
    async with listening() as told:
        with pytest.raises(HumanInputRequiredError) as pause:
            if way == "runner":
                await runner.run("x", run_id="id")
            elif way == "engine":
                await engine.execute("x", run_id="id")
            else:
                async with engine.astream("x", run_id="id") as events:
                    async for _ in events:
                        pass
        state = json.loads(json.dumps(pause.value.state))
        if way == "runner":
            assert (await runner.resume("yes", state=state)).is_ok()
        elif way == "engine":
            assert (await engine.resume(state, "yes")).is_ok()
        else:
            async with engine.astream_resume(state, "yes") as events:
                async for _ in events:
                    pass
    statuses = ("pending", "running", "waiting", "running", "completed")
    note = next(each.note for each in told if getattr(each, "to_status", "") == "waiting")
    assert "go on?" in note
    assert told == story("id", "asks", *statuses, why=note)


# --- hooks do no harm ----------------------------------------------------------------------------


async def test_a_slow_hook_delays_no_run(autojump_clock: MockClock) -> None:
    called: Told = []
    hooks = HookRegistry()

    async def slow(payload: object) -> None:
        await trio.sleep(100)
        called.append(payload)

    hooks.add(WorkflowStartedHook, slow)
    began = trio.current_time()
    async with observing(hooks=hooks, drain=1000):
        for _ in range(3):
            await run_pipeline(well)
        assert trio.current_time() - began == 6
        assert not called
    assert trio.current_time() - began == 300
    assert len(called) == 3


async def test_a_hook_that_raises_harms_no_run_and_no_other_hook(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = HookRegistry()

    def bad(payload: object) -> None:
        raise OSError("metrics are down")

    hooks.add(object, bad)
    called: Told = []
    hooks.add(object, called.append)
    async with observing(hooks=hooks):
        await run_pipeline(well)
    assert called == story("id", "kind", *COMPLETED)[-4:]
    assert "metrics are down" in caplog.text


async def test_a_hook_may_be_added_and_removed_meanwhile() -> None:
    called: Told = []
    async with observing() as observer:
        await observed("a", "kind", trio.lowlevel.checkpoint)
        observer.hooks.add(WorkflowStartedHook, called.append)
        await observed("b", "kind", trio.lowlevel.checkpoint)
        await wait_all_tasks_blocked()
        observer.hooks.remove(WorkflowStartedHook, called.append)
        await observed("c", "kind", trio.lowlevel.checkpoint)
    assert called == [WorkflowStartedHook("b", "kind")]


async def test_what_a_hook_runs_is_not_told_of(autojump_clock: MockClock) -> None:
    async with observing() as observer:
        called: Told = []

        async def runs(payload: object) -> None:
            called.append(payload)
            await run_pipeline(well)

        observer.hooks.add(WorkflowStartedHook, runs)
        await run_pipeline(well)
    assert called == [WorkflowStartedHook("id", "kind")]


async def test_hooks_that_take_too_long_are_dropped_and_counted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = HookRegistry()
    hooks.add(object, hang)
    began = trio.current_time()
    async with observing(hooks=hooks, drain=3):
        await run_pipeline(well)
    assert trio.current_time() - began == 5
    assert "4 payloads" in caplog.text


async def test_cancelled_hooks_are_still_called_for_a_while(autojump_clock: MockClock) -> None:
    called: Told = []
    hooks = HookRegistry()

    async def slow(payload: object) -> None:
        await trio.sleep(0.5)
        called.append(payload)

    hooks.add(object, slow)
    with trio.move_on_after(0.1) as limit:
        async with observing(hooks=hooks):
            await run_pipeline(well)
    assert limit.cancelled_caught
    assert called == story("id", "kind", *CANCELLED, why="cancelled")[-4:]


async def test_cancelled_with_a_hook_that_hangs_the_block_is_left_in_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    began = trio.current_time()
    with trio.move_on_after(0.1) as limit:
        async with observing(drain=2) as observer:
            observer.hooks.add(object, hang)
            await run_pipeline(well)
    assert limit.cancelled_caught
    assert trio.current_time() - began == pytest.approx(2.1)
    assert "dropped" in caplog.text


async def test_with_no_time_to_drain_nothing_waits(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with observing(drain=0) as observer:
        observer.hooks.add(object, hang)
        await observed("a", "kind", trio.lowlevel.checkpoint)
    assert trio.current_time() == 0
    assert "dropped" in caplog.text


async def test_what_the_block_raises_is_raised_as_it_is() -> None:
    with pytest.raises(OSError, match="mine"):
        async with observing():
            raise OSError("mine")


async def test_an_interrupt_in_a_hook_is_not_swallowed() -> None:
    def interrupted(payload: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with observing() as observer:
            observer.hooks.add(object, interrupted)
            await observed("a", "kind", trio.lowlevel.checkpoint)


async def test_many_payloads_that_wait_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lexigram_actors.host.observing.MANY", 8)
    caplog.set_level(logging.WARNING)
    async with observing() as observer:
        observer.hooks.add(object, lambda payload: None)
        for number in range(10):
            observer.transitioned("m", str(number), str(number + 1))
        assert observer.pump.waiting == 10
    assert observer.pump.waiting == 0
    assert "hooks are slow: 8 payloads wait" in caplog.text


async def test_what_comes_after_the_end_is_logged_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: Told = []
    async with observing() as observer:
        observer.hooks.add(object, called.append)
    observer.transitioned("m", "draft", "paid")
    assert not called
    assert "too late" in caplog.text


async def test_a_slow_subscriber_of_the_bus_loses_its_own(autojump_clock: MockClock) -> None:
    async with observing() as observer:
        async with observer.events.subscribe(bound=1) as slow, observer.events.subscribe() as fast:
            await run_pipeline(well)
            assert (slow.queued, slow.dropped) == (1, 3)
            assert fast.queued == 4


# --- blocks --------------------------------------------------------------------------------------


async def test_a_transition_of_something_with_states_of_its_own_is_given_to_hooks() -> None:
    called: Told = []
    async with observing() as observer:
        observer.hooks.add(WorkflowStateTransitionedHook, called.append)
        observer.transitioned("m", "draft", "paid")
    assert called == [WorkflowStateTransitionedHook("m", "draft", "paid")]


async def test_the_innermost_block_is_told() -> None:
    async with listening() as outer:
        async with listening() as inner:
            await observed("a", "kind", trio.lowlevel.checkpoint)
        await observed("b", "kind", trio.lowlevel.checkpoint)
    assert inner == story("a", "kind", *COMPLETED)
    assert outer == story("b", "kind", *COMPLETED)


async def test_tasks_begun_inside_belong_to_the_block_and_others_do_not(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        async with listening() as told:
            nursery.start_soon(trio.sleep, 1)
            async with trio.open_nursery() as own:
                own.start_soon(run_pipeline, well)
                own.start_soon(run_graph, well)
        assert len(told) == 16


async def test_two_blocks_side_by_side_hear_of_their_own(autojump_clock: MockClock) -> None:
    stories: dict[str, Told] = {}

    async def observes(id: str) -> None:
        async with listening() as told:
            await a_pipeline(well).execute(run_id=id)
        stories[id] = told

    async with trio.open_nursery() as nursery:
        nursery.start_soon(observes, "a")
        nursery.start_soon(observes, "b")
    assert stories == {id: story(id, "kind", *COMPLETED) for id in "ab"}


async def test_two_systems_side_by_side_tell_of_what_runs_in_them(
    autojump_clock: MockClock,
) -> None:
    async with listening() as told:
        async with open_system("one") as one, open_system("two") as two:
            async with trio.open_nursery() as nursery:
                for system, id in ((one, "a"), (two, "b")):
                    nursery.start_soon(runs_in, system, id)
    for id in "ab":
        assert [each for each in told if each.workflow_id == id] == story(id, "kind", *COMPLETED)


async def runs_in(system: Any, id: str) -> None:
    assert (await run_supervised(system, a_pipeline(well), run_id=id)).is_ok()


async def test_a_bus_that_is_given_stays_open_and_ones_own_is_closed() -> None:
    bus = EventBus()
    async with bus.subscribe(WorkflowStartedEvent) as events:
        async with observing(bus):
            await observed("a", "kind", trio.lowlevel.checkpoint)
        bus.publish(WorkflowStartedEvent("b", "kind"))
        assert events.queued == 2
    async with observing() as observer:
        pass
    async with observer.events.subscribe() as ended:
        assert [event async for event in ended] == []


async def test_misuse_is_refused() -> None:
    with pytest.raises(TypeError, match="EventBus"):
        async with observing(3):  # type: ignore[arg-type]
            pytest.fail("unreachable")
    with pytest.raises(TypeError, match="HookRegistry"):
        async with observing(hooks=[]):  # type: ignore[arg-type]
            pytest.fail("unreachable")
    for drain in (-1, float("inf"), "5"):
        with pytest.raises(ConfigurationError):
            async with observing(drain=drain):  # type: ignore[arg-type]
                pytest.fail("unreachable")


async def test_watching_without_a_block_is_the_call_itself() -> None:
    async def call(number: int) -> int:
        return number + 1

    assert await observed(None, "kind", call, 2) == 3
    observer = Observer(EventBus(), HookRegistry())
    assert await observer.watch(None, "kind", call, 2) == 3


# --- cancelled anywhere --------------------------------------------------------------------------


def test_cancelled_at_any_step_every_begin_has_one_end() -> None:
    told: Told = []

    async def scenario() -> None:
        told.clear()
        hooks = HookRegistry()

        async def slowly(payload: object) -> None:
            await trio.sleep(0.1)
            told.append(payload)

        hooks.add(object, slowly)
        async with observing(hooks=hooks):
            await run_pipeline(well)
            await run_graph(well)
            await run_bulk(well)
            await run_function(well)

    def check(instrument: Any) -> None:
        begins = [each for each in told if isinstance(each, WorkflowStartedHook)]
        ends = [each for each in told if isinstance(each, WorkflowCompletedHook)]
        assert len(begins) == len(ends) <= 4
        kinds = [type(each).__name__[8:] for each in told]
        assert kinds == [
            "StartedHook",
            "StateTransitionedHook",
            "StateTransitionedHook",
            "CompletedHook",
        ] * len(begins)
        if instrument.cancelled_at == inf:
            assert [each.succeeded for each in ends] == [True] * 4

    cancel_at_every_step(scenario, check=check, may_finish=True)
