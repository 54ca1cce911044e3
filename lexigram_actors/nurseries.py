"""Nurseries that are entered and left by hand, by objects that are context managers themselves."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio
from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.errors.base import sole_error


async def leave_nursery(
    manager: AbstractAsyncContextManager[trio.Nursery], error: BaseException | None
) -> None:
    """Wait until no task of the nursery is left, and raise what they raised, without a group.

    For the `__aexit__` of whoever entered it. The error of the block is not handed on: the nursery
    would put it into a group.

    Args:
        error: What the block raised; None where it ended well. Then a cancellation from outside is
            raised as one plain `Cancelled`.
    """
    try:
        await manager.__aexit__(None, None, None)
    except BaseExceptionGroup as group:
        rest = group.split(trio.Cancelled)[1]
        if rest is not None:
            raise sole_error(rest) from None
        if error is None:
            await checkpoint_if_cancelled()
