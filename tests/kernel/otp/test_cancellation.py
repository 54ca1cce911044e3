"""Beyond Erlang/OTP's suite: children that resist, callers that give up, crashes at odd times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import ActorFailed, ActorUnresponsive
from lexigram_actors.kernel import (
    Actor,
    ActorContext,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
    open_system,
)

from .behaviours import (
    ABNORMAL,
    NORMAL,
    Died,
    Log,
    Starter,
    Starts,
    child,
    children,
    slow_to_stop,
    stubborn,
)
from .views import LONG, counts, end, ids, is_active, is_alive, running, watched

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_a_child_that_shields_itself_is_reported_and_waited_for(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Its elders are stopped after it has really ended; nothing is abandoned."""
    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "first"),
                child(log, "stubborn", stubborn, 60.0, shutdown=1.0),
                child(log, "last"),
            ]
        ),
        shutdown=math.inf,
    )
    began = trio.current_time()
    async with system.events.subscribe(ActorUnresponsive) as events:
        await supervisor.stop("shutdown")
        report = await anext(events)
    assert "stubborn" in report.actor
    assert "stubborn" in report.stack
    assert trio.current_time() - began >= 60.0
    assert log.ends == ["last", "stubborn", "first"]


async def test_terminating_a_child_that_shields_itself_returns_when_it_has_ended(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor([child(log, "stubborn", stubborn, 60.0, shutdown=1.0), child(log, "other")])
    )
    await supervisor.terminate_child("stubborn")
    assert log.ends == ["stubborn"]
    assert not await is_active(supervisor, "stubborn")
    assert log.is_running("other")


async def test_a_sibling_that_fails_while_it_is_stopped_for_the_group_counts_once(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """one_for_all stops "b" because "a" crashed; that "b" raises then is no second crash."""

    async def fails_on_the_way_out(context: ActorContext[Any], log: Log, child_id: str) -> None:
        log.started(child_id, context.self)
        async for _ in context.messages():
            pass
        log.ended(child_id)
        raise Died(child_id)

    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), child(log, "b", fails_on_the_way_out)],
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=1,
            period=LONG,
        )
    )
    await end(log, "a", ABNORMAL)
    assert log.starts == ["a", "b", "a", "b"]
    assert await counts(supervisor) == (2, 2, 0, 2)


