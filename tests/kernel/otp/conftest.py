"""A system on a clock that jumps, and the children's log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from lexigram_actors.kernel import open_system

from .behaviours import Log

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def system(autojump_clock: MockClock) -> AsyncIterator[ActorSystem]:
    async with open_system(grace=1000.0) as system:
        yield system
