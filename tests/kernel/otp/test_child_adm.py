"""Erlang/OTP `supervisor_SUITE`: starting, stopping, restarting, deleting and listing children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lexigram_actors.errors import ActorFailed, ActorNameTaken, ActorStopped
from lexigram_actors.kernel import Actor, ChildSpec, DynamicSupervisor, Restart, Supervisor

from .behaviours import ABNORMAL, Log, child, children, worker
from .views import LONG, counts, end, exit_of, ids, info, is_active, is_alive, refuses

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_child_adm(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Every call on a child, in every state of that child, answers as OTP's.

    Deviation: a refusal is a `ChildError` whose `problem` is OTP's word. Terminating with a pid
    has no counterpart, children are named by their ids.
    """
    spec = child(log, "child1", shutdown=1.0)
    supervisor = await system.spawn(Supervisor([spec], max_restarts=2, period=LONG))
    assert (await info(supervisor, "child1")).ref == log.refs["child1"]
    assert await counts(supervisor) == (1, 1, 0, 1)
    with refuses("already_started", "child1"):
        await supervisor.start_child(spec)

    with refuses("not_found", "hej"):
        await supervisor.terminate_child("hej")
    await supervisor.terminate_child("child1")
    assert log.ends == ["child1"]
    assert (await info(supervisor, "child1")).ref is None
    assert await counts(supervisor) == (1, 0, 0, 1)
    await supervisor.terminate_child("child1")  # like ending what has ended: succeeds

    with refuses("already_present", "child1"):
        await supervisor.start_child(spec)

    await supervisor.restart_child("child1")
    assert log.count("child1") == 2
    assert await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 1, 0, 1)
    with refuses("running", "child1"):
        await supervisor.restart_child("child1")
    with refuses("not_found", "child2"):
        await supervisor.restart_child("child2")

    with refuses("running", "child1"):
        await supervisor.delete_child("child1")
    with refuses("not_found", "hej"):
        await supervisor.delete_child("hej")
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    with refuses("not_found", "child1"):
        await supervisor.restart_child("child1")
    assert await ids(supervisor) == []
    assert await counts(supervisor) == (0, 0, 0, 0)

    await supervisor.start_child(spec)
    assert log.count("child1") == 3
    assert await counts(supervisor) == (1, 1, 0, 1)


