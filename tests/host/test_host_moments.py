"""What happens to an instance in the moments between two of its states."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import StoreError
from lexigram_actors.host.opening import open_host
from lexigram_actors.result import Ok
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import InstanceStatus
from tests.host.hosts import Home


@workflow
async def waits(ctx: WorkflowContext) -> Any:
    return await ctx.wait_signal("go")


@workflow
async def at_once(ctx: WorkflowContext) -> str:
    return "done"


class PostedMeanwhile:
    """Instances of which each new one gets a signal before anybody knows that it was begun."""

    def __init__(self, inner: Any, home: list[Any]) -> None:
        self.inner = inner
        self.home = home

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def create(self, new: Any, *, host: str | None = None) -> Any:
        created = await self.inner.create(new, host=host)
        await self.home[0].handle(new.id).signal("go", "early")
        return created


async def test_a_signal_that_comes_while_its_instance_is_begun_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    store: Any = MemoryStore(clock=lambda: 1e9 + trio.current_time())
    hosts: list[Any] = []

    class Store:
        cache = store.cache
        instances = PostedMeanwhile(store.instances, hosts)

    async with open_host(Store(), register=[waits]) as host:  # type: ignore[arg-type]
        hosts.append(host)
        handle = await host.start(waits, id="a")
        with trio.fail_after(60):
            assert await handle.result() == Ok("early")


async def test_the_status_of_what_had_ended_before_it_was_started_again_is_that_of_its_end(
    autojump_clock: MockClock,
) -> None:
    home = Home()
    async with home.host(at_once) as host:
        await (await host.start(at_once, id="a")).result()
    async with home.host(at_once) as host:
        handle = await host.start(at_once, id="a")
        assert handle.status.value is InstanceStatus.COMPLETED


async def test_the_status_of_what_ended_under_another_host_is_told_with_its_result(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore(clock=lambda: 1e9 + trio.current_time())
    async with open_host(store, register=[waits], lease=10, poll=1) as first:
        handle = await first.start(waits, id="a")
        await handle.status.wait_value(InstanceStatus.WAITING)
        async with open_host(store, register=[waits], lease=10, poll=1) as second:
            assert not second.residents
            elsewhere = second.handle("a")
            await elsewhere.signal("go", 1)
            assert await elsewhere.result() == Ok(1)
            assert elsewhere.status.value is InstanceStatus.COMPLETED


async def test_a_step_that_is_at_work_when_the_host_closes_ends_though_its_sibling_goes_no_further(
    autojump_clock: MockClock,
) -> None:
    done: list[str] = []

    async def work(name: str, seconds: float) -> str:
        await trio.sleep(seconds)
        done.append(name)
        return name

    @workflow
    async def side_by_side(ctx: WorkflowContext) -> None:
        async def quick(ctx: WorkflowContext) -> None:
            await ctx.step(work, "quick", 1, name="first")
            await ctx.step(work, "never", 1, name="second")

        async def slow(ctx: WorkflowContext) -> None:
            await ctx.step(work, "slow", 3, name="slow")

        async with ctx.parallel() as group:
            group.start(quick)
            group.start(slow)

    home = Home()
    async with home.host(side_by_side, grace=60) as host:
        await host.start(side_by_side, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
    assert done == ["quick", "slow"]
    assert trio.current_time() - begun == pytest.approx(3)


async def test_a_sibling_that_shields_itself_does_not_keep_the_host_from_closing(
    autojump_clock: MockClock,
) -> None:
    async def work(seconds: float) -> None:
        await trio.sleep(seconds)

    @workflow
    async def side_by_side(ctx: WorkflowContext) -> None:
        async def shielded(ctx: WorkflowContext) -> None:
            with trio.CancelScope(shield=True):
                await ctx.step(work, 1, name="first")
                await ctx.step(work, 1, name="second")

        async def slow(ctx: WorkflowContext) -> None:
            await ctx.step(work, 1000, name="slow")

        async with ctx.parallel() as group:
            group.start(shielded)
            group.start(slow)

    home = Home()
    async with home.host(side_by_side, grace=5) as host:
        await host.start(side_by_side, id="a")
        await wait_all_tasks_blocked()
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(5)


async def test_a_host_that_closes_is_no_failure_of_a_child_that_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> Any:
        async def family(ctx: WorkflowContext) -> Any:
            child = await ctx.start_child(waits, name="child")
            return await ctx.child_result(child)

        async def work(ctx: WorkflowContext) -> None:
            await ctx.step(trio.sleep, 3, name="work")

        async with ctx.parallel() as group:
            result = group.start(family)
            group.start(work)
        return result.value

    home = Home()
    async with home.host(parent, waits, grace=60) as host:
        await host.start(parent, id="a")
        await wait_all_tasks_blocked()
    assert trio.current_time() == pytest.approx(3)  # the step came to its end
    async with home.host(parent, waits) as host:
        (child,) = await host.operator.select(parent="a")
        await host.handle(child.id).signal("go", "!")
        assert await host.handle("a").result() == Ok("!")


async def test_a_store_that_fails_is_no_failure_of_a_child_that_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> Any:
        child = await ctx.start_child(waits, name="child")
        try:
            return await ctx.child_result(child)
        except Exception as error:
            return await ctx.step(repr, error, name="without the child")

    troubles = ["get"]

    class Instances:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        async def get(self, id: str) -> Any:
            if troubles:
                troubles.pop()
                raise StoreError("out of order")
            return await self.inner.get(id)

    memory = MemoryStore(clock=lambda: 1e9 + trio.current_time())

    class Store:
        cache = memory.cache
        instances = Instances(memory.instances)

    async with open_host(Store(), register=[parent, waits]) as host:  # type: ignore[arg-type]
        handle = await host.start(parent, id="a")
        await wait_all_tasks_blocked()
        (child,) = await host.operator.select(parent="a")
        resident = host.residents[child.id]
        resident.suspend()  # the host lets it go, as it does where it is taken over
        await trio.sleep(5)
        assert not troubles
        recorded = [entry.kind for entry in await memory.instances.journal("a")]
        assert recorded == ["child"]
        await host.start(waits, id=child.id)
        await host.handle(child.id).signal("go", "!")
        assert await handle.result() == Ok("!")
