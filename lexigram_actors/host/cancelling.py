"""What goes on of a group that a cancellation left behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import trio

from lexigram_actors.errors.base import sole_error

logger = logging.getLogger(__name__)


def passing(error: BaseException, what: str) -> BaseException:
    """Return the one exception that goes on: an interrupt, else the cancellation, else the error.

    A nursery that is cancelled ends with a group: of cancellations, and of what its tasks raised
    on their way out. Left in there, an error would hide the cancellation, since the scope takes
    its part of the group and the rest passes as a failure. So errors beside a cancellation or an
    interrupt are logged.

    Args:
        what: Begins the message in the log, as `step 'load'`.
    """
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, Exception):
        return sole_error(error)
    errors, others = error.split(Exception)
    if errors is not None:
        logger.error("%s failed while it was cancelled", what, exc_info=errors)
    assert others is not None  # else it were an `ExceptionGroup`
    cancelled, interrupts = others.split(trio.Cancelled)
    if interrupts is not None:
        return sole_error(interrupts)
    assert cancelled is not None
    return next(leaves_of(cancelled))


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside a group, at any depth, or the one itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves_of(each)
    else:
        yield error


def came_of_cancellation(error: BaseException) -> bool:
    """Say whether something was raised on the way out of a cancellation."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, trio.Cancelled):
            return True
        if id(each) in seen:
            continue
        seen.add(id(each))
        if each.__context__ is not None:
            waiting.append(each.__context__)
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
    return False
