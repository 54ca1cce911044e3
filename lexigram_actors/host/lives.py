"""The lives of an instance: run, and run again after a crash, until it ends or is let go.

| what a life ended with | what follows |
| --- | --- |
| `Ok`, `Err` | COMPLETED, FAILED |
| a cancellation was asked for | CANCELLED, whatever the life returned or raised on its way out |
| something of it could not be undone | COMPENSATION_STUCK, however it ended |
| it began again as new | the next life, at once, with an empty journal |
| it raised | the next life, after a wait that grows; FAILED when that was too often |
| it raised what would come again for sure | FAILED |
| the store failed, or the run raised that one did | the next life, after a wait, however often |
| the lease was lost, or the host stops | nothing: the instance is as it is recorded |
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio
from attrs import evolve, frozen

from lexigram_actors.errors import (
    HumanInputRequiredError,
    LeaseLost,
    NonDeterminismError,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
    WorkflowCancelledError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
    describe,
)
from lexigram_actors.errors.base import sole_error
from lexigram_actors.events import WorkflowCrashedEvent, WorkflowRecordedEvent
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.cancelling import leaves_of
from lexigram_actors.host.compensation import (
    details_of_stuck,
    has_begun,
    note_of_stuck,
    stuck_in,
)
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.observing import hide
from lexigram_actors.host.outcomes import outcome_of, result_of
from lexigram_actors.host.residents import Resident
from lexigram_actors.host.seam import RunContext
from lexigram_actors.host.surroundings import ContinueAsNew, Lease, Surroundings, Suspended
from lexigram_actors.invoking import as_result
from lexigram_actors.kernel.restarts import record_restart, restart_delay, restarts_in_a_row
from lexigram_actors.kernel.specs import Backoff
from lexigram_actors.result import Err, Result
from lexigram_actors.storage.instances import Entry, InstanceStatus, InstanceStore, Loaded, Mail

logger = logging.getLogger(__name__)

Outcome = Result[Any, Exception]

LONGEST_NOTE: Final = 200

BY_ITSELF: Final = frozenset({InstanceStatus.COMPLETED, InstanceStatus.FAILED})
"""Ends that nobody has asked for."""

HOPELESS: Final = (
    HumanInputRequiredError,
    NonDeterminismError,
    NotStorableError,
    WorkflowVersionMismatchError,
)
"""What comes again however often it is tried."""


@final
@frozen
class RestartPolicy:
    """How often an instance that crashes is started again, before it is parked FAILED.

    Attributes:
        max_restarts: Within any `period` seconds.
        backoff: The waits in between.
    """

    max_restarts: int
    period: float
    backoff: Backoff


@final
@frozen
class Ended:
    """The instance has come to its end."""

    status: InstanceStatus
    result: Outcome
    unwritten: tuple[Entry, ...] = ()
    note: str = ""
    can_undo: bool = False
    """Whether something of it is to be undone if somebody asks for its end after all."""

    @property
    def told(self) -> str:
        """Why it ended as it did, in a line; nothing where all went well."""
        return self.note[:LONGEST_NOTE] or note_of(self.result)


@final
@frozen
class Again:
    """It begins again as new."""

    input: Any
    taken: frozenset[int]


@final
@frozen
class Crashed:
    """It raised what it should not have."""

    error: Exception
    parked: Ended
    """How it ends where that was too often."""


@final
@frozen
class Hindered:
    """The store failed, and only time helps."""

    error: StoreError


@final
@frozen
class LetGo:
    """It is not this life's any more; `error` says why, unless it was put away."""

    error: BaseException | None


End = Ended | Again | Crashed | Hindered | LetGo


@final
@frozen
class Services:
    """What lives need of their host.

    Attributes:
        end_children: Asks the children of an instance to end, as the mail to their parent says.
    """

    instances: InstanceStore
    clock: Callable[[], float]
    lease: Callable[[], Lease]
    host: Surroundings
    restarts: RestartPolicy
    end_children: Callable[[Mail], Awaitable[None]]


async def live(services: Services, resident: Resident) -> None:
    """Let an instance live until it ends, or the host has it no more.

    Cancelled from outside it is put away: what is recorded stands.
    """
    hide()  # the host tells of it
    recent: list[float] = []
    in_a_row = 0
    while not resident.put_away:
        began = trio.current_time()
        end = await next_end(services, resident)
        if isinstance(end, Again):
            resident.spent = end.taken  # also where it is not known whether that is recorded
            end = await started_over(services, resident, end)
            if isinstance(end, Again):
                continue
        if isinstance(end, Ended):
            if await finish(services, resident, end):
                return
            continue
        if isinstance(end, LetGo):
            resident.failure = end.error if isinstance(end.error, Exception) else None
            return
        now = trio.current_time()
        policy = services.restarts
        in_a_row = restarts_in_a_row(policy.backoff, in_a_row, now - began)
        delay = restart_delay(policy.backoff, in_a_row)
        if isinstance(end, Crashed):
            if resident.is_supervised:
                raise end.error
            allowed, recent = record_restart(recent, now, policy.max_restarts, policy.period)
            tell_crash(services, resident, end.error, delay if allowed else None)
            if not allowed:
                if await finish(services, resident, end.parked):
                    return
                continue
        else:
            logger.warning("instance %r: %s; again in %g s", resident.id, end.error, delay)
        await resident.wait_nudged(delay)


