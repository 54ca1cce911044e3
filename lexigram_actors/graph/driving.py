"""From an execution that may go on to what its caller is told."""

from __future__ import annotations

from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.errors import GraphExecutionError, HumanInputRequiredError
from lexigram_actors.graph.continuation import in_order, snapshot_of
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import GraphResult, PendingQuestion
from lexigram_actors.graph.outcome import error_of, node_results, result_of
from lexigram_actors.graph.stretch import Stretch
from lexigram_actors.graph.watching import Recorder, Watcher
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage import Codec


async def drive(
    execution: Execution,
    codec: Codec,
    *,
    watcher: Watcher | None = None,
    record: Recorder | None = None,
) -> Result[GraphResult, GraphExecutionError]:
    """Run until the end, and return the outcome.

    Args:
        watcher: Told of what happens.
        record: Awaited with each visit that finished, before anything follows it.

    Raises:
        HumanInputRequiredError: Nothing can move until a person answers.
        NotStorableError: A person has to be asked, and the state cannot be kept meanwhile.
    """
    while True:
        await Stretch(execution, watcher=watcher, record=record).run()
        if execution.failures:
            # What a node raised because the caller was cancelled is no outcome.
            await checkpoint_if_cancelled()
            return Err(error_of(execution))
        if execution.stopped_at is not None or not execution.questions:
            break
        if not execution.expire_questions():
            raise pause_of(execution, codec)
    try:
        return Ok(result_of(execution))
    except GraphExecutionError as error:
        error.node_results = node_results(execution)
        return Err(error)


def pause_of(execution: Execution, codec: Codec) -> HumanInputRequiredError:
    """Return the error that says what is asked, and holds what it takes to go on."""
    pending = pending_of(execution)
    first = pending[0]
    return HumanInputRequiredError(
        first.prompt,
        node=first.node,
        checkpoint_id=first.checkpoint_id,
        pending=pending,
        state=snapshot_of(execution, codec),
        node_results=node_results(execution),
    )


def pending_of(execution: Execution) -> list[PendingQuestion]:
    """Return the open questions in merge order."""
    return [
        pending
        for visit, question in in_order(execution.questions)
        for pending in question.pending(visit.node, execution.run_id)
    ]
