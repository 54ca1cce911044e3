"""Cancellation at every task step, and every order of a seeded schedule: what must hold anyway.

A scenario is run once to count its task steps, then once for each step with the scope cancelled
there. After each run no task is left, every message is accounted for, and the ends that were
announced are the ends that happened.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorError,
    ActorRef,
    ActorSystem,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Mailbox,
    Overflow,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    open_system,
)
from lexigram_actors.testing import CancelAt, at_every_step, run
from lexigram_actors.testing.schedules import Schedule


class Balance:
    """Counts starts and ends of actors by name: in the end they are the same."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.refs: list[ActorRef[Any]] = []

    def check(self) -> None:
        assert not +self.running, f"still running: {+self.running}"
        for ref in self.refs:
            s = ref.statistics()
            assert s.accepted == s.handled + s.queued + s.dropped + s.dead_lettered, s
            assert s.queued == 0, "something is left in the mailbox of a stopped actor"


class Member(Actor[Any]):
    """Starts, handles and stops with checkpoints in between; fails when told to."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance

    async def started(self) -> None:
        await trio.lowlevel.checkpoint()
        self.balance.running[self.context.self.name] += 1
        self.balance.refs.append(self.context.self)

    async def receive(self, message: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if isinstance(message, BaseException):
            raise message
        return message

    async def stopping(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.balance.running[self.context.self.name] -= 1


async def member(context: ActorContext[Any], balance: Balance) -> None:
    name = context.self.name
    balance.running[name] += 1
    balance.refs.append(context.self)
    try:
        async for message in context.messages():
            await trio.lowlevel.checkpoint()
            if isinstance(message, BaseException):
                raise message
            context.reply(message)
    finally:
        balance.running[name] -= 1


Scenario = Callable[[ActorSystem, Balance], Awaitable[None]]


async def asks_and_tells(system: ActorSystem, balance: Balance) -> None:
    ref = await system.spawn(Member, balance, mailbox=1)
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(ref.ask, number)
            nursery.start_soon(ref.tell, number)
    await ref.stop()


async def crash_and_restart(system: ActorSystem, balance: Balance) -> None:
    ref = await system.spawn(Member, balance, restart=Restart.PERMANENT)
    await ref.tell(ValueError())
    await ref.ask(1)
    await ref.tell(ValueError())
    await ref.ask(2)


async def group_restart(system: ActorSystem, balance: Balance) -> None:
    children = [
        ChildSpec("a", Member, args=(balance,)),
        ChildSpec("b", member, args=(balance,)),
        ChildSpec("c", Member, args=(balance,)),
    ]
    for strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
        supervisor = await system.spawn(
            Supervisor(children, strategy=strategy, max_restarts=3), name="group"
        )
        b = system.whereis("group/b")
        assert b is not None
        await b.tell(KeyError())
        await b.ask("after")
        await supervisor.terminate_child("a")
        await supervisor.restart_child("a")
        await supervisor.stop()


async def escalation(system: ActorSystem, balance: Balance) -> None:
    children = [ChildSpec("a", Member, args=(balance,)), ChildSpec("b", member, args=(balance,))]
    supervisor = await system.spawn(
        Supervisor(
            [ChildSpec("inner", Supervisor(children, max_restarts=0))],
            max_restarts=1,
            backoff=Backoff(initial=1.0),
        ),
        name="outer",
    )
    for _ in range(2):
        a = system.whereis("outer/inner/a")
        if a is not None:
            await a.tell(ValueError())
            await a.monitor()
        await trio.sleep(3)
    await supervisor.monitor()


async def dynamic_children(system: ActorSystem, balance: Balance) -> None:
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=5))
    refs = [
        await supervisor.start_child(ChildSpec(str(number), behaviour, args=(balance,)))
        for number, behaviour in enumerate((Member, member, Member))
    ]
    await refs[0].tell(ValueError())
    await refs[0].ask(1)
    await supervisor.terminate_child("1")
    await supervisor.stop(grace=1)


SCENARIOS: list[Scenario] = [
    asks_and_tells,
    crash_and_restart,
    group_restart,
    escalation,
    dynamic_children,
]


def run_cancelled_at(scenario: Scenario, instrument: CancelAt) -> None:
    """Run the scenario, cancelled when the instrument does it."""
    balance = Balance()

    async def main() -> None:
        with instrument.scope:
            try:
                async with open_system(max_restarts=5, grace=2.0) as system:
                    await scenario(system, balance)
            except* (ActorError, RestartIntensityExceeded):
                assert instrument.step, "the scenario fails by itself"
        left = trio.lowlevel.current_root_task()
        assert left is not None
        assert len(left.child_nurseries[0].child_tasks) <= 2

    run(main, seed=0, instruments=[instrument])
    balance.check()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_cancelled_at_any_task_step_everything_ends_and_adds_up(scenario: Scenario) -> None:
    report = at_every_step(partial(run_cancelled_at, scenario))
    assert report.steps > 20
    assert report.points > 20


def any_mailbox(chance: random.Random) -> Mailbox:
    overflow = chance.choice(list(Overflow))
    bound = chance.choice([1, 2, 5])
    if overflow in (Overflow.BLOCK, Overflow.REJECT) and chance.random() < 0.3:
        bound = 0
    key = (lambda message: repr(message)[:1]) if overflow is Overflow.COALESCE else None
    return Mailbox(bound, overflow, key)


async def user(chance: random.Random, refs: list[ActorRef[Any]]) -> None:
    """Somebody who uses actors in every way, gives up now and then, and stops some."""
    for number in range(chance.randrange(3, 12)):
        ref = chance.choice(refs)
        with trio.move_on_after(chance.choice([0, 0.5, 3, 50])):
            try:
                match chance.randrange(8):
                    case 0 | 1:
                        await ref.tell(number)
                    case 2:
                        ref.tell_nowait(number)
                    case 3 | 4:
                        assert await ref.ask(number, timeout=chance.choice([None, 1])) == number
                    case 5:
                        await ref.tell(ValueError(number))
                    case 6:
                        await ref.stop(grace=chance.choice([None, 0, 1]))
                    case _:
                        await ref.monitor()
            except (ActorError, TimeoutError):
                pass
        await trio.sleep(chance.choice([0, 0, 0.1]))


def run_seed(seed: int, schedule: Schedule) -> None:
    chance, balance = random.Random(seed), Balance()

    async def main() -> None:
        try:
            async with open_system(max_restarts=8, period=50, grace=3) as system:
                specs = [
                    ChildSpec(
                        str(number),
                        chance.choice([Member, member]),
                        args=(balance,),
                        restart=chance.choice(list(Restart)),
                        shutdown=chance.choice([0, 1, 5]),
                        mailbox=any_mailbox(chance),
                    )
                    for number in range(4)
                ]
                supervisor = Supervisor(
                    specs,
                    strategy=chance.choice(list(Strategy)),
                    max_restarts=chance.choice([0, 2, 20]),
                    backoff=chance.choice([None, Backoff(initial=0.2)]),
                )
                await system.spawn(supervisor, name="sup", restart=chance.choice(list(Restart)))
                refs = [ref for n in range(4) if (ref := system.whereis(f"sup/{n}")) is not None]
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(user, chance, refs)
                    nursery.start_soon(trio.sleep, 30)
        except RestartIntensityExceeded:
            pass

    run(main, seed=seed, schedule=schedule)
    balance.check()


@pytest.mark.parametrize("schedule", ["shuffled", "priority"])
@pytest.mark.parametrize("block", range(2))
def test_whatever_users_do_everything_ends_and_adds_up(block: int, schedule: Schedule) -> None:
    for seed in range(block * 100, block * 100 + 100):
        try:
            run_seed(seed, schedule)
        except BaseException as error:
            error.add_note(f"run_seed({seed}, {schedule!r})")
            raise