def hindered(error: BaseException | None) -> Hindered | LetGo:
    """Say whether a life that could not go on is followed by another."""
    if isinstance(error, StoreError) and not isinstance(error, LeaseLost | StoreCorruptedError):
        return Hindered(error)
    return LetGo(error)


async def started_over(services: Services, resident: Resident, end: Again) -> End:
    """Record that it begins again; return what came of it, the same where all went well."""
    instance = resident.instance
    try:
        await services.instances.start_over(instance.id, instance.epoch, end.input, end.taken)
    except NotStorableError as error:
        return Ended(InstanceStatus.FAILED, Err(error))
    except StoreError as error:
        return hindered(error)
    return end


def tell_crash(
    services: Services, resident: Resident, error: Exception, delay: float | None
) -> None:
    """Log a crash, and publish it."""
    what = "parked" if delay is None else f"started again in {delay:g} s"
    logger.error("instance %r crashed, and is %s", resident.id, what, exc_info=error)
    name = resident.instance.definition.name
    services.host.publish(WorkflowCrashedEvent(resident.id, name, describe(error), delay))


# --- one life -----------------------------------------------------------------------------------


async def next_end(services: Services, resident: Resident) -> End:
    """Run one life, and say what it ended with."""
    await resident.wait_marked()
    try:
        loaded = await loaded_for(services, resident)
    except StoreError as error:
        return hindered(error)
    resident.take_up(loaded.instance)
    journal = Journal(
        loaded, services.instances, services.clock, host=services.host, lease=services.lease()
    )
    journal.disregard(resident.spent)
    journal.on_entry = recorder(services, resident)
    result: Outcome | None = None
    raised: BaseException | None = None
    resident.begin_life(journal, loaded.mail)
    try:
        with journal.scope:
            result = await run(journal, resident, loaded)
    except BaseException as error:  # noqa: ASYNC103, BLE001 - judged, and raised again where it must
        raised = error
    finally:
        resident.end_life()
    end = judge(journal, result, raised)
    if isinstance(end, Again) and stuck_in(journal.entries):
        end = Ended(InstanceStatus.FAILED, Err(cannot_begin_again(journal)), journal.unwritten)
    if isinstance(end, Crashed):
        return evolve(end, parked=left_to_a_person(journal, resident, end.parked))
    return left_to_a_person(journal, resident, end) if isinstance(end, Ended) else end


def cannot_begin_again(journal: Journal) -> WorkflowStateError:
    """Return the error of an instance that would leave behind what a person has to look after."""
    return WorkflowStateError(
        f"instance {journal.id!r} cannot begin again as new: something of it is not undone",
        hint="retry, skip or force what is stuck; then it goes on",
    )


def left_to_a_person(journal: Journal, resident: Resident, ended: Ended) -> Ended:
    """Return the end; another where something is left that should have been undone."""
    if stuck := stuck_in(journal.entries):
        error = ended.result.unwrap_err() if ended.result.is_err() else None
        if isinstance(error, WorkflowCancelledError):
            error.details.update(details_of_stuck(stuck))  # as a saga's own error has them
        return evolve(ended, status=InstanceStatus.COMPENSATION_STUCK, note=note_of_stuck(stuck))
    if resident.runnable is None and has_begun(journal.entries):
        note = "it was to end where its saga is not known: nothing is undone"
        return evolve(ended, status=InstanceStatus.COMPENSATION_STUCK, note=note)
    return evolve(ended, can_undo=has_begun(journal.entries))


async def loaded_for(services: Services, resident: Resident) -> Loaded:
    """Return what the life begins with."""
    fresh, resident.fresh = resident.fresh, None
    if fresh is not None:
        return fresh
    loaded = await services.instances.load(resident.id)
    if loaded is None:
        raise LeaseLost(f"instance {resident.id!r} is gone", details={"id": resident.id})
    if loaded.instance.epoch != resident.instance.epoch:
        raise LeaseLost(f"instance {resident.id!r} is another host's now")
    if loaded.instance.status.has_ended:
        raise LeaseLost(f"instance {resident.id!r} has ended")
    return loaded


def recorder(services: Services, resident: Resident) -> Callable[[Entry], None]:
    """Return what publishes that something was recorded."""

    def publish(entry: Entry) -> None:
        if services.host.has_listeners:  # on the path of every step
            services.host.publish(WorkflowRecordedEvent(resident.id, entry.path, entry.kind))

    return publish


