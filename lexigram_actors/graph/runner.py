"""`WorkflowRunner`: runs a graph with retries, and goes on from where it failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final
from uuid import uuid4

import trio

from lexigram_actors.checks import number, require, whole
from lexigram_actors.errors import (
    CycleDetectedError,
    GraphExecutionError,
    HumanInputRequiredError,
    LexigramError,
    StateConflictError,
    WorkflowStateError,
)
from lexigram_actors.graph.answering import answer, asked_by
from lexigram_actors.graph.checkpoint import Progress, Record, WorkflowCheckpoint
from lexigram_actors.graph.continuation import (
    Continuation,
    Numbers,
    header_of,
    in_order,
    questions_of,
    record_of,
    refuse_foreign,
    replayed,
    snapshot_of,
    unusable,
)
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.driving import drive
from lexigram_actors.graph.engine import WorkflowEngine, without_engine_keys
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.journal import Entry, Journal, Snapshot, journal_of, keeper_of
from lexigram_actors.graph.models import GraphResult, PendingQuestion
from lexigram_actors.graph.state import WorkflowState
from lexigram_actors.graph.visits import Visit
from lexigram_actors.graph.watching import Recorder
from lexigram_actors.host.recorded import claimed
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.result import Result

Outcome = Result[GraphResult, GraphExecutionError]

HOPELESS = (CycleDetectedError, StateConflictError)
"""Failures that come again however often it is tried."""


@final
class WorkflowRunner:
    """Runs an engine, again where it failed, and from the last checkpoint where there is one.

    Args:
        engine: What to run.
        max_retries: Attempts after the first; 0 makes none.
        retry_delay: Seconds between attempts.
        checkpoint: Where to record each node that finished: a `WorkflowCheckpoint` (in memory), a
            store (`open_store(...)`), or a cache. With it a retry runs the failed node and what
            follows, and nothing that finished. None: a retry starts from the beginning; but where
            the engine's configuration has `checkpoint_enabled`, a `WorkflowCheckpoint` is made.

    Raises:
        ConfigurationError: A number is negative.
        TypeError: `checkpoint` is nothing that keeps runs.
    """

    def __init__(
        self,
        engine: WorkflowEngine,
        *,
        max_retries: int = 0,
        retry_delay: float = 1.0,
        checkpoint: Any | None = None,
    ) -> None:
        require("max_retries", max_retries, whole(least=0))
        require("retry_delay", retry_delay, number(least=0))
        if checkpoint is None and engine.config.checkpoint_enabled:
            checkpoint = WorkflowCheckpoint()
        if checkpoint is not None:
            # What keeps no runs is refused here, and not when the first run is under way.
            journal_of(checkpoint, engine.name, "", self._snapshot)
        self.engine = engine
        self.checkpoint = checkpoint
        self._max_retries = max_retries
        self._retry_delay = retry_delay

    async def run(
        self,
        input: Any,
        *,
        state: Mapping[str, Any] | WorkflowState | None = None,
        run_id: str | None = None,
    ) -> Outcome:
        """Run, with retries.

        Args:
            input: As for `WorkflowEngine.execute`.
            state: Further keys to begin with.
            run_id: Names the run. A run of that name that failed, or whose process died, goes on:
                nodes that finished do not run again. It has to be given the same input. None: a
                name is made up, and nothing is kept after the last attempt.

        Returns:
            `Ok`, after which nothing is kept; or the `Err` of the last attempt. What would come
            again for sure (`CycleDetectedError`, `StateConflictError`) is not tried again.

        Cancelled, or after a crash, the run can be gone on with under its `run_id`. Each attempt
        has the whole `total_timeout`.

        Raises:
            HumanInputRequiredError: Nothing can move until a person answers; go on with `resume`.
            StoreError: A node that finished could not be recorded; nothing followed it.
            NotStorableError: What a node wrote has no stored form.
            WorkflowStateError: A run of that name is under way, or was begun with another input.
            WorkflowVersionMismatchError: It was begun under another version of the graph.
        """
        initial = state.as_dict() if isinstance(state, WorkflowState) else state
        if self.checkpoint is None:

            async def attempt() -> Outcome:
                return await self.engine.execute(input, state=initial, run_id=run_id)

            return await self._try(attempt)
        fresh = self.engine.execution(input, None, initial, run_id)
        with self._journal(run_id) as journal:
            kept = await journal.load()
            if kept is None:
                await journal.begin(progress_of(fresh, self._snapshot))
            elif kept.header.get("initial") != fresh.start.state:
                raise WorkflowStateError(
                    f"graph {self.engine.name!r}: run {run_id!r} was begun with another input",
                    hint="go on with the same input, or give the new run a run_id of its own",
                )
            return await self._try_recorded(journal, run_id)

    async def resume(
        self,
        human_response: Any,
        *,
        state: WorkflowState | Mapping[str, Any],
        response_key: str = "human_response",
        node: str | None = None,
    ) -> Outcome:
        """Go on with a run that waits for a person, with retries.

        The answer is kept before anything runs: a retry does not ask again.

        Args:
            human_response: The answer.
            state: The `state` of the `HumanInputRequiredError`, or a `WorkflowState` of it.
            response_key: A key under which the node that asked finds the answer, besides its own.
            node: Which question is answered, where several are open.

        Returns and raises as `run` does, and as `WorkflowEngine.resume` for the answer.
        """
        paused = state.as_dict() if isinstance(state, WorkflowState) else state

        def answered(execution: Execution) -> Execution:
            answer(execution, human_response, node=node, response_key=response_key)
            return execution

        if self.checkpoint is None:

            async def attempt() -> Outcome:
                execution = self.engine.brought_back(paused).execution
                return await drive(answered(execution), self.engine.codec)

            return await self._try(attempt)
        execution = self.engine.brought_back(paused).execution
        progress = self._progress_with(execution, human_response, node, response_key)
        answered(execution)  # a bad answer is refused before anything is written
        with self._journal(execution.run_id) as journal:
            await journal.begin(progress)
            return await self._try_recorded(journal, execution.run_id)

    def _progress_with(
        self, execution: Execution, response: Any, node: str | None, key: str
    ) -> Progress:
        """Return what a journal begins with for a paused run and an answer."""
        progress = progress_of(execution, self._snapshot)
        if response is not None:
            visit, asked = asked_by(execution, node)
            place = [each for each, _ in in_order(execution.questions)].index(visit)
            progress.questions[place]["answer"] = {
                "response": response,
                "node": asked.node,
                "key": key,
            }
        return progress

    def as_runnable(self) -> Runnable:
        """Return the engine as something to run inside something else, by way of this runner.

        It has the engine's kind, name and version; its runs are recorded under the `run_id` they
        are given, and retried.
        """
        return RunnerAsRunnable(self)

    # --- attempts ---------------------------------------------------------------------------

    async def _try(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Make an attempt, and others as long as they fail and are allowed."""
        retries = 0
        while True:
            outcome = await attempt()
            if outcome.is_ok() or isinstance(outcome.unwrap_err(), HOPELESS):
                return outcome
            if retries == self._max_retries:
                return outcome
            retries += 1
            await trio.sleep(self._retry_delay)

    async def _try_recorded(self, journal: Journal, run_id: str | None) -> Outcome:
        """Make attempts that each go on from what is recorded."""

        async def attempt() -> Outcome:
            kept = await journal.load()
            assert kept is not None
            run = self._replayed(kept)
            record = recorder_of(run, journal)
            try:
                return await drive(run.execution, self.engine.codec, record=record)
            except HumanInputRequiredError as error:
                pause = error
            if run_id is None:
                await journal.clear()  # nobody knows the name that was made up for it
            else:
                await journal.ask(questions_of(run.execution, run.numbers))
            raise pause

        outcome = await self._try(attempt)
        if outcome.is_ok() or run_id is None:
            await journal.clear()
        return outcome

    # --- the journal ------------------------------------------------------------------------

    @contextmanager
    def _journal(self, run_id: str | None) -> Iterator[Journal]:
        name = uuid4().hex if run_id is None else run_id
        place, what = f"{self.engine.name}\0{name}", f"graph {self.engine.name!r}"
        with claimed(keeper_of(self.checkpoint), place, what, name):
            yield journal_of(self.checkpoint, self.engine.name, name, self._snapshot)

    def _snapshot(self, kept: Progress) -> Record:
        return snapshot_of(self._replayed(kept, now=0.0).execution, self.engine.codec)

    def _replayed(self, kept: Progress, now: float | None = None) -> Continuation:
        """Return the run as it is recorded, with the answers that were given."""
        graph = self.engine.graph
        refuse_foreign(graph, kept.header)
        try:
            elapsed = max((each["started"] + each["took"] for each in kept.records), default=0.0)
            run = replayed(
                graph,
                self.engine.config,
                kept.header,
                kept.records,
                kept.questions,
                elapsed,
                now,
            )
            for given in run.answers if now is None else ():
                answer(
                    run.execution,
                    given["response"],
                    node=given["node"],
                    response_key=given["key"],
                )
        except LexigramError:
            raise
        except Exception as error:
            raise unusable(graph, error) from error
        run.execution.used = 0.0
        return run


