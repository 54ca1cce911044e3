"""`CallingNode`: what the nodes share that call a model, a tool, an agent or a workflow."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

from lexigram_actors.checks import choice, require
from lexigram_actors.errors import (
    HumanInputRequiredError,
    WorkflowStepError,
    describe,
    text_of,
)
from lexigram_actors.errors.base import sole_error
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.invoking import as_result
from lexigram_actors.result import Err, Ok, Result

logger = logging.getLogger(__name__)

OnError = Literal["raise", "text"]


class CallingNode(AbstractWorkflowNode):
    """Stores what a call returns under one key, and fails as `on_error` says.

    Args:
        name: Names the node where it is used alone.
        node_type: What it does.
        output_key: The key of the state under which the outcome is stored.
        on_error: `"raise"` lets the node fail: with the exception, or with a `WorkflowStepError`
            where the call gave an `Err` of something else. `"text"` stores `"Tool error: ..."` (or
            what it is) as if it were the outcome, and logs a warning. A question for a person
            (`HumanInputRequiredError`) and a cancellation pass either way.

    Raises:
        ConfigurationError: `on_error` is neither.
    """

    ERROR_PREFIX: ClassVar[str]

    def __init__(
        self, name: str, node_type: NodeType, *, output_key: str, on_error: OnError
    ) -> None:
        require("on_error", on_error, choice("raise", "text"))
        super().__init__(name, node_type)
        self._output_key = output_key
        self._on_error = on_error

    @property
    def output_key(self) -> str:
        """The key under which the outcome is stored."""
        return self._output_key

    @abstractmethod
    async def _call(self, state: dict[str, Any]) -> Any:
        """Return the outcome, or a `Result` of it."""

    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        """Make the call, and return its outcome under the output key."""
        return self._update(await outcome_of(self._call, state))

    def _update(self, outcome: Result[Any, Any]) -> dict[str, Any]:
        if isinstance(outcome, Ok):
            return {self._output_key: outcome.value}
        return {self._output_key: self._failure_as_text(outcome.error)}

    def _failure_as_text(self, error: Any) -> str:
        """Return the text in the place of an outcome, or raise where none is wanted."""
        if self._on_error == "raise" or isinstance(error, HumanInputRequiredError):
            if isinstance(error, Exception):
                raise error
            cause = error if isinstance(error, BaseException) else None
            raise WorkflowStepError(self.name, describe(error), cause=cause)
        # Its text may quote the prompt, and with it the state: that stays out of the log.
        logger.warning(
            "node %r failed with %s and goes on with an error text", self.name, type(error).__name__
        )
        return f"{self.ERROR_PREFIX}: {text_of(error) or describe(error)}"


async def outcome_of(call: Callable[..., Awaitable[Any]], *args: Any) -> Result[Any, Any]:
    """Return what the call returns as a `Result`; an exception it raises is an `Err`."""
    try:
        return as_result(await call(*args))
    except Exception as error:  # noqa: BLE001 - whatever it is, the node decides what becomes of it
        return Err(sole_error(error))


def missing(owner: object, method: str) -> Err[str]:
    """Return the failure of an object that lacks what it is to be called by."""
    return Err(f"{type(owner).__name__} has no method {method}()")


def text_under(attribute: str, value: Any) -> str:
    """Return the attribute as text where the value has it, else the value; for None no text."""
    found = getattr(value, attribute, value)
    return "" if found is None else str(found)
