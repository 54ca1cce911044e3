"""Erlang/OTP `supervisor_SUITE`: trees of supervisors, names, and what is kept of a child."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.kernel import ActorContext, ChildSpec, Restart, Strategy, Supervisor

from .behaviours import (
    ABNORMAL,
    NORMAL,
    Log,
    Starter,
    Starts,
    child,
    children,
    worker,
)
from .views import LONG, counts, end, ids, is_active, refuses, running

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorRef, ActorSystem

STATIC = [Strategy.ONE_FOR_ALL, Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE]


async def test_tree(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A supervisor that gives up is started again by its parent, as it was first given.

    Its siblings, by one_for_all, as well, also one that was terminated by hand; children that were
    added later are gone.
    """

    def inner(*specs: ChildSpec) -> Supervisor:
        return Supervisor(specs, max_restarts=4, period=LONG)

    top = await system.spawn(Supervisor(strategy=Strategy.ONE_FOR_ALL, max_restarts=4, period=LONG))
    sup1: Any = await top.start_child(
        ChildSpec("supchild1", inner(*children(log, "child1", "child2")))
    )
    sup2: Any = await top.start_child(ChildSpec("supchild2", inner()))
    await top.start_child(ChildSpec("supchild3", inner(), restart=Restart.TRANSIENT))
    await top.terminate_child("supchild3")
    assert await counts(top) == (3, 2, 3, 0)
    assert await counts(sup1) == (2, 2, 0, 2)
    assert await counts(sup2) == (0, 0, 0, 0)

    await sup2.start_child(child(log, "child3", Starter, Starts(good=1)))
    await sup2.start_child(child(log, "child4"))
    assert await counts(sup2) == (2, 2, 0, 2)

    await end(log, "child4", ABNORMAL)  # the only one that is started again
    assert log.starts == ["child1", "child2", "child3", "child4", "child4"]
    assert await counts(sup1) == (2, 2, 0, 2)
    assert await counts(sup2) == (2, 2, 0, 2)

    log.clear()
    await end(log, "child3", ABNORMAL)  # cannot start again: sup2 gives up
    assert log.starts == ["child1", "child2"]
    assert log.ends == ["child3", "child4", "child2", "child1"]
    assert sorted(await ids(top)) == ["supchild1", "supchild2", "supchild3"]
    assert await counts(top) == (3, 3, 3, 0)
    new1, new2, new3 = [await running(top, f"supchild{number}") for number in (1, 2, 3)]
    assert await ids(new1) == ["child1", "child2"]
    assert await counts(new1) == (2, 2, 0, 2)
    assert await counts(new2) == (0, 0, 0, 0)
    assert await counts(new3) == (0, 0, 0, 0)


class Names:
    """Actors that announced themselves, as under a global name; gone when they end."""

    def __init__(self) -> None:
        self.present: dict[str, ActorRef[Any]] = {}
        self.starts = 0

    async def server(self, context: ActorContext[Any]) -> None:
        assert "server" not in self.present
        self.present["server"] = context.self
        self.starts += 1
        try:
            async for message in context.messages():
                raise RuntimeError(message)
        finally:
            del self.present["server"]


@pytest.mark.parametrize("how", ["stop supervisor", "fail worker", "stop worker", "restart worker"])
async def test_simple_global_supervisor(
    system: ActorSystem, how: str, autojump_clock: MockClock
) -> None:
    """Whoever ends in a chain of three, the server below is there again, once, under its name.

    Deviation: the name is a dictionary entry that the server makes itself; there is one node.
    """
    names = Names()
    middle = Supervisor(
        [ChildSpec("child", names.server)],
        strategy=Strategy.ONE_FOR_ALL,
        max_restarts=3,
        period=60.0,
    )
    top = await system.spawn(
        Supervisor(
            [ChildSpec("middle", middle)],
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=3,
            period=60.0,
        )
    )
    sup2 = await running(top, "middle")
    if how == "stop supervisor":
        await sup2.stop("killed")
    elif how == "fail worker":
        await names.present["server"].tell("fail")
    elif how == "stop worker":
        await names.present["server"].stop("killed")
    else:
        await sup2.terminate_child("child")
        assert names.present == {}
        await sup2.restart_child("child")
    await wait_all_tasks_blocked()
    assert names.starts == 2
    assert list(names.present) == ["server"]
    assert await is_active(top, "middle")
    await top.stop("killed")
    assert names.present == {}


class Payload:
    """A large argument."""


@pytest.mark.parametrize("strategy", STATIC)
async def test_do_not_save_start_parameters_for_temporary_children(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """Arguments of a temporary child are not kept for a restart that never comes.

    Deviation: there is no state to measure; when the child has ended nothing holds its argument,
    while a permanent child's is held.
    """
    supervisor = await system.spawn(Supervisor(strategy=strategy, max_restarts=2, period=LONG))
    held = {}
    for restart in Restart:
        payload = Payload()
        held[restart] = weakref.ref(payload)
        await supervisor.start_child(child(log, restart.name, worker, payload, restart=restart))
        del payload
    await end(log, "TEMPORARY", NORMAL)
    await end(log, "TRANSIENT", NORMAL)
    log.refs.clear()
    gc.collect()
    assert held[Restart.TEMPORARY]() is None
    assert held[Restart.TRANSIENT]() is not None
    assert held[Restart.PERMANENT]() is not None


@pytest.mark.parametrize("how", ["kill", NORMAL, ABNORMAL, "supervisor"])
@pytest.mark.parametrize("strategy", STATIC)
async def test_do_not_save_child_specs_for_temporary_children(
    system: ActorSystem, log: Log, strategy: Strategy, how: str, autojump_clock: MockClock
) -> None:
    """However it ended, a temporary child is forgotten; the others are kept or running again.

    Deviation: a stop with the reason "kill" stands for a kill, which a transient child here does
    not come back from.
    """
    supervisor = await system.spawn(Supervisor(strategy=strategy, max_restarts=9, period=LONG))
    comes_back = {
        Restart.PERMANENT: how != "supervisor",
        Restart.TRANSIENT: how == ABNORMAL,
    }
    for restart in (Restart.PERMANENT, Restart.TRANSIENT):
        spec = child(log, restart.name, restart=restart)
        await supervisor.start_child(spec)
        await finish(supervisor, log, restart.name, how)
        if comes_back[restart]:
            with refuses("already_started", restart.name):
                await supervisor.start_child(spec)
        else:
            with refuses("already_present", restart.name):
                await supervisor.start_child(spec)
            await supervisor.restart_child(restart.name)
    spec = child(log, "temporary", restart=Restart.TEMPORARY)
    await supervisor.start_child(spec)
    await finish(supervisor, log, "temporary", how)
    await supervisor.start_child(spec)
    assert await is_active(supervisor, "temporary")


async def finish(supervisor: Any, log: Log, child_id: str, how: str) -> None:
    if how == "supervisor":
        await supervisor.terminate_child(child_id)
    else:
        await end(log, child_id, how)


async def test_tree_ends_from_below(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A tree is stopped depth first, the latest branch first, each branch before its elder.

    Not a case of its own in OTP.
    """

    def branch(name: str) -> ChildSpec:
        return ChildSpec(name, Supervisor(children(log, f"{name}1", f"{name}2")))

    top = await system.spawn(Supervisor([branch("a"), child(log, "leaf"), branch("b")]))
    assert log.starts == ["a1", "a2", "leaf", "b1", "b2"]
    with trio.fail_after(1.0):
        await top.stop("shutdown")
    assert log.ends == log.starts[::-1]
