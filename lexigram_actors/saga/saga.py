"""`AbstractSaga`: steps in order, each with its undo; all of them are done, or none stays done.

| state | on the way forward | what a crash leaves |
| --- | --- | --- |
| PENDING | nothing has begun | nothing |
| RUNNING | steps are done one after the other | the recorded steps; the next runs again |
| COMPENSATING | done steps are undone, the last one first | what is left is undone next time |
| COMPLETED | all is done | the same |
| FAILED | all is undone but what `uncompensated` lists | the same |
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

import trio

from lexigram_actors.checks import choice, number, require
from lexigram_actors.errors import (
    ConfigurationError,
    SagaError,
    SagaStepError,
    SagaVersionMismatchError,
    StoreError,
    WorkflowCancelledError,
    WorkflowCompensationError,
    WorkflowStateError,
)
from lexigram_actors.host.cancelling import passing
from lexigram_actors.host.compensation import AGAIN, FORCED, SKIPPED
from lexigram_actors.host.observing import OBSERVER
from lexigram_actors.host.outcomes import recorded_error
from lexigram_actors.host.recorded import claimed
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga.decorators import step_of
from lexigram_actors.saga.execution import Execution, Stop
from lexigram_actors.saga.forward import Forward
from lexigram_actors.saga.models import SagaState, SagaStep, SagaStoreProtocol
from lexigram_actors.saga.plan import InDoubt, Plan
from lexigram_actors.saga.progress import Progress, progress_from
from lexigram_actors.saga.recording import JournalLedger, Ledger, SagaLedger
from lexigram_actors.saga.stores import saga_store_in
from lexigram_actors.saga.unwinding import Unwinding

if TYPE_CHECKING:
    from lexigram_actors.saga.runnable import SagaRunnable

logger = logging.getLogger(__name__)

T = TypeVar("T")

NOT_KNOWN: Final = object()

Outcome = Result[None, SagaError]


class Busy:
    """While a saga is executed; of its id there is one at a time on one store."""

    __slots__ = ("_claim", "_saga")

    def __init__(self, saga: AbstractSaga[Any]) -> None:
        self._saga = saga
        self._claim: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        saga = self._saga
        id = saga.get_id()
        if not isinstance(id, str):
            raise TypeError(f"{type(saga).__name__}.get_id() returned {id!r:.80}, which is no str")
        if saga._store is not None:
            owner = getattr(saga._store, "cache", saga._store)
            self._claim = claimed(owner, f"saga/{id}", f"saga {id!r}", id)
            self._claim.__enter__()
        saga._is_busy = True

    def __exit__(self, *error: object) -> None:
        self._saga._is_busy = False
        if self._claim is not None:
            self._claim.__exit__(None, None, None)


class AbstractSaga(ABC, Generic[T]):
    """A sequence of steps that is undone when one of them fails.

    Subclasses say who they are (`get_id`) and when they are through (`is_completed`), and add their
    steps. Not to be shared between tasks: `execute` while it is executed is refused.

    **Cancelled**, it undoes what is done, under a shield and within the limits of each undo, and
    then lets the cancellation pass. A step that was cut off is in doubt: see `in_doubt`.

    **After a crash** a saga of the same id on the same store goes on: from the step that was in
    flight, which runs again, or with the next undo. An undo that was in flight runs again if it is
    idempotent; else it is left to a person.

    Args:
        store: Keeps its progress: a saga store, or a `Store` of `open_store`. None: nothing does.
        timeout: Seconds for all steps together, over crashes; None: no limit. Undos have theirs.
        in_doubt: What is done about a step that was cut off by a time-out or a cancellation.
            `"auto"`: it is undone if its undo is idempotent, else left to a person. `"probe"`: its
            `probe` is asked first, if it has one.
        on_store_error: `"stop"`: nothing more runs once something cannot be recorded, no undo
            either. `"continue"`: that is logged, and the saga goes on.

    Attributes:
        VERSION: Of the steps; raise it when they change so that a saga that is under way cannot
            go on with them.
        compensation_errors: What undos failed with, by step.

    Raises:
        ConfigurationError: A setting is none that it could be.
        TypeError: The store is none.
    """

    VERSION: ClassVar[int] = 1

    def __init__(
        self,
        store: Any = None,
        *,
        timeout: float | None = None,
        in_doubt: InDoubt = "auto",
        on_store_error: Literal["stop", "continue"] = "stop",
    ) -> None:
        self._store: SagaStoreProtocol | None = saga_store_in(store)
        if timeout is not None:
            require("timeout", timeout, number(above=0))
        if in_doubt != "auto":
            require("in_doubt", in_doubt, choice("auto", "probe"))
        if on_store_error != "stop":
            require("on_store_error", on_store_error, choice("stop", "continue"))
        self._timeout = timeout
        self._lenient = on_store_error == "continue"
        self._plan = Plan(in_doubt)
        self._progress = Progress(self.VERSION)
        self._is_busy = False
        self._failure: object = NOT_KNOWN  # the error of this execution, whole
        self.compensation_errors: dict[str, Exception] = {}

    # --- who it is ----------------------------------------------------------------------------

    @abstractmethod
    def get_id(self) -> str:
        """Return what names this saga among all in its store."""

    @abstractmethod
    def is_completed(self) -> bool:
        """Say whether no further step remains, for good or for bad."""

    def get_version(self) -> int:
        """Return the version of the steps."""
        return self.VERSION

    def is_compatible_with(self, stored_version: int) -> bool:
        """Say whether a saga that was begun under that version may go on here.

        Override it to let some; then the steps must bear what the older ones have recorded.
        """
        return stored_version == self.get_version()

    # --- steps --------------------------------------------------------------------------------

    def add_step(self, step: SagaStep | Callable[..., Any]) -> None:
        """Append a step, or a function marked `@saga_step()`.

        Raises:
            ConfigurationError: Its name is taken, or no name.
            TypeError: It is no step.
            WorkflowStateError: The saga has begun.
        """
        self._add((step_of(step),))

    def add_parallel(self, *steps: SagaStep | Callable[..., Any]) -> None:
        """Append steps that are done side by side.

        When one fails, no new attempt of the others begins; what is under way comes to its end, and
        is undone. They are undone one after the other, in the reverse of the order they ended in.

        Raises:
            ConfigurationError: There is none, or a name is taken.
            TypeError: One is no step.
            WorkflowStateError: The saga has begun.
        """
        if not steps:
            raise ConfigurationError("add_parallel() takes at least one step")
        self._add(tuple(map(step_of, steps)))

    def _add(self, stage: tuple[SagaStep, ...]) -> None:
        if self._is_busy:
            raise WorkflowStateError("a saga that is executed takes no further steps")
        self._plan.add(stage)

    # --- how far it is ------------------------------------------------------------------------

    @property
    def state(self) -> SagaState:
        """How far it is, as far as this object knows: from its last call."""
        return self._progress.state

    @state.setter
    def state(self, state: SagaState) -> None:
        self._progress.state = SagaState(state)

    @property
    def results(self) -> Mapping[str, Any]:
        """What the steps that are done returned, by name; a copy."""
        return dict(self._progress.done)

    @property
    def completed(self) -> list[str]:
        """The steps that are done, in the order they ended, whether or not they were undone."""
        return list(self._progress.done)

    @property
    def uncompensated(self) -> list[str]:
        """The steps that could not be undone, and wait for the decision of a person."""
        return list(self._progress.stuck)

    def was_compensated(self, step_name: str) -> bool:
        """Say whether a step is undone, by its compensation or by hand."""
        return step_name in self._progress.undone

    # --- going on -----------------------------------------------------------------------------

    async def execute(self) -> Outcome:
        """Do all steps, or undo those that were done; go on where an earlier execution was cut off.

        A saga that is stored as COMPLETED is `Ok`, one that is FAILED the stored `Err`; neither
        runs anything, but for a saga that failed past its pivot, which goes on there.

        Returns:
            `Ok(None)`, or an `Err` of a `SagaError` with what could not be undone; of a
            `SagaVersionMismatchError` where the stored saga is of another version: it is untouched.

        Raises:
            StoreError: What happened cannot be recorded. Nothing more runs, no undo either; execute
                it again when the store is mended.
            WorkflowStateError: It is being executed.
        """
        with self._busy():
            ledger = self._ledger()
            if ledger is not None:
                refusal = await self._load(ledger)
                if refusal is not None:
                    return Err(refusal)
            return await self._go(self._execution(ledger))

    async def _go(self, execution: Execution) -> Outcome:
        """Go on from wherever it is, and tell whoever observes."""
        if self.state is SagaState.COMPLETED or (
            self.state is SagaState.FAILED and not self._is_past_pivot()
        ):
            await self._record_marks(execution)
            return self._outcome()
        observer = OBSERVER.get()
        if observer is None:
            return await self._go_on(execution)
        return await observer.watch(self.get_id(), type(self).__name__, self._go_on, execution)

    async def _go_on(self, execution: Execution) -> Outcome:
        if self.state is SagaState.COMPENSATING:
            await Unwinding(execution).take_up()
        else:
            await self._forward(execution)
        return self._outcome()

    def _outcome(self) -> Outcome:
        return Ok(None) if self.state is SagaState.COMPLETED else Err(self._error())

    async def _record_marks(self, execution: Execution) -> None:
        """Record what was marked as undone, where nothing else is to be recorded."""
        if self._progress.news:
            await execution.record()

    def _is_past_pivot(self) -> bool:
        return self._plan.is_past_pivot(self._progress)

    async def _forward(self, execution: Execution) -> None:
        try:
            forward = Forward(execution)
            await forward.begin(self._timeout)
            stop = await forward.go_on()
        except BaseException as error:
            passed = passing(error, f"saga {execution.saga_id!r}")
            if not isinstance(passed, trio.Cancelled) or execution.is_put_away:
                raise
            if self.state is SagaState.COMPLETED:
                raise  # that is recorded, and stays
            await self._cancelled(execution)  # noqa: ASYNC102 - shielded in there, undo by undo
            raise
        if stop is not None:
            self._failure = stop.error
            await Unwinding(execution).begin(stop)

    async def _cancelled(self, execution: Execution) -> None:
        """Undo what is done, since somebody cancelled it."""
        journal = execution.journal
        reason = None if journal is None else journal.cancelled_by
        error = WorkflowCancelledError("cancelled" if reason is None else reason)
        self._failure = error
        try:
            await Unwinding(execution).begin(Stop(execution.at, error))
        except Exception:  # the cancellation is what passes
            logger.exception("saga %r was cancelled, and is not undone", execution.saga_id)

    def _error(self) -> SagaError:
        """Return why it failed."""
        failure = self._progress.failure or {"step": "", "error": {"message": "it failed"}}
        cause = recorded_error(failure["error"]) if self._failure is NOT_KNOWN else self._failure
        return SagaError(
            failure["step"],
            cause,
            compensation_errors=self.compensation_errors,
            uncompensated=self.uncompensated,
        )

    # --- what a person decides ----------------------------------------------------------------

    async def compensate(self) -> None:
        """Undo what is done and neither undone nor given up, though no step has failed.

        Raises:
            WorkflowCompensationError: Some undo failed, or could not be tried.
            WorkflowStateError: It is past its pivot, or being executed.
            StoreError: What happened cannot be recorded; no further undo runs.
        """
        with self._busy():
            execution = await self._taken_up()
            progress = self._progress
            if progress.state is SagaState.PENDING:
                return
            if self._is_past_pivot():
                raise WorkflowStateError(
                    f"saga {execution.saga_id!r} is past its pivot: nothing is undone",
                    hint="execute() goes on with the steps after it",
                )
            self._want_again()
            if progress.failure is None:
                if progress.state is SagaState.RUNNING:
                    execution.presume()
                self._failure = error = SagaStepError("", "compensate() was called")
                await Unwinding(execution).begin(Stop(execution.at, error))
            else:
                progress.state = SagaState.COMPENSATING
                await Unwinding(execution).take_up()
            self._check_undone()

    async def retry_compensation(self) -> None:
        """Try again to undo what could not be undone: the decision of a person.

        Each undo is tried, whether or not it is idempotent. Nothing where all is undone.

        Raises:
            WorkflowCompensationError: Some undo failed again, or there is none.
            WorkflowStateError: The saga has not come to its end: `execute` goes on with it.
            StoreError: What happened cannot be recorded; no further undo runs.
        """
        with self._busy():
            execution = await self._taken_up()
            if not self._progress.stuck:
                await self._record_marks(execution)
                return
            if self._progress.state is not SagaState.FAILED:
                raise WorkflowStateError(
                    f"saga {execution.saga_id!r} is {self.state.value}",
                    hint="execute() goes on with it",
                )
            self._want_again()
            await Unwinding(execution).take_up()
            self._check_undone()

    def _want_again(self) -> None:
        for name in list(self._progress.stuck):
            self._progress.note(AGAIN, name)

    def _check_undone(self) -> None:
        left = self.uncompensated
        if left:
            errors = list(self.compensation_errors.values())
            cause = ExceptionGroup("undos that failed", errors) if errors else None
            raise WorkflowCompensationError(
                f"not undone: {', '.join(map(repr, left))}",
                step_name=left[0],
                details={"uncompensated": left},
                cause=cause,
            ) from cause

    def mark_compensated(self, step_name: str) -> None:
        """Say that a step was undone by other means; recorded with what is recorded next."""
        self._progress.note(FORCED, step_name)
        self.compensation_errors.pop(step_name, None)

    async def skip_compensation(self, step_name: str) -> None:
        """Give up on undoing a step; durable on return.

        Raises:
            WorkflowStateError: It is none of `uncompensated`.
            StoreError: It cannot be recorded.
        """
        with self._busy():
            execution = await self._taken_up()
            if step_name not in self._progress.stuck:
                raise WorkflowStateError(
                    f"saga {execution.saga_id!r} waits for no decision on {step_name!r}",
                    details={"uncompensated": self.uncompensated},
                    hint=f"it waits for one on: {', '.join(self.uncompensated) or 'nothing'}",
                )
            self._progress.note(SKIPPED, step_name)
            self.compensation_errors.pop(step_name, None)
            await execution.record()

    # --- taking up ----------------------------------------------------------------------------

    def _busy(self) -> Busy:
        """Let nobody else have the saga meanwhile.

        Raises:
            WorkflowStateError: Somebody has it.
        """
        if self._is_busy:
            raise WorkflowStateError(f"saga {self.get_id()!r} is being executed")
        return Busy(self)

    def _ledger(self) -> SagaLedger | None:
        if self._store is None:
            return None
        self._progress.version = self.get_version()
        return SagaLedger(self._store, self.get_id(), is_lenient=self._lenient)

    def _execution(
        self, ledger: Ledger | None, surroundings: RunContext | None = None
    ) -> Execution:
        return Execution(
            self.get_id(),
            self._plan,
            self._progress,
            ledger,
            self.compensation_errors,
            surroundings,
        )

    async def _taken_up(self) -> Execution:
        """Return what acts on the saga as it is stored.

        Raises:
            SagaVersionMismatchError: It is of another version.
        """
        ledger = self._ledger()
        if ledger is not None:
            refusal = await self._load(ledger)
            if refusal is not None:
                raise refusal
        return self._execution(ledger)

    async def _load(self, ledger: SagaLedger) -> SagaVersionMismatchError | None:
        """Take over what is stored; return why it cannot be."""
        try:
            loaded = await ledger.load()
        except StoreError:
            if not self._lenient:
                raise
            logger.exception("saga %r: what is stored cannot be read", self.get_id())
            return None
        if loaded is None:
            return None
        version, state, data = loaded
        if not self.is_compatible_with(version):
            return SagaVersionMismatchError(self.get_id(), self.get_version(), version)
        stored = progress_from(state, data)
        if not self._progress.is_ahead or stored.epoch > self._progress.epoch:
            self._take_over(stored)
        return None

    def _take_over(self, stored: Progress) -> None:
        """Go on from what is recorded, and what was marked here since."""
        known = self._progress
        stored.version = self.get_version()
        for name in known.undone:
            if name not in stored.undone:
                stored.note(FORCED, name)
        self._progress = stored
        if known.failure is None or known.failure != stored.failure:
            self._failure = NOT_KNOWN
        for name in list(self.compensation_errors):
            if name not in stored.stuck:
                del self.compensation_errors[name]
        for name, why in stored.stuck.items():
            if name not in self.compensation_errors and why.get("error"):
                self.compensation_errors[name] = recorded_error(why["error"])

    # --- as a part of something ---------------------------------------------------------------

    @classmethod
    def as_runnable(
        cls, make: Callable[[Any], AbstractSaga[Any]] | None = None, *, name: str | None = None
    ) -> SagaRunnable:
        """Return what hosts, pipelines, graphs and durable functions run sagas of this class by.

        In a host it records in the journal of the instance, and not in a store of its own.

        Args:
            make: Returns a new saga for an input; called again after a crash, so it must do no
                more. None: the class is called, with the input as its only argument.
            name: None: the name of the class.
        """
        from lexigram_actors.saga.runnable import SagaRunnable

        return SagaRunnable(cls, make, name)

    async def _run_in(self, context: RunContext) -> Outcome:
        """Go on as a part of an instance."""
        assert context.journal is not None
        with self._busy_alone():
            ledger = JournalLedger(context.journal, context.place)
            self._take_over(ledger.load(self.get_version()))
            if self.state is SagaState.COMPENSATING and self._is_past_pivot():
                self.state = SagaState.FAILED  # which is not recorded here; it goes on ahead
            return await self._go(self._execution(ledger, context))

    @contextmanager
    def _busy_alone(self) -> Iterator[None]:
        store, self._store = self._store, None
        try:
            with self._busy():
                yield
        finally:
            self._store = store