@final
class RunnerAsRunnable:
    """What `WorkflowRunner.as_runnable` returns."""

    __slots__ = ("_runner",)

    def __init__(self, runner: WorkflowRunner) -> None:
        self._runner = runner

    @property
    def kind(self) -> str:
        """`"graph"`."""
        return self._runner.engine.kind

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._runner.engine.name

    @property
    def version(self) -> int:
        """The engine's version."""
        return self._runner.engine.version

    async def run(self, context: RunContext) -> Result[State, Exception]:
        """Run as `WorkflowEngine.run` does, with retries and a record."""
        state = self._runner.engine.state_inside(context)
        result = await self._runner.run("", state=state, run_id=context.run_id)
        return result.map_sync(lambda done: without_engine_keys(done.final_state))

    def pending(self, checkpoint_state: Mapping[str, Any]) -> list[PendingQuestion]:
        """Return the questions that are open in the state of a paused run."""
        return self._runner.engine.pending(checkpoint_state)

    async def resume(
        self, checkpoint_state: Mapping[str, Any], human_response: Any, *, node: str | None = None
    ) -> Outcome:
        """Go on where a run paused, with retries and a record."""
        return await self._runner.resume(human_response, state=checkpoint_state, node=node)


def progress_of(execution: Execution, snapshot: Snapshot) -> Progress:
    """Return what a journal begins with for a run, with what it has done so far."""
    progress = Progress(header_of(execution), snapshot)
    numbers = Numbers(execution.start)
    for visit in execution.finished:
        progress.records.append(record_of(visit, numbers, execution.begun_at))
        numbers.add(visit)
    progress.questions = questions_of(execution, numbers)
    return progress


def recorder_of(run: Continuation, journal: Journal) -> Recorder:
    """Return what records the visits of a run in a journal."""
    execution, numbers = run.execution, run.numbers
    under_way: dict[Visit, Entry] = {}

    def record(visit: Visit) -> Awaitable[None] | None:
        for done in [each for each, entry in under_way.items() if entry.is_written]:
            del under_way[done]
        if visit not in numbers:
            # Its place is taken at once: records of others may wait before the same write.
            under_way[visit] = Entry(record_of(visit, numbers, execution.begun_at))
            numbers.add(visit)
        entry = under_way.get(visit)
        return None if entry is None else journal.append(entry)

    return record
