"""Whose time was up, and what that means for the run. It waits for nothing."""

from __future__ import annotations

import trio

from lexigram_actors.errors import GraphTimeoutError, WorkflowTimeoutError
from lexigram_actors.graph.alarm import Alarm
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.visits import Visit


def be_late(execution: Execution, eldest: Visit | None, alarm: Alarm) -> None:
    """The alarm has fired: fail the run, or the node that has run longest."""
    if alarm.is_the_runs or eldest is None:
        name = None if eldest is None else eldest.node.name
        execution.fail(GraphTimeoutError(execution.config.total_timeout, node=name))
        return
    eldest.ended = trio.current_time()
    fail_late(execution, eldest)


def was_late(execution: Execution, visit: Visit, alarm: Alarm) -> bool:
    """Fail a node that ended after its time, and all the same did not raise; say whether it did."""
    if execution.is_over or alarm.is_the_runs or not alarm.scope.cancel_called:
        return False
    fail_late(execution, visit)
    return True


def fail_late(execution: Execution, visit: Visit) -> None:
    """Fail a node because its time was up."""
    name, timeout = visit.node.name, execution.config.node_timeout
    late = WorkflowTimeoutError(
        f"node {name!r} did not end within {timeout:g} s (node_timeout)", step_name=name
    )
    execution.fail_node(visit, late, late.message)
