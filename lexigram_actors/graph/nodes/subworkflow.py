"""`SubworkflowNode`: runs a whole workflow as one node."""

from __future__ import annotations

from typing import Any, ClassVar, final

from attrs import evolve

from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    GraphValidationError,
    HumanInputRequiredError,
    MissingExtraError,
    NotStorableError,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.graph.models import NodeType, PendingQuestion
from lexigram_actors.graph.node import NestedAnswer
from lexigram_actors.graph.nodes.calling import CallingNode, OnError, missing, outcome_of
from lexigram_actors.graph.state import HOSTED, RUN_ID
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.seam import Resumable, RunContext, Runnable
from lexigram_actors.invoking import as_result, invoke

ABOUT_THE_ANSWER = (
    HumanInputRequiredError,
    AnswerInvalidError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
"""What `resume` raises at whoever answers; the workflow inside did not fail by it."""

MISUSE = (ConfigurationError, GraphValidationError, MissingExtraError, NotStorableError)
"""What says that the workflow inside cannot run as it is, or cannot be kept for an answer."""


@final
class SubworkflowNode(CallingNode):
    """Runs a graph, a pipeline or another workflow inside, and stores what comes out of it.

    Args:
        name: Names the node where it is used alone.
        workflow: Any `Runnable`; or an object with `execute(input, state=...)` whose result has
            an `.output`.
        input_key: The key of the state that has the input; a missing one is an empty text. The
            rest of the state is known inside as well.
        output_key: The key under which the outcome is stored: of a graph its output, of others
            what they return.
        on_error: `"text"` stores `"Subworkflow error: ..."` and goes on; `"raise"` fails the node.

    Misuse fails the node whatever `on_error` says: a `ConfigurationError`, `GraphValidationError`,
    `MissingExtraError` or `NotStorableError` raised inside, or one that led to the failure there.
    Otherwise a question that could not be asked, since its schema or the state around it is no
    good, would pass for one that was answered.

    A question for a person that is asked inside passes through, and `resume_nested` takes the
    answer in. But in a host a workflow that cannot tell its open questions (it has no `pending`: a
    pipeline with a graph in it, say) waits for the answer within the node, whose time-out counts.

    Raises:
        ConfigurationError: `on_error` is neither.
    """

    ERROR_PREFIX: ClassVar[str] = "Subworkflow error"

    def __init__(
        self,
        name: str,
        *,
        workflow: Any,
        input_key: str = "input",
        output_key: str = "output",
        on_error: OnError = "text",
    ) -> None:
        super().__init__(name, NodeType.SUBWORKFLOW, output_key=output_key, on_error=on_error)
        self._workflow = workflow
        self._input_key = input_key

    async def _call(self, state: dict[str, Any]) -> Any:
        given = state.get(self._input_key, "")
        hosted: RunContext | None = state.pop(HOSTED, None)
        if isinstance(self._workflow, Runnable):
            if hosted is None:
                context = RunContext(input=given, run_id=state.get(RUN_ID), state=state)
            else:
                context = evolve(hosted, input=given, state=state)
            found = await self._run(self._workflow, context)
            return as_result(found).map_sync(self._output_of_run)
        execute = getattr(self._workflow, "execute", None)
        if execute is None:
            return missing(self._workflow, "execute")
        found = await invoke(execute, given, state={**state, "input": given})
        return as_result(found).map_sync(output_of)

    async def _run(self, workflow: Runnable, context: RunContext) -> Any:
        if context.journal is None or hasattr(workflow, "pending"):  # it can be answered from here
            return await workflow.run(context)
        return await run_asking(workflow, context)

    def _failure_as_text(self, error: Any) -> str:
        if is_misuse(error):
            raise error
        return super()._failure_as_text(error)

    def _output_of_run(self, value: Any) -> Any:
        return value.get("output") if self._workflow.kind == "graph" else value

    def pending_nested(self, checkpoint_state: dict[str, Any]) -> list[PendingQuestion]:
        """Return what is open inside, in a state that it paused with.

        Raises:
            WorkflowStepError: The workflow cannot tell: it has no `pending(checkpoint_state)`.
        """
        pending = getattr(self._workflow, "pending", None)
        if pending is None:
            raise WorkflowStepError(self.name, missing(self._workflow, "pending").error)
        return list(pending(checkpoint_state))

    async def resume_nested(self, state: dict[str, Any], answer: NestedAnswer) -> dict[str, Any]:
        """Go on inside after the answer, to the end or to the next question.

        Raises:
            HumanInputRequiredError: Something is still to be asked.
            AnswerInvalidError: The answer does not fit its question.
            WorkflowStateError: There is no such question inside.
            Exception: The workflow failed by misuse, or `on_error` is `"raise"`.
        """
        hosted: RunContext | None = state.pop(HOSTED, None)
        resume = getattr(self._workflow, "resume", None)
        if hosted is not None and isinstance(self._workflow, Resumable):
            outcome = await outcome_of(self._gone_on, self._workflow, hosted, answer)
        elif resume is not None:
            outcome = await outcome_of(self._resumed, resume, answer)
        else:
            return self._update(missing(self._workflow, "resume"))
        if outcome.is_err() and isinstance(outcome.unwrap_err(), ABOUT_THE_ANSWER):
            raise outcome.unwrap_err()
        return self._update(outcome)

    async def _gone_on(self, workflow: Resumable, hosted: RunContext, answer: NestedAnswer) -> Any:
        found = await workflow.go_on(
            hosted, answer.checkpoint_state, answer.response, node=answer.node or None
        )
        return as_result(found).map_sync(self._output_of_run)

    async def _resumed(self, resume: Any, answer: NestedAnswer) -> Any:
        found = await invoke(resume, answer.checkpoint_state, answer.response, node=answer.node)
        return as_result(found).map_sync(output_of)


def is_misuse(error: Any) -> bool:
    """Say whether an error is misuse, or has it in a group or among its causes, however deep."""
    waiting, seen = [error], set[int]()
    while waiting:
        error = waiting.pop()
        if isinstance(error, MISUSE):
            return True
        if isinstance(error, BaseException) and id(error) not in seen:
            seen.add(id(error))
            waiting.append(error.__cause__)
            waiting += error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return False


def output_of(result: Any) -> Any:
    """Return the output of a run's result, or the result where it is nothing else."""
    return getattr(result, "output", result)
