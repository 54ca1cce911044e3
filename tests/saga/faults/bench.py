"""The saga of a case: what its steps do, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio
from attrs import define, field

from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga import AbstractSaga, SagaContext, SagaState, SagaStep
from tests.saga.faults.dying import Living
from tests.saga.faults.plans import (
    FOREVER,
    SAGA_TIMEOUT,
    STEP_TIMEOUT,
    UNDO_TIMEOUT,
    Case,
    StepPlan,
)
from tests.saga.faults.states import Event

RETRY_DELAY: Final = 1.0


class UndoFailed(Exception):
    """Of an undo that is to fail."""


class TriedSaga(AbstractSaga[Any]):
    """The saga of a case."""

    def __init__(self, id: str, store: Any, **options: Any) -> None:
        super().__init__(store, **options)
        self._id = id

    def get_id(self) -> str:
        return self._id

    def is_completed(self) -> bool:
        return self.state in (SagaState.COMPLETED, SagaState.FAILED)


def saga_of(bench: Trial, life: Living, store: Any, id: str) -> AbstractSaga[Any]:
    """Make the saga of a case, as a process that begins would."""
    case = bench.case
    saga = TriedSaga(
        id,
        store,
        timeout=SAGA_TIMEOUT if case.fault == "overdue" else None,
        in_doubt="probe" if case.probes else "auto",
    )
    stages: dict[int, list[SagaStep]] = {}
    for step in case.steps:
        stages.setdefault(step.stage, []).append(step_of(bench, life, step))
    for stage in stages.values():
        if len(stage) == 1:
            saga.add_step(stage[0])
        else:
            saga.add_parallel(*stage)
    return saga


def step_of(bench: Trial, life: Living, step: StepPlan) -> SagaStep:
    async def action(context: SagaContext) -> Result[Any, Exception]:
        return await bench.act(life, step, context)

    async def undo(context: SagaContext) -> Result[None, Exception] | None:
        return await bench.undo(life, step, context)

    async def probe() -> bool:
        return await bench.probe(life, step)

    return SagaStep(
        step.name,
        action,
        undo if step.undo else None,
        max_retries=step.attempts,
        retry_delay=RETRY_DELAY,
        idempotent=step.idempotent,
        timeout=STEP_TIMEOUT if bench.case.fault == "late" else None,
        compensation_timeout=UNDO_TIMEOUT,
        compensation_attempts=step.undo_attempts,
        probe=probe if bench.case.probes else None,
        pivot=step.pivot,
    )


@define
class Trial:
    """All lives of one case, and what happened in them.

    Attributes:
        canceller: Of the life that goes on: cancels the saga, now or after so many seconds.
        on_event: Called with each event of an effect.
        is_closing: Whether what is cut off now is so because its host closes: as in a crash.
        keys: Of each effect, the idempotency keys that it was given.
        tokens: Of each effect, what told its beginnings apart.
    """

    case: Case
    events: list[Event] = field(factory=list)
    canceller: Callable[[float], None] | None = None
    on_event: Callable[[Event], None] | None = None
    is_closing: Callable[[], bool] = bool
    cancelled: bool = False
    keys: dict[str, set[str]] = field(factory=dict)
    tokens: dict[str, list[tuple[Any, ...]]] = field(factory=dict)

    def tell(self, life: Living, event: Event) -> None:
        if life.is_dead:
            life.moment()
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    def count(self, what: str, name: str, *hows: str) -> int:
        return sum(
            each.what == what and each.name == name and (not hows or each.how in hows)
            for each in self.events
        )

    def cancel_once(self, delay: float = 0.0) -> None:
        if not self.cancelled and self.canceller is not None:
            self.cancelled = True
            self.canceller(delay)

    def note_context(self, what: str, context: SagaContext) -> None:
        assert what.endswith(context.step_name)
        self.keys.setdefault(what, set()).add(context.idempotency_key)
        tokens = self.tokens.setdefault(what, [])
        token = (context.epoch, context.attempt)
        tokens.append(token)  # looked at in the end: the saga would take an error for the step's

    async def act(
        self, life: Living, step: StepPlan, context: SagaContext
    ) -> Result[Any, Exception]:
        case, is_met = self.case, step.name == self.case.at
        how = case.action(step.name, 1 + self.count("did", step.name))
        life.moment()
        self.tell(life, Event("do", step.name))
        self.note_context(f"do {step.name}", context)
        life.moment()
        if is_met and case.fault == "cancel":
            self.cancel_once()
        await self.take(life, Event("did", step.name), FOREVER if how == "hang" else step.seconds)
        life.moment()
        self.tell(life, Event("did", step.name, how))
        life.moment()
        if is_met and case.fault == "wait":
            self.cancel_once(RETRY_DELAY / 2)
        if how == "raise":
            raise OSError("no route")
        return Ok({"of": step.name}) if how == "ok" else Err(OSError("no"))

    async def take(self, life: Living, event: Event, seconds: float) -> None:
        """Let an effect take its time; tell where it is cut off."""
        limit = UNDO_TIMEOUT if event.what == "undid" else STEP_TIMEOUT
        began = trio.current_time()
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            is_late = trio.current_time() >= began + limit
            if not life.is_dead and (is_late or not self.is_closing()):
                self.tell(life, event._replace(how="cut"))
            raise

    async def undo(
        self, life: Living, step: StepPlan, context: SagaContext
    ) -> Result[None, Exception] | None:
        failures = self.count("undid", step.name, "err", "raise", "cut")
        how = self.case.compensation(step.name, failures)
        life.moment()
        self.tell(life, Event("undo", step.name))
        self.note_context(f"undo {step.name}", context)
        life.moment()
        if step.name == self.case.cut_at:
            self.cancel_once()
        await self.take(life, Event("undid", step.name), FOREVER if how == "hang" else 1)
        life.moment()
        self.tell(life, Event("undid", step.name, how))
        life.moment()
        if how == "raise":
            raise UndoFailed(step.name)
        return Err(UndoFailed(step.name)) if how == "err" else None

    async def probe(self, life: Living, step: StepPlan) -> bool:
        life.moment()
        self.tell(life, Event("probe", step.name))
        life.moment()
        await self.take(life, Event("probed", step.name), 1)
        self.tell(life, Event("probed", step.name, self.case.probe))
        life.moment()
        if self.case.probe == "raise":
            raise OSError("nobody knows")
        return self.case.probe == "yes"
