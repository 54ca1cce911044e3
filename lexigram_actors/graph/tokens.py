"""Pieces of output on their way to whoever watches: `emit_token`.

A node does not know who runs it. Where somebody iterates over `astream`, the context of the node's
task holds where its pieces go; elsewhere they go nowhere, at the price of one look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

token_sink: ContextVar[Callable[[str], None] | None] = ContextVar("token_sink", default=None)
"""Set by the engine for each node it starts, where the run is watched."""


def emit_token(text: str) -> None:
    """Hand a piece of output to whoever watches the run; nothing happens where nobody does.

    For nodes to call. It becomes a `TokenEmitted` event of the node. A plain call, no checkpoint.
    """
    sink = token_sink.get()
    if sink is not None:
        sink(text)


def is_watched() -> bool:
    """Say whether pieces are wanted, so that a node may ask a model to stream or not."""
    return token_sink.get() is not None
