"""Calling what users give: sync or async, with a plain value or a `Result` for an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from lexigram_actors.result import Err, Ok, Outcome, Result

PLAIN_TYPES: Final = frozenset(
    {Ok, Err, type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset}
)
"""Types that cannot be awaited, and that functions usually return; `isawaitable` takes as long as a
small step to deny each."""


async def invoke(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return what `fn(*args, **kwargs)` returns, awaited where it is awaitable.

    What it raises passes through. A checkpoint only where the function has one.
    """
    value = fn(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def as_result(value: Any) -> Result[Any, Any]:
    """Return a `Result` as it is, and any other value as `Ok` of it."""
    return value if isinstance(value, Outcome) else Ok(value)  # type: ignore[return-value]
