"""What a host does when several things go wrong at once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import (
    ActorUnresponsive,
    NotStorableError,
    StoreError,
    WorkflowCancelledError,
    WorkflowStateError,
)
from lexigram_actors.events import WorkflowCrashedEvent
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.kernel import Supervisor
from lexigram_actors.result import Ok
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import InstanceStatus

WAITING, COMPLETED = InstanceStatus.WAITING, InstanceStatus.COMPLETED
FAILED, CANCELLED, PAUSED = InstanceStatus.FAILED, InstanceStatus.CANCELLED, InstanceStatus.PAUSED

Plan = Callable[[str], str | None]


def no_trouble(call: str) -> None:
    return None


class TroubledInstances:
    """Instances whose calls fail as the plan says: `"before"` they do anything, or `"after"`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.plan: Plan = no_trouble
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            how = self.plan(name)
            if how == "before":
                await trio.lowlevel.checkpoint()
                raise StoreError(f"{name}: out of order")
            answer = await found(*args, **kwargs)
            if how == "after":
                raise StoreError(f"{name}: done, and it says it was not")
            return answer

        return call


class Troubled:
    """A store in memory, that fails as it is told; given the same one, another life of it."""

    def __init__(self, earlier: Troubled | None = None) -> None:
        store = MemoryStore(
            clock=lambda: 1e9 + trio.current_time(),
            tables=None if earlier is None else earlier.store.tables,
        )
        self.store = store
        self.cache = store.cache
        self.instances: Any = TroubledInstances(store.instances)

    def fail(self, *plan: tuple[str, str]) -> None:
        """Let the next calls of these names fail in these ways, each once, in this order."""
        left = list(plan)

        def how(call: str) -> str | None:
            return left.pop(0)[1] if left and left[0][0] == call else None

        self.instances.plan = how

    def fail_always(self, *names: str) -> None:
        """Let calls fail until they are told otherwise."""
        self.instances.plan = lambda call: "before" if call in names else None


@asynccontextmanager
async def hosting(
    store: Troubled, *definitions: Any, **options: Any
) -> AsyncIterator[WorkflowHost]:
    async with open_host(store, register=definitions, **options) as host:  # type: ignore[arg-type]
        yield host


@workflow
async def waits(ctx: WorkflowContext) -> Any:
    return await ctx.wait_signal("go")


# --- what nobody would run any more ----------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_an_instance_whose_claim_is_reported_as_failed_is_not_left_alone(
    attempts: int, autojump_clock: MockClock
) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        await host.start(waits, id="a")
    store = Troubled(store)
    async with hosting(store) as host:
        failures = [("claim", "after")] + [("select", "before")] * attempts
        store.fail(*failures)
        with suppress(StoreError):
            await host.register(waits)
        with trio.fail_after(60):
            await host.handle("a").status.wait_value(WAITING)
            await host.handle("a").signal("go", 1)
            assert await host.handle("a").result() == Ok(1)


async def test_an_instance_whose_beginning_is_reported_as_failed_runs_after_a_cancellation(
    autojump_clock: MockClock,
) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        store.fail(("create", "after"))
        with trio.move_on_after(0.01) as scope:
            await host.start(waits, id="a")
        assert scope.cancelled_caught
        with trio.fail_after(60):
            await host.handle("a").status.wait_value(WAITING)


async def test_an_instance_whose_beginning_is_always_reported_as_failed_runs(
    autojump_clock: MockClock,
) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        store.fail(*[("create", "after")] * 4)
        with pytest.raises(StoreError):
            await host.start(waits, id="a")
        with trio.fail_after(60):
            await host.handle("a").status.wait_value(WAITING)


async def test_a_retried_instance_runs_though_the_store_then_failed_for_a_while(
    autojump_clock: MockClock,
) -> None:
    failing = [True]

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        if failing:
            raise KeyError("bug")
        return "done"

    store = Troubled()
    async with hosting(store, flow, max_restarts=0) as host:
        handle = await host.start(flow, id="a")
        assert (await handle.result()).is_err()
        failing.clear()
        store.fail_always("claim")
        with pytest.raises(StoreError):
            await handle.retry()
        store.fail()
        with trio.fail_after(60):
            assert await handle.result() == Ok("done")


