"""Calls with a limit of time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from lexigram_actors.errors import WorkflowTimeoutError
from lexigram_actors.host.steps import Failure
from lexigram_actors.saga.models import SagaStep

logger = logging.getLogger(__name__)

LATE: Final = Failure("late")
"""What came of a call whose time was up."""


async def limited(call: Callable[[], Awaitable[Any]], timeout: float | None) -> Any:
    """Return what a call returns; `LATE` where its time was up, whatever it raised then."""
    if timeout is None:
        return await call()
    scope = trio.CancelScope(deadline=trio.current_time() + timeout)
    try:
        with scope:
            return await call()
    except Exception:
        if not scope.cancel_called:
            raise
        logger.exception("a call failed when its time of %g s was over", timeout)
    return LATE


def late(step: SagaStep, timeout: float | None, what: str = "") -> WorkflowTimeoutError:
    """Return the error of a call whose time was up."""
    return WorkflowTimeoutError(
        f"{what}saga step {step.name!r} was stopped: it took longer than {timeout:g} s",
        step_name=step.name,
        details={"timeout": timeout},
    )
