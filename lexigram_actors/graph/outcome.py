"""What a run resulted in, or where it stands: read off an execution. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lexigram_actors.errors import GraphExecutionError
from lexigram_actors.errors.base import text_of
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import GraphResult, NodeResult
from lexigram_actors.graph.state import HISTORY, ITERATION
from lexigram_actors.graph.visits import Visit, dominator_of, merged, past_in_merge_order


def result_of(execution: Execution) -> GraphResult:
    """Return the result of a run that ended well.

    Raises:
        StateConflictError: Branches that never met wrote the same key, and that matters.
        GraphExecutionError: A reducer raised.
    """
    ordered = finished_in_order(execution)
    return GraphResult(
        final_state=state_of(execution, ordered, conflicts_matter=execution.conflicts_matter),
        node_results=results_of(ordered, execution.begun_at),
        iterations=len(ordered),
        duration_ms=execution.elapsed * 1000,
        terminated_at=terminated_at(execution, ordered),
    )


def results_of(ordered: Iterable[Visit], begun_at: float) -> list[NodeResult]:
    """Return the results of visits that finished."""
    new = tuple.__new__  # half the cost of calling the class
    return [
        new(
            NodeResult,
            (
                visit.node.name,
                visit.update,
                (visit.ended - visit.started) * 1000,
                None,
                False,
                (visit.started - begun_at) * 1000,
            ),
        )
        for visit in ordered
    ]


def terminated_at(execution: Execution, ordered: list[Visit]) -> str | None:
    """Return the name of the last terminal in merge order, else of the last node."""
    if execution.stopped_at is not None:
        return execution.stopped_at.node.name
    for visit in reversed(ordered):
        if visit.ends:
            return visit.node.name
    return ordered[-1].node.name if ordered else None


def state_of(execution: Execution, ordered: list[Visit], *, conflicts_matter: bool) -> State:
    """Return the merge of all that was written, with the engine's own keys."""
    if execution.is_line:
        ends = ordered[-1:]
    elif execution.schedule.total:
        ends = frontier(ordered)
    else:  # nothing that was begun is unfinished
        ends = [visit for visit in ordered if not visit.routes]
    if len(ends) == 1 and ends[0].state is not None:
        state = ends[0].state.copy()
    else:
        ends = ends or [execution.start]
        state = merged(
            ends, dominator_of(ends), execution.reducers, conflicts_matter=conflicts_matter
        )
    if execution.output_is_reduced:
        state.setdefault("output", "")
    state[ITERATION] = len(ordered)
    state[HISTORY] = [(visit.node.name, visit.update) for visit in ordered]
    return state


def finished_in_order(execution: Execution) -> list[Visit]:
    """Return what has finished, in merge order."""
    return execution.finished if execution.is_line else past_in_merge_order(execution.finished)


def frontier(finished: Iterable[Visit]) -> list[Visit]:
    """Return the finished visits that no finished one follows."""
    followed = {parent for visit in finished for parent in visit.parents}
    return [visit for visit in finished if visit not in followed]


def node_results(execution: Execution) -> list[NodeResult]:
    """Return the results so far in merge order, those of nodes that failed at the end."""
    ordered = finished_in_order(execution)
    return [*results_of(ordered, execution.begun_at), *execution.failed]


def error_of(execution: Execution) -> GraphExecutionError:
    """Return the first failure, with the results until then, and the others by node."""
    first, *others = execution.failures
    first.node_results = node_results(execution)
    if others:
        errors: dict[str, Any] = {
            str(error.node): text_of(error) for error in reversed(execution.failures)
        }
        first.details["errors"] = errors
    return first
