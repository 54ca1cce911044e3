"""What a restart keeps, what it loses, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorFailed,
    ActorRef,
    ActorRestarted,
    ActorStopped,
    Backoff,
    ChildError,
    ChildSpec,
    Exit,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    open_system,
)
from tests.kernel.behaviours import Echo, busy_for, deaf, outcome_of, reader


class Flaky(Actor[Any]):
    """Fails to start, in `__init__` or `started`, at the starts that are named."""

    starts = 0

    def __init__(self, where: str, at: set[int], counter: list[int]) -> None:
        self.where = where
        counter[0] += 1
        self.fails = counter[0] in at
        if where == "__init__" and self.fails:
            raise OSError("no")

    async def started(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.where == "started" and self.fails:
            raise OSError("no")

    async def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return await message(self)
        return message


@pytest.mark.parametrize("behaviour", [Echo, reader])
async def test_the_mailbox_outlives_a_restart_and_the_message_in_hand_does_not(
    behaviour: Any,
) -> None:
    async with open_system(max_restarts=5) as system:
        ref = await system.spawn(behaviour, restart=Restart.PERMANENT)
        for message in (ValueError(), "a", KeyError(), "b"):
            ref.tell_nowait(message)
        assert await ref.ask("last") == "last"
        s = ref.statistics()
        assert (s.accepted, s.handled, s.dropped, s.dead_lettered) == (5, 5, 0, 0)
        assert ref.cell.restarts == 2


async def test_a_reference_serves_all_incarnations() -> None:
    async with open_system(max_restarts=5) as system:
        ref = await system.spawn(Echo, name="x", restart=Restart.PERMANENT)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        assert system.whereis("x") is ref
        assert await ref.ask(1) == 1


@pytest.mark.parametrize("where", ["__init__", "started"])
@pytest.mark.parametrize(
    "strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]
)
async def test_a_restart_that_fails_is_tried_again_and_the_mailbox_waits(
    strategy: Strategy, where: str
) -> None:
    counter = [0]
    specs = [ChildSpec("a", Echo), ChildSpec("b", Flaky, (where, {2, 3}, counter))]
    async with (
        open_system() as system,
        system.events.subscribe(Exit) as exits,
        trio.open_nursery() as nursery,
    ):
        await system.spawn(Supervisor(specs, strategy=strategy, max_restarts=9), name="sup")
        a, b = system.whereis("sup/a"), system.whereis("sup/b")
        assert a is not None
        assert b is not None
        answers: list[Any] = []

        async def ask(message: Any) -> None:
            answers.append(await outcome_of(b.ask, message))

        gate = trio.Event()

        async def hold(_: Any) -> None:
            await gate.wait()

        nursery.start_soon(ask, hold)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "queued")
        await wait_all_tasks_blocked()
        await (b if strategy is Strategy.ONE_FOR_ONE else a).tell(ValueError())
        gate.set()
        await wait_all_tasks_blocked()
        assert counter == [4]
        assert "queued" in answers
        assert b.statistics().dead_lettered == 0
        failures = []
        while exits.queued:
            failures.append((await anext(exits)).reason)
        assert failures.count("failed") == 3, "each failure is announced, whatever the strategy"


@pytest.mark.parametrize("where", ["__init__", "started"])
async def test_a_start_that_goes_on_failing_exceeds_the_intensity(where: str) -> None:
    counter = [0]
    spec = ChildSpec("b", Flaky, (where, set(range(2, 100)), counter))
    async with open_system() as system:
        supervisor = await system.spawn(Supervisor([spec], max_restarts=3))
        b = system.whereis(f"{supervisor.name}/b")
        assert b is not None
        await b.tell(ValueError())
        exit_ = await supervisor.monitor()
        assert isinstance(exit_.error, RestartIntensityExceeded)
        assert isinstance(exit_.error.cause, OSError)
        assert counter == [4]
        with pytest.raises((ActorStopped, ActorFailed)):
            await b.ask("x")


@pytest.mark.parametrize("where", ["__init__", "started"])
async def test_a_restart_by_hand_that_fails_leaves_the_child_as_it_was(
    where: str, autojump_clock: MockClock
) -> None:
    spec = ChildSpec("b", Flaky, (where, {2}, [0]))
    async with open_system() as system:
        supervisor = await system.spawn(Supervisor([spec]), name="sup")
        b = system.whereis("sup/b")
        assert b is not None
        await supervisor.terminate_child("b")
        with pytest.raises(ActorFailed):
            await supervisor.restart_child("b")
        for send in (b.tell, b.ask):
            with trio.fail_after(1), pytest.raises((ActorStopped, ActorFailed)):
                await send("x")
        with pytest.raises(ChildError):
            await supervisor.start_child(ChildSpec("b", Echo))
        assert await supervisor.restart_child("b") is b
        assert await b.ask("x") == "x"


async def test_a_crash_and_its_restart_are_announced_in_the_order_they_happened() -> None:
    async with (
        open_system(max_restarts=5) as system,
        system.events.subscribe(Exit, ActorRestarted) as events,
    ):
        ref = await system.spawn(Echo, name="x", restart=Restart.PERMANENT)
        error = ValueError()
        await ref.tell(error)
        await wait_all_tasks_blocked()
        assert [await anext(events) for _ in range(2)] == [
            Exit("x", "failed", error),
            ActorRestarted("x", 1, error),
        ]


async def test_a_monitor_reports_one_end_each(autojump_clock: MockClock) -> None:
    async with open_system(max_restarts=9) as system:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        ends: list[Any] = []

        async def watch() -> None:
            for _ in range(3):
                ends.append((await ref.monitor()).error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for number in range(3):
                await wait_all_tasks_blocked()
                await ref.tell(ValueError(number))
        assert [str(error) for error in ends] == ["0", "1", "2"]


async def test_a_cancelled_monitor_is_forgotten() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        for _ in range(100):
            with trio.CancelScope() as scope:
                scope.cancel()
                await ref.monitor()
        assert not ref.cell.monitors


async def test_a_monitor_of_one_that_has_ended_returns_at_once() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.stop("done")
        assert await ref.monitor() == await ref.monitor() == Exit("Echo-1", "done")


async def test_backoff_grows_and_begins_anew_after_a_good_while(
    autojump_clock: MockClock,
) -> None:
    backoff = Backoff(initial=1, factor=3, maximum=5, jitter=0, reset_after=20)
    async with open_system(max_restarts=50, backoff=backoff) as system:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        waits = []
        for calm in (0, 0, 0, 30, 0):
            await trio.sleep(calm)
            await ref.tell(ValueError())
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await ref.ask("x")
            waits.append(trio.current_time() - began)
        assert waits == pytest.approx([1, 3, 5, 1, 3])


async def test_jitter_only_adds(autojump_clock: MockClock) -> None:
    backoff = Backoff(initial=2, factor=1, jitter=0.5)
    async with open_system(max_restarts=50, period=10_000, backoff=backoff) as system:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        waits = []
        for _ in range(20):
            await ref.tell(ValueError())
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await ref.ask("x")
            waits.append(trio.current_time() - began)
        assert all(2 <= wait <= 3.001 for wait in waits)
        assert len(set(waits)) > 5


async def test_while_it_waits_for_its_restart_an_actor_is_seen_as_restarting(
    autojump_clock: MockClock,
) -> None:
    async with open_system(max_restarts=5, backoff=Backoff(initial=5)) as system:
        ref = await system.spawn(Echo, name="x", restart=Restart.PERMANENT)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        assert system.tree().children[0].state == "restarting"
        assert system.whereis("x") is None
        assert "restarting" in repr(ref)
        await ref.tell("kept")
        assert system.tree().children[0].queued == 1


# --- children of an actor


async def test_a_spawned_child_is_restarted_and_one_too_many_fails_its_parent() -> None:
    async def parent(context: ActorContext[Any]) -> None:
        child = await context.spawn(Echo, name="child", restart=Restart.PERMANENT)
        async for message in context.messages():
            await child.tell(message)

    async with open_system() as system:
        ref = await system.spawn(parent, name="parent")
        await ref.tell(ValueError("first"))
        await wait_all_tasks_blocked()
        child = system.whereis("parent/child")
        assert child is not None
        assert await child.ask("alive") == "alive"
        await ref.tell(ValueError("second"))
        exit_ = await ref.monitor()
        assert isinstance(exit_.error, RestartIntensityExceeded)
        assert exit_.error.supervisor == "parent"
        assert str(exit_.error.cause) == "second"
        assert system.tree().children == ()


async def test_a_parent_that_is_restarted_starts_its_children_anew() -> None:
    async def parent(context: ActorContext[Any]) -> None:
        await context.spawn(Echo, name="child")
        async for message in context.messages():
            raise message

    async with open_system() as system:
        ref = await system.spawn(parent, name="parent", restart=Restart.PERMANENT)
        await wait_all_tasks_blocked()
        before = system.whereis("parent/child")
        assert before is not None
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        after = system.whereis("parent/child")
        assert after is not None
        assert after is not before
        with pytest.raises(ActorStopped):
            await before.tell("x")


async def test_context_children_are_those_that_run() -> None:
    seen: list[Any] = []

    async def parent(context: ActorContext[Any]) -> None:
        seen.append(context.children)
        a = await context.spawn(Echo, name="a")
        b = await context.spawn(Echo, name="b")
        seen.append(context.children == (a, b))
        await a.stop()
        seen.append(context.children == (b,))

    async with open_system() as system:
        ref = await system.spawn(parent)
        await ref.monitor()
    assert seen == [(), True, True]


async def test_a_child_that_cannot_start_is_its_parents_to_handle() -> None:
    async def parent(context: ActorContext[Any]) -> None:
        with pytest.raises(ActorFailed):
            await context.spawn(Flaky, "started", {1}, [0], restart=Restart.PERMANENT)
        assert context.children == ()
        context.self.tell_nowait("go on")
        async for _ in context.messages():
            return

    async with open_system() as system:
        assert (await (await system.spawn(parent)).monitor()).reason == "normal"


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.PERMANENT])
async def test_what_ended_for_good_is_forgotten_with_its_name(restart: Restart) -> None:
    async def once(context: ActorContext[Any]) -> None:
        async for _ in context.messages():
            return

    async with open_system() as system:
        for _ in range(3):
            ref = await system.spawn(once, name="x", restart=restart)
            if restart is Restart.TRANSIENT:
                await ref.tell("end")
                await ref.monitor()
            else:
                await system.terminate_child("x")
        assert system.tree().children == ()
        assert not system.registry.cells


# --- groups, with somebody who interferes


async def lingers(context: ActorContext[Any], starts: list[str], name: str) -> None:
    """Takes a second to stop."""
    starts.append(name)
    async for message in context.messages():
        if isinstance(message, BaseException):
            raise message
        context.reply(message)
    await trio.sleep(1)


def group(starts: list[str]) -> list[ChildSpec]:
    return [ChildSpec(name, lingers, (starts, name), shutdown=10) for name in "abcd"]


@pytest.mark.parametrize("who", ["b", "c", "d"])
@pytest.mark.parametrize("when", [0.5, 1.5, 2.5])
async def test_what_is_terminated_while_its_group_restarts_stays_down(
    who: str, when: float, autojump_clock: MockClock
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        supervisor = await system.spawn(
            Supervisor(group(starts), strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        a = system.whereis("sup/a")
        assert a is not None
        await a.tell(ValueError())
        await trio.sleep(when)
        await supervisor.terminate_child(who)
        await trio.sleep(20)
        up = [info.id for info in await supervisor.which_children() if info.ref is not None]
        assert up == [name for name in "abcd" if name != who]
        await supervisor.restart_child(who)


@pytest.mark.parametrize("when", [0.5, 1.5, 2.5])
async def test_a_supervisor_may_be_stopped_while_its_group_restarts(
    when: float, autojump_clock: MockClock
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        supervisor = await system.spawn(
            Supervisor(group(starts), strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        refs = [system.whereis(f"sup/{name}") for name in "abcd"]
        assert refs[0] is not None
        await refs[0].tell(ValueError())
        await trio.sleep(when)
        await supervisor.stop()
        assert starts == list("abcd")
        assert not system.registry.cells
        for ref in refs:
            assert "stopped" in repr(ref)
            assert ref is not None
            assert (await ref.monitor()).name == ref.name
            with pytest.raises(ActorStopped):
                await ref.ask("x")


async def test_a_monitor_waits_for_the_next_end_while_a_restart_is_under_way(
    autojump_clock: MockClock,
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        await system.spawn(
            Supervisor(group(starts), strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        a = system.whereis("sup/a")
        assert a is not None
        await a.tell(ValueError())
        await trio.sleep(1.5)
        with trio.move_on_after(20) as scope:
            await a.monitor()
        assert scope.cancelled_caught


async def test_what_was_queued_waits_for_the_end_of_a_group_restart(
    autojump_clock: MockClock,
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        await system.spawn(
            Supervisor(group(starts), strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        refs: dict[str, ActorRef[Any]] = {}
        for name in "abcd":
            ref = system.whereis(f"sup/{name}")
            assert ref is not None
            refs[name] = ref
        await refs["a"].tell(ValueError())
        await trio.sleep(0.5)
        answers: dict[str, Any] = {}

        async def ask(name: str) -> None:
            answers[name] = await refs[name].ask(name)

        async with trio.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(ask, name)
        assert answers == {name: name for name in "abcd"}
        assert starts == list("abcdabcd")


async def test_a_crash_while_its_group_restarts_counts_but_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        await system.spawn(
            Supervisor(group(starts), strategy=Strategy.REST_FOR_ONE, max_restarts=5), name="sup"
        )
        b, a = system.whereis("sup/b"), system.whereis("sup/a")
        assert b is not None
        assert a is not None
        await b.tell(ValueError())
        await trio.sleep(0.5)
        await a.tell(KeyError())
        await trio.sleep(20)
        assert [await ref.ask("alive") for ref in (a, b)] == ["alive", "alive"]
        assert starts.count("a") == 2


async def test_a_child_added_while_a_group_restarts_is_left_alone(
    autojump_clock: MockClock,
) -> None:
    starts: list[str] = []
    async with open_system(grace=100) as system:
        supervisor = await system.spawn(
            Supervisor(group(starts), strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        a = system.whereis("sup/a")
        assert a is not None
        await a.tell(ValueError())
        await trio.sleep(0.5)
        e = await supervisor.start_child(ChildSpec("e", lingers, (starts, "e")))
        assert await e.ask("early") == "early"
        await trio.sleep(20)
        assert starts == ["a", "b", "c", "d", "e", "a", "b", "c", "d"]
        assert [info.id for info in await supervisor.which_children()] == list("abcde")


async def test_calls_on_a_supervisor_that_is_being_restarted_disturb_nothing(
    autojump_clock: MockClock,
) -> None:
    class Slow(Echo):
        async def started(self) -> None:
            await trio.sleep(1)

    specs = [ChildSpec("a", Slow), ChildSpec("b", Slow)]
    async with open_system(max_restarts=3) as system:
        supervisor = await system.spawn(
            Supervisor(specs, max_restarts=0), name="sup", restart=Restart.PERMANENT
        )
        a = system.whereis("sup/a")
        assert a is not None
        await a.tell(ValueError())
        await trio.sleep(0.5)
        await outcome_of(supervisor.start_child, ChildSpec("b", Echo))
        await trio.sleep(10)
        assert supervisor.cell.restarts == 1
        assert [info.id for info in await supervisor.which_children()] == ["a", "b"]


async def test_a_transient_child_stopped_in_a_group_that_restarts_comes_back_with_it(
    autojump_clock: MockClock,
) -> None:
    specs = [
        ChildSpec("a", Echo, restart=Restart.TRANSIENT),
        ChildSpec("b", deaf, restart=Restart.TRANSIENT),
        ChildSpec("c", Echo, restart=Restart.TEMPORARY),
    ]
    async with open_system() as system:
        supervisor = await system.spawn(
            Supervisor(specs, strategy=Strategy.ONE_FOR_ALL), name="sup"
        )
        a = system.whereis("sup/a")
        assert a is not None
        await a.tell(busy_for(1))
        await a.tell(ValueError())
        await trio.sleep(20)
        infos = await supervisor.which_children()
        assert [(info.id, info.ref is not None) for info in infos] == [("a", True), ("b", True)]
