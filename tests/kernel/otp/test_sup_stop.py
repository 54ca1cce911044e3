"""Erlang/OTP `supervisor_SUITE`, group `sup_stop`: how a supervisor stops its children."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio

from lexigram_actors.kernel import ChildSpec, DynamicSupervisor, Restart, Supervisor

from .behaviours import (
    ABNORMAL,
    NORMAL,
    Log,
    Sleep,
    child,
    children,
    fails_when_stopped,
    slow_to_stop,
)
from .views import LONG, exit_of, watched

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_sup_stop_infinity(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """With `shutdown=inf` a child may take as long as it wants, supervisor or not."""
    nested = Supervisor([child(log, "nested", slow_to_stop, 1000.0, shutdown=math.inf)])
    supervisor = await system.spawn(
        Supervisor(
            [
                ChildSpec("child1", nested, shutdown=math.inf),
                child(log, "child2", slow_to_stop, 500.0, shutdown=math.inf),
            ]
        ),
        shutdown=math.inf,
    )
    began = trio.current_time()
    async with watched(log, "nested", "child2") as exits:
        await supervisor.stop("shutdown")
    assert trio.current_time() - began == pytest.approx(1500.0)
    assert log.ends == ["child2", "nested"]
    assert {exit.reason for exit in exits.values()} == {"shutdown"}
    assert (await exit_of(supervisor)).reason == "shutdown"


async def test_sup_stop_timeout(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A child that does not end within its shutdown time is cut off then.

    Deviation: it is cancelled and waited for, not killed: its `finally` blocks run, and its exit
    reason is the one it was stopped with, not OTP's "killed".
    """
    supervisor = await system.spawn(
        Supervisor(children(log, "child1", "child2", shutdown=1.0)), shutdown=math.inf
    )
    await log.refs["child2"].tell(Sleep(200.0))
    began = trio.current_time()
    async with watched(log, "child1", "child2") as exits:
        await supervisor.stop("shutdown")
    assert trio.current_time() - began == pytest.approx(1.0)
    assert log.ends == ["child2", "child1"]
    assert exits["child1"].reason == exits["child2"].reason == "shutdown"
    assert (await exit_of(supervisor)).reason == "shutdown"


async def test_sup_stop_timeout_dynamic(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same in a dynamic supervisor."""
    supervisor = await system.spawn(DynamicSupervisor(), shutdown=math.inf)
    for child_id in ("child1", "child2"):
        await supervisor.start_child(child(log, child_id, restart=Restart.TEMPORARY, shutdown=1.0))
    await log.refs["child2"].tell(Sleep(200.0))
    began = trio.current_time()
    async with watched(log, "child1", "child2") as exits:
        await supervisor.stop("shutdown")
    assert trio.current_time() - began == pytest.approx(1.0)
    assert sorted(log.ends) == ["child1", "child2"]
    assert exits["child1"].reason == "shutdown"
    assert (await exit_of(supervisor)).reason == "shutdown"


async def test_sup_stop_brutal_kill(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child with `shutdown=0` (OTP: brutal_kill) is given no time at all."""
    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "child1", shutdown=1.0),
                child(log, "child2", slow_to_stop, 200.0, shutdown=0),
            ]
        )
    )
    began = trio.current_time()
    async with watched(log, "child1", "child2") as exits:
        await supervisor.stop("shutdown")
    assert trio.current_time() == began
    assert log.ends == ["child2", "child1"]
    assert exits["child1"].reason == exits["child2"].reason == "shutdown"


async def test_sup_stop_brutal_kill_dynamic(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same for ten children of a dynamic supervisor."""
    supervisor = await system.spawn(DynamicSupervisor())
    names = [f"child{number}" for number in range(10)]
    for name in names:
        await supervisor.start_child(
            child(log, name, slow_to_stop, 200.0, restart=Restart.TEMPORARY, shutdown=0)
        )
    began = trio.current_time()
    async with watched(log, *names) as exits:
        await supervisor.stop("shutdown")
    assert trio.current_time() == began
    assert sorted(log.ends) == sorted(names)
    assert set(exits) == set(names)
    assert (await exit_of(supervisor)).reason == "shutdown"


ENDINGS = (NORMAL, "shutdown", "some_info", ABNORMAL)
"""As OTP's normal, shutdown, {shutdown, Term} and any other reason."""


async def test_sup_stop_race(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Children that end by themselves while the supervisor stops do not disturb it.

    None of them is started again, whatever its restart type and its way to end; each keeps its
    own exit reason.
    """
    names = [f"{restart.name} {ending}" for restart in Restart for ending in ENDINGS]
    specs = [
        child(log, f"{restart.name} {ending}", restart=restart)
        for restart in Restart
        for ending in ENDINGS
    ]
    first = child(log, "a", restart=Restart.TEMPORARY, shutdown=1.0)
    last = child(log, "z", slow_to_stop, 1.0, restart=Restart.TEMPORARY, shutdown=2.0)
    supervisor = await system.spawn(Supervisor([first, *specs, last]), shutdown=math.inf)

    async with watched(log, "a", *names, "z") as exits:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop, "shutdown")
            await trio.sleep(0.2)
            for name in names:
                await end_nowait(log, name)
    reasons = {NORMAL: "normal", "shutdown": "shutdown", "some_info": "some_info"}
    for name in names:
        assert exits[name].reason == reasons.get(name.split()[1], "failed"), name
    assert exits["z"].reason == "shutdown"
    assert exits["a"].reason == "shutdown"
    assert len(log.starts) == len(names) + 2
    assert log.ends[-2:] == ["z", "a"]
    assert (await exit_of(supervisor)).reason == "shutdown"


async def end_nowait(log: Log, child_id: str) -> None:
    """End a child as the last word of its id says."""
    ending = child_id.split()[1]
    if ending in (NORMAL, ABNORMAL):
        log.refs[child_id].tell_nowait(ending)
    else:
        await log.refs[child_id].stop(ending)


@pytest.mark.parametrize("restart", list(Restart))
async def test_sup_stop_non_shutdown_exit_dynamic(
    system: ActorSystem, log: Log, restart: Restart, autojump_clock: MockClock
) -> None:
    """Children that fail while they are stopped end, and their supervisor ends as asked."""
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    await supervisor.start_child(child(log, "calm", restart=restart))
    for name in ("failing1", "failing2", "failing3", "failing4"):
        await supervisor.start_child(child(log, name, fails_when_stopped, restart=restart))
    async with watched(log, *log.refs) as exits:
        await supervisor.stop("shutdown")
    assert sorted(log.ends) == sorted(log.starts)
    assert len(exits) == 5
    assert (await exit_of(supervisor)).reason == "shutdown"
