"""Instances as children of a supervisor: who is started again, from where, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import RestartIntensityExceeded
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.kernel import ActorContext, ActorRef, Restart, Strategy, Supervisor
from lexigram_actors.result import Ok
from lexigram_actors.storage.instances import InstanceStatus
from tests.host.hosts import Home

WAITING = InstanceStatus.WAITING
NAMES = ("one", "two", "three")


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(None if request.param == "memory" else tmp_path / "flows.db")


class Flows:
    """A workflow of two steps with a signal in between, and what became of it.

    Attributes:
        done: How often each step was begun.
        lives: How often each instance was begun.
        bugs: By instance, how often it will still raise when it is told to go on.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.lives: Counter[str] = Counter()
        self.bugs: Counter[str] = Counter()

        @workflow
        async def flow(ctx: WorkflowContext, name: str) -> str:
            self.lives[name] += 1
            await ctx.step(self.do, f"{name} before", name="before")
            await ctx.wait_signal("go")
            if self.bugs[name]:
                self.bugs[name] -= 1
                raise KeyError("bug")
            await ctx.step(self.do, f"{name} after", name="after")
            return name

        self.flow = flow

    async def do(self, name: str) -> str:
        self.done[name] += 1
        await trio.sleep(1)
        return name


async def supervise(
    host: WorkflowHost,
    flows: Flows,
    restart: Restart = Restart.TRANSIENT,
    shutdown: float = 5.0,
    **options: Any,
) -> ActorRef[Any]:
    """Let a supervisor have the three, and wait until each waits."""
    specs = [
        evolve(host.child_spec(flows.flow, name, id=name), restart=restart, shutdown=shutdown)
        for name in NAMES
    ]
    options = {"strategy": Strategy.REST_FOR_ONE, **options}
    supervisor = await host.system.spawn(Supervisor(specs, **options), name="three")
    await all_wait(host)
    return supervisor


async def all_wait(host: WorkflowHost) -> None:
    for name in NAMES:
        await host.handle(name).status.wait_value(WAITING)
    await wait_all_tasks_blocked()


async def child_of(supervisor: Any, id: str) -> ActorRef[Any]:
    [found] = [each.ref for each in await supervisor.which_children() if each.id == id]
    assert found is not None
    return found


async def see_to_the_end(host: WorkflowHost, told: Collection[str] = ()) -> None:
    """Tell those to go on that are not told yet, and wait for all."""
    for name in NAMES:
        if name not in told:
            await host.handle(name).signal("go")
        assert await host.handle(name).result() == Ok(name)


def each_step_ran_once(flows: Flows) -> bool:
    return flows.done == {f"{name} {when}": 1 for name in NAMES for when in ("before", "after")}


# --- ways to end a child -------------------------------------------------------------------


async def by_a_bug(host: WorkflowHost, supervisor: Any, flows: Flows) -> None:
    flows.bugs["two"] = 1
    await host.handle("two").signal("go")


async def by_stopping_it(host: WorkflowHost, supervisor: Any, flows: Flows) -> None:
    await (await child_of(supervisor, "two")).stop()


async def by_a_linked_failure(host: WorkflowHost, supervisor: Any, flows: Flows) -> None:
    child = await child_of(supervisor, "two")

    async def partner(context: ActorContext[Any]) -> None:
        context.link(child)
        raise OSError("the partner failed")

    await (await host.system.spawn(partner, name="partner")).monitor()


Way = Callable[[WorkflowHost, Any, Flows], Awaitable[None]]


@pytest.mark.parametrize(
    ("way", "restart"),
    [
        (by_a_bug, Restart.TRANSIENT),
        (by_a_bug, Restart.PERMANENT),
        (by_stopping_it, Restart.PERMANENT),
        (by_a_linked_failure, Restart.TRANSIENT),
        (by_a_linked_failure, Restart.PERMANENT),
    ],
)
async def test_of_three_the_second_that_ends_and_the_third_go_on_from_their_journals(
    home: Home, way: Way, restart: Restart, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows, restart)
        lives = dict(flows.lives)
        assert lives == dict.fromkeys(NAMES, 1)
        await way(host, supervisor, flows)
        await trio.sleep(10)
        await host.handle("three").status.wait_value(WAITING)
        assert flows.lives["one"] == 1
        assert flows.lives["two"] == 2
        assert flows.lives["three"] == 2
        assert flows.done == Counter(
            {f"{name} before": 1 for name in NAMES} | ({"two after": 1} if way is by_a_bug else {})
        )
        if restart is Restart.TRANSIENT:  # the other kind would come back for ever
            await see_to_the_end(host, {"two"} if way is by_a_bug else ())
            assert each_step_ran_once(flows)
        await supervisor.stop()


async def test_a_transient_child_that_is_stopped_stays_so_until_the_next_host(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows)
        await by_stopping_it(host, supervisor, flows)
        await trio.sleep(100)
        assert flows.lives == dict.fromkeys(NAMES, 1)
        assert not (await host.handle("two").describe()).status.has_ended
    async with home.host(flows.flow) as host:
        await see_to_the_end(host)
    assert each_step_ran_once(flows)


