"""Questions that wait for a person, from the pause to the answer."""

from __future__ import annotations

from math import inf
from time import time
from typing import Any, final

from attrs import frozen

from lexigram_actors.errors import HumanInputRequiredError
from lexigram_actors.graph.compiled import CompiledNode
from lexigram_actors.graph.models import PendingQuestion
from lexigram_actors.graph.moments import Moment, Wall, present_moment, seconds_since
from lexigram_actors.graph.node import NestingNode

WAY = "/"
"""Stands between the names on the way to a question inside a subworkflow."""


@final
@frozen(eq=False)
class Question:
    """What one visit asked, or the graph inside it.

    Attributes:
        prompt: What is asked.
        asked: When.
        expires_after: Seconds after which it need not be answered any more; `inf` for never.
        nested: What the inner graph goes on from; None where the node itself asks.
        inner: What is open inside it, by the names there.
        told: When the inner graph said so; None: when it was asked.
        wall: The clock on the wall.
    """

    prompt: str
    asked: Moment
    expires_after: float = inf
    nested: dict[str, Any] | None = None
    inner: tuple[PendingQuestion, ...] = ()
    told: Moment | None = None
    wall: Wall = time

    @classmethod
    def raised_by(cls, node: CompiledNode, error: HumanInputRequiredError, wall: Wall) -> Question:
        """Return what a node asks that raised this."""
        moment = present_moment(wall)
        if error.state and isinstance(node.node, NestingNode):
            inner = tuple(error.pending)
            return cls(error.prompt, moment, inf, error.state, inner, wall=wall)
        return cls(error.prompt, moment, limit_of(node), wall=wall)

    def pending(self, node: CompiledNode, run_id: str | None) -> list[PendingQuestion]:
        """Return what is open here, as people are told."""
        if self.nested is None:
            schema = getattr(node.node, "schema", None)
            return [pending_question(node.name, self.prompt, run_id, schema, self.seconds_left)]
        return [
            pending_question(
                f"{node.name}{WAY}{inner.node}", inner.prompt, run_id, inner.schema, left
            )
            for inner, left in self.inner_left
        ]

    @property
    def seconds_left(self) -> float:
        """How long the node's own question may still be answered."""
        if self.expires_after == inf:
            return inf
        return max(0.0, self.expires_after - seconds_since(self.asked, self.wall))

    @property
    def inner_left(self) -> list[tuple[PendingQuestion, float]]:
        """What is open inside, and for how long it may still be answered."""
        passed = seconds_since(self.told or self.asked, self.wall)
        return [
            (inner, max(0.0, getattr(inner, "seconds_left", inf) - passed)) for inner in self.inner
        ]

    @property
    def has_expired(self) -> bool:
        """Whether the time for an answer, or for one of those inside, is over."""
        if self.nested is not None:
            return any(left <= 0 for _, left in self.inner_left)
        return self.seconds_left <= 0


def limit_of(node: CompiledNode) -> float:
    """Return the seconds after which a question of this node expires."""
    limit: float | None = getattr(node.node, "expires_after", None)
    return inf if limit is None else limit


def pending_question(
    node: str, prompt: str, run_id: str | None, schema: object, seconds_left: float
) -> PendingQuestion:
    """Return a question as people are told of it; its id begins with the run's, if it has one."""
    checkpoint_id = node if run_id is None else f"{run_id}{WAY}{node}"
    return PendingQuestion(node, prompt, checkpoint_id, schema, seconds_left)
