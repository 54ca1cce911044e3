"""What a host tells of its instances: each transition that is recorded, once, and in order."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    BulkOperation,
    BulkOperationConfig,
    Pipeline,
    Supervisor,
    WorkflowBuilder,
    WorkflowContext,
    step,
    workflow,
)
from lexigram_actors.errors import StoreError
from lexigram_actors.events import (
    HookRegistry,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowCompletedHook,
    WorkflowCrashedEvent,
    WorkflowFailedEvent,
    WorkflowStartedEvent,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
    WorkflowStatusEvent,
)
from lexigram_actors.graph import WorkflowRunner
from lexigram_actors.host.observing import observing
from lexigram_actors.host.opening import open_host
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import InstanceStatus
from tests.host.hosts import Home

Told = list[Any]

WAITING = InstanceStatus.WAITING


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Any) -> Home:
    return Home(None if request.param == "memory" else tmp_path / "flows.db")


def recording() -> tuple[HookRegistry, Told]:
    given: Told = []
    hooks = HookRegistry()
    hooks.add(object, given.append)
    return hooks, given


def moves(given: Told, id: str = "a") -> list[str]:
    """Return the statuses that an instance went through, as hooks were told, and check the rest.

    Each transition goes on where the last one ended; a begin comes with the first, an end with the
    last.
    """
    own = [each for each in given if each.workflow_id == id]
    steps = [each for each in own if isinstance(each, WorkflowStateTransitionedHook)]
    for before, after in pairwise(steps):
        assert before.to_state == after.from_state
    assert all(each.from_state != each.to_state for each in steps)
    for number, each in enumerate(own):
        if isinstance(each, WorkflowStartedHook):
            assert own[number + 1].from_state == "pending"
        if isinstance(each, WorkflowCompletedHook):
            assert own[number - 1].to_state in ("completed", "failed", "cancelled")
            assert each.succeeded == (own[number - 1].to_state == "completed")
    assert len({type(each) for each in own}) <= 3
    return [steps[0].from_state, *(each.to_state for each in steps)] if steps else []


async def hang(payload: object) -> None:
    await trio.sleep_forever()


def number_of(given: Told, kind: type[Any], id: str = "a") -> int:
    return sum(isinstance(each, kind) and each.workflow_id == id for each in given)


# --- every kind ----------------------------------------------------------------------------------


async def takes_a_second(*arguments: Any) -> dict[str, Any]:
    await trio.sleep(1)
    return {}


async def batch(items: list[int]) -> list[int]:
    await trio.sleep(1)
    return items


@workflow(name="kind")
async def function(ctx: WorkflowContext) -> None:
    await ctx.step(takes_a_second)
    await ctx.step(takes_a_second)


def kinds() -> dict[str, Any]:
    graph = WorkflowBuilder("kind").add_node("only", node=takes_a_second)
    engine = graph.set_entry("only").set_terminal("only").build()
    pipeline = Pipeline("kind", [step(each, takes_a_second) for each in ("one", "two")])
    config = BulkOperationConfig(batch_size=2)
    operation: BulkOperation[int, int] = BulkOperation(config, batch)
    return {
        "pipeline": pipeline,
        "engine": engine,
        "runner": WorkflowRunner(engine).as_runnable(),
        "bulk": operation.as_runnable("kind", [1, 2, 3]),
        "function": function,
    }


each_kind = pytest.mark.parametrize("kind", kinds())


@each_kind
async def test_every_kind_in_a_host_begins_and_ends_once(
    home: Home, kind: str, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    definition = kinds()[kind]
    async with home.host(definition, hooks=hooks) as host:
        async with host.events(WorkflowStartedEvent, WorkflowCompletedEvent) as events:
            assert (await (await host.start(definition, id="a")).result()).is_ok()
            seen = [await anext(events) for _ in range(events.queued)]
    assert seen == [WorkflowStartedEvent("a", "kind"), WorkflowCompletedEvent("a", "kind")]
    assert given[0] == WorkflowStartedHook("a", "kind")
    assert given[-1] == WorkflowCompletedHook("a", "kind", succeeded=True)
    assert moves(given) == ["pending", "running", "completed"]
    assert len(given) == 4


@each_kind
async def test_inside_observing_the_host_tells_and_nobody_else(
    home: Home, kind: str, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    others, other = recording()
    definition = kinds()[kind]
    async with observing(hooks=others):
        async with home.host(definition, hooks=hooks) as host:
            await (await host.start(definition, id="a")).result()
    assert len(given) == 4
    assert not other


@each_kind
async def test_every_kind_that_is_cancelled_ends_once(
    home: Home, kind: str, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    definition = kinds()[kind]
    async with home.host(definition, hooks=hooks) as host:
        async with host.events(WorkflowCancelledEvent) as events:
            handle = await host.start(definition, id="a")
            await trio.sleep(0.5)
            await handle.cancel("enough", grace=0)
            assert await anext(events) == WorkflowCancelledEvent("a", "kind", "enough")
            assert not events.queued
    assert moves(given) == ["pending", "running", "cancelled"]
    assert number_of(given, WorkflowCompletedHook) == number_of(given, WorkflowStartedHook) == 1


async def test_an_instance_that_ends_at_once_has_begun(
    home: Home, autojump_clock: MockClock
) -> None:
    @workflow
    async def quick(ctx: WorkflowContext) -> None:
        pass

    hooks, given = recording()
    async with home.host(quick, hooks=hooks) as host:
        async with host.events() as events:
            await (await host.start(quick, id="a")).result()
            seen = [await anext(events) for _ in range(events.queued)]
    assert seen == [
        WorkflowStartedEvent("a", "quick"),
        WorkflowStatusEvent("a", "quick", "pending", "completed"),
        WorkflowCompletedEvent("a", "quick"),
    ]
    assert given == [
        WorkflowStartedHook("a", "quick"),
        WorkflowStateTransitionedHook("a", "pending", "completed"),
        WorkflowCompletedHook("a", "quick", succeeded=True),
    ]


async def test_a_failure_says_why(home: Home, autojump_clock: MockClock) -> None:
    @workflow
    async def fails(ctx: WorkflowContext) -> Any:
        return Err(ValueError("no stock"))

    hooks, given = recording()
    async with home.host(fails, hooks=hooks) as host:
        async with host.events(WorkflowFailedEvent) as events:
            await (await host.start(fails, id="a")).result()
            assert "no stock" in (await anext(events)).error
    assert given[-1] == WorkflowCompletedHook("a", "fails", succeeded=False)


# --- what is recorded ----------------------------------------------------------------------------


@workflow
async def waits(ctx: WorkflowContext) -> None:
    await ctx.step(takes_a_second, name="first")
    await ctx.wait_signal("go")
    await ctx.step(takes_a_second, name="last")


async def test_what_it_waits_for_is_told_when_it_is_recorded(
    home: Home, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    async with home.host(waits, hooks=hooks) as host:
        handle = await host.start(waits, id="a")
        await handle.status.wait_value(WAITING)
        assert (await handle.describe()).status is InstanceStatus.RUNNING
        assert given[-1].to_state == "running"
        await trio.sleep(0.1)
        assert (await handle.describe()).status is WAITING
        assert given[-1] == WorkflowStateTransitionedHook("a", "running", "waiting")
        await handle.signal("go")
        await handle.result()
    assert moves(given) == ["pending", "running", "waiting", "running", "completed"]


async def test_pausing_and_resuming_are_transitions(home: Home, autojump_clock: MockClock) -> None:
    hooks, given = recording()
    async with home.host(waits, hooks=hooks) as host:
        handle = await host.start(waits, id="a")
        await trio.sleep(2)
        for ask in (handle.pause, handle.resume):
            await ask()
            await trio.sleep(1)
        await handle.signal("go")
        await handle.result()
    assert moves(given)[2:5] == ["waiting", "paused", "waiting"]
    assert number_of(given, WorkflowStartedHook) == 1


class Shown:
    """A store whose instances can be put behind something."""

    def __init__(self, store: MemoryStore) -> None:
        self.instances: Any = store.instances
        self.cache = store.cache


def memory() -> Any:
    return Shown(MemoryStore(clock=lambda: 1e9 + trio.current_time()))


class Unsure:
    """A store that does what it is asked, and says that it failed; as often as it is told."""

    def __init__(self, instances: Any, *calls: str, often: int = 1) -> None:
        self._instances = instances
        self.left = Counter(dict.fromkeys(calls, often))

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._instances, name)
        if name not in self.left:
            return call

        async def unsure(*args: Any, **kwargs: Any) -> Any:
            outcome = await call(*args, **kwargs)
            if self.left[name]:
                self.left[name] -= 1
                raise StoreError("it may have been done")
            return outcome

        return unsure


@pytest.mark.parametrize("call", ["append", "mark", "end"])
@pytest.mark.parametrize("often", [1, 3])
async def test_a_write_that_is_repeated_is_told_once(
    call: str, often: int, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    store = memory()
    store.instances = Unsure(store.instances, call, often=often)
    async with open_host(store, register=[waits], hooks=hooks) as host:
        handle = await host.start(waits, id="a")
        await trio.sleep(10)
        await handle.signal("go")
        assert await handle.result() == Ok(None)
    assert moves(given) == ["pending", "running", "waiting", "running", "completed"]
    assert number_of(given, WorkflowStartedHook) == number_of(given, WorkflowCompletedHook) == 1


async def test_a_status_of_which_it_is_not_known_whether_it_was_written_is_told_after_a_crash(
    autojump_clock: MockClock,
) -> None:
    crashes = [1]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await trio.sleep(0.5)
        if crashes:
            crashes.pop()
            raise KeyError("bug")

    hooks, given = recording()
    store = memory()
    store.instances = Unsure(store.instances, "mark")
    async with open_host(store, register=[flow], hooks=hooks) as host:
        await (await host.start(flow, id="a")).result()
    assert moves(given) == ["pending", "running", "completed"]
    assert number_of(given, WorkflowStartedHook) == 1


class Slow:
    """A store whose writes take a while, before they are done and after; with what was written."""

    def __init__(self, instances: Any, seed: int) -> None:
        self._instances = instances
        self._random = random.Random(seed)
        self.log = ["pending"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instances, name)

    async def take_a_while(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._random.choice((0, 0.01, 0.3, 2)))

    def add(self, status: Any) -> None:
        if status is not None and status != self.log[-1]:
            self.log.append(status.value)

    async def mark(self, changes: Any) -> None:
        await self.take_a_while()
        await self._instances.mark(changes)
        for _, status, _ in changes.values():
            self.add(status)
        await self.take_a_while()

    async def append(self, *args: Any, status: Any = None, **kwargs: Any) -> None:
        await self.take_a_while()
        await self._instances.append(*args, status=status, **kwargs)
        self.add(status)
        await self.take_a_while()

    async def end(self, id: str, epoch: int, status: Any, *args: Any, **kwargs: Any) -> None:
        await self.take_a_while()
        await self._instances.end(id, epoch, status, *args, **kwargs)
        self.add(status)
        await self.take_a_while()


async def part(ctx: WorkflowContext, seconds: float) -> None:
    await ctx.step(trio.sleep, seconds, name="first")
    await ctx.wait_signal("go")
    await ctx.step(trio.sleep, seconds, name="second")


@workflow
async def parts(ctx: WorkflowContext) -> None:
    async with ctx.parallel() as group:
        for seconds in (0.2, 0.5, 1, 1.5):
            group.start(part, seconds)


@pytest.mark.parametrize("seed", range(40))
async def test_what_is_told_is_what_was_written_in_that_order(
    seed: int, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    store = memory()
    store.instances = slow = Slow(store.instances, seed)
    async with open_host(store, register=[parts], hooks=hooks) as host:
        handle = await host.start(parts, id="a")
        for ask in (handle.pause, handle.resume, handle.pause, handle.resume):
            await trio.sleep(0.4)
            await ask()
        for _ in range(4):
            await handle.signal("go")
            await trio.sleep(0.3)
        assert await handle.result() == Ok(None)
        assert (await handle.describe()).status is InstanceStatus.COMPLETED
    assert moves(given) == slow.log
    assert slow.log[-1] == "completed"


@pytest.mark.parametrize("seed", range(10))
async def test_an_end_is_told_after_the_status_that_was_being_written(
    seed: int, autojump_clock: MockClock
) -> None:
    @workflow
    async def short(ctx: WorkflowContext) -> None:
        await trio.sleep(0.2)

    hooks, given = recording()
    store = memory()
    store.instances = slow = Slow(store.instances, seed)
    async with open_host(store, register=[short], hooks=hooks) as host:
        await (await host.start(short, id="a")).result()
    assert moves(given) == slow.log == ["pending", "running", "completed"]


# --- crashes, and other hosts --------------------------------------------------------------------


async def test_a_crash_is_no_new_beginning(home: Home, autojump_clock: MockClock) -> None:
    crashes = [1, 1]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(takes_a_second)
        if crashes:
            crashes.pop()
            raise KeyError("bug")

    hooks, given = recording()
    async with home.host(flow, hooks=hooks) as host:
        async with host.events(WorkflowCrashedEvent, WorkflowStartedEvent) as events:
            await (await host.start(flow, id="a")).result()
            seen = [type(await anext(events)) for _ in range(events.queued)]
    assert seen == [WorkflowStartedEvent, WorkflowCrashedEvent, WorkflowCrashedEvent]
    assert moves(given) == ["pending", "running", "completed"]
    assert number_of(given, WorkflowStartedHook) == 1


async def test_crashed_before_anything_was_recorded_it_begins_once(
    home: Home, autojump_clock: MockClock
) -> None:
    crashes = [1]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        if crashes:
            crashes.pop()
            raise KeyError("bug")
        await ctx.wait_signal("go")

    hooks, given = recording()
    async with home.host(flow, hooks=hooks) as host:
        handle = await host.start(flow, id="a")
        await trio.sleep(3)
        assert (await handle.describe()).status is WAITING
        await handle.signal("go")
        await handle.result()
    assert moves(given)[-2:] == ["running", "completed"]
    assert number_of(given, WorkflowStartedHook) == number_of(given, WorkflowCompletedHook) == 1


async def test_a_status_that_a_crash_left_unwritten_is_written_by_the_next_life(
    home: Home, autojump_clock: MockClock
) -> None:
    crashes = [1]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        if crashes:
            crashes.pop()
            raise KeyError("bug")
        await trio.sleep(1000)

    async with home.host(flow) as host:
        handle = await host.start(flow, id="a")
        await trio.sleep(100)
        assert (await handle.describe()).status is InstanceStatus.RUNNING


async def test_taken_over_it_does_not_begin_again(home: Home, autojump_clock: MockClock) -> None:
    hooks, given = recording()
    async with home.host(waits, hooks=hooks) as host:
        await host.start(waits, id="a")
        await trio.sleep(2)
    assert moves(given) == ["pending", "running", "waiting"]
    hooks, later = recording()
    async with home.host(waits, hooks=hooks) as host:
        await host.handle("a").signal("go")
        await host.handle("a").result()
    assert moves(given + later) == ["pending", "running", "waiting", "running", "completed"]
    assert number_of(later, WorkflowStartedHook) == 0
    assert number_of(later, WorkflowCompletedHook) == 1


async def test_retried_it_begins_again(home: Home, autojump_clock: MockClock) -> None:
    fails = [1]

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.step(takes_a_second)
        return Err(ValueError("no stock")) if fails and fails.pop() else None

    hooks, given = recording()
    async with home.host(flow, hooks=hooks) as host:
        handle = await host.start(flow, id="a")
        await handle.result()
        await trio.sleep(0.1)
        told = len(given)
        await handle.retry()
        assert (await handle.result()).is_ok()
    assert moves(given[:told]) == ["pending", "running", "failed"]
    assert moves(given[told:])[-1] == "completed"
    assert number_of(given[told:], WorkflowStartedHook) == 1
    assert [each.succeeded for each in given if isinstance(each, WorkflowCompletedHook)] == [
        False,
        True,
    ]


async def test_begun_as_new_it_is_still_the_same(home: Home, autojump_clock: MockClock) -> None:
    @workflow
    async def flow(ctx: WorkflowContext, left: int) -> int:
        await ctx.step(takes_a_second)
        if left:
            await ctx.continue_as_new(left - 1)
        return left

    hooks, given = recording()
    async with home.host(flow, hooks=hooks) as host:
        await (await host.start(flow, 3, id="a")).result()
    assert moves(given) == ["pending", "running", "completed"]


async def test_children_are_told_of_like_others(home: Home, autojump_clock: MockClock) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> None:
        await ctx.child_result(await ctx.start_child(function, id="child"))

    hooks, given = recording()
    async with home.host(parent, function, hooks=hooks) as host:
        await (await host.start(parent, id="a")).result()
    for id in ("a", "child"):
        assert moves(given, id)[-1] == "completed"
        assert number_of(given, WorkflowStartedHook, id) == 1


async def test_under_a_supervisor_it_begins_once_however_often_it_is_started(
    home: Home, autojump_clock: MockClock
) -> None:
    crashes = [1, 1]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(takes_a_second)
        if crashes:
            crashes.pop()
            raise KeyError("bug")

    hooks, given = recording()
    async with home.host(flow, hooks=hooks) as host:
        supervisor = await host.system.spawn(
            Supervisor([host.child_spec(flow, id="a")], max_restarts=5)
        )
        assert (await host.handle("a").result()).is_ok()
        await supervisor.stop()
    assert moves(given) == ["pending", "running", "completed"]
    assert number_of(given, WorkflowStartedHook) == 1


async def test_taken_from_the_host_by_a_supervisor_it_does_not_begin_again(
    home: Home, autojump_clock: MockClock
) -> None:
    hooks, given = recording()
    async with home.host(waits, hooks=hooks) as host:
        await host.start(waits, id="a")
        supervisor = await host.system.spawn(Supervisor([host.child_spec(waits, id="a")]))
        await trio.sleep(3)
        await host.handle("a").signal("go")
        assert (await host.handle("a").result()).is_ok()
        await supervisor.stop()
    assert moves(given)[-1] == "completed"
    assert number_of(given, WorkflowStartedHook) == 1


# --- hooks do no harm ----------------------------------------------------------------------------


async def test_a_slow_hook_delays_no_instance(home: Home, autojump_clock: MockClock) -> None:
    called: Told = []

    async def slow(payload: object) -> None:
        await trio.sleep(1)
        called.append(payload)

    began = trio.current_time()
    async with home.host(function) as host:
        host.hooks.add(WorkflowCompletedHook, slow)
        handles = [await host.start(function, id=id) for id in "abc"]
        for handle in handles:
            await handle.result()
        assert trio.current_time() - began == pytest.approx(2, abs=0.2)
        assert not called
    assert len(called) == 3
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


async def test_a_hook_that_hangs_is_cut_off_when_the_host_closes(
    home: Home, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    began = trio.current_time()
    async with home.host(function) as host:
        host.hooks.add(object, hang)
        assert (await (await host.start(function, id="a")).result()).is_ok()
    assert trio.current_time() - began == pytest.approx(7, abs=0.2)
    assert "4 payloads were not given" in caplog.text


async def test_a_hook_that_raises_harms_nothing(
    home: Home, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(payload: object) -> None:
        raise OSError("metrics are down")

    hooks, given = recording()
    hooks.add(object, bad)
    async with home.host(function, hooks=hooks) as host:
        assert (await (await host.start(function, id="a")).result()).is_ok()
        assert (await (await host.start(function, id="b")).result()).is_ok()
    assert len(given) == 8
    assert caplog.text.count("metrics are down") >= 8


async def test_a_subscriber_that_is_slow_or_raises_harms_nothing(
    home: Home, autojump_clock: MockClock
) -> None:
    async def listens(host: Any) -> None:
        async with host.events(bound=1) as events:
            async for _ in events:
                raise OSError("dashboard is down")

    async with home.host(function) as host:
        async with host.events(bound=1) as slow:
            with pytest.RaisesGroup(OSError):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listens, host)
                    await wait_all_tasks_blocked()
                    await host.start(function, id="a")
                    await trio.sleep_forever()
            assert (await host.handle("a").result()).is_ok()
            assert slow.dropped > 0


async def test_a_hook_may_ask_the_host_and_begin_instances(
    home: Home, autojump_clock: MockClock
) -> None:
    seen: Told = []
    async with home.host(function) as host:

        async def follow_up(payload: WorkflowCompletedHook) -> None:
            seen.append((await host.handle(payload.workflow_id).describe()).status)
            if payload.workflow_id == "a":
                await host.start(function, id="b")

        host.hooks.add(WorkflowCompletedHook, follow_up)
        await (await host.start(function, id="a")).result()
        await trio.sleep(1)
        await host.handle("b").result()
    assert seen == [InstanceStatus.COMPLETED] * 2


async def test_a_host_that_is_cancelled_still_calls_hooks(
    home: Home, autojump_clock: MockClock
) -> None:
    called: Told = []

    async def slow(payload: object) -> None:
        await trio.sleep(0.5)
        called.append(payload)

    hooks = HookRegistry()
    hooks.add(object, slow)
    with trio.move_on_after(0.2) as limit:
        async with home.host(function, hooks=hooks) as host:
            await host.start(function, id="a")
            await trio.sleep_forever()
    assert limit.cancelled_caught
    assert moves(called) == ["pending", "running"]
    assert len(called) == 2


async def test_what_ends_while_the_host_closes_is_told(
    home: Home, autojump_clock: MockClock
) -> None:
    hooks, given = recording()

    @workflow
    async def one_step(ctx: WorkflowContext) -> None:
        await ctx.step(takes_a_second)

    async with home.host(one_step, hooks=hooks) as host:
        await host.start(one_step, id="a")
        await trio.sleep(0.5)
        status = (await host.handle("a").describe()).status
    if number_of(given, WorkflowCompletedHook):
        assert moves(given)[-1] == "completed"
    else:
        assert moves(given)[-1] == status.value


async def test_two_hosts_side_by_side_tell_of_their_own(autojump_clock: MockClock) -> None:
    first, told_of_first = recording()
    second, told_of_second = recording()
    async with Home().host(function, hooks=first) as one:
        async with Home().host(function, hooks=second) as two:
            await (await one.start(function, id="a")).result()
            await (await two.start(function, id="b")).result()
    assert {each.workflow_id for each in told_of_first} == {"a"}
    assert {each.workflow_id for each in told_of_second} == {"b"}


async def test_no_registry_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(TypeError, match="HookRegistry"):
        async with open_host(MemoryStore(), hooks=[print]):  # type: ignore[arg-type]
            pytest.fail("unreachable")
