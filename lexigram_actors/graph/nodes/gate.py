"""`GateNode`: a place where ways part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, final

from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.node import AbstractWorkflowNode

Predicate = Callable[[dict[str, Any]], bool]


@final
class GateNode(AbstractWorkflowNode):
    """Does nothing itself; its routes become conditional edges when it is added to a graph.

    Args:
        name: Names the node where it is used alone.
        routes: For each target the question `(state) -> bool` that has to say yes. All targets
            whose question does are followed. None: edges are added elsewhere.
    """

    def __init__(self, name: str, *, routes: Mapping[str, Predicate] | None = None) -> None:
        super().__init__(name, NodeType.GATE)
        self._routes = dict(routes or {})

    @property
    def routes(self) -> Mapping[str, Predicate]:
        """The condition for each target, in the order given."""
        return MappingProxyType(self._routes)

    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        """Write nothing. No checkpoint."""
        return {}
