"""Erlang/OTP `supervisor_SUITE`: `simple_one_for_one`, which is `DynamicSupervisor` here."""

from __future__ import annotations

import gc
import weakref
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from lexigram_actors.kernel import ChildSpec, DynamicSupervisor, Restart, Supervisor

from .behaviours import ABNORMAL, NORMAL, Log, Starter, Starts, child, slow_to_stop, worker
from .views import (
    LONG,
    counts,
    end,
    escalated,
    exit_of,
    ids,
    info,
    is_alive,
    refuses,
    running,
    watched,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_simple_one_for_one(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Only the child that crashed is started again; one crash too many ends the supervisor.

    Deviation: the supervisor fails with the reason "failed", OTP's exits with shutdown.
    """
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    await supervisor.start_child(child(log, "child1"))
    await supervisor.start_child(child(log, "child2"))

    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1"]
    assert sorted(await ids(supervisor)) == ["child1", "child2"]
    assert await counts(supervisor) == (2, 2, 0, 2)

    await end(log, "child2", ABNORMAL)
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert len(log.starts) == 4
    assert not log.is_running("child1")
    assert not log.is_running("child2")


async def test_simple_one_for_one_shutdown(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Its children are stopped side by side, each within its own shutdown time."""
    supervisor = await system.spawn(DynamicSupervisor(), shutdown=LONG)
    for child_id, seconds in (("slow1", 1.0), ("slow2", 1.0), ("too slow", 5.0)):
        await supervisor.start_child(child(log, child_id, slow_to_stop, seconds, shutdown=2.0))
    began = trio.current_time()
    await supervisor.stop("shutdown")
    assert trio.current_time() - began == pytest.approx(2.0)
    assert log.ends[-1] == "too slow"
    assert len(log.ends) == 3


async def test_simple_one_for_one_extra(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child is started again with the arguments it was first started with.

    Deviation: a start has no extra value to return; the arguments stand for it.
    """
    seen: list[tuple[object, object]] = []

    async def remembers(context: Any, log: Log, child_id: str, first: int, *, second: str) -> None:
        seen.append((first, second))
        await worker(context, log, child_id)

    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    await supervisor.start_child(
        ChildSpec("child1", remembers, args=(log, "child1", 1), kwargs={"second": "two"})
    )
    await end(log, "child1", ABNORMAL)
    await end(log, "child1", ABNORMAL)
    assert seen == [(1, "two")] * 3
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))


class Payload:
    """A large argument."""


async def test_simple_one_for_one_corruption(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """After one temporary child crashed, the next one's arguments are not kept either.

    Deviation: there is no heap to measure; when the child has ended nothing holds its argument.
    """
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    await supervisor.start_child(child(log, "child1", restart=Restart.TEMPORARY))
    await end(log, "child1", ABNORMAL)

    payload = Payload()
    held = weakref.ref(payload)
    await supervisor.start_child(child(log, "child2", worker, payload, restart=Restart.TEMPORARY))
    del payload
    await end(log, "child2", NORMAL)  # a crash would be kept by who logs it
    log.refs.clear()
    gc.collect()
    assert held() is None
    assert await ids(supervisor) == []


async def test_simple_one_for_one_escalation(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child that cannot start again uses the intensity up; its siblings end as well."""
    starts = Starts(good=1)
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=4, period=LONG))
    await supervisor.start_child(child(log, "child1", Starter, starts))
    await supervisor.start_child(child(log, "child2"))
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert len(starts.attempts) == 1 + 4
    assert log.ends == ["child1", "child2"]


async def start_many(supervisor: Any, log: Log, number: int, behaviour: Any = worker) -> list[str]:
    """Start so many temporary children; their ids."""
    names = [f"child{len(log.starts)}_{index}" for index in range(number)]
    for name in names:
        await supervisor.start_child(child(log, name, behaviour, restart=Restart.TEMPORARY))
    return names


async def test_count_children(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Counting agrees with listing, for 500 and for 1,000 children, and after all crashed.

    Deviation: each child counts as a spec; OTP has one spec for all.
    """
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    await start_many(supervisor, log, 500)
    assert len(await ids(supervisor)) == 500
    assert await counts(supervisor) == (500, 500, 0, 500)
    await start_many(supervisor, log, 500)
    listed = await ids(supervisor)
    assert len(listed) == 1000
    assert await counts(supervisor) == (1000, 1000, 0, 1000)
    assert await ids(supervisor) == listed
    for child_id in listed:
        await log.refs[child_id].tell(ABNORMAL)
    async with watched(log, *listed):
        pass
    assert await counts(supervisor) == (0, 0, 0, 0)


async def test_count_children_supervisor(system: ActorSystem, autojump_clock: MockClock) -> None:
    """Children that are supervisors are counted as such, dynamic ones too."""
    supervisor = await system.spawn(DynamicSupervisor())
    for number in range(100):
        kind = Supervisor() if number % 2 else DynamicSupervisor()
        await supervisor.start_child(ChildSpec(str(number), kind, restart=Restart.TEMPORARY))
    assert await counts(supervisor) == (100, 100, 100, 0)
    for child_id in await ids(supervisor):
        await (await running(supervisor, child_id)).stop("shutdown")
    assert await counts(supervisor) == (0, 0, 0, 0)


async def test_simple_one_for_one_scale_many_temporary_children(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Ten times as many children take about ten times as long to terminate, not a hundred times.

    Deviation: 200 and 2,000 children, OTP's suite has 1,000 and 10,000; the limit of 50 is OTP's.
    """
    supervisor = await system.spawn(DynamicSupervisor())
    seconds = []
    for number in (200, 2000):
        names = await start_many(supervisor, log, number)
        began = process_time()
        for name in names:
            await supervisor.terminate_child(name)
        seconds.append(process_time() - began)
    assert await counts(supervisor) == (0, 0, 0, 0)
    assert seconds[1] / seconds[0] < 50


async def test_scale_start_stop_many_children(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same for starting and stopping in a static supervisor, where specs stay.

    Deviation: 200 and 2,000 children, OTP's suite has 1,000 and 100,000.
    """
    supervisor = await system.spawn(Supervisor())
    started, stopped = [], []
    for number in (200, 2000):
        names = [f"{number}_{index}" for index in range(number)]
        began = process_time()
        for name in names:
            await supervisor.start_child(child(log, name))
        started.append(process_time() - began)
        began = process_time()
        for name in names:
            await supervisor.terminate_child(name)
        stopped.append(process_time() - began)
    assert await counts(supervisor) == (2200, 0, 0, 2200)
    assert started[1] / started[0] < 100
    assert stopped[1] / stopped[0] < 100


async def test_simple_one_for_one_max_children(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A full dynamic supervisor starts nothing; a child that ended makes room.

    Not in OTP; as `max_children` of Elixir's `DynamicSupervisor`.
    """
    supervisor = await system.spawn(DynamicSupervisor(max_children=1))
    await supervisor.start_child(child(log, "child1", restart=Restart.TEMPORARY))
    with refuses("max_children", "child2"):
        await supervisor.start_child(child(log, "child2"))
    assert log.starts == ["child1"]
    await end(log, "child1", ABNORMAL)
    await supervisor.start_child(child(log, "child2"))
    assert (await info(supervisor, "child2")).ref == log.refs["child2"]


async def test_simple_one_for_one_ids(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """An id is taken while its child runs and free afterwards."""
    supervisor = await system.spawn(DynamicSupervisor())
    spec = child(log, "child1", restart=Restart.TRANSIENT)
    await supervisor.start_child(spec)
    with refuses("already_started", "child1"):
        await supervisor.start_child(spec)
    await end(log, "child1", "normal")
    assert await ids(supervisor) == []
    await supervisor.start_child(spec)
    assert log.count("child1") == 2
    assert await is_alive(supervisor)
