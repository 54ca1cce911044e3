"""`AbstractWorkflowNode`: what every node of a graph is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from attrs import frozen

from lexigram_actors.graph.models import Command, NodeType, PendingQuestion


class AbstractWorkflowNode(ABC):
    """One step of a graph. Subclasses implement `execute`.

    A node is made once and may run many times, in several runs at once: what belongs to a run goes
    into the state, not into the node.

    Args:
        name: Names the node where it is used alone. In a graph the name it was registered with
            counts.
        node_type: What it does, for drawings and listings.
    """

    def __init__(self, name: str, node_type: NodeType = NodeType.CUSTOM) -> None:
        self._name = name
        self._node_type = node_type

    @property
    def name(self) -> str:
        """The node's own name."""
        return self._name

    @property
    def node_type(self) -> NodeType:
        """What the node does."""
        return self._node_type

    @abstractmethod
    async def execute(self, state: dict[str, Any]) -> dict[str, Any] | Command:
        """Do the work, and return what to merge into the state.

        Args:
            state: What the nodes on the ways that led here wrote, merged: a dict of its own for
                each execution. Changes to it are lost; what it holds is shared and read only.

        Returns:
            The keys to write, an empty dict for none; or a `Command`, which also says where to go.
            A `Result` of either is fine too, and so is None for nothing.

        What it raises fails the run, with the node's name and the exception as cause, and cancels
        what runs beside it. It is cancelled when its time is up, when another node fails, and with
        the run; `trio.Cancelled` has to pass through it.
        """


@frozen
class NestedAnswer:
    """An answer for a question that was asked inside a node, by the graph it holds.

    Attributes:
        checkpoint_state: The `state` of the `HumanInputRequiredError` that the node raised.
        node: Which question inside: what its `pending` called it.
        response: The answer; None: there is none, but the time for one is over.
    """

    checkpoint_state: dict[str, Any]
    node: str
    response: Any


@runtime_checkable
class NestingNode(Protocol):
    """A node that holds a graph of its own, and can hand an answer on to it."""

    def pending_nested(self, checkpoint_state: dict[str, Any], /) -> list[PendingQuestion]:
        """Return what is open inside, in a state that it paused with."""
        ...

    async def resume_nested(self, state: dict[str, Any], answer: NestedAnswer, /) -> dict[str, Any]:
        """Go on inside after `answer`; returns and raises as `execute` does."""
        ...
