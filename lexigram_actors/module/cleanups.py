"""Cleanups that are done later, the last added first, whatever becomes of the others.

Not an `AsyncExitStack`: it throws what one cleanup raises into the next, and of a generator that
does not expect it the cleanup is left out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import final

from lexigram_actors.module.surroundings import Surroundings, surroundings

logger = logging.getLogger(__name__)

Cleanup = Callable[[], Awaitable[object]]


@final
class Cleanups:
    """What is to be done at the end.

    Args:
        grace: Seconds that all of it may go on for, also after a cancellation; then each is
            cancelled where it waits.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.waiting: list[Cleanup] = []

    def add(self, cleanup: Cleanup) -> None:
        """Do this first, when the time comes."""
        self.waiting.append(cleanup)

    async def aclose(self) -> None:
        """Do all, once; a second time does nothing. A cancellation is felt afterwards.

        Raises:
            Exception: What a cleanup raised; an `ExceptionGroup` where several did.
        """
        here = surroundings()
        deadline = math.inf if here is None else here.current_time() + self.grace
        errors: list[Exception] = []
        while self.waiting:
            cleanup = self.waiting.pop()
            try:
                await self._do(cleanup, deadline, here)
            except Exception as error:  # noqa: BLE001 - the others come first, then it is raised
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("cleanups failed", errors)

    async def _do(self, cleanup: Cleanup, deadline: float, here: Surroundings | None) -> None:
        if here is None:
            await cleanup()
            return
        left = max(0.0, deadline - here.current_time())
        with here.move_on_after(left, shield=True) as scope:
            await cleanup()
        if scope.cancelled_caught:
            logger.warning("a cleanup was cut off: all together take more than %g s", self.grace)