async def test_a_child_that_ends_while_it_is_terminated_is_not_started_again(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(Supervisor([child(log, "a", slow_to_stop, 5.0, shutdown=10.0)]))
    await supervisor.terminate_child("a")
    assert not await is_active(supervisor, "a")
    assert log.count("a") == 1
    assert await is_alive(supervisor)


async def test_a_crash_behind_a_terminate_does_not_bring_the_child_back(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The crash is in its mailbox when the supervisor is asked to end it."""
    supervisor = await system.spawn(Supervisor(children(log, "a", "b"), max_restarts=5))
    log.refs["a"].tell_nowait(ABNORMAL)
    await supervisor.terminate_child("a")
    await wait_all_tasks_blocked()
    assert not log.is_running("a")
    assert not await is_active(supervisor, "a")
    assert await is_active(supervisor, "b")


async def test_a_caller_that_gives_up_waiting_for_terminate_leaves_a_consistent_supervisor(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor([child(log, "slow", slow_to_stop, 5.0, shutdown=10.0), child(log, "other")])
    )
    with trio.move_on_after(1.0) as scope:
        await supervisor.terminate_child("slow")
    assert scope.cancelled_caught
    await trio.sleep(20.0)
    assert log.is_running("other")
    assert log.is_running("slow") == await is_active(supervisor, "slow")
    await supervisor.stop("shutdown")
    assert sorted(log.ends) == sorted(log.starts)


async def test_a_caller_that_gives_up_waiting_for_a_start_leaves_no_orphan(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Whether the child runs or not, its supervisor knows and ends it."""

    class Slow(Actor[Any]):
        async def started(self) -> None:
            log.started("slow", self.context.self)
            await trio.sleep(5.0)

        async def receive(self, message: Any) -> None:
            raise AssertionError(message)

        async def stopping(self, reason: str) -> None:
            log.ended("slow")

    supervisor = await system.spawn(DynamicSupervisor())
    with trio.move_on_after(1.0) as scope:
        await supervisor.start_child(ChildSpec("slow", Slow))
    assert scope.cancelled_caught
    await trio.sleep(10.0)
    known = await ids(supervisor)
    tree = system.tree()
    await supervisor.stop("shutdown")
    assert known in ([], ["slow"])
    if known:
        assert log.ends == ["slow"]
    else:
        assert "slow" not in str(tree)


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_a_start_given_up_the_moment_it_succeeds_is_given_up(
    system: ActorSystem, log: Log, kind: Any, autojump_clock: MockClock
) -> None:
    """Caller and child wake at the same instant, either first: no stopped child stays behind."""

    class Slow(Starter):
        async def started(self) -> None:
            await trio.sleep(1.0)
            await super().started()

    supervisor = await system.spawn(kind())
    for number in range(16):
        spec = child(log, f"slow{number}", Slow, Starts(failing=False))
        with trio.move_on_after(1.0) as scope:
            await supervisor.start_child(spec)
        assert await ids(supervisor) == ([] if scope.cancelled_caught else [spec.id])
        if not scope.cancelled_caught:
            await supervisor.terminate_child(spec.id)
            await supervisor.delete_child(spec.id)
    assert sorted(log.ends) == sorted(log.starts)


async def test_a_running_child_may_ask_its_own_supervisor(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The supervisor is not blocked by the child that asks it."""
    seen: list[list[str]] = []

    async def curious(context: ActorContext[Any], supervisor: list[Any]) -> None:
        async for _ in context.messages():
            seen.append(await ids(supervisor[0]))

    box: list[Any] = []
    supervisor = await system.spawn(Supervisor(children(log, "other")))
    box.append(supervisor)
    ref = await supervisor.start_child(ChildSpec("curious", curious, args=(box,)))
    with trio.fail_after(1.0):
        await ref.tell("look")
        await wait_all_tasks_blocked()
    assert seen == [["other", "curious"]]


async def test_a_child_that_has_its_supervisor_end_it_is_ended(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """It waits for its own end, which its supervisor brings about after the shutdown time."""

    async def weary(context: ActorContext[Any], box: list[Any]) -> None:
        async for _ in context.messages():
            await box[0].terminate_child("weary")

    box: list[Any] = []
    supervisor = await system.spawn(Supervisor(children(log, "other")))
    box.append(supervisor)
    ref = await supervisor.start_child(ChildSpec("weary", weary, args=(box,), shutdown=1.0))
    with trio.fail_after(5.0):
        await ref.tell("enough")
        await ref.monitor()
    assert not await is_active(supervisor, "weary")
    assert log.is_running("other")


async def test_messages_that_wait_during_a_restart_are_handled_after_it(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Only the message in hand is gone; deviation from OTP, where a mailbox dies with its owner."""
    handled: list[object] = []

    async def worker(context: ActorContext[Any]) -> None:
        async for message in context.messages():
            if message == ABNORMAL:
                raise Died
            handled.append(message)

    supervisor = await system.spawn(Supervisor([ChildSpec("worker", worker)]))
    ref = await running(supervisor, "worker")
    for message in (1, ABNORMAL, 2, 3):
        ref.tell_nowait(message)
    await wait_all_tasks_blocked()
    assert handled == [1, 2, 3]


async def test_the_ask_in_hand_fails_and_the_ones_behind_it_are_answered_after_the_restart(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    async def server(context: ActorContext[Any]) -> None:
        async for message in context.messages():
            if message == ABNORMAL:
                raise Died
            context.reply(message * 2)

    supervisor = await system.spawn(Supervisor([ChildSpec("server", server)]))
    ref = await running(supervisor, "server")
    answers: list[int] = []

    async def ask_and_fail() -> None:
        with pytest.raises(ActorFailed) as failure:
            await ref.ask(ABNORMAL)
        assert isinstance(failure.value.__cause__, Died)

    async def ask() -> None:
        answers.append(await ref.ask(21))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_fail)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert answers == [42, 42]


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_leaving_the_system_ends_children_in_the_middle_of_anything(
    autojump_clock: MockClock, kind: Any
) -> None:
    """One runs, one is starting again for ever, one is slow to stop; afterwards nothing is left."""
    log = Log()
    starts = Starts(good=1, delay=2.0)
    async with open_system(grace=LONG) as system:
        supervisor = await system.spawn(kind(max_restarts=1000, period=1.0), shutdown=LONG)
        await supervisor.start_child(child(log, "runs"))
        await supervisor.start_child(child(log, "loops", Starter, starts))
        await supervisor.start_child(child(log, "slow", slow_to_stop, 3.0))
        await end(log, "loops", ABNORMAL)
        await trio.sleep(1.0)
    assert sorted(log.ends) == sorted(log.starts)
    attempts = len(starts.attempts)
    await trio.sleep(10.0)
    assert len(starts.attempts) == attempts


async def test_cancelling_the_system_ends_everything_at_once(autojump_clock: MockClock) -> None:
    log = Log()
    with trio.move_on_after(1.0) as scope:
        async with open_system() as system:
            await system.spawn(
                Supervisor(
                    [
                        child(log, "a", slow_to_stop, 1e6, shutdown=math.inf),
                        ChildSpec("sub", Supervisor(children(log, "b", "c"))),
                    ]
                ),
                shutdown=math.inf,
            )
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == scope.deadline
    assert sorted(log.ends) == ["a", "b", "c"]


async def test_a_supervisor_has_the_time_that_its_children_have(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Its own `shutdown` cuts none of them short, as OTP's infinity for supervisors."""
    inner = Supervisor([child(log, name, slow_to_stop, 10.0, shutdown=20.0) for name in ("a", "b")])
    outer = await system.spawn(Supervisor([ChildSpec("inner", inner, shutdown=1.0)]), shutdown=1.0)
    began = trio.current_time()
    await outer.stop("shutdown")
    assert trio.current_time() - began == pytest.approx(20.0)
    assert log.ends == ["b", "a"]


async def test_a_supervisor_with_no_time_takes_its_children_down_at_once(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """`shutdown=0` cancels the whole subtree, each child with its `finally` blocks."""
    inner = Supervisor([child(log, name, slow_to_stop, 10.0, shutdown=20.0) for name in ("a", "b")])
    outer = await system.spawn(Supervisor([ChildSpec("inner", inner, shutdown=0)]))
    began = trio.current_time()
    await outer.stop("shutdown")
    assert trio.current_time() == began
    assert sorted(log.ends) == ["a", "b"]


async def test_a_restarted_child_of_a_group_keeps_its_place_in_the_order(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a", "b", "c"), max_restarts=9, period=LONG)
    )
    await end(log, "a", ABNORMAL)
    await supervisor.terminate_child("b")
    await supervisor.restart_child("b")
    log.clear()
    await supervisor.stop("shutdown")
    assert log.ends == ["c", "b", "a"]


async def test_a_stopped_transient_child_comes_back_with_its_group(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """one_for_all starts every child it knows, also one that had ended by itself; as OTP."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b", "c", restart=Restart.TRANSIENT),
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=5,
        )
    )
    await end(log, "a", NORMAL)
    assert await counts(supervisor) == (3, 2, 0, 3)
    await end(log, "b", ABNORMAL)
    assert await counts(supervisor) == (3, 3, 0, 3)


async def test_a_monitor_tells_the_end_of_each_incarnation(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """As in Erlang, where each incarnation is a process; the next monitor sees the next one."""
    await system.spawn(Supervisor(children(log, "a"), max_restarts=5))
    for how, reason in ((ABNORMAL, "failed"), (NORMAL, "normal"), ("shutdown", "shutdown")):
        async with watched(log, "a") as exits:
            await end(log, "a", how)
        assert exits["a"].reason == reason
        assert (exits["a"].error is not None) == (how == ABNORMAL)
    assert log.count("a") == 4
