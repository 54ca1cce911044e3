"""Erlang/OTP `supervisor_SUITE`, group `significant`: children that end their supervisor.

Deviation: there is no kill from outside that is abnormal; a child that raises stands for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lexigram_actors.kernel import (
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
)

from .behaviours import ABNORMAL, NORMAL, Log, child
from .views import end, exit_of, ids, is_alive

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem

ANY = AutoShutdown.ANY_SIGNIFICANT
ALL = AutoShutdown.ALL_SIGNIFICANT


async def three(
    system: ActorSystem, log: Log, auto_shutdown: AutoShutdown, restart: Restart
) -> Any:
    """A supervisor of child1 and child2, both significant, and child3, which is not."""
    specs = [
        child(log, child_id, restart=restart, significant=child_id != "child3")
        for child_id in ("child1", "child2", "child3")
    ]
    return await system.spawn(Supervisor(specs, max_restarts=5, auto_shutdown=auto_shutdown))


def all_ended(log: Log) -> bool:
    return not any(log.is_running(child_id) for child_id in log.refs)


@pytest.mark.parametrize("auto_shutdown", list(AutoShutdown))
async def test_nonsignificant_temporary(
    system: ActorSystem, log: Log, auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    """However a temporary child ends that is not significant, its supervisor goes on."""
    supervisor = await system.spawn(Supervisor(auto_shutdown=auto_shutdown))
    spec = child(log, "child1", restart=Restart.TEMPORARY)
    await supervisor.start_child(spec)
    await supervisor.terminate_child("child1")
    assert await is_alive(supervisor)
    for how in (ABNORMAL, NORMAL, "shutdown"):
        await supervisor.start_child(spec)
        await end(log, "child1", how)
        assert not log.is_running("child1")
        assert await is_alive(supervisor)


@pytest.mark.parametrize("auto_shutdown", list(AutoShutdown))
async def test_nonsignificant_transient(
    system: ActorSystem, log: Log, auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    """However a transient child ends that is not significant, its supervisor goes on."""
    supervisor = await system.spawn(Supervisor(max_restarts=5, auto_shutdown=auto_shutdown))
    await supervisor.start_child(child(log, "child1", restart=Restart.TRANSIENT))
    await supervisor.terminate_child("child1")
    assert await is_alive(supervisor)

    await supervisor.restart_child("child1")
    await end(log, "child1", ABNORMAL)
    assert log.is_running("child1")
    assert await is_alive(supervisor)
    for how in (NORMAL, "shutdown"):
        await end(log, "child1", how)
        assert not log.is_running("child1")
        assert await is_alive(supervisor)
        await supervisor.restart_child("child1")


@pytest.mark.parametrize("how", [ABNORMAL, NORMAL, "shutdown"])
async def test_significant_temporary(
    system: ActorSystem, log: Log, how: str, autojump_clock: MockClock
) -> None:
    """any_significant: a temporary significant child that ends by itself ends them all.

    Not when its supervisor terminated it. The supervisor's reason is "shutdown".
    """
    supervisor = await three(system, log, ANY, Restart.TEMPORARY)
    await supervisor.terminate_child("child1")
    assert await is_alive(supervisor)
    assert await ids(supervisor) == ["child2", "child3"]

    await supervisor.start_child(child(log, "child1", restart=Restart.TEMPORARY, significant=True))
    log.clear()
    await end(log, "child1", how)
    assert (await exit_of(supervisor)).reason == "shutdown"
    assert log.starts == []
    assert log.ends == ["child1", "child3", "child2"]


@pytest.mark.parametrize("how", [ABNORMAL, NORMAL, "shutdown"])
async def test_significant_temporary_all(
    system: ActorSystem, log: Log, how: str, autojump_clock: MockClock
) -> None:
    """all_significant: the last significant child that ends, ends them all; one before does not."""
    supervisor = await three(system, log, ALL, Restart.TEMPORARY)
    await end(log, "child1", how)
    assert await is_alive(supervisor)
    assert await ids(supervisor) == ["child2", "child3"]
    await end(log, "child2", how)
    assert (await exit_of(supervisor)).reason == "shutdown"
    assert log.ends == ["child1", "child2", "child3"]


@pytest.mark.parametrize("how", [NORMAL, "shutdown"])
async def test_significant_transient(
    system: ActorSystem, log: Log, how: str, autojump_clock: MockClock
) -> None:
    """any_significant: a transient significant child that crashes is started again.

    One that ends otherwise ends them all, unless its supervisor terminated it.
    """
    supervisor = await three(system, log, ANY, Restart.TRANSIENT)
    await supervisor.terminate_child("child1")
    assert await is_alive(supervisor)
    await supervisor.restart_child("child1")

    for starts in (3, 4):
        await end(log, "child1", ABNORMAL)
        assert log.count("child1") == starts
        assert log.count("child2") == log.count("child3") == 1
        assert await is_alive(supervisor)

    await end(log, "child1", how)
    assert (await exit_of(supervisor)).reason == "shutdown"
    assert log.ends[-2:] == ["child3", "child2"]


@pytest.mark.parametrize("how", [NORMAL, "shutdown"])
async def test_significant_transient_all(
    system: ActorSystem, log: Log, how: str, autojump_clock: MockClock
) -> None:
    """all_significant: the last significant child that ends well, ends them all."""
    supervisor = await three(system, log, ALL, Restart.TRANSIENT)
    await end(log, "child1", how)
    assert await is_alive(supervisor)
    assert log.is_running("child2")
    assert log.is_running("child3")
    await end(log, "child2", how)
    assert (await exit_of(supervisor)).reason == "shutdown"
    assert all_ended(log)


async def test_significant_simple(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A dynamic supervisor has no auto-shutdown and takes no significant child."""
    dynamic: Any = DynamicSupervisor
    for mode in (ANY, ALL):
        with pytest.raises((TypeError, ValueError), match="auto_shutdown"):
            dynamic(auto_shutdown=mode)
    supervisor = await system.spawn(DynamicSupervisor())
    with pytest.raises(ValueError, match="significant"):
        await supervisor.start_child(
            child(log, "child1", restart=Restart.TEMPORARY, significant=True)
        )
    assert log.starts == []
    await supervisor.stop("shutdown")
    assert (await exit_of(supervisor)).reason == "shutdown"


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_significant_bystander(
    system: ActorSystem,
    log: Log,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    autojump_clock: MockClock,
) -> None:
    """Significant children that end because a sibling crashed do not end their supervisor."""
    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "child1", restart=Restart.TRANSIENT, significant=True),
                child(log, "child2", restart=Restart.TRANSIENT),
                child(log, "child3", restart=Restart.TRANSIENT, significant=True),
            ],
            strategy=strategy,
            max_restarts=5,
            auto_shutdown=auto_shutdown,
        )
    )
    await end(log, "child2", ABNORMAL)
    assert (
        log.ends
        == {
            Strategy.ONE_FOR_ONE: ["child2"],
            Strategy.ONE_FOR_ALL: ["child2", "child3", "child1"],
            Strategy.REST_FOR_ONE: ["child2", "child3"],
        }[strategy]
    )
    assert await is_alive(supervisor)
    assert all(log.is_running(child_id) for child_id in ("child1", "child2", "child3"))
    await supervisor.stop("shutdown")
    assert (await exit_of(supervisor)).reason == "shutdown"