async def test_child_adm_of_a_stopped_supervisor(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """What `child_adm` shows with `foo`: a supervisor that is not there answers no call."""
    supervisor = await system.spawn(Supervisor(children(log, "child1")))
    await supervisor.stop("shutdown")
    calls: list[tuple[Any, Any]] = [
        (supervisor.start_child, child(log, "child2")),
        (supervisor.terminate_child, "child1"),
        (supervisor.restart_child, "child1"),
        (supervisor.delete_child, "child1"),
    ]
    for call, argument in calls:
        with pytest.raises(ActorStopped):
            await call(argument)
    with pytest.raises(ActorStopped):
        await supervisor.which_children()
    with pytest.raises(ActorStopped):
        await supervisor.count_children()


async def test_extra_return(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """What starting returns is what `which_children` shows, also after each kind of restart.

    Deviation: a start has no extra value to hand on; `start_child` returns the child's ref.
    """
    spec = child(log, "child1")
    supervisor = await system.spawn(Supervisor(max_restarts=2, period=LONG))
    started = await supervisor.start_child(spec)
    assert started == log.refs["child1"]
    assert (await info(supervisor, "child1")).ref == started

    await supervisor.terminate_child("child1")
    restarted = await supervisor.restart_child("child1")
    assert restarted == log.refs["child1"]
    assert (await info(supervisor, "child1")).ref == restarted

    await supervisor.terminate_child("child1")
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    again = await supervisor.start_child(spec)
    assert (await info(supervisor, "child1")).ref == again

    await end(log, "child1", ABNORMAL)
    assert log.count("child1") == 4
    assert (await info(supervisor, "child1")).ref == log.refs["child1"]
    assert await counts(supervisor) == (1, 1, 0, 1)


async def test_child_adm_simple(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Children of a dynamic supervisor are added and terminated, and forgotten when they end.

    Deviations, as Elixir's `DynamicSupervisor`: each child counts as a spec; a child that was
    terminated is not found afterwards (OTP answers ok a second time). OTP refuses to delete or
    restart any child; here one that runs is "running" and one that does not is "not_found".
    """
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    assert await ids(supervisor) == []
    assert await counts(supervisor) == (0, 0, 0, 0)

    first = await supervisor.start_child(child(log, "child1", shutdown=1.0))
    assert (await info(supervisor, "child1")).ref == first
    assert await counts(supervisor) == (1, 1, 0, 1)
    await supervisor.start_child(child(log, "child2", shutdown=1.0))
    assert sorted(await ids(supervisor)) == ["child1", "child2"]
    assert await counts(supervisor) == (2, 2, 0, 2)

    await supervisor.terminate_child("child1")
    assert log.ends == ["child1"]
    assert (await exit_of(first)).name == first.name
    assert await ids(supervisor) == ["child2"]
    assert await counts(supervisor) == (1, 1, 0, 1)
    with refuses("not_found", "child1"):
        await supervisor.terminate_child("child1")
    with refuses("not_found", "stranger"):
        await supervisor.terminate_child("stranger")

    with refuses("running", "child2"):
        await supervisor.restart_child("child2")
    with refuses("running", "child2"):
        await supervisor.delete_child("child2")
    with refuses("not_found", "child1"):
        await supervisor.restart_child("child1")
    with refuses("not_found", "child1"):
        await supervisor.delete_child("child1")


async def test_which_children(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Children are listed from their start to their deletion, running or not.

    Deviation: in start order; OTP leaves the order open and shows the latest first.
    """
    supervisor = await system.spawn(Supervisor())
    assert await ids(supervisor) == []

    await supervisor.start_child(child(log, "child1"))
    assert await ids(supervisor) == ["child1"]
    await supervisor.start_child(child(log, "child2"))
    assert await ids(supervisor) == ["child1", "child2"]
    assert (await info(supervisor, "child1")).ref == log.refs["child1"]
    assert (await info(supervisor, "child2")).ref == log.refs["child2"]

    await supervisor.terminate_child("child1")
    assert await ids(supervisor) == ["child1", "child2"]
    assert (await info(supervisor, "child1")).ref is None
    assert (await info(supervisor, "child2")).ref == log.refs["child2"]

    await supervisor.delete_child("child1")
    assert await ids(supervisor) == ["child2"]


async def test_which_children_simple_one_for_one(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A dynamic supervisor lists the children it has now, and no child that ended."""
    supervisor = await system.spawn(DynamicSupervisor())
    assert await ids(supervisor) == []
    for child_id in ("child1", "child2"):
        await supervisor.start_child(child(log, child_id, restart=Restart.TEMPORARY))
    assert await ids(supervisor) == ["child1", "child2"]
    await supervisor.terminate_child("child1")
    assert await ids(supervisor) == ["child2"]
    assert (await info(supervisor, "child2")).ref == log.refs["child2"]


class TakesAName(Actor[object]):
    """Starts an actor under a name that may be taken."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log

    async def started(self) -> None:
        await self.context.system.spawn(worker, self.log, self.name, name=self.name)

    async def receive(self, message: object) -> None:
        raise AssertionError(message)


async def test_already_started_outside_supervisor(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child that needs a name somebody else holds cannot start; the holder is not disturbed."""
    holder = await system.spawn(worker, log, "holder", name="registered")
    supervisor = await system.spawn(Supervisor())
    with pytest.raises(ActorFailed) as failure:
        await supervisor.start_child(
            ChildSpec("child", TakesAName, args=("registered", log), restart=Restart.TRANSIENT)
        )
    assert isinstance(failure.value.__cause__, ActorNameTaken)
    assert await ids(supervisor) == []
    assert system.whereis("registered") == holder
    assert await is_alive(holder)
