"""One execution of a saga: what the way forward and the way back share.

**Where a cancellation may arrive.** In an attempt, and then its step is in doubt; in the wait
between two, in a write, at a checkpoint between steps, and then nothing is. Whoever executes the
saga undoes what is done under a shield, and then lets the cancellation pass. Undos are cut off by
their own time limits alone.

**Where the process may die.** Anywhere. What is recorded stands; what was under way is `presumed`
to have begun until an attempt of this execution has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, final

import trio

from lexigram_actors.errors import SagaStepError, StoreError, describe
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.host.steps import Failure, guarded
from lexigram_actors.invoking import invoke
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga.calling import LATE, late, limited
from lexigram_actors.saga.models import SagaContext, SagaStep, Way, way_of
from lexigram_actors.saga.plan import Plan
from lexigram_actors.saga.progress import Progress
from lexigram_actors.saga.recording import WRITE_TIMEOUT, Ledger, key_of_step

logger = logging.getLogger(__name__)


class Stop(NamedTuple):
    """Why the saga goes no further: at which step, and the error."""

    step: str
    error: object


@final
class Execution:
    """What is under way: how far it is, and how its functions are called.

    Args:
        surroundings: Of the run, where the saga is a part of something; None where it is not.
    """

    __slots__ = (
        "current",
        "deadline",
        "errors",
        "in_flight",
        "ledger",
        "plan",
        "presumed",
        "progress",
        "saga_id",
        "surroundings",
        "unkept",
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
        self.plan = plan
        self.ledger = ledger
        self.unkept: list[str] = []
        """Steps that are done, and whose results cannot be stored."""

    @property
    def at(self) -> str:
        """The step that is under way, the first of several, else the one that is its turn."""
        steps = self.plan.steps
        under_way = (name for name in steps if name in self.in_flight)
        return next(under_way, self.current or next(iter(steps), ""))

    @property
    def steps(self) -> Mapping[str, SagaStep]:
        """The steps by name."""
        return self.plan.steps

    @property
    def journal(self) -> Journal | None:
        """That of the instance; None where no host keeps it."""
        return None if self.ledger is None else self.ledger.journal

    @property
    def is_put_away(self) -> bool:
        """Whether the host lets the instance go: it goes on elsewhere, and nothing is undone."""
        journal = self.journal
        return journal is not None and journal.stopping

    async def record(self) -> None:
        """Record what is news."""
        ledger = self.ledger
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

    def is_past_pivot(self) -> bool:
        return self.plan.is_past_pivot(self.progress)

    def presume(self) -> None:
        stage = next(self.plan.ahead(self.progress), ())
        self.presumed = {step.name for step in stage}

    # --- calling ------------------------------------------------------------------------------

    def call_of(
        self, step: SagaStep, fn: Any, way: Way, attempt: int, purpose: str = ""
    ) -> Callable[[], Awaitable[Any]]:
        """Return what calls an action, an undo or a probe as it wants to be called."""
        if way is Way.RUN:
            place = self.place_of(step, attempt, purpose)
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
        if self.ledger is None:
            return key_of_step(self.saga_id, step.name)
        return self.ledger.key(step.name)

    async def _at_work(self, fn: Callable[..., Any], *args: Any) -> Any:
        if self.journal is None:
            return await invoke(fn, *args)
        with self.journal.at_work():
            return await invoke(fn, *args)

    def place_of(self, step: SagaStep, attempt: int, purpose: str) -> str:
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

    async def failure_of(
        self, step: SagaStep, call: Callable[[], Awaitable[Any]], what: str
    ) -> Exception | None:
        limit = partial(limited, call, step.compensation_timeout)
        outcome = await guarded(limit, f"{what}saga step {step.name!r}")
        if outcome is LATE:
            return late(step, step.compensation_timeout, what)
        if not isinstance(outcome, Failure | Err):
            return None
        return as_exception(step, outcome.error)

    async def probe(self, step: SagaStep) -> bool | None:
        """Ask whether a step happened; None where that cannot be said."""
        await self.may_go_on()
        call = self.call_of(step, step.probe, way_of(step.probe), 1, "#probe")
        answer: list[object] = []

        async def ask() -> Any:
            given = await call()
            answer.append(given.value if isinstance(given, Ok) else given)
            return given

        error = await self.failure_of(step, ask, "the probe of ")
        if error is None and isinstance(answer[0], bool):
            return answer[0]
        why = f"it returned {answer[0]!r:.80}" if error is None else describe(error)
        logger.error("saga %r: the probe of %r does not say: %s", self.saga_id, step.name, why)
        return None

    # --- waiting ------------------------------------------------------------------------------

    async def may_go_on(self) -> None:
        if self.journal is not None and not self.journal.is_open:
            await self.journal.ready()

    async def pause(self, step: SagaStep, halted: trio.Event | None = None) -> None:
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


def as_exception(step: SagaStep, error: object) -> Exception:
    """Return what an undo failed with as an exception."""
    if isinstance(error, Exception):
        return error
    return SagaStepError(step.name, describe(error), error)
