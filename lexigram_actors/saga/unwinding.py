"""The way back: undo after undo, each under a shield and within its own time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import trio

from lexigram_actors.errors import describe
from lexigram_actors.host.compensation import COMPENSATING, DONE, PROBED, STUCK, UNDOING, UNDONE
from lexigram_actors.host.outcomes import error_record
from lexigram_actors.saga.execution import Execution, Stop, as_exception
from lexigram_actors.saga.models import SagaState, SagaStep
from lexigram_actors.saga.plan import Backward, Park, Probe, Undo
from lexigram_actors.saga.quick import Row, undo_row

logger = logging.getLogger(__name__)


@final
class Unwinding:
    """An execution on its way back."""

    __slots__ = ("_run",)

    def __init__(self, run: Execution) -> None:
        self._run = run

    async def begin(self, stop: Stop) -> None:
        """Record why, and undo what is done; shielded, whoever is cancelled.

        Raises:
            Suspended: The host lets it go; the next one goes on with the next undo.
            StoreError: What happened cannot be recorded; no further undo runs.
        """
        run = self._run
        for name in run.unkept:
            run.progress.note(DONE, name, {"value": None})
        failure = {"step": stop.step, "error": {}, "in_doubt": self._doubtful()}
        if run.ledger is None:
            run.progress.compensate("", failure)
            await self._unwind_unrecorded()
        else:
            failure["error"] = dict(error_record(stop.error))
            run.progress.note(COMPENSATING, "", failure)
            await self._unwind()

    def _doubtful(self) -> list[str]:
        """Return the steps that were cut off; none where a step has ended with an error."""
        run = self._run
        if not run.in_flight and not run.presumed:
            return []
        doubtful = run.in_flight.keys() | run.presumed
        return [n for n in run.plan.steps if n in doubtful and n not in run.progress.done]

    async def take_up(self) -> None:
        """Go on undoing after a crash, or because a person wants it."""
        if self._run.journal is None:
            self._run.progress.epoch += 1  # recorded before the next undo begins
        await self._unwind()

    async def _unwind(self) -> None:
        """Undo, or go on with it, until nothing is left that can be; shielded."""
        if self._run.ledger is None:
            await self._unwind_unrecorded()
            return
        with trio.CancelScope(shield=True), self._compensating():
            while (action := await self._next_recorded()) is not None:
                await self._take(action)

    async def _next_recorded(self) -> Backward | None:
        """Record what is news, and what begins now; wait before that while nothing may begin."""
        run = self._run
        if run.journal is not None and not run.journal.is_open:
            await run.record()
            await run.may_go_on()
        action = self._next()
        await run.record()
        return action

    async def _unwind_unrecorded(self) -> None:
        progress = self._run.progress
        if not progress.in_doubt and not self._run.is_past_pivot():
            while (came := await undo_row(self._run)) is not Row.UNDONE:
                if came is not Row.HAS_MORE:
                    step, error = came
                    with trio.CancelScope(shield=True):
                        self._conclude(step, await self._undo(step, as_exception(step, error)))
            progress.state = SagaState.FAILED
        else:
            while (action := self._next()) is not None:
                with trio.CancelScope(shield=True):
                    await self._take(action)
        progress.news.clear()

    @contextmanager
    def _compensating(self) -> Iterator[None]:
        journal = self._run.journal
        if journal is None:
            yield
        else:
            with journal.compensating():
                yield

    def _next(self) -> Backward | None:
        run = self._run
        action = run.plan.backward(run.progress)
        if action is None:
            run.progress.state = SagaState.FAILED
        elif run.ledger is None:
            pass
        elif isinstance(action, Undo) and not action.step.idempotent:
            # Recorded before: after a crash it must not begin a second time.
            run.progress.note(UNDOING, action.step.name)
        return action

    async def _take(self, action: Backward) -> None:
        if isinstance(action, Park):
            self._leave(action.name, action.reason)
            return
        name = action.step.name
        if isinstance(action, Probe):
            happened = await self._run.probe(action.step)
            if happened is None:
                self._leave(name, "it was cut off, and its probe could not say whether it happened")
            else:
                self._run.progress.note(PROBED, name, happened)
            return
        self._conclude(action.step, await self._undo(action.step))

    def _conclude(self, step: SagaStep, error: Exception | None) -> None:
        """Keep how an undo ended."""
        run = self._run
        name = step.name
        if error is None:
            run.errors.pop(name, None)
            run.progress.note(UNDONE, name)
        else:
            logger.error("saga %r: step %r is not undone: %s", run.saga_id, name, describe(error))
            run.errors[name] = error
            self._leave(name, "its undo failed", error)

    def _leave(self, name: str, reason: str, error: Exception | None = None) -> None:
        record = None if error is None else dict(error_record(error))
        self._run.progress.note(STUCK, name, {"reason": reason, "error": record})

    async def _undo(self, step: SagaStep, error: Exception | None = None) -> Exception | None:
        """Undo a step; return why that failed, for good.

        Args:
            error: What its first attempt has failed with; None: there was none yet.
        """
        run = self._run
        attempts = step.compensation_attempts if step.idempotent else 1
        for attempt in range(1 if error is None else 2, attempts + 1):
            if attempt > 1:  # a host that closes does not wait for it
                await run.pause(step, None if run.journal is None else run.journal.stilled)
            if attempt > 1 or step.idempotent:  # else it is recorded that it begins, and it does
                await run.may_go_on()
            call = run.call_of(step, step.compensation, step.calls.compensation, attempt, "#undo")
            error = await run.failure_of(step, call, "the undo of ")
            if error is None:
                return None
        return error
