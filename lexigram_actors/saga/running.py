"""One execution of a saga: forward through its steps, backward through their undos.

**Where a cancellation may arrive.** In an attempt, and then its step is in doubt; in the wait
between two, in a write, at a checkpoint between steps, and then nothing is. Whoever executes the
saga undoes what is done under a shield, and then lets the cancellation pass. Undos are cut off by
their own time limits alone.

**Where the process may die.** Anywhere. What is recorded stands; what was under way is `presumed`
to have begun until an attempt of this execution has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, final

import trio

from lexigram_actors.errors import (
    NotStorableError,
    SagaStepError,
    StoreError,
    WorkflowCancelledError,
    WorkflowTimeoutError,
    describe,
)
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.cancelling import passing
from lexigram_actors.host.compensation import (
    BEGAN,
    COMPENSATING,
    DONE,
    PROBED,
    RESUMED,
    STUCK,
    UNDOING,
    UNDONE,
)
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.outcomes import error_record
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.host.steps import Failure, guarded
from lexigram_actors.invoking import invoke
from lexigram_actors.kernel.pacing import Pacer
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga.calling import LATE, late, limited
from lexigram_actors.saga.models import SagaContext, SagaState, SagaStep, Way, way_of
from lexigram_actors.saga.plan import Backward, Park, Plan, Probe, Stage, Undo
from lexigram_actors.saga.progress import Progress
from lexigram_actors.saga.quick import Row, sprint, undo_row
from lexigram_actors.saga.recording import WRITE_TIMEOUT, Ledger, key_of_step

logger = logging.getLogger(__name__)


class Stop(NamedTuple):
    """Why the saga goes no further: at which step, and the error."""

    step: str
    error: object


@final
class Execution:
    """What is under way.

    Args:
        surroundings: Of the run, where the saga is a part of something; None where it is not.
    """

    __slots__ = (
        "_halted",
        "_ledger",
        "_plan",
        "_unkept",
        "current",
        "deadline",
        "errors",
        "in_flight",
        "presumed",
        "progress",
        "saga_id",
        "surroundings",
    )

    def __init__(
        self,
        saga_id: str,
        plan: Plan,
        progress: Progress,
        ledger: Ledger | None,
        errors: dict[str, Exception],
        surroundings: RunContext | None = None,
    ) -> None:
        self.saga_id = saga_id
        self.progress = progress
        self.errors = errors
        """What undos failed with, by step."""
        self.surroundings = surroundings
        self.deadline: float | None = None
        """When the time of the saga is over, by Trio's clock."""
        self.current = ""
        """The step that is its turn."""
        self.in_flight: dict[str, None] = {}
        """Steps of which an attempt has begun, and of which it is not known how it ended."""
        self.presumed: set[str] = set()
        """Steps that may have been under way when an earlier execution ended."""
        self._plan = plan
        self._ledger = ledger
        self._halted: trio.Event | None = None  # of the group that is under way
        self._unkept: list[str] = []  # steps that are done, and their results cannot be stored

    @property
    def at(self) -> str:
        """The step that is under way, the first of several, else the one that is its turn."""
        steps = self._plan.steps
        under_way = (name for name in steps if name in self.in_flight)
        return next(under_way, self.current or next(iter(steps), ""))

    @property
    def steps(self) -> Mapping[str, SagaStep]:
        """The steps by name."""
        return self._plan.steps

    @property
    def journal(self) -> Journal | None:
        """That of the instance; None where no host keeps it."""
        return None if self._ledger is None else self._ledger.journal

    @property
    def is_put_away(self) -> bool:
        """Whether the host lets the instance go: it goes on elsewhere, and nothing is undone."""
        journal = self.journal
        return journal is not None and journal.stopping

    async def record(self) -> None:
        """Record what is news."""
        ledger = self._ledger
        if ledger is None:
            self.progress.news.clear()
        elif ledger.journal is not None:
            await ledger.record(self.progress)
        else:
            with trio.move_on_after(WRITE_TIMEOUT) as scope:  # it may be shielded
                await ledger.record(self.progress)
            if scope.cancelled_caught and not ledger.is_lenient:
                raise StoreError(
                    f"to record saga {self.saga_id!r} took longer than {WRITE_TIMEOUT:g} s",
                    hint="execute the saga again when the store answers",
                )

    # --- forward ------------------------------------------------------------------------------

    async def begin(self, timeout: float | None) -> None:
        """Begin, or go on after a crash, or after a failure past the pivot."""
        progress, ledger = self.progress, self._ledger
        is_new = progress.state is SagaState.PENDING
        over_at: float | None = None
        if progress.failure is not None:
            await self._settle_ahead()
            is_new = True
            over_at = self._over_at(timeout)
            progress.note(RESUMED)
            self._presume()
        elif is_new:
            over_at = self._over_at(timeout)
        else:
            self._presume()
        if progress.deadline is not None or over_at is not None:
            at = progress.deadline if over_at is None else over_at
            now = 0.0 if ledger is None else ledger.now()
            self.deadline = trio.current_time() + (at or 0.0) - now
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
        return timeout + (0.0 if self._ledger is None else self._ledger.now())

    def _presume(self) -> None:
        stage = next(self._plan.ahead(self.progress), ())
        self.presumed = {step.name for step in stage}

    async def _settle_ahead(self) -> None:
        """Ask whether steps happened that were cut off past the pivot."""
        if self._plan.in_doubt != "probe":
            return
        for name in list(self.progress.in_doubt):
            step = self._plan.steps.get(name)
            if step is not None and step.probe is not None and await self._probe(step):
                self.progress.note(PROBED, name, True)

    async def forward(self) -> Stop | None:
        """Go on until all is done (None), a step has failed, or the time is over.

        Raises:
            trio.Cancelled: It is cancelled.
            Suspended: The host lets it go.
            StoreError: What happened cannot be recorded.
        """
        if self.deadline is None:
            return await self._stages()
        with trio.CancelScope(deadline=self.deadline):
            return await self._stages()
        if self.progress.state is SagaState.COMPLETED:
            return None  # that is recorded, and stays
        step = self.at
        why = f"saga {self.saga_id!r} was stopped: its time was over"
        return Stop(step, WorkflowTimeoutError(why, step_name=step))

    async def _stages(self) -> Stop | None:
        if self.deadline is not None and trio.current_time() >= self.deadline:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        stages = iter(self._plan.ahead(self.progress))
        if self._ledger is None:
            return await self._unrecorded(stages)
        pacer = Pacer()
        for stage in stages:
            if pacer.due():
                await trio.lowlevel.checkpoint()
            self.current = stage[0].name
            is_inside = len(stage) == 1 and self._is_inside(stage[0], 1)
            stop = None if is_inside else await self._may_begin()
            if stop is None:
                stop = await (self._step(stage[0]) if len(stage) == 1 else self._group(stage))
            if stop is not None:
                return stop
        return await self._end()

    async def _unrecorded(self, stages: Iterator[Stage]) -> Stop | None:
        while (met := await sprint(self, stages)) is not None:
            stage, failure = met
            self.current = stage[0].name
            if len(stage) > 1:
                stop = await self._group(stage)
            elif failure is None:
                stop = await self._step(stage[0])
            else:
                stop = await self._retried(stage[0], failure)
            if stop is not None:
                return stop
        self.progress.state = SagaState.COMPLETED
        return None

    async def _end(self) -> Stop | None:
        """Let all be done; undo it after all where the end was asked for just now."""
        stop = None if self._is_past_pivot() else self._asked_to_end()
        if stop is None:
            self.progress.state = SagaState.COMPLETED
        return stop

    def _is_past_pivot(self) -> bool:
        return self._plan.is_past_pivot(self.progress)

    async def _may_begin(self) -> Stop | None:
        """Wait while nothing new may begin; say why where it never may."""
        journal = self.journal
        if journal is None:
            return None
        if not journal.is_open:
            await journal.ready()
        return self._asked_to_end()

    def _is_inside(self, step: SagaStep, attempt: int) -> bool:
        """Say whether an attempt has to be gone into though the instance is to end.

        It is a run that began in an earlier life, and that alone knows what it has to undo.
        """
        journal = self.journal
        if journal is None or journal.cancelled_by is None or journal.stopping:
            return False
        if step.calls.action is not Way.RUN or self.surroundings is None:
            return False
        place = self.surroundings.inside(self._place_of(step, attempt, "")).place + "/"
        return any(entry.path.startswith(place) for entry in journal.entries)

    def _asked_to_end(self) -> Stop | None:
        journal = self.journal
        if journal is None or journal.cancelled_by is None:
            return None
        step = self.current or next(reversed(self._plan.steps), "")
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
            raise passing(group, f"saga {self.saga_id!r}") from None  # noqa: ASYNC104
        finally:
            self._halted = None
        if failures:
            raise failures[0]
        for stop in stops[1:]:
            logger.warning("saga %r: step %r failed as well: %s", self.saga_id, *stop)
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
                await self._pause(step, self._halted)
                if self._halted is not None and self._halted.is_set():
                    break
                stop = await self._may_begin()
                if stop is not None:
                    return Failure(stop.error)
            outcome = await self._attempt(step, attempt)
        return outcome

    async def _attempt(self, step: SagaStep, attempt: int) -> Any:
        name = step.name
        await trio.lowlevel.checkpoint_if_cancelled()  # what has not begun is not in doubt
        call = self._call_of(step, step.action, step.calls.action, attempt)
        self.in_flight[name] = None
        outcome = await guarded(partial(limited, call, step.timeout), f"saga step {name!r}")
        return self.ended(step, outcome)

    def ended(self, step: SagaStep, outcome: Any) -> Any:
        """Return what came of an attempt: a value, or a `Failure`."""
        name = step.name
        self.presumed.discard(name)
        if outcome is LATE:  # and in doubt, if there is no other attempt
            return Failure(late(step, step.timeout))
        del self.in_flight[name]
        if type(outcome) is Failure:
            cause = outcome.error
            return Failure(SagaStepError(name, describe(cause), cause))
        if isinstance(outcome, Err):
            return Failure(outcome.error)
        return outcome.value if isinstance(outcome, Ok) else outcome

    async def _pause(self, step: SagaStep, halted: trio.Event | None = None) -> None:
        """Wait between two attempts; not to the end where there is to be no other."""
        if not step.retry_delay:
            await trio.lowlevel.checkpoint()
            return
        with self._waiting(f"another attempt of {step.name!r}"):
            if halted is None:
                await trio.sleep(step.retry_delay)
            else:
                with trio.move_on_after(step.retry_delay):
                    await halted.wait()

    def _waiting(self, what: str) -> Any:
        journal = self.journal
        return nullcontext() if journal is None else journal.waiting(what)

    async def _keep(self, step: SagaStep, result: object) -> NotStorableError | None:
        """Record that a step is done; without its result, and as a failure, if that cannot be."""
        progress, name = self.progress, step.name
        if self._ledger is None:
            progress.done[name] = result
            return None
        lock = None if self._halted is None else self._ledger.lock
        if lock is None:
            return await self._recorded(self._ledger, step, result)
        with trio.CancelScope(shield=True):  # it is done, and nobody knows of it yet
            await lock.acquire()
        try:
            return await self._recorded(self._ledger, step, result)
        finally:
            lock.release()

    async def _recorded(
        self, ledger: Ledger, step: SagaStep, result: object
    ) -> NotStorableError | None:
        progress, name = self.progress, step.name
        progress.note(DONE, name, {"value": result})
        is_last = len(progress.done) >= len(self._plan.steps)
        has_failed = self._halted is not None and self._halted.is_set()
        if is_last and not has_failed and self._plan.steps.keys() <= progress.done.keys():
            progress.state = SagaState.COMPLETED
        try:
            await ledger.record(progress)
        except NotStorableError as error:
            progress.state = SagaState.RUNNING
            del progress.done[name]  # until the failure is recorded with it
            self._unkept.append(name)
            if self._halted is not None:
                self._halted.set()
            return error
        return None

    # --- calling ------------------------------------------------------------------------------

    def _call_of(
        self, step: SagaStep, fn: Any, way: Way, attempt: int, purpose: str = ""
    ) -> Callable[[], Awaitable[Any]]:
        """Return what calls an action, an undo or a probe as it wants to be called."""
        if way is Way.RUN:
            place = self._place_of(step, attempt, purpose)
            return partial(self._run, place, getattr(fn, "__runnable__", fn))
        if way is Way.PLAIN:
            return partial(self._at_work, fn)
        return partial(self._at_work, fn, self.context_for(step, attempt, purpose))

    def context_for(self, step: SagaStep, attempt: int, purpose: str = "") -> SagaContext:
        """Return what a function of a step is told."""
        results = dict(self.progress.done)
        key = self._key(step) + purpose
        return SagaContext(self.saga_id, step.name, attempt, results, key, self.progress.epoch)

    def _key(self, step: SagaStep) -> str:
        if self._ledger is None:
            return key_of_step(self.saga_id, step.name)
        return self._ledger.key(step.name)

    async def _at_work(self, fn: Callable[..., Any], *args: Any) -> Any:
        if self.journal is None:
            return await invoke(fn, *args)
        with self.journal.at_work():
            return await invoke(fn, *args)

    def _place_of(self, step: SagaStep, attempt: int, purpose: str) -> str:
        """Return where a run stands: at the same place it would be found to have failed already."""
        name, rounds = step.name.replace("#", "##"), self.progress.rounds
        if attempt == 1 and not rounds:
            return name + purpose
        return f"{name}{purpose}#{attempt}" + (f".{rounds}" if rounds else "")

    async def _run(self, place: str, runnable: Runnable) -> Any:
        """Run what is a run itself; it says by itself when it is at work."""
        results: Mapping[str, Any] = dict(self.progress.done)
        around = self.surroundings
        if around is None:
            around = RunContext(run_id=self.saga_id)
        return await run_asking(runnable, around.inside(place, input=results, state=results))

    # --- backward -----------------------------------------------------------------------------

    async def backward(self, stop: Stop) -> None:
        """Record why, and undo what is done; shielded, whoever is cancelled.

        Raises:
            Suspended: The host lets it go; the next one goes on with the next undo.
            StoreError: What happened cannot be recorded; no further undo runs.
        """
        for name in self._unkept:
            self.progress.note(DONE, name, {"value": None})
        failure = {"step": stop.step, "error": {}, "in_doubt": self._doubtful()}
        if self._ledger is None:
            self.progress.compensate("", failure)
            await self._unwind_unrecorded()
        else:
            failure["error"] = dict(error_record(stop.error))
            self.progress.note(COMPENSATING, "", failure)
            await self.unwind()

    def _doubtful(self) -> list[str]:
        """Return the steps that were cut off; none where a step has ended with an error."""
        if not self.in_flight and not self.presumed:
            return []
        doubtful = self.in_flight.keys() | self.presumed
        return [n for n in self._plan.steps if n in doubtful and n not in self.progress.done]

    async def take_up(self) -> None:
        """Go on undoing after a crash, or because a person wants it."""
        if self.journal is None:
            self.progress.epoch += 1  # recorded before the next undo begins
        await self.unwind()

    async def unwind(self) -> None:
        """Undo, or go on with it, until nothing is left that can be; shielded."""
        if self._ledger is None:
            await self._unwind_unrecorded()
            return
        with trio.CancelScope(shield=True), self._compensating():
            while (action := await self._next_recorded()) is not None:
                await self._take(action)

    async def _next_recorded(self) -> Backward | None:
        """Record what is news, and what begins now; wait before that while nothing may begin."""
        if self.journal is not None and not self.journal.is_open:
            await self.record()
            await self._may_go_on()
        action = self._next()
        await self.record()
        return action

    async def _unwind_unrecorded(self) -> None:
        progress = self.progress
        if not progress.in_doubt and not self._is_past_pivot():
            while (came := await undo_row(self)) is not Row.UNDONE:
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
        journal = self.journal
        if journal is None:
            yield
        else:
            with journal.compensating():
                yield

    def _next(self) -> Backward | None:
        action = self._plan.backward(self.progress)
        if action is None:
            self.progress.state = SagaState.FAILED
        elif self._ledger is None:
            pass
        elif isinstance(action, Undo) and not action.step.idempotent:
            # Recorded before: after a crash it must not begin a second time.
            self.progress.note(UNDOING, action.step.name)
        return action

    async def _take(self, action: Backward) -> None:
        if isinstance(action, Park):
            self._leave(action.name, action.reason)
            return
        name = action.step.name
        if isinstance(action, Probe):
            happened = await self._probe(action.step)
            if happened is None:
                self._leave(name, "it was cut off, and its probe could not say whether it happened")
            else:
                self.progress.note(PROBED, name, happened)
            return
        self._conclude(action.step, await self._undo(action.step))

    def _conclude(self, step: SagaStep, error: Exception | None) -> None:
        """Keep how an undo ended."""
        name = step.name
        if error is None:
            self.errors.pop(name, None)
            self.progress.note(UNDONE, name)
        else:
            logger.error("saga %r: step %r is not undone: %s", self.saga_id, name, describe(error))
            self.errors[name] = error
            self._leave(name, "its undo failed", error)

    def _leave(self, name: str, reason: str, error: Exception | None = None) -> None:
        record = None if error is None else dict(error_record(error))
        self.progress.note(STUCK, name, {"reason": reason, "error": record})

    async def _undo(self, step: SagaStep, error: Exception | None = None) -> Exception | None:
        """Undo a step; return why that failed, for good.

        Args:
            error: What its first attempt has failed with; None: there was none yet.
        """
        attempts = step.compensation_attempts if step.idempotent else 1
        for attempt in range(1 if error is None else 2, attempts + 1):
            if attempt > 1:  # a host that closes does not wait for it
                await self._pause(step, None if self.journal is None else self.journal.stilled)
            if attempt > 1 or step.idempotent:  # else it is recorded that it begins, and it does
                await self._may_go_on()
            call = self._call_of(step, step.compensation, step.calls.compensation, attempt, "#undo")
            error = await self._failure_of(step, call, "the undo of ")
            if error is None:
                return None
        return error

    async def _may_go_on(self) -> None:
        if self.journal is not None and not self.journal.is_open:
            await self.journal.ready()

    async def _failure_of(
        self, step: SagaStep, call: Callable[[], Awaitable[Any]], what: str
    ) -> Exception | None:
        limit = partial(limited, call, step.compensation_timeout)
        outcome = await guarded(limit, f"{what}saga step {step.name!r}")
        if outcome is LATE:
            return late(step, step.compensation_timeout, what)
        if not isinstance(outcome, Failure | Err):
            return None
        return as_exception(step, outcome.error)

    async def _probe(self, step: SagaStep) -> bool | None:
        """Ask whether a step happened; None where that cannot be said."""
        await self._may_go_on()
        call = self._call_of(step, step.probe, way_of(step.probe), 1, "#probe")
        answer: list[object] = []

        async def ask() -> Any:
            given = await call()
            answer.append(given.value if isinstance(given, Ok) else given)
            return given

        error = await self._failure_of(step, ask, "the probe of ")
        if error is None and isinstance(answer[0], bool):
            return answer[0]
        why = f"it returned {answer[0]!r:.80}" if error is None else describe(error)
        logger.error("saga %r: the probe of %r does not say: %s", self.saga_id, step.name, why)
        return None


def as_exception(step: SagaStep, error: object) -> Exception:
    """Return what an undo failed with as an exception."""
    if isinstance(error, Exception):
        return error
    return SagaStepError(step.name, describe(error), error)
