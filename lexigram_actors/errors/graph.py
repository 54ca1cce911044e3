"""Errors of graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError


class GraphExecutionError(LexigramError):
    """A graph could not run to its end; `node` is where, `node_results` what was done before.

    Returned in an `Err` by `execute`, as every subclass but `HumanInputRequiredError`, and
    `AnswerInvalidError` and `GraphValidationError`, which are raised.
    """

    code = "LEX_ERR_WF_011"

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        node_results: Sequence[Any] = (),
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.node = node
        self.node_results = list(node_results)
        super().__init__(message, cause=cause, **facts)


class NodeExecutionError(GraphExecutionError):
    """A node failed; what it raised or returned is in `cause`. Its running siblings stopped."""

    code = "LEX_ERR_WF_012"


class CycleDetectedError(GraphExecutionError):
    """The graph had run `iterations` nodes, as many as it may, and `node` would be the next.

    Find the loop that does not end, or raise `max_iterations`.
    """

    code = "LEX_ERR_WF_013"

    def __init__(
        self,
        iterations: int,
        *,
        node: str | None = None,
        node_results: Sequence[Any] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.iterations = iterations
        where = "" if node is None else f", before node {node!r}"
        super().__init__(
            f"stopped after {iterations} node executions (max_iterations){where}",
            node=node,
            node_results=node_results,
            **facts,
        )


class GraphTimeoutError(GraphExecutionError, TimeoutError):
    """The whole graph took longer than `timeout` seconds and was stopped."""

    code = "LEX_ERR_WF_014"

    def __init__(
        self,
        timeout: float,
        *,
        node: str | None = None,
        node_results: Sequence[Any] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.timeout = timeout
        super().__init__(
            f"the graph did not end within {timeout:g} s",
            node=node,
            node_results=node_results,
            **facts,
        )


class GraphValidationError(GraphExecutionError):
    """The graph is not one that can run; the message lists every problem. Mend the structure."""

    code = "LEX_ERR_WF_015"


class HumanInputRequiredError(GraphExecutionError):
    """No failure: the graph waits for a person's answer to `prompt`.

    Raised when nothing else can move. `pending` lists every open question as (node, prompt,
    checkpoint_id, schema); `state` is the JSON-safe dict to hand to `resume` with the answer.
    """

    code = "LEX_ERR_WF_016"

    def __init__(
        self,
        prompt: str,
        *,
        node: str | None = None,
        checkpoint_id: str | None = None,
        pending: Sequence[Any] = (),
        state: Mapping[str, Any] | None = None,
        node_results: Sequence[Any] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.prompt = prompt
        self.checkpoint_id = checkpoint_id
        self.pending = list(pending)
        self.state = dict(state) if state else {}
        where = "" if node is None else f" at node {node!r}"
        super().__init__(
            f"an answer is needed{where}: {prompt}", node=node, node_results=node_results, **facts
        )


class StateConflictError(GraphExecutionError):
    """Nodes that ran side by side wrote the same `key`, and `on_conflict` is "error".

    `writers` are the nodes. Add a reducer for the key, or let them write different keys.
    """

    code = "LEX_ERR_WF_024"

    def __init__(
        self,
        key: str,
        writers: Sequence[str] = (),
        *,
        node: str | None = None,
        node_results: Sequence[Any] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.key = key
        self.writers = list(writers)
        facts.setdefault("details", {"key": key, "writers": self.writers})
        by = f" by {', '.join(map(repr, self.writers))}" if self.writers else ""
        super().__init__(
            f"the state's key {key!r} was written side by side{by}",
            node=node,
            node_results=node_results,
            **facts,
        )


class AnswerInvalidError(GraphExecutionError, ValueError):
    """An answer does not fit the question's schema; the question stays open. Ask again."""

    code = "LEX_ERR_WF_025"

    def __init__(
        self,
        node: str,
        problem: str,
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.problem = problem
        super().__init__(
            f"the answer for {node!r} does not fit: {problem}", node=node, cause=cause, **facts
        )
