"""Erlang/OTP `supervisor_SUITE`, groups `sup_start` and `sup_start_map`: how supervisors start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lexigram_actors.errors import ActorFailed
from lexigram_actors.kernel import ChildSpec, DynamicSupervisor, Restart, Supervisor

from .behaviours import (
    ABNORMAL,
    BrokenConstructor,
    CannotStart,
    Log,
    Starter,
    Starts,
    child,
    children,
    worker,
)
from .views import LONG, counts, end, escalated, exit_of, ids, info, is_active, refuses, root_cause

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_sup_start_normal(system: ActorSystem, autojump_clock: MockClock) -> None:
    """A supervisor without children starts, and ends with the reason it is stopped with."""
    supervisor = await system.spawn(Supervisor(max_restarts=2, period=LONG))
    assert await counts(supervisor) == (0, 0, 0, 0)
    await supervisor.stop("shutdown")
    assert (await exit_of(supervisor)).reason == "shutdown"


async def test_sup_start_error_return(system: ActorSystem, autojump_clock: MockClock) -> None:
    """What is no list of child specs is refused, and no supervisor is left behind.

    Deviation: there is no callback that could return nonsense; the constructor refuses it.
    """
    before = system.tree()
    with pytest.raises((TypeError, ValueError)):
        await system.spawn(Supervisor("invalid"))  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        await system.spawn(Supervisor(17))  # type: ignore[arg-type]
    assert system.tree() == before


@pytest.mark.parametrize("behaviour", ["started", "constructor"])
async def test_sup_start_fail(
    system: ActorSystem, log: Log, behaviour: str, autojump_clock: MockClock
) -> None:
    """When its start fails, the caller gets the cause and no supervisor is left behind.

    Deviation: there is no callback that could raise; a child that cannot start fails the start.
    """
    broken = {
        "started": child(log, "broken", Starter, Starts(good=0)),
        "constructor": ChildSpec("broken", BrokenConstructor),
    }[behaviour]
    before = system.tree()
    with pytest.raises(ActorFailed) as failure:
        await system.spawn(Supervisor([broken]), name="never")
    assert isinstance(root_cause(failure.value), CannotStart)
    assert system.tree() == before
    assert system.whereis("never") is None


async def test_faulty_application_shutdown(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child deep down that cannot start fails every start above it, with its own error.

    What had started by then is stopped, latest first.
    """
    inner = Supervisor(
        [*children(log, "inner1", "inner2"), child(log, "faulty", Starter, Starts(good=0))]
    )
    outer = Supervisor([*children(log, "outer1"), ChildSpec("inner", inner), child(log, "outer2")])
    with pytest.raises(ActorFailed) as failure:
        await system.spawn(outer)
    assert isinstance(root_cause(failure.value), CannotStart)
    assert log.starts == ["outer1", "inner1", "inner2"]
    assert log.ends == ["inner2", "inner1", "outer1"]


async def test_sup_start_child_returns_error(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child that cannot start is refused by `start_child`; its spec is not kept."""
    supervisor = await system.spawn(Supervisor(max_restarts=2, period=LONG))
    for spec in (
        child(log, "child1", Starter, Starts(good=0)),
        ChildSpec("child2", BrokenConstructor),
    ):
        with pytest.raises(ActorFailed) as failure:
            await supervisor.start_child(spec)
        assert isinstance(root_cause(failure.value), CannotStart)
    assert await ids(supervisor) == []
    assert await counts(supervisor) == (0, 0, 0, 0)


async def test_sup_start_child_returns_error_simple(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same in a dynamic supervisor."""
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=2, period=LONG))
    for spec in (
        child(log, "child1", Starter, Starts(good=0)),
        ChildSpec("child2", BrokenConstructor),
    ):
        with pytest.raises(ActorFailed) as failure:
            await supervisor.start_child(spec)
        assert isinstance(root_cause(failure.value), CannotStart)
    assert await ids(supervisor) == []


async def test_sup_start_restart_child_returns_error(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A terminated child that cannot be started again stays known and terminated."""
    starts = Starts(good=1)
    supervisor = await system.spawn(Supervisor([child(log, "child1", Starter, starts)]))
    await supervisor.terminate_child("child1")
    with pytest.raises(ActorFailed) as failure:
        await supervisor.restart_child("child1")
    assert isinstance(root_cause(failure.value), CannotStart)
    assert not await is_active(supervisor, "child1")

    starts.failing = False
    await supervisor.restart_child("child1")
    assert await is_active(supervisor, "child1")


async def test_sup_start_map(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """What a spec leaves out has OTP's defaults, and the children start in the order given.

    Deviation: there is no `get_childspec`, specs are read as attributes. That of a supervisor says
    5 s too where OTP's says infinity; it means the same, see
    `test_a_supervisor_has_the_time_that_its_children_have`.
    """
    plain = ChildSpec("child1", worker, args=(log, "child1"))
    brutal = ChildSpec("child2", worker, args=(log, "child2"), shutdown=0)
    nested = ChildSpec("child3", Supervisor(), shutdown=float("inf"))
    assert (plain.restart, plain.shutdown, plain.significant) == (Restart.PERMANENT, 5.0, False)
    assert (plain.kwargs, plain.mailbox) == ({}, 64)
    assert (brutal.restart, brutal.shutdown) == (Restart.PERMANENT, 0)

    supervisor = await system.spawn(Supervisor([plain, brutal, nested]))
    assert sorted(await ids(supervisor)) == ["child1", "child2", "child3"]
    assert (await info(supervisor, "child1")).restart is Restart.PERMANENT
    assert await counts(supervisor) == (3, 3, 1, 2)
    with refuses("not_found", "child4"):
        await supervisor.terminate_child("child4")


async def test_sup_start_map_flags(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The defaults of a supervisor are one_for_one, one restart in five seconds, never.

    They are seen at work: the first crash restarts its child alone, the second one within five
    seconds escalates.
    """
    supervisor = await system.spawn(Supervisor(children(log, "child1", "child2")))
    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1"]
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.starts == ["child1", "child2", "child1"]


async def test_sup_start_map_simple(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Children of a dynamic supervisor are all alike; each keeps the spec it was started with.

    Deviation: there is no template in the supervisor, `start_child` takes a whole spec.
    """
    supervisor = await system.spawn(DynamicSupervisor())
    for child_id in ("a", "b", "c"):
        await supervisor.start_child(child(log, child_id, restart=Restart.TEMPORARY))
    assert sorted(await ids(supervisor)) == ["a", "b", "c"]
    for child_id in ("a", "b", "c"):
        assert (await info(supervisor, child_id)).restart is Restart.TEMPORARY
    with refuses("not_found", "d"):
        await supervisor.terminate_child("d")


def test_sup_start_map_faulty_specs() -> None:
    """A spec without an id or behaviour, or with a field that is not one, cannot be made.

    Deviation: OTP ignores unknown keys; here they are a `TypeError`.
    """
    spec: Any = ChildSpec
    with pytest.raises(TypeError):
        spec(behaviour=worker)
    with pytest.raises(TypeError):
        spec("child2")
    with pytest.raises(TypeError):
        spec("child3", worker, silly_flag=True)
    supervisor: Any = Supervisor
    with pytest.raises((TypeError, ValueError)):
        supervisor(["child4"])
