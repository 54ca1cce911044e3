"""The way forward: stage by stage, each step as often as it may be tried."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, final

import trio

from lexigram_actors.errors import (
    NotStorableError,
    StoreError,
    WorkflowCancelledError,
    WorkflowTimeoutError,
)
from lexigram_actors.host.cancelling import passing
from lexigram_actors.host.compensation import BEGAN, DONE, PROBED, RESUMED
from lexigram_actors.host.steps import Failure, guarded
from lexigram_actors.kernel.pacing import Pacer
from lexigram_actors.saga.calling import limited
from lexigram_actors.saga.execution import Execution, Stop
from lexigram_actors.saga.models import SagaState, SagaStep, Way
from lexigram_actors.saga.plan import Stage
from lexigram_actors.saga.quick import sprint
from lexigram_actors.saga.recording import Ledger

logger = logging.getLogger(__name__)


@final
class Forward:
    """An execution on its way forward."""

    __slots__ = ("_halted", "_run")

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._halted: trio.Event | None = None  # of the group that is under way

    async def begin(self, timeout: float | None) -> None:
        """Begin, or go on after a crash, or after a failure past the pivot."""
        run = self._run
        progress, ledger = run.progress, run.ledger
        is_new = progress.state is SagaState.PENDING
        over_at: float | None = None
        if progress.failure is not None:
            await self._settle_ahead()
            is_new = True
            over_at = self._over_at(timeout)
            progress.note(RESUMED)
            run.presume()
        elif is_new:
            over_at = self._over_at(timeout)
        else:
            run.presume()
        if progress.deadline is not None or over_at is not None:
            at = progress.deadline if over_at is None else over_at
            now = 0.0 if ledger is None else ledger.now()
            run.deadline = trio.current_time() + (at or 0.0) - now
        if ledger is None or ledger.journal is None:
            progress.epoch += 1
        if ledger is None:
            progress.begin("", over_at)
        elif is_new or ledger.journal is None:
            progress.note(BEGAN, "", over_at)
            await ledger.record(progress)

    def _over_at(self, timeout: float | None) -> float | None:
        if timeout is None:
            return None
        return timeout + (0.0 if self._run.ledger is None else self._run.ledger.now())

    async def _settle_ahead(self) -> None:
        """Ask whether steps happened that were cut off past the pivot."""
        run = self._run
        if run.plan.in_doubt != "probe":
            return
        for name in list(run.progress.in_doubt):
            step = run.plan.steps.get(name)
            if step is not None and step.probe is not None and await run.probe(step):
                run.progress.note(PROBED, name, True)

    async def go_on(self) -> Stop | None:
        """Go on until all is done (None), a step has failed, or the time is over.

        Raises:
            trio.Cancelled: It is cancelled.
            Suspended: The host lets it go.
            StoreError: What happened cannot be recorded.
        """
        run = self._run
        if run.deadline is None:
            return await self._stages()
        with trio.CancelScope(deadline=run.deadline):
            return await self._stages()
        if run.progress.state is SagaState.COMPLETED:
            return None  # that is recorded, and stays
        step = run.at
        why = f"saga {run.saga_id!r} was stopped: its time was over"
        return Stop(step, WorkflowTimeoutError(why, step_name=step))

    async def _stages(self) -> Stop | None:
        run = self._run
        if run.deadline is not None and trio.current_time() >= run.deadline:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        stages = iter(run.plan.ahead(run.progress))
        if run.ledger is None:
            return await self._unrecorded(stages)
        pacer = Pacer()
        for stage in stages:
            if pacer.due():
                await trio.lowlevel.checkpoint()
            run.current = stage[0].name
            is_inside = len(stage) == 1 and self._is_inside(stage[0], 1)
            stop = None if is_inside else await self._may_begin()
            if stop is None:
                stop = await (self._step(stage[0]) if len(stage) == 1 else self._group(stage))
            if stop is not None:
                return stop
        return await self._end()

    async def _unrecorded(self, stages: Iterator[Stage]) -> Stop | None:
        while (met := await sprint(self._run, stages)) is not None:
            stage, failure = met
            self._run.current = stage[0].name
            if len(stage) > 1:
                stop = await self._group(stage)
            elif failure is None:
                stop = await self._step(stage[0])
            else:
                stop = await self._retried(stage[0], failure)
            if stop is not None:
                return stop
        self._run.progress.state = SagaState.COMPLETED
        return None

    async def _end(self) -> Stop | None:
        """Let all be done; undo it after all where the end was asked for just now."""
        stop = None if self._run.is_past_pivot() else self._asked_to_end()
        if stop is None:
            self._run.progress.state = SagaState.COMPLETED
        return stop

    async def _may_begin(self) -> Stop | None:
        """Wait while nothing new may begin; say why where it never may."""
        journal = self._run.journal
        if journal is None:
            return None
        if not journal.is_open:
            await journal.ready()
        return self._asked_to_end()

    def _is_inside(self, step: SagaStep, attempt: int) -> bool:
        """Say whether an attempt has to be gone into though the instance is to end.

        It is a run that began in an earlier life, and that alone knows what it has to undo.
        """
        run = self._run
        journal = run.journal
        if journal is None or journal.cancelled_by is None or journal.stopping:
            return False
        if step.calls.action is not Way.RUN or run.surroundings is None:
            return False
        place = run.surroundings.inside(run.place_of(step, attempt, "")).place + "/"
        return any(entry.path.startswith(place) for entry in journal.entries)

    def _asked_to_end(self) -> Stop | None:
        run = self._run
        journal = run.journal
        if journal is None or journal.cancelled_by is None:
            return None
        step = run.current or next(reversed(run.plan.steps), "")
        return Stop(step, WorkflowCancelledError(journal.cancelled_by))

    async def _group(self, stage: Stage) -> Stop | None:
        """Run steps side by side; after a failure those under way come to their end."""
        stops: list[Stop] = []
        failures: list[Exception] = []
        self._halted = halted = trio.Event()

        async def member(step: SagaStep) -> None:
            try:
                stop = None if halted.is_set() else await self._step(step)
            except (StoreError, NotStorableError) as error:
                failures.append(error)  # raised once the others have ended
                halted.set()
                return
            if stop is not None:
                stops.append(stop)
                halted.set()

        try:
            async with trio.open_nursery() as nursery:
                for step in stage:
                    nursery.start_soon(member, step)
        except BaseExceptionGroup as group:
            raise passing(group, f"saga {self._run.saga_id!r}") from None  # noqa: ASYNC104
        finally:
            self._halted = None
        if failures:
            raise failures[0]
        for stop in stops[1:]:
            logger.warning("saga %r: step %r failed as well: %s", self._run.saga_id, *stop)
        return stops[0] if stops else None

    async def _step(self, step: SagaStep) -> Stop | None:
        return await self._retried(step, await self._attempt(step, 1))

    async def _retried(self, step: SagaStep, outcome: Any) -> Stop | None:
        """Go on from what came of the first attempt."""
        outcome = await self._attempts(step, outcome)
        if type(outcome) is Failure:
            return Stop(step.name, outcome.error)
        error = await self._keep(step, outcome)
        return None if error is None else Stop(step.name, error)

    async def _attempts(self, step: SagaStep, outcome: Any) -> Any:
        """Return what came of it in the end: tried again after the first as often as it may be."""
        for attempt in range(2, step.max_retries + 1):
            if type(outcome) is not Failure:
                break
            if not self._is_inside(step, attempt):
                await self._run.pause(step, self._halted)
                if self._halted is not None and self._halted.is_set():
                    break
                stop = await self._may_begin()
                if stop is not None:
                    return Failure(stop.error)
            outcome = await self._attempt(step, attempt)
        return outcome

    async def _attempt(self, step: SagaStep, attempt: int) -> Any:
        run = self._run
        name = step.name
        await trio.lowlevel.checkpoint_if_cancelled()  # what has not begun is not in doubt
        call = run.call_of(step, step.action, step.calls.action, attempt)
        run.in_flight[name] = None
        outcome = await guarded(partial(limited, call, step.timeout), f"saga step {name!r}")
        return run.ended(step, outcome)

    async def _keep(self, step: SagaStep, result: object) -> NotStorableError | None:
        """Record that a step is done; without its result, and as a failure, if that cannot be."""
        run = self._run
        progress, name = run.progress, step.name
        if run.ledger is None:
            progress.done[name] = result
            return None
        lock = None if self._halted is None else run.ledger.lock
        if lock is None:
            return await self._recorded(run.ledger, step, result)
        with trio.CancelScope(shield=True):  # it is done, and nobody knows of it yet
            await lock.acquire()
        try:
            return await self._recorded(run.ledger, step, result)
        finally:
            lock.release()

    async def _recorded(
        self, ledger: Ledger, step: SagaStep, result: object
    ) -> NotStorableError | None:
        run = self._run
        progress, name = run.progress, step.name
        progress.note(DONE, name, {"value": result})
        is_last = len(progress.done) >= len(run.plan.steps)
        has_failed = self._halted is not None and self._halted.is_set()
        if is_last and not has_failed and run.plan.steps.keys() <= progress.done.keys():
            progress.state = SagaState.COMPLETED
        try:
            await ledger.record(progress)
        except NotStorableError as error:
            progress.state = SagaState.RUNNING
            del progress.done[name]  # until the failure is recorded with it
            run.unkept.append(name)
            if self._halted is not None:
                self._halted.set()
            return error
        return None
