"""Erlang/OTP `supervisor_SUITE`: what a restart type makes of each way to end.

"normal" is a body that returns, "abnormal" one that raises; "shutdown" is a stop from outside, as
`exit(Pid, shutdown)` there, and a stop with any other reason is as `{shutdown, Term}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexigram_actors.kernel import Restart, Strategy, Supervisor

from .behaviours import ABNORMAL, NORMAL, Log, child
from .views import LONG, counts, end, exit_of, ids, is_active, is_alive

if TYPE_CHECKING:
    from typing import Any

    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def supervise(system: ActorSystem, log: Log, restart: Restart) -> Any:
    """A supervisor with the one child "child1"."""
    supervisor = await system.spawn(Supervisor(max_restarts=2, period=LONG))
    await supervisor.start_child(child(log, "child1", restart=restart, shutdown=1.0))
    return supervisor


async def test_permanent_normal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A permanent child is started again after it returned."""
    supervisor = await supervise(system, log, Restart.PERMANENT)
    await end(log, "child1", NORMAL)
    assert log.count("child1") == 2
    assert await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 1, 0, 1)


async def test_transient_normal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A transient child that returned stays known but does not run."""
    supervisor = await supervise(system, log, Restart.TRANSIENT)
    await end(log, "child1", NORMAL)
    assert log.count("child1") == 1
    assert not await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 0, 0, 1)
    assert (await exit_of(log.refs["child1"])).reason == "normal"


async def test_temporary_normal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A temporary child that returned is forgotten."""
    supervisor = await supervise(system, log, Restart.TEMPORARY)
    await end(log, "child1", NORMAL)
    assert log.count("child1") == 1
    assert await ids(supervisor) == []
    assert await counts(supervisor) == (0, 0, 0, 0)
    assert (await exit_of(log.refs["child1"])).reason == "normal"


async def test_permanent_shutdown(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A permanent child is started again after somebody stopped it, for whatever reason."""
    supervisor = await supervise(system, log, Restart.PERMANENT)
    for starts, reason in ((2, "shutdown"), (3, "some_info")):
        await end(log, "child1", reason)
        assert log.count("child1") == starts
        assert await is_active(supervisor, "child1")
        assert await counts(supervisor) == (1, 1, 0, 1)


async def test_transient_shutdown(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A transient child that was stopped is not started again, but can be restarted."""
    supervisor = await supervise(system, log, Restart.TRANSIENT)
    for starts, reason in ((1, "shutdown"), (2, "some_info")):
        await end(log, "child1", reason)
        assert log.count("child1") == starts
        assert not await is_active(supervisor, "child1")
        assert await counts(supervisor) == (1, 0, 0, 1)
        await supervisor.restart_child("child1")
    assert await is_active(supervisor, "child1")


async def test_temporary_shutdown(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A temporary child that was stopped is forgotten, so its id is free."""
    supervisor = await supervise(system, log, Restart.TEMPORARY)
    for reason in ("shutdown", "some_info"):
        await end(log, "child1", reason)
        assert await ids(supervisor) == []
        assert await counts(supervisor) == (0, 0, 0, 0)
        await supervisor.start_child(child(log, "child1", restart=Restart.TEMPORARY))
    assert log.count("child1") == 3


async def test_permanent_abnormal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A permanent child is started again after it raised."""
    supervisor = await supervise(system, log, Restart.PERMANENT)
    await end(log, "child1", ABNORMAL)
    assert log.count("child1") == 2
    assert await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 1, 0, 1)


async def test_transient_abnormal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A transient child is started again after it raised."""
    supervisor = await supervise(system, log, Restart.TRANSIENT)
    await end(log, "child1", ABNORMAL)
    assert log.count("child1") == 2
    assert await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 1, 0, 1)


async def test_temporary_abnormal(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A temporary child that raised is forgotten."""
    supervisor = await supervise(system, log, Restart.TEMPORARY)
    await end(log, "child1", ABNORMAL)
    assert log.count("child1") == 1
    assert await ids(supervisor) == []
    assert await counts(supervisor) == (0, 0, 0, 0)
    assert (await exit_of(log.refs["child1"])).reason == "failed"


async def test_temporary_bystander(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A temporary child that ends because a sibling did is not started again."""
    for strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
        log.clear()
        supervisor = await system.spawn(
            Supervisor(
                [
                    child(log, "child1", shutdown=0.1),
                    child(log, "child2", restart=Restart.TEMPORARY, shutdown=0.1),
                ],
                strategy=strategy,
                max_restarts=2,
                period=300.0,
            )
        )
        await end(log, "child1", NORMAL)
        assert log.starts == ["child1", "child2", "child1"]
        assert log.ends == ["child1", "child2"]
        assert await ids(supervisor) == ["child1"]
        assert await is_alive(supervisor)
