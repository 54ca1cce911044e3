"""What the nodes for models, tools and agents expect of what they are given.

Structural: an object that fits, fits. Where a method is named async, a plain one will do as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import frozen

from lexigram_actors.result import Result


@frozen
class ChatMessage:
    """One message to a model.

    Attributes:
        role: Who says it: `"system"` or `"user"`.
        content: The text.
    """

    role: str
    content: str


@runtime_checkable
class LLMClientProtocol(Protocol):
    """A language model, as `LLMNode` calls it.

    It may also have `stream(messages, **options)`, an async iterator over pieces of the answer:
    texts, objects with `.content`, or a `Result` of either. It may also return a `Result` of the
    iterator. That is used while somebody watches the run.
    """

    async def complete(
        self,
        messages: Sequence[Any],
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Any = None,
        stop_sequences: Any = None,
        **options: Any,
    ) -> Result[Any, Exception]:
        """Answer the messages, each of which has `.role` and `.content`.

        The completion has `.content`, `.model` and `.usage`; only the content is used here.
        """
        ...


@runtime_checkable
class ToolProtocol(Protocol):
    """Something that a model or a graph can use."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters_schema(self) -> dict[str, Any]: ...

    async def execute(self, arguments: dict[str, Any], /) -> Any:
        """Do it. `ToolNode` passes one dict, `{"input": ...}` and the extra keys."""
        ...


@runtime_checkable
class AgentProtocol(Protocol):
    """A model with tools and a task.

    Without an executor `AgentNode` awaits its `run(message)`; with one it needs none.
    """

    @property
    def name(self) -> str: ...

    @property
    def tools(self) -> Sequence[ToolProtocol]: ...

    @property
    def system_prompt(self) -> str: ...


@runtime_checkable
class AgentExecutorProtocol(Protocol):
    """What runs an agent."""

    async def execute(self, agent: Any, message: str) -> Result[Any, Any]:
        """Let the agent answer the message. What counts is `.message` of the response, if any."""
        ...
