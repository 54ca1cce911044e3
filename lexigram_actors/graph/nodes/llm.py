"""`LLMNode`: asks a language model."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, final

import trio

from lexigram_actors.checks import require, text
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes.calling import CallingNode, OnError, missing, text_under
from lexigram_actors.graph.protocols import ChatMessage
from lexigram_actors.graph.templates import render
from lexigram_actors.graph.tokens import emit_token, is_watched
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.result import Ok, Result

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0
"""Seconds that a stream has for closing, also where the node is being cancelled."""


@final
class LLMNode(CallingNode):
    """Fills in a prompt, asks a language model, and stores the text of its answer.

    Args:
        name: Names the node where it is used alone.
        llm: The client, an `LLMClientProtocol`. Only the options given here are passed to it.
        prompt_template: The prompt. `{key}` is replaced by what the state has under that key;
            everything else stays as it is written.
        system_prompt: A message of the system ahead of it, sent as it is written. Empty: none.
        output_key: The key of the state under which the text is stored.
        model: Which model; None leaves it to the client.
        temperature: How freely it answers; None leaves it to the client.
        max_tokens: How long the answer may be; None leaves it to the client.
        on_error: `"raise"` fails the node; `"text"` stores `"LLM error: ..."` and goes on.

    Where the run is watched (`astream`) and the client has `stream`, the answer comes in pieces;
    each is a `TokenEmitted` event, and joined they are what is stored. An `Err` in the place of
    the stream or of a piece is a failure of the node; pieces before it were emitted.

    Raises:
        ConfigurationError: A prompt is no string, or `on_error` is neither.
    """

    ERROR_PREFIX: ClassVar[str] = "LLM error"

    def __init__(
        self,
        name: str,
        *,
        llm: Any,
        prompt_template: str = "{input}",
        system_prompt: str = "",
        output_key: str = "output",
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        require("prompt_template", prompt_template, text())
        require("system_prompt", system_prompt, text())
        super().__init__(name, NodeType.LLM, output_key=output_key, on_error=on_error)
        self._llm = llm
        self._prompt_template = prompt_template
        self._system_prompt = system_prompt
        given = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._options = {option: value for option, value in given.items() if value is not None}

    async def _call(self, state: dict[str, Any]) -> Any:
        messages = [ChatMessage("user", render(self._prompt_template, state))]
        if self._system_prompt:
            messages.insert(0, ChatMessage("system", self._system_prompt))
        stream = getattr(self._llm, "stream", None)
        if is_watched() and callable(stream):
            return await self._streamed(stream, messages)
        complete = getattr(self._llm, "complete", None)
        if complete is None:
            return missing(self._llm, "complete")
        answer = as_result(await invoke(complete, messages, **self._options))
        return answer.map_sync(lambda completion: text_under("content", completion))

    async def _streamed(
        self, stream: Callable[..., Any], messages: list[ChatMessage]
    ) -> Result[str, Any]:
        opened = as_result(await invoke(stream, messages, **self._options))
        if not isinstance(opened, Ok):
            return opened
        pieces = aiter(opened.value)
        try:
            return await joined(pieces)
        finally:
            # The answer is complete, or a failure or a cancellation is on its way: however closing
            # goes, it is not to replace that. A nursery in it whose time is up fails with a group,
            # which only outside of the scope is rid of the time-out.
            kind = type(pieces).__name__
            try:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
                    await close(pieces)
                if scope.cancelled_caught:
                    logger.warning("closing a stream of %s took over %g s", kind, CLOSE_TIMEOUT)
            except Exception:
                logger.exception("closing a stream of %s failed", kind)


async def joined(pieces: AsyncIterator[Any]) -> Result[str, Any]:
    """Emit each piece as it comes; return the whole text, or the first `Err` among them."""
    texts: list[str] = []
    async for given in pieces:
        piece = as_result(given)
        if not isinstance(piece, Ok):
            return piece
        texts.append(text_under("content", piece.value))
        emit_token(texts[-1])
    return Ok("".join(texts))


async def close(pieces: AsyncIterator[Any]) -> None:
    """Close a stream that can be closed."""
    aclose = getattr(pieces, "aclose", None)
    if aclose is not None:
        await invoke(aclose)
