"""Handing a person's answer to the visit that asked."""

from __future__ import annotations

from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.graph.continuation import in_order
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import PendingQuestion
from lexigram_actors.graph.node import NestedAnswer
from lexigram_actors.graph.questions import WAY
from lexigram_actors.graph.visits import Visit
from lexigram_actors.schemas import structured


def answer(
    execution: Execution,
    response: Any,
    *,
    node: str | None = None,
    response_key: str | None = None,
    is_accepted: bool = False,
) -> None:
    """Let the visit that asked go on.

    Where its time was over, its default is taken instead.

    Args:
        response: The answer. None answers nothing: only what has expired moves on.
        node: Which question, by node or checkpoint id; None where only one is open.
        response_key: A further key under which the node finds the answer.
        is_accepted: Whether it is known to have come in time.

    Raises:
        WorkflowStateError: There is no such question, or it is not clear which is meant.
        AnswerInvalidError: The answer does not fit; the question stays open.
    """
    if response is None:
        execution.expire_questions()
        return
    visit, asked = asked_by(execution, node)
    value = structured(asked.node, asked.schema, response)
    if not is_accepted:
        execution.expire_questions()
    question = execution.questions.get(visit)
    if question is None:
        return
    if question.nested is not None:
        inside = asked.node.removeprefix(f"{visit.node.name}{WAY}")
        # What is recorded inside is the answer as it was given: that can be stored.
        given_inside = value if execution.hosted is None else response
        execution.answer_nested(visit, NestedAnswer(question.nested, inside, given_inside))
        return
    overlay = {visit.node.resume_key: value}
    if response_key is not None:
        overlay[response_key] = value
    execution.answer(visit, overlay)


def checked_answer(execution: Execution, node: str, response: Any) -> Any:
    """Return an answer as the node that asked gets it.

    Raises:
        WorkflowStateError: The node asks nothing.
        AnswerInvalidError: The answer does not fit.
    """
    _, asked = asked_by(execution, node)
    return structured(asked.node, asked.schema, response)


def asked_by(execution: Execution, node: str | None) -> tuple[Visit, PendingQuestion]:
    """Return the visit that asked what is called `node`, and the question.

    Raises:
        WorkflowStateError: There is no such question, or it is not clear which is meant.
    """
    asked = [
        (visit, pending)
        for visit, question in in_order(execution.questions)
        for pending in question.pending(visit.node, execution.run_id)
    ]
    for visit, pending in asked:
        if node in (pending.node, pending.checkpoint_id) or (node is None and len(asked) == 1):
            return visit, pending
    problem = f"node {given(node)} asks nothing"
    if node is None:
        problem = "several questions are open" if asked else "no question is open"
    names = ", ".join(repr(pending.node) for _, pending in asked) or "none"
    raise WorkflowStateError(
        f"{problem}; open are: {names}",
        details={"pending": [pending.node for _, pending in asked]},
        hint="say which question is answered: resume(state, answer, node=...)",
    )
