"""`Suspended`: a coroutine that was stepped by hand until it waits, and is awaited from there."""

from __future__ import annotations

from collections.abc import Coroutine
from types import FrameType
from typing import Any, Self, final


@final
class Suspended:
    """Awaits the rest of a coroutine, of which `send(None)` has returned `trap`.

    With `await coroutine` nobody learns whether it will wait. Whoever has something to do just
    before it does takes the first step by hand, and awaits this:

        try:
            trap = coroutine.send(None)
        except StopIteration as done:
            value = done.value
        else:
            ...  # it is about to wait
            value = await Suspended(coroutine, trap)

    Both run in the same task, and the coroutine does not notice. It shows itself as the coroutine
    it stands for, so that stacks of waiting tasks are complete.
    """

    __slots__ = ("_coroutine", "_is_first", "_trap")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], trap: Any) -> None:
        self._coroutine = coroutine
        self._trap = trap
        self._is_first = True

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._is_first:
            self._is_first = False
            return self._trap
        return self._coroutine.send(None)

    def send(self, value: Any) -> Any:
        """Go on with what the trap resulted in."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Give the coroutine up."""
        self._coroutine.close()

    @property
    def cr_frame(self) -> FrameType | None:
        """The frame in which the coroutine waits."""
        frame: FrameType | None = getattr(self._coroutine, "cr_frame", None)
        return frame

    @property
    def cr_await(self) -> Any:
        """What the coroutine waits for."""
        return getattr(self._coroutine, "cr_await", None)
