"""`ExecutionHistory`: what a run of a graph did, for programs and for people. Pure."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, final

from lexigram_actors.checks import given
from lexigram_actors.drawing import visible
from lexigram_actors.errors.base import json_key, json_safe
from lexigram_actors.graph.models import GraphResult, NodeResult


class TimelineEntry(NamedTuple):
    """When one execution of a node started, from the start of the run, and how long it took."""

    node: str
    started_ms: float
    duration_ms: float


@final
class ExecutionHistory:
    """Shows what a run did, one entry for each execution of a node.

    Args:
        result: What the run resulted in. It is read anew at each call, and never changed.

    Raises:
        TypeError: It is something else, as the `Result` around it.
    """

    __slots__ = ("_result",)

    def __init__(self, result: GraphResult) -> None:
        if not isinstance(result, GraphResult):
            raise TypeError(
                f"{given(result)} was given, expected a GraphResult:"
                " ExecutionHistory((await engine.execute(...)).unwrap())"
            )
        self._result = result

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as plain JSON values, whatever names and keys are in it.

        Keys: `iterations`, `duration_ms`, `terminated_at`, and `nodes`, in merge order. Each node
        has `node`, `succeeded`, `duration_ms`, `skipped`, `output_keys`, `error` and `started_ms`.
        The values that nodes wrote are left out. What JSON cannot hold is shown as text: a key
        that is no string as its repr, half a surrogate pair as its escape.
        """
        return {
            "iterations": self._result.iterations,
            "duration_ms": json_safe(self._result.duration_ms),
            "terminated_at": json_safe(self._result.terminated_at),
            "nodes": [facts_of(each) for each in self._result.node_results],
        }

    def as_text(self) -> str:
        """Return the trace for a person: a heading, then one line for each execution.

        A line has the start, counted from the start of the run, the duration, the outcome (`OK`,
        `ERR` or `SKIP`), the name, and the error if there is one. The lines stand in merge order.
        Control characters and line breaks are shown as escapes.
        """
        result = self._result
        heading = f"Workflow trace: {result.iterations} executed in {result.duration_ms:.1f} ms"
        if result.terminated_at is not None:
            heading += f", ended at {visible(result.terminated_at)}"
        return "\n".join([heading, *map(line_of, result.node_results)])

    def timeline(self) -> list[TimelineEntry]:
        """Return when each execution started and how long it took, in the order they started.

        Of those that started at the same time, the first in merge order comes first.
        """
        entries = [
            TimelineEntry(each.node_name, each.started_ms, each.duration_ms)
            for each in self._result.node_results
        ]
        return sorted(entries, key=lambda entry: entry.started_ms)

    def failed_nodes(self) -> list[NodeResult]:
        """Return the executions that ended with an error, in merge order."""
        return [each for each in self._result.node_results if outcome_of(each) == "ERR"]

    def succeeded_nodes(self) -> list[NodeResult]:
        """Return the executions that completed, in merge order; none that was skipped."""
        return [each for each in self._result.node_results if each.succeeded]

    def total_node_time_ms(self) -> float:
        """Return how long all executions took together.

        More than the run itself where some ran side by side.
        """
        return math.fsum(each.duration_ms for each in self._result.node_results)

    def __repr__(self) -> str:
        count, duration = len(self._result.node_results), self._result.duration_ms
        return f"ExecutionHistory(nodes={count}, duration_ms={duration:.1f})"


def outcome_of(result: NodeResult) -> str:
    """Return how an execution ended, in one word."""
    if result.skipped:
        return "SKIP"
    return "OK" if result.succeeded else "ERR"


def facts_of(result: NodeResult) -> dict[str, Any]:
    """Return one execution as plain JSON values."""
    return {
        "node": json_safe(result.node_name),
        "succeeded": result.succeeded,
        "duration_ms": json_safe(result.duration_ms),
        "skipped": result.skipped,
        "output_keys": [json_key(key) for key in result.output],
        "error": json_safe(result.error),
        "started_ms": json_safe(result.started_ms),
    }


def line_of(result: NodeResult) -> str:
    """Return one execution as a line; the name stands behind the columns, as long as it may be."""
    times = f"+{result.started_ms:.1f} ms".rjust(14) + f"{result.duration_ms:.1f} ms".rjust(14)
    line = f"{times}  {outcome_of(result):<4}  {visible(result.node_name)}"
    return line if result.error is None else f"{line}: {visible(result.error)}"