async def test_a_sibling_ends_the_step_that_it_is_in_within_its_time(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows)
        flows.bugs["two"] = 1
        await host.handle("three").signal("go")
        await trio.sleep(0.5)
        assert flows.done["three after"] == 1
        await host.handle("two").signal("go")
        await see_to_the_end(host, {"two", "three"})
        await supervisor.stop()
    assert each_step_ran_once(flows)


async def test_a_sibling_without_such_time_repeats_that_step_alone(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows, shutdown=0.0)
        flows.bugs["two"] = 1
        await host.handle("three").signal("go")
        await trio.sleep(0.5)
        assert flows.done["three after"] == 1
        await host.handle("two").signal("go")
        await see_to_the_end(host, {"two", "three"})
        await supervisor.stop()
    assert flows.done.pop("three after") == 2
    assert set(flows.done.values()) == {1}


async def test_a_sibling_that_only_waits_is_back_at_once(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows)
        flows.bugs["two"] = 1
        before = trio.current_time()
        await host.handle("two").signal("go")
        assert await host.handle("two").result() == Ok("two")
        assert trio.current_time() - before < 2
        await supervisor.stop()


@pytest.mark.parametrize("strategy", Strategy)
async def test_too_many_restarts_escalate_and_the_next_host_goes_on_with_all(
    home: Home, strategy: Strategy, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows, strategy=strategy, max_restarts=2, period=60)
        flows.bugs["two"] = 100
        await host.handle("two").signal("go")
        exit_ = await supervisor.monitor()
        assert exit_.reason == "failed"
        assert isinstance(exit_.error, RestartIntensityExceeded)
        assert flows.lives["two"] == 3
        await trio.sleep(1000)
        assert flows.lives["two"] == 3, "nobody has it any more"
        for name in NAMES:
            assert not (await host.handle(name).describe()).status.has_ended
    flows.bugs.clear()
    async with home.host(flows.flow) as host:
        await see_to_the_end(host, {"two"})
    assert each_step_ran_once(flows)


async def test_a_child_that_raises_is_not_started_again_by_the_host_as_well(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    flows.bugs["two"] = 1
    async with home.host(flows.flow, max_restarts=0) as host:
        supervisor = await supervise(host, flows)
        await host.handle("two").signal("go")
        assert await host.handle("two").result() == Ok("two"), "the host would have parked it"
        assert flows.lives == {"one": 1, "two": 2, "three": 2}
        await supervisor.stop()


async def test_what_the_host_has_recovered_a_supervisor_adopts_from_its_journal(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        for name in NAMES:
            await host.start(flows.flow, name, id=name)
        await all_wait(host)
    async with home.host(flows.flow) as host:
        await all_wait(host)
        assert flows.lives == dict.fromkeys(NAMES, 2)
        supervisor = await supervise(host, flows)
        assert flows.lives == dict.fromkeys(NAMES, 3)
        flows.bugs["two"] = 1
        await host.handle("two").signal("go")
        assert await host.handle("two").result() == Ok("two")
        await host.handle("three").status.wait_value(WAITING)
        await wait_all_tasks_blocked()
        assert flows.lives == {"one": 3, "two": 4, "three": 4}
        await see_to_the_end(host, {"two"})
        await supervisor.stop()
    assert each_step_ran_once(flows)


async def test_adopted_in_the_midst_of_a_step_it_repeats_that_step_and_ends(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        handle = await host.start(flows.flow, "one", id="one")
        await trio.sleep(0.5)
        spec = host.child_spec(flows.flow, "one", id="one")
        supervisor = await host.system.spawn(Supervisor([spec]), name="late")
        await handle.signal("go")
        assert await handle.result() == Ok("one")
        await supervisor.stop()
    assert flows.done == {"one before": 2, "one after": 1}


async def test_a_child_that_has_ended_before_is_not_run_again(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        handle = await host.start(flows.flow, "one", id="one")
        await handle.signal("go")
        await handle.result()
        spec = host.child_spec(flows.flow, "one", id="one")
        supervisor = await host.system.spawn(Supervisor([spec]), name="late")
        await trio.sleep(100)
        assert await handle.result() == Ok("one")
        assert flows.lives["one"] == 1
        await supervisor.stop()


async def test_cancelling_a_supervised_instance_ends_it_and_restarts_nobody(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        supervisor = await supervise(host, flows)
        await host.handle("two").cancel("enough", grace=0)
        await trio.sleep(100)
        assert (await host.handle("two").describe()).status is InstanceStatus.CANCELLED
        assert flows.lives == dict.fromkeys(NAMES, 1)
        await supervisor.stop()


async def test_a_host_that_closes_leaves_supervised_instances_for_the_next(
    home: Home, autojump_clock: MockClock
) -> None:
    flows = Flows()
    async with home.host(flows.flow) as host:
        await supervise(host, flows)
    async with home.host(flows.flow) as host:
        await see_to_the_end(host)
    assert flows.lives == dict.fromkeys(NAMES, 2)
    assert each_step_ran_once(flows)