async def test_starting_again_in_the_moment_of_the_end_does_not_run_it_again(
    autojump_clock: MockClock,
) -> None:
    runs: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        runs.append("run")
        await ctx.wait_signal("go")
        return "done"

    store = Troubled()
    async with hosting(store, flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        inner = store.instances.inner
        input_of = inner.input

        class Slow:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def input(self, id: str) -> Any:
                await handle.signal("go")
                await handle.result()
                return await input_of(id)

        store.instances.inner = Slow()
        again = await host.start(flow, id="a")
        await wait_all_tasks_blocked()
        assert again.status.value is COMPLETED
        assert await again.result() == Ok("done")
    assert runs == ["run"]


# --- a store that is out of order for long ---------------------------------------------------


async def test_a_step_is_not_done_again_while_its_end_cannot_be_written(
    autojump_clock: MockClock,
) -> None:
    calls: list[float] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.wait_signal("go")
        await ctx.step(lambda: calls.append(trio.current_time()), name="charge")
        return "done"

    store = Troubled()
    async with hosting(store, flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        await handle.signal("go")
        store.fail()
        await wait_all_tasks_blocked()
        handle = await host.start(flow, id="b")
        await handle.status.wait_value(WAITING)
        calls.clear()
        await handle.signal("go")
        left = ["append"]

        def all_but_the_first(call: str) -> str | None:
            if call == "append" and left:
                left.pop()  # the signal
                return None
            return "before" if call in ("append", "end") else None

        store.instances.plan = all_but_the_first
        await trio.sleep(600)
        assert len(calls) == 1
        store.fail()
        assert await handle.result() == Ok("done")
    assert len(calls) == 1


async def test_closing_does_not_wait_long_for_a_store_that_writes_nothing(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(lambda: None, name="step")

    store = Troubled()
    async with hosting(store, flow, grace=1) as host:
        store.fail_always("append")
        await host.start(flow, id="a")
        await trio.sleep(30)
        begun = trio.current_time()
    assert trio.current_time() - begun < 10


async def test_a_store_that_fails_when_a_child_is_begun_is_no_crash(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> Any:
        await ctx.wait_signal("begin")
        child = await ctx.start_child(waits, id="c")
        return await ctx.child_result(child)

    store = Troubled()
    async with hosting(store, waits, parent) as host:
        async with host.events(WorkflowCrashedEvent) as crashes:
            handle = await host.start(parent, id="p")
            await handle.status.wait_value(WAITING)
            store.fail_always("create")
            await handle.signal("begin")
            await trio.sleep(600)
            store.fail()
            await host.handle("c").status.wait_value(WAITING)
            store.fail_always("get")
            await trio.sleep(600)
            store.fail()
            await host.handle("c").signal("go", 5)
            assert await handle.result() == Ok(5)
            assert crashes.queued == 0


async def test_a_cancellation_does_not_make_a_host_call_a_broken_store_without_a_pause(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(lambda: None, name="step")

    store = Troubled()
    async with hosting(store, flow) as host:
        store.fail_always("end")
        handle = await host.start(flow, id="a")
        await trio.sleep(5)
        before = len(store.instances.calls)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.cancel)
            await trio.sleep(100)
            assert len(store.instances.calls) - before < 200
            store.fail()
        assert (await handle.describe()).status is CANCELLED


async def test_a_status_that_could_not_be_written_is_written_later(
    autojump_clock: MockClock,
) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        store.fail_always("mark")
        handle = await host.start(waits, id="a")
        await trio.sleep(10)
        store.fail()
        await trio.sleep(10)
        assert (await handle.describe()).status is WAITING


async def test_a_host_that_cannot_look_for_mail_looks_again(autojump_clock: MockClock) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        await host.start(waits, id="a")
    async with hosting(Troubled(store)) as host:
        pass
    store = Troubled(store)
    async with hosting(store, waits, poll=1) as host:
        await host.handle("a").status.wait_value(WAITING)
        store.fail_always("mail_after")
        await store.store.instances.create((await new_instance(host, "b")), host=None)
        with trio.fail_after(30):  # what nobody has is found all the same
            await host.handle("b").status.wait_value(WAITING)


async def new_instance(host: WorkflowHost, id: str) -> Any:
    from lexigram_actors.storage.instances import NewInstance

    return NewInstance(id=id, definition=host.definitions.find(waits), seed="seed")


# --- what has no stored form -----------------------------------------------------------------


async def test_what_is_to_be_written_later_is_refused_at_once_where_it_has_no_stored_form(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        ctx._run.journal.later("x", "mark", object())
        return "done"

    async with hosting(Troubled(), flow) as host:
        error = (await (await host.start(flow, id="a")).result()).unwrap_err()
        assert isinstance(error, NotStorableError)


async def test_an_end_is_recorded_without_what_has_no_stored_form(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        ctx._run.journal.later("x" * 10_000, "mark")  # a path that no store takes
        return "done"

    async with hosting(Troubled(), flow) as host:
        error = (await (await host.start(flow, id="a")).result()).unwrap_err()
        assert isinstance(error, NotStorableError)


async def test_an_input_without_a_stored_form_fails_what_begins_anew_at_once(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        ctx.continue_as_new(object())

    async with hosting(Troubled(), flow) as host:
        async with host.events(WorkflowCrashedEvent) as crashes:
            error = (await (await host.start(flow, id="a")).result()).unwrap_err()
            assert isinstance(error, NotStorableError)
            assert crashes.queued == 0


# --- cancelling ------------------------------------------------------------------------------


async def test_cancelling_what_shields_itself_is_reported_and_recorded_when_it_ends(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def stubborn() -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(60)

        await ctx.step(stubborn)

    async with hosting(Troubled(), flow) as host:
        handle = await host.start(flow, id="a")
        await wait_all_tasks_blocked()
        async with host.system.events.subscribe(ActorUnresponsive) as reports:
            with trio.fail_after(120):
                await handle.cancel(grace=1)
            assert reports.queued == 1
        assert (await handle.describe()).status is CANCELLED


async def test_children_are_cancelled_though_the_host_died_right_after_their_parent(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> None:
        await ctx.start_child(waits, id="c")
        await ctx.wait_signal("never")

    store = Troubled()
    async with hosting(store, waits, parent) as host:
        handle = await host.start(parent, id="p")
        await host.handle("c").status.wait_value(WAITING)
        store.fail_always("select")  # so that nobody knows which children there are
        with trio.move_on_after(20):
            await handle.cancel(grace=0)
    async with hosting(Troubled(store), waits, parent) as host:
        with trio.fail_after(60):
            for id in ("p", "c"):
                error = (await host.handle(id).result()).unwrap_err()
                assert isinstance(error, WorkflowCancelledError)


async def test_a_child_begun_while_its_parent_is_cancelled_is_cancelled_with_it(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> None:
        await ctx.wait_cancel_requested()
        await ctx.sleep(1)
        await ctx.start_child(waits, id="late")

    async with hosting(Troubled(), waits, parent) as host:
        handle = await host.start(parent, id="p")
        await wait_all_tasks_blocked()
        await host.operator.cancel("p", grace=10)
        assert isinstance((await handle.result()).unwrap_err(), WorkflowCancelledError)
        with trio.fail_after(30):
            error = (await host.handle("late").result()).unwrap_err()
        assert isinstance(error, WorkflowCancelledError)


async def test_what_is_paused_and_cancelled_can_clean_up(autojump_clock: MockClock) -> None:
    done: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.wait_signal("go")
        finally:
            with trio.CancelScope(shield=True):
                await ctx.step(lambda: done.append("undone"), name="undo")

    async with hosting(Troubled(), flow) as host:
        handle = await host.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        await handle.pause()
        assert handle.status.value is PAUSED
        with trio.fail_after(60):
            await handle.cancel(grace=1)
        assert (await handle.describe()).status is CANCELLED
    assert done == ["undone"]


async def test_the_reason_of_a_cancellation_is_kept_though_the_store_fails_meanwhile(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(lambda: None, name="step")
        return "done"

    store = Troubled()
    async with hosting(store, flow) as host:
        store.fail_always("end")
        handle = await host.start(flow, id="a")
        await trio.sleep(1)
        store.fail(("end", "before"), ("load", "before"))
        await host.operator.cancel("a", "customer left")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, WorkflowCancelledError)
        assert error.reason == "customer left"


# --- supervised ------------------------------------------------------------------------------


def crashing(times: int) -> Any:
    left = [times]

    @workflow
    async def crashing(ctx: WorkflowContext) -> Any:
        await ctx.wait_signal("go")
        if left[0]:
            left[0] -= 1
            raise RuntimeError("bug")
        return await ctx.wait_signal("end")

    return crashing


async def test_what_a_supervisor_gave_up_is_waited_for_until_the_host_closes(
    autojump_clock: MockClock,
) -> None:
    flow = crashing(9)
    errors: list[Exception] = []

    async def wait(host: WorkflowHost) -> None:
        try:
            await host.handle("a").result()
        except WorkflowStateError as error:
            errors.append(error)

    store = Troubled()
    async with trio.open_nursery() as nursery:
        async with hosting(store, flow, grace=50) as host:
            spec = host.child_spec(flow, id="a")
            await host.system.spawn(Supervisor([spec], max_restarts=0))
            await host.handle("a").status.wait_value(WAITING)
            nursery.start_soon(wait, host)
            await host.handle("a").signal("go")
            await trio.sleep(1)
            assert host.residents == {}
            begun = trio.current_time()
        assert trio.current_time() - begun < 10
        nursery.cancel_scope.deadline = trio.current_time() + 20
    assert len(errors) == 1


async def test_what_a_supervisor_gave_up_can_be_cancelled(autojump_clock: MockClock) -> None:
    flow = crashing(9)
    async with hosting(Troubled(), flow) as host:
        await host.system.spawn(Supervisor([host.child_spec(flow, id="a")], max_restarts=0))
        handle = host.handle("a")
        await handle.status.wait_value(WAITING)
        await handle.signal("go")
        await trio.sleep(1)
        with trio.fail_after(60):
            await handle.cancel(grace=0)
        assert (await handle.describe()).status is CANCELLED


async def test_what_a_stopped_supervisor_had_goes_on_when_it_is_started_again(
    autojump_clock: MockClock,
) -> None:
    flow = crashing(0)
    async with hosting(Troubled(), flow) as host:
        supervisor = await host.system.spawn(Supervisor([host.child_spec(flow, id="a")]))
        await host.handle("a").status.wait_value(WAITING)
        await supervisor.stop()
        assert host.residents == {}
        handle = await host.start(flow, id="a")
        await handle.signal("go")
        await handle.signal("end", 3)
        assert await handle.result() == Ok(3)


async def test_a_result_is_waited_for_over_the_restarts_of_a_supervisor(
    autojump_clock: MockClock,
) -> None:
    flow = crashing(2)
    results: list[Any] = []

    async def wait(host: WorkflowHost) -> None:
        results.append(await host.handle("a").result())

    async with hosting(Troubled(), flow) as host:
        spec = host.child_spec(flow, id="a")
        await host.system.spawn(Supervisor([spec], max_restarts=5))
        await host.handle("a").status.wait_value(WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, host)
            await host.handle("a").signal("go")
            await host.handle("a").signal("end", 7)
    assert results == [Ok(7)]


async def test_a_supervisor_gets_what_nobody_has(autojump_clock: MockClock) -> None:
    store = Troubled()
    async with hosting(store, waits) as host:
        await host.start(waits, id="a")
    store = Troubled(store)
    async with hosting(store) as host:
        host.definitions.add(waits)
        await host.system.spawn(Supervisor([host.child_spec(waits, id="a")], max_restarts=0))
        with trio.fail_after(30):
            await host.handle("a").status.wait_value(WAITING)
            await host.handle("a").signal("go", 1)
            assert await host.handle("a").result() == Ok(1)


async def test_two_supervisors_cannot_have_one_instance(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Troubled(), waits) as host:
        await host.system.spawn(Supervisor([host.child_spec(waits, id="a")]))
        await host.handle("a").status.wait_value(WAITING)
        resident = host.resident("a")
        with caplog.at_level(logging.ERROR):
            await host.system.spawn(
                Supervisor([host.child_spec(waits, id="a")], max_restarts=0), name="second"
            )
            await wait_all_tasks_blocked()
        assert "supervised already" in caplog.text
        assert host.resident("a") is resident


# --- closing ---------------------------------------------------------------------------------


async def test_closing_ends_at_once_when_it_is_cancelled(autojump_clock: MockClock) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(trio.sleep, 1e6)

    with trio.move_on_after(10) as scope:
        async with hosting(Troubled(), flow, grace=float("inf")) as host:
            await host.start(flow, id="a")
            await wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert trio.current_time() < 20


async def test_closing_raises_what_the_block_raised_though_it_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(ValueError, match="of the block"), trio.CancelScope() as scope:
        async with hosting(Troubled(), waits) as host:
            await host.start(waits, id="a")
            scope.cancel()
            raise ValueError("of the block")


async def test_nothing_begins_in_a_host_that_is_closing(autojump_clock: MockClock) -> None:
    calls: list[str] = []

    @workflow
    async def quick(ctx: WorkflowContext) -> None:
        await ctx.step(lambda: calls.append("begun"), name="step")

    @workflow
    async def slow(ctx: WorkflowContext) -> None:
        await ctx.step(trio.sleep, 3)

    store = Troubled()
    async with trio.open_nursery() as nursery:
        async with hosting(store, quick, slow) as host:
            await host.start(slow, id="s")
            await wait_all_tasks_blocked()
            create = store.instances.inner.create

            class Late:
                def __getattr__(self, name: str) -> Any:
                    return getattr(store.store.instances, name)

                async def create(self, *args: Any, **kwargs: Any) -> Any:
                    found = await create(*args, **kwargs)
                    await trio.sleep(1)
                    return found

            store.instances.inner = Late()
            nursery.start_soon(lambda: host.start(quick, id="q"))
            await wait_all_tasks_blocked()
    assert calls == []
    async with hosting(Troubled(store), quick, slow) as host:
        assert (await host.handle("q").result()).is_ok()
    assert calls == ["begun"]


async def test_closing_does_not_wait_for_what_only_waits_beside_a_step_that_ended(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def step(ctx: WorkflowContext) -> None:
            await ctx.step(trio.sleep, 2)

        async def signal(ctx: WorkflowContext) -> None:
            await ctx.wait_signal("never")

        async with ctx.parallel() as group:
            group.start(step)
            group.start(signal)

    store = Troubled()
    async with hosting(store, flow, grace=60) as host:
        await host.start(flow, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(2)
    journal = await store.instances.journal("a")
    assert "parallel/step/sleep" in [entry.path for entry in journal]


# --- several hosts ---------------------------------------------------------------------------


async def test_a_host_that_was_frozen_lets_another_go_on_and_begins_anew(
    autojump_clock: MockClock,
) -> None:
    done: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(lambda: done.append("one"), name="one")
        await ctx.wait_signal("go")
        await ctx.step(lambda: done.append("two"), name="two")
        return "done"

    store = Troubled()
    other = Troubled(store)
    async with hosting(store, flow, lease=10, poll=1) as first:
        name = first.lease.host
        handle = await first.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        async with hosting(other, flow, lease=10, poll=1) as second:
            store.fail_always("renew", "append", "mark", "end", "mail_after", "claim", "create")
            await trio.sleep(30)
            assert second.resident("a") is not None
            await second.handle("a").signal("go")
            store.fail()
            with trio.fail_after(60):
                assert await handle.result() == Ok("done")
            assert await second.handle("a").result() == Ok("done")
            await trio.sleep(30)
            assert first.lease.host != name
            assert first.lease.deadline > trio.current_time()
            assert (await (await first.start(flow, id="b")).describe()).owner == first.lease.host
    assert done == ["one", "two", "one"]


async def test_a_host_that_begins_anew_keeps_its_lease_while_it_takes_in(
    autojump_clock: MockClock,
) -> None:
    store = Troubled()
    async with hosting(store, waits, lease=10, poll=1) as host:
        for number in range(3):
            await host.start(waits, id=str(number))
        inner = store.instances.inner

        class Slow:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def claim(self, *args: Any, **kwargs: Any) -> Any:
                kwargs["limit"] = 1
                await trio.sleep(6)
                return await inner.claim(*args, **kwargs)

        store.fail_always("renew")
        await trio.sleep(20)
        store.fail()
        store.instances.inner = Slow()
        await trio.sleep(60)
        name = host.lease.host
        await trio.sleep(60)
        assert host.lease.host == name
        epochs = [(await host.handle(str(number)).describe()).epoch for number in range(3)]
        assert epochs == [2, 2, 2]


async def test_what_begins_while_a_host_begins_anew_runs_once(autojump_clock: MockClock) -> None:
    calls: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        async def step() -> None:
            calls.append("begun")
            await trio.sleep(1)

        await ctx.step(step)
        return "done"

    store = Troubled()
    async with hosting(store, flow, lease=10, poll=1) as host:
        store.fail_always("renew", "enter")
        await trio.sleep(20)
        store.fail_always("enter")
        await trio.sleep(20)
        handle = await host.start(flow, id="a")
        await trio.sleep(1)
        store.fail()
        with trio.fail_after(60):
            assert await handle.result() == Ok("done")
    assert calls == ["begun"]


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
async def test_when_the_clock_jumps_no_recorded_step_runs_again(
    jump: float, autojump_clock: MockClock
) -> None:
    done: list[str] = []
    skew = [0.0]

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(lambda: done.append("one"), name="one")
        await ctx.wait_signal("go")
        await ctx.step(lambda: done.append("two"), name="two")
        return "done"

    store = MemoryStore(clock=lambda: 1e9 + trio.current_time() + skew[0])
    async with (
        open_host(store, register=[flow], lease=10, poll=1) as first,
        open_host(store, register=[flow], lease=10, poll=1) as second,
    ):
        handle = await first.start(flow, id="a")
        await handle.status.wait_value(WAITING)
        skew[0] = jump
        await trio.sleep(60)
        await second.handle("a").signal("go")
        with trio.fail_after(60):
            assert await handle.result() == Ok("done")
            assert await second.handle("a").result() == Ok("done")
    assert done == ["one", "two"]


# --- what a handle says ----------------------------------------------------------------------


async def test_the_status_of_what_is_retried_is_not_that_of_its_earlier_end(
    autojump_clock: MockClock,
) -> None:
    failing = [True]

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        if failing:
            raise KeyError("bug")
        return await ctx.wait_signal("go")

    async with hosting(Troubled(), flow, max_restarts=0) as host:
        handle = await host.start(flow, id="a")
        await handle.result()
        assert handle.status.value is FAILED
        failing.clear()
        await handle.retry()
        assert not handle.status.value.has_ended


async def test_an_interrupt_in_a_step_ends_the_host_and_the_instance_goes_on_later(
    autojump_clock: MockClock,
) -> None:
    interrupts: list[BaseException] = [SystemExit(3), KeyboardInterrupt()]

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        def body() -> str:
            if interrupts:
                raise interrupts.pop()
            return "done"

        return await ctx.step(body)

    store = Troubled()
    for kind in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kind):
            async with hosting(store, flow) as host:
                await (await host.start(flow, id="a")).result()
        store = Troubled(store)
    async with hosting(store, flow) as host:
        assert await host.handle("a").result() == Ok("done")


async def test_what_swallows_its_own_suspension_does_not_keep_others_from_running(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        for _ in range(1000):
            with suppress(BaseException):
                await ctx.wait_signal("never")
        return "swallowed"

    store = Troubled()
    async with hosting(store, flow, waits) as host:
        await host.start(flow, id="a")
        await host.start(waits, id="b")
        await wait_all_tasks_blocked()
    assert (await store.instances.get("a")).ended_at is None
    assert (await store.instances.get("b")).ended_at is None
