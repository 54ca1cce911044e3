"""Random programs for a supervisor against a small model of what OTP's would do, by seed.

Every command is carried out to its end before the next, so that the model can say what must run;
the order in which Trio runs tasks meanwhile comes from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import Factory, define
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ChildError,
    ChildSpec,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    SupervisorRef,
    open_system,
)

RETURN = "return"


@define
class Model:
    """What a supervisor knows: its children in order, which run, and its recent restarts."""

    strategy: Strategy
    max_restarts: int
    period: float
    restart: dict[str, Restart] = Factory(dict)
    running: dict[str, bool] = Factory(dict)
    starts: dict[str, int] = Factory(dict)
    recent: list[float] = Factory(list)
    ended: bool = False

    def start(self, id_: str) -> None:
        self.running[id_] = True
        self.starts[id_] = self.starts.get(id_, 0) + 1

    def add(self, id_: str, restart: Restart) -> None:
        self.restart[id_] = restart
        self.start(id_)

    def forget(self, id_: str) -> None:
        del self.restart[id_]
        del self.running[id_]

    def down(self, id_: str) -> None:
        self.running[id_] = False
        if self.restart[id_] is Restart.TEMPORARY:
            self.forget(id_)

    def child_ended(self, id_: str, failed: bool, now: float) -> None:
        restart = self.restart[id_]
        if restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and not failed):
            self.down(id_)
            return
        self.recent = [at for at in self.recent if now - at <= self.period] + [now]
        if len(self.recent) > self.max_restarts:
            self.ended = True
            return
        order = list(self.restart)
        group = {
            Strategy.ONE_FOR_ONE: [id_],
            Strategy.ONE_FOR_ALL: order,
            Strategy.REST_FOR_ONE: order[order.index(id_) :],
        }[self.strategy]
        for other in group:
            if self.restart[other] is Restart.TEMPORARY:
                self.forget(other)
            else:
                self.start(other)


class Child(Actor[Any]):
    def __init__(self, starts: dict[str, int], id_: str) -> None:
        starts[id_] = starts.get(id_, 0) + 1

    async def receive(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise message


async def child(context: ActorContext[Any], starts: dict[str, int], id_: str) -> None:
    starts[id_] = starts.get(id_, 0) + 1
    async for message in context.messages():
        await trio.lowlevel.checkpoint()
        if message == RETURN:
            return
        raise message


class Player:
    """Carries out random commands on the supervisor and on the model."""

    def __init__(self, chance: random.Random, model: Model, supervisor: SupervisorRef) -> None:
        self.chance = chance
        self.model = model
        self.supervisor = supervisor
        self.starts: dict[str, int] = {}
        self.kinds: dict[str, Any] = {}
        self.serial = 0

    async def step(self) -> None:
        running = [id_ for id_, up in self.model.running.items() if up]
        down = [id_ for id_, up in self.model.running.items() if not up]
        command = self.chance.choice(["add", "crash", "crash", "end", "terminate", "restart"])
        if command == "add" and len(self.model.restart) < 6:
            await self.add()
        elif command in ("crash", "end") and running:
            await self.end(self.chance.choice(running), failed=command == "crash")
        elif command == "terminate" and running:
            id_ = self.chance.choice(running)
            await self.supervisor.terminate_child(id_)
            self.model.down(id_)
        elif command == "restart" and down:
            id_ = self.chance.choice(down)
            if self.chance.random() < 0.3:
                await self.supervisor.delete_child(id_)
                self.model.forget(id_)
            else:
                await self.supervisor.restart_child(id_)
                self.model.start(id_)
        elif running:
            with pytest.raises(ChildError, match="running"):
                await self.supervisor.delete_child(self.chance.choice(running))
        await trio.sleep(self.chance.choice([0.1, 0.1, 1, 7]))

    async def add(self) -> None:
        self.serial += 1
        id_, restart = f"c{self.serial}", self.chance.choice(list(Restart))
        self.kinds[id_] = self.chance.choice([Child, child])
        spec = ChildSpec(id_, self.kinds[id_], (self.starts, id_), restart=restart)
        await self.supervisor.start_child(spec)
        self.model.add(id_, restart)

    async def end(self, id_: str, failed: bool) -> None:
        infos = {info.id: info.ref for info in await self.supervisor.which_children()}
        ref = infos[id_]
        assert ref is not None
        if failed:
            await ref.tell(ValueError(id_))
        elif self.kinds[id_] is child and self.chance.random() < 0.5:
            await ref.tell(RETURN)
        else:
            await ref.stop()
        await wait_all_tasks_blocked()
        self.model.child_ended(id_, failed, trio.current_time())

    async def compare(self) -> None:
        await wait_all_tasks_blocked()
        infos = await self.supervisor.which_children()
        assert {info.id: info.ref is not None for info in infos} == self.model.running
        assert [info.id for info in infos] == list(self.model.restart)
        assert self.starts == self.model.starts
        counts = await self.supervisor.count_children()
        assert (counts.specs, counts.active) == (len(infos), sum(self.model.running.values()))


async def play(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(
        chance.choice(list(Strategy)), chance.choice([0, 1, 3, 10]), chance.choice([1.0, 10.0])
    )
    async with open_system() as system:
        supervisor = await system.spawn(
            Supervisor(
                strategy=model.strategy, max_restarts=model.max_restarts, period=model.period
            )
        )
        player = Player(chance, model, supervisor)
        for _ in range(20):
            await player.step()
            if model.ended:
                exit_ = await supervisor.monitor()
                assert isinstance(exit_.error, RestartIntensityExceeded)
                assert system.tree().children == ()
                return
            await player.compare()


@pytest.mark.parametrize("block", range(4))
def test_a_supervisor_does_what_its_model_does(
    block: int, deterministic_scheduling: Callable[[int], None], no_log: None
) -> None:
    for seed in range(block * 75, block * 75 + 75):
        deterministic_scheduling(seed)
        try:
            trio.run(play, seed, clock=MockClock(autojump_threshold=0))
        except BaseException:
            print(f"seed {seed}")  # noqa: T201 - what reproduces it
            raise
