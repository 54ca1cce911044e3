"""`WorkflowRunner`: runs a graph with retries, and goes on from where it failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from lexigram_actors.checks import number, require, whole
from lexigram_actors.graph.answering import answer, checked_answer
from lexigram_actors.graph.attempts import Outcome, RecordedRuns, Retries
from lexigram_actors.graph.checkpoint import WorkflowCheckpoint
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.driving import drive
from lexigram_actors.graph.engine import WorkflowEngine, plain_outcome
from lexigram_actors.graph.models import PendingQuestion
from lexigram_actors.graph.state import WorkflowState
from lexigram_actors.host.observing import OBSERVER, observed
from lexigram_actors.host.seam import Resumable, RunContext
from lexigram_actors.result import Result


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
        self.engine = engine
        self.checkpoint = checkpoint
        self.retries = Retries(max_retries, retry_delay)
        self._recorded = (
            None if checkpoint is None else RecordedRuns(engine, checkpoint, self.retries)
        )

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
        return await observed(run_id, self.engine.name, self._run, input, initial, run_id)

    async def _run(
        self, input: Any, initial: Mapping[str, Any] | None, run_id: str | None
    ) -> Outcome:
        if self._recorded is not None:
            return await self._recorded.run(input, initial, run_id)

        async def attempt() -> Outcome:
            return await self.engine.execute(input, state=initial, run_id=run_id)

        return await self.retries.make(attempt)

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
        observer = OBSERVER.get()
        if observer is None:
            return await self._resume(paused, human_response, node, response_key)
        run_id = self.engine.brought_back(paused).execution.run_id
        return await observer.watch_on(
            run_id, self.engine.name, self._resume, paused, human_response, node, response_key
        )

    async def _resume(
        self, paused: Mapping[str, Any], human_response: Any, node: str | None, response_key: str
    ) -> Outcome:
        if self._recorded is not None:
            return await self._recorded.resume(paused, human_response, node=node, key=response_key)

        async def attempt() -> Outcome:
            execution = self.engine.brought_back(paused).execution
            answer(execution, human_response, node=node, response_key=response_key)
            return await drive(execution, self.engine.codec)

        return await self.retries.make(attempt)

    def as_runnable(self) -> Resumable:
        """Return the engine as something to run inside something else, by way of this runner.

        It has the engine's kind, name and version; its runs are recorded under the `run_id` they
        are given, and retried. In a host they are recorded in the journal of the instance, and not
        in the runner's checkpoint.
        """
        return RunnerAsRunnable(self)


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
        engine = self._runner.engine
        state = engine.state_inside(context)
        if context.record is not None:
            result = await self._hosted(context).run("", state, context.run_id)
        else:
            result = await self._runner.run("", state=state, run_id=context.run_id)
        return plain_outcome(result)

    def check_answer(self, paused: Mapping[str, Any], node: str, answer: Any) -> Any:
        """Return the answer as the node gets it; see `WorkflowEngine.check_answer`."""
        return checked_answer(self._runner.engine.brought_back(paused).execution, node, answer)

    async def go_on(
        self, context: RunContext, paused: Mapping[str, Any], answer: Any, *, node: str | None
    ) -> Result[State, Exception]:
        """Go on as `WorkflowEngine.go_on` does, with retries and a record."""
        if context.record is not None:
            return plain_outcome(await self._hosted(context).resume(paused, answer, node=node))
        return plain_outcome(await self.resume(paused, answer, node=node))

    def _hosted(self, context: RunContext) -> RecordedRuns:
        return RecordedRuns(self._runner.engine, context.record, self._runner.retries, context)

    def pending(self, checkpoint_state: Mapping[str, Any]) -> list[PendingQuestion]:
        """Return the questions that are open in the state of a paused run."""
        return self._runner.engine.pending(checkpoint_state)

    async def resume(
        self, checkpoint_state: Mapping[str, Any], human_response: Any, *, node: str | None = None
    ) -> Outcome:
        """Go on where a run paused, with retries and a record."""
        return await self._runner.resume(human_response, state=checkpoint_state, node=node)
