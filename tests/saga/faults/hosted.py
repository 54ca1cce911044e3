"""The saga of a case in a host: a program for `crash_everywhere`, and what must hold of its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio
from attrs import define, field

from lexigram_actors.errors import SagaError, StoreError, WorkflowStateError
from lexigram_actors.host.compensation import stuck_in
from lexigram_actors.host.handle import WorkflowHandle
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.storage.instances import Instance, InstanceStatus
from lexigram_actors.testing import SimulatedCrash, World
from tests.crash.programs import begun, hosting, surely
from tests.saga.faults.bench import Trial, TriedSaga, saga_of
from tests.saga.faults.checking import check_i4
from tests.saga.faults.dying import Living
from tests.saga.faults.living import Operation, check_keys
from tests.saga.faults.plans import Case
from tests.saga.faults.states import Event

ID: Final = "saga"
CANCELLATION: Final = "the cancellation"
RESUMED: Final = "the end of the pause"
PAUSE: Final = 1000.0

STUCK: Final = InstanceStatus.COMPENSATION_STUCK
HOWS: Final = {
    InstanceStatus.COMPLETED: "ok",
    InstanceStatus.FAILED: "err",
    InstanceStatus.CANCELLED: "cancelled",
}


class WorldLife:
    """A life of a world, as effects see it."""

    def __init__(self, world: World) -> None:
        self._life = world.lives[-1]

    @property
    def is_dead(self) -> bool:
        return self._life.is_dead

    def moment(self) -> None:
        if self.is_dead:
            raise SimulatedCrash("nothing happens any more")


def runnable_of(trial: Trial, life: Living) -> Any:
    """Return what a host runs."""
    return TriedSaga.as_runnable(lambda _: saga_of(trial, life, None, ID), name="tried")


@define(eq=False)
class Hosted:
    """A case in a host.

    Attributes:
        operations: What an operator does once it is stuck.
        grace: Seconds that a step in flight has when the instance is cancelled.
        paused_at: The event at which it is paused for a while; None: it is not.
    """

    case: Case
    operations: Sequence[Operation] = ()
    grace: float = 0.0
    paused_at: Event | None = None
    trials: WeakKeyDictionary[World, Trial] = field(factory=WeakKeyDictionary)

    async def program(self, world: World) -> None:
        trial = self.trials.setdefault(world, Trial(self.case))
        if world.life > 1:
            trial.events.append(Event("crash"))
        runnable = runnable_of(trial, WorldLife(world))
        # It may be at work before there is a handle.
        wants_end, wants_pause = trio.Event(), trio.Event()
        delay = 0.0
        if self.paused_at in trial.events and RESUMED not in world.acknowledged:
            wants_pause.set()
        if trial.cancelled and CANCELLATION not in world.acknowledged:
            wants_end.set()

        def cancel(seconds: float) -> None:
            nonlocal delay
            delay = seconds
            wants_end.set()

        def look(event: Event) -> None:
            if event == self.paused_at:
                wants_pause.set()

        async def cancel_when_wanted() -> None:
            await wants_end.wait()
            await trio.sleep(delay)
            await surely(handle.cancel, "enough", grace=self.grace)
            await world.acknowledge(CANCELLATION)

        async def pause_when_wanted() -> None:
            await wants_pause.wait()
            await surely(handle.pause)
            await trio.sleep(PAUSE)
            await surely(handle.resume)
            await world.acknowledge(RESUMED)

        trial.canceller, trial.on_event = cancel, look
        async with hosting(world, runnable) as host:
            handle = await begun(world, host, runnable, None, ID)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pause_when_wanted)
                async with trio.open_nursery() as inner:
                    inner.start_soon(cancel_when_wanted)
                    await ended(trial, host, handle)
                    if not wants_end.is_set():
                        inner.cancel_scope.cancel()
                for number, operation in enumerate(self.operations):
                    if f"operation {number}" not in world.acknowledged:
                        await operate(trial, host, handle, operation)
                        await world.acknowledge(f"operation {number}")
                nursery.cancel_scope.cancel()

    def check(self, world: World) -> None:
        trial = self.trials[world]
        lies = sum(life.is_struck and not life.is_dead for life in world.lives)
        # One that is cancelled may be so at any time, as its mail comes.
        is_cut = trial.cancelled or self.case.is_cut
        check_i4(trial.events, self.case, is_cut=is_cut, hidden_crashes=lies)
        check_keys(trial)
        if trial.cancelled and self.case.fault in ("cancel", "wait"):
            assert trial.events[-1].how == "cancelled", trial.events


async def stuck_of(host: WorkflowHost, instance: Instance) -> frozenset[str]:
    """Return which steps an instance says are stuck: in all places that say it the same."""
    error = (await surely(host.operator.outcome, instance.id)).unwrap_err()
    recorded = stuck_in(await surely(host.instances.journal, instance.id))
    for name in recorded:
        assert name in instance.note, f"{name} is not in {instance.note!r}"
    if isinstance(error, SagaError):
        assert set(error.uncompensated) == set(recorded)
    return frozenset(recorded)


async def ended(trial: Trial, host: WorkflowHost, handle: WorkflowHandle) -> None:
    """Wait for the end, and tell it."""
    result = await handle.result()
    instance = await surely(host.operator.find, ID)
    stuck: frozenset[str] = frozenset()
    if instance.status is STUCK:
        listed = await surely(host.operator.select, status=[STUCK])
        assert [each.id for each in listed] == [ID]
        stuck = await stuck_of(host, instance)
        assert stuck
        how = "cancelled" if trial.cancelled else "err"
    else:
        how = HOWS[instance.status]
        assert result.is_ok() == (how == "ok")
    if how == "ok":
        assert result.unwrap() == {step.name: {"of": step.name} for step in trial.case.steps}
    trial.events.append(Event("end", "", how, stuck))


async def operate(
    trial: Trial, host: WorkflowHost, handle: WorkflowHandle, operation: Operation
) -> None:
    """Do something about what is stuck, and wait until it has been done."""
    end = trial.events[-1]
    what, step = operation
    if what == "go on":
        if end.how == "err" and not end.stuck:
            await decided(trial, Event("start"), handle.retry)
            await ended(trial, host, handle)
        return
    if not end.stuck or (step and step not in end.stuck):
        return
    call = handle.retry if what == "retry" else partial(getattr(handle, what), step)
    await decided(trial, Event(what, step), call)
    await ended(trial, host, handle)


async def decided(trial: Trial, event: Event, call: Any) -> None:
    """Do as an operator, until it is said to be done: each call is a decision of its own.

    Where it is not known whether it was done, the next comes once that would have come to its end.
    """
    while True:
        trial.events.append(event)
        try:
            await call()
            return
        except StoreError:
            await trio.sleep(10 * PAUSE)
        except WorkflowStateError:
            return  # done by a life before