@pytest.mark.parametrize("significant", [True, False])
async def test_significant_escalation(
    system: ActorSystem, log: Log, significant: bool, autojump_clock: MockClock
) -> None:
    """A supervisor that shut itself down ends its parent too if it is significant there."""
    inner = Supervisor(
        [child(log, "child1", restart=Restart.TRANSIENT, significant=True)], auto_shutdown=ANY
    )
    outer = await system.spawn(
        Supervisor(
            [
                ChildSpec("sup1", inner, restart=Restart.TRANSIENT, significant=significant),
                child(log, "sibling"),
            ],
            auto_shutdown=ANY,
        )
    )
    await end(log, "child1", NORMAL)
    if significant:
        assert (await exit_of(outer)).reason == "shutdown"
        assert log.ends == ["child1", "sibling"]
    else:
        assert await is_alive(outer)
        assert log.ends == ["child1"]
        assert log.starts == ["child1", "sibling"]


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_significant_temporary_bystander(
    system: ActorSystem,
    log: Log,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    autojump_clock: MockClock,
) -> None:
    """A temporary significant child stopped for a sibling's sake is gone, its supervisor is not.

    Not a case of its own in OTP, but so documented there.
    """
    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "child1"),
                child(log, "child2", restart=Restart.TEMPORARY, significant=True),
            ],
            strategy=strategy,
            max_restarts=5,
            auto_shutdown=auto_shutdown,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert await is_alive(supervisor)
    assert await ids(supervisor) == ["child1"]


async def test_significant_all_after_one_was_terminated(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """all_significant asks who is left: a child terminated by hand is not waited for.

    Not a case of its own in OTP.
    """
    supervisor = await three(system, log, ALL, Restart.TRANSIENT)
    await supervisor.terminate_child("child1")
    assert await is_alive(supervisor)
    await end(log, "child2", NORMAL)
    assert (await exit_of(supervisor)).reason == "shutdown"
    assert log.ends == ["child1", "child2", "child3"]
