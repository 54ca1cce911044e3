"""Leaving nurseries: by hand, and what is in the groups that they raise."""

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
        rest = split_cancelled(group)[1]
        if rest is not None:
            raise sole_error(rest) from None
        if error is None:
            await checkpoint_if_cancelled()


def split_cancelled(
    error: BaseException,
) -> tuple[BaseException | None, BaseException | None]:
    """Return the cancellations in an error, and the rest of it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)
