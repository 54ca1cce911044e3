"""How failures are shown: unwrapped where there is one, with a stack where an actor hangs."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from lexigram_actors.errors import ActorUnresponsive

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell

logger = logging.getLogger(__name__)


def report_unresponsive(cell: Cell, grace: float) -> None:
    """Say in the log and on the bus that an actor was cancelled and still runs, and where."""
    if cell.task is None or (cell.parting and cell.scope is None):
        return  # it has ended, or only waits for its children, who have deadlines of their own
    frames = cell.task.iter_await_frames()
    stack = "".join(traceback.StackSummary.extract(frames).format())
    report = ActorUnresponsive(cell.name, grace, stack)
    logger.error("%s\n%s", report, stack)
    cell.system.events.publish(report)
