"""`WorkflowEdge`: the way from one node to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen


@frozen
class WorkflowEdge:
    """Leads from `source` to `target`, always or under a condition.

    Every active edge of a node is followed, side by side.

    Attributes:
        source: The node it starts from.
        target: The node it leads to.
        condition: `(state) -> bool`, asked when the source has finished, with what the source saw
            and wrote. None: always.
        label: What a drawing says beside it.
        is_parallel: Follow this edge side by side with others even where the configuration says
            one node at a time (`parallel_branches=False`).
    """

    source: str
    target: str
    condition: Callable[[dict[str, Any]], bool] | None = None
    label: str = ""
    is_parallel: bool = False

    def is_active(self, state: dict[str, Any]) -> bool:
        """Say whether the edge is to be followed in this state.

        A key that is not there yet (`KeyError`) means no. Any other exception of the condition
        passes; in a run it becomes a `GraphExecutionError` that names the edge.
        """
        if self.condition is None:
            return True
        try:
            return bool(self.condition(state))
        except KeyError:
            return False