async def run(journal: Journal, resident: Resident, loaded: Loaded) -> Outcome:
    """Run the definition at its time."""
    start_at = loaded.instance.start_at
    if start_at is not None and not loaded.entries:
        while (left := start_at - journal.clock()) > 0:
            with journal.waiting("its start"):
                await trio.sleep(left)
    if not journal.is_open and (journal.cancelled_by is None or not loaded.entries):
        # Where it is to end and has begun, it gets to where it was, and cleans up from there.
        await journal.ready()
    if resident.runnable is None:
        journal.scope.cancel()
        await trio.sleep_forever()
    context = RunContext(input=loaded.input, run_id=resident.id, journal=journal)
    return as_result(await run_asking(resident.runnable, context))


def judge(journal: Journal, result: Outcome | None, raised: BaseException | None) -> End:
    """Say what a life ended with.

    Raises:
        BaseException: An interrupt, or a cancellation from outside the instance.
    """
    leaves = () if raised is None else tuple(leaves_of(raised))
    for leaf in leaves:
        if not isinstance(leaf, Exception | Suspended | ContinueAsNew):
            raise leaf
    if journal.stopping:
        return hindered(journal.failure)
    unwritten = journal.unwritten
    if journal.cancelled_by is not None:
        if raised is not None and not isinstance(raised, Suspended | ContinueAsNew):
            logger.warning("instance %r raised while cancelled", journal.id, exc_info=raised)
        cancelled = WorkflowCancelledError(journal.cancelled_by)
        return Ended(InstanceStatus.CANCELLED, Err(cancelled), unwritten)
    for leaf in leaves:
        if isinstance(leaf, ContinueAsNew):
            return Again(leaf.input, journal.taken)
    if isinstance(raised, Exception):
        error = sole_error(raised)
        assert isinstance(error, Exception)
        if isinstance(error, HOPELESS):
            return Ended(InstanceStatus.FAILED, Err(error), unwritten)
        if isinstance(error, StoreError) and not isinstance(error, StoreCorruptedError):
            return Hindered(error)  # of the host, say, that could not begin a child
        return Crashed(error, Ended(InstanceStatus.FAILED, Err(error), unwritten))
    assert result is not None
    status = InstanceStatus.COMPLETED if result.is_ok() else InstanceStatus.FAILED
    return Ended(status, result, unwritten)


# --- the end ------------------------------------------------------------------------------------


async def finish(services: Services, resident: Resident, ended: Ended) -> bool:
    """Record the end, however long the store takes; then say so.

    Returns:
        False where it has not ended: somebody asked for its end just now, and what it did is to be
        undone in another life.
    """
    instance = resident.instance
    delay = services.restarts.backoff.initial
    overruled = False
    await resident.wait_marked()  # what follows is told after it
    while True:
        try:
            if overruled:
                ended = await cancelled_instead(services, resident, ended)
            outcome = outcome_of(ended.result)
            if ended.status not in BY_ITSELF and resident.wish is not None:
                # Before: if it died in between, nobody would ask them any more.
                await services.end_children(resident.wish)
            await services.instances.end(
                instance.id,
                instance.epoch,
                ended.status,
                outcome,
                note=ended.told,
                entries=ended.unwritten,
            )
            break
        except NotStorableError as error:
            if ended.result.is_ok():
                status = ended.status if ended.note else InstanceStatus.FAILED
                ended = evolve(ended, status=status, result=Err(error))
            elif ended.unwritten:  # an error can be stored: it is one of these
                ended = evolve(ended, unwritten=())
            else:
                raise
        except WorkflowStateError:
            if ended.can_undo:
                return False
            overruled = True
        except (LeaseLost, StoreCorruptedError) as error:
            resident.failure = error
            return True
        except StoreError as error:
            logger.warning("instance %r: its end is not recorded yet: %s", instance.id, error)
            await resident.wait_nudged(delay)
            delay = min(2 * delay, services.restarts.backoff.maximum)
            if resident.put_away:
                return True
    resident.outcome = result_of(outcome)
    resident.set_status(ended.status, ended.told)
    resident.status_written(ended.status, ended.told)
    return True


def note_of(result: Outcome) -> str:
    """Return why an instance ended as it did, in a line; nothing where all went well."""
    return "" if result.is_ok() else describe(result.unwrap_err())[:LONGEST_NOTE]


async def cancelled_instead(services: Services, resident: Resident, ended: Ended) -> Ended:
    """Return the end of an instance that somebody asked to end, with the reason given."""
    if resident.wish is None:  # it has not come here yet
        loaded = await services.instances.load(resident.id)
        mail = () if loaded is None else loaded.mail
        resident.wish = next((each for each in mail if each.kind == "cancel"), None)
    reason = "cancelled" if resident.wish is None else resident.wish.name
    return Ended(InstanceStatus.CANCELLED, Err(WorkflowCancelledError(reason)), ended.unwritten)
