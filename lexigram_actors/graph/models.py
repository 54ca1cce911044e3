"""Values of graphs: what nodes return, what a run results in, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple, Self

from attrs import define, field, frozen

from lexigram_actors.errors import GraphExecutionError
from lexigram_actors.result import Result


class NodeType(StrEnum):
    """What a node does."""

    AGENT = "agent"
    TOOL = "tool"
    LLM = "llm"
    GATE = "gate"
    HUMAN = "human"
    SUBWORKFLOW = "subworkflow"
    CUSTOM = "custom"


# --- what a node returns ---------------------------------------------------------------------


@frozen
class Send:
    """Runs `node` once more, with `state` laid over what it sees, for that execution only.

    A list of them is a fan-out as wide as the data; each is a branch like any other, and the node
    behind waits for all of them.
    """

    node: str
    state: Mapping[str, Any] = field(factory=dict)


def _sends(value: Send | Sequence[Send]) -> tuple[Send, ...]:
    return (value,) if isinstance(value, Send) else tuple(value)


@frozen
class Command:
    """An update, and where to go from here instead of along the edges.

    Args:
        update: What to merge into the state, as a returned dict would be.
        goto: The next node, or several; None follows the edges. An empty sequence ends the branch.
        send: Further executions, each with a state of its own.

    Targets must be declared: by an edge, or by `builder.add_goto(source, *targets)`. Where the node
    is terminal its branch ends all the same.
    """

    update: Mapping[str, Any] = field(factory=dict)
    goto: str | Sequence[str] | None = None
    send: tuple[Send, ...] = field(default=(), converter=_sends)


# --- what a run results in -------------------------------------------------------------------


class NodeResult(NamedTuple):
    """What one execution of a node did.

    A tuple by name, for there is one for each execution and making it must cost little.

    Attributes:
        node_name: The name under which the node is registered.
        output: The update it returned; empty when it failed.
        duration_ms: How long it ran.
        error: Why it failed, for a person; None when it did not.
        skipped: Whether it was passed over. Nodes that routing bypasses are not among the results.
        started_ms: When it started, counted from the start of the run; time in which a run waits
            for a person does not count.
    """

    node_name: str
    output: dict[str, Any]
    duration_ms: float = 0.0
    error: str | None = None
    skipped: bool = False
    started_ms: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether it completed without error and was not skipped."""
        return self.error is None and not self.skipped


@define
class GraphResult:
    """What a whole run did.

    Attributes:
        final_state: The merge of all that was written, with the keys `input`, `output`,
            `_iteration` and `_history` that the engine keeps.
        node_results: One for each execution, in merge order: by depth, then by the order in which
            nodes were registered. The same in every run, however long the nodes take.
        iterations: How many executions there were.
        duration_ms: How long the run took, without the time it waited for a person.
        terminated_at: The last terminal node that was reached, in merge order; where none was, the
            last node. None when nothing ran.
    """

    final_state: dict[str, Any]
    node_results: list[NodeResult] = field(factory=list)
    iterations: int = 0
    duration_ms: float = 0.0
    terminated_at: str | None = None

    @property
    def output(self) -> Any:
        """The key `output` of the final state, or None."""
        return self.final_state.get("output")

    @property
    def succeeded(self) -> bool:
        """Whether every node that was not skipped succeeded."""
        return all(result.succeeded for result in self.node_results if not result.skipped)


class _Asked(NamedTuple):
    node: str
    prompt: str
    checkpoint_id: str
    schema: Any


class PendingQuestion(_Asked):
    """A question that waits for a person: `(node, prompt, checkpoint_id, schema)`.

    `node` names it for `resume`: the node's name, and inside a subworkflow the way to it
    (`"outer/inner"`). `schema` is the type the answer is structured to, or None. `seconds_left` is
    how long, from when this was made, it may still be answered; `inf`: for good. It is no item of
    the tuple, and does not count when two are compared.
    """

    seconds_left: float

    def __new__(
        cls,
        node: str,
        prompt: str,
        checkpoint_id: str,
        schema: Any,
        seconds_left: float = inf,
    ) -> Self:
        question = super().__new__(cls, node, prompt, checkpoint_id, schema)
        question.seconds_left = seconds_left
        return question


# --- what a run tells on the way -------------------------------------------------------------


@frozen
class NodeStarted:
    """A node starts; `depth` is the length of the longest way that led to it, the entry's is 1."""

    node: str
    depth: int


@frozen
class NodeFinished:
    """A node ended, well or not."""

    result: NodeResult


@frozen
class StateUpdated:
    """What a node wrote was taken over."""

    node: str
    update: dict[str, Any]


@frozen
class TokenEmitted:
    """A node has a further piece of its output, as a model that streams does."""

    node: str
    text: str


@frozen
class RunFinished:
    """The last event: what `execute` would have returned."""

    result: Result[GraphResult, GraphExecutionError]


GraphEvent = NodeStarted | NodeFinished | StateUpdated | TokenEmitted | RunFinished
"""Everything that `astream` yields."""
