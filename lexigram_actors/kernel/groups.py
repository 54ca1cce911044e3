"""Restarting children together, as the strategies one_for_all and rest_for_one ask for.

A group is stopped in reverse start order and started in start order. A child that does not start
is one more crash: it is counted, and the group it belongs to is restarted once more. Between any
two awaits somebody may terminate or delete a child by hand; each step looks at `state` and
`intent` anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from lexigram_actors.errors import ActorError
from lexigram_actors.kernel.cell import (
    IN_GROUP,
    RESTARTING,
    STARTING,
    TO_RESTART,
    TO_TERMINATE,
    Cell,
)
from lexigram_actors.kernel.restarts import restart_group
from lexigram_actors.kernel.specs import Restart

if TYPE_CHECKING:
    from lexigram_actors.kernel.supervision import Supervision


async def restart_together(supervision: Supervision, crashed: Cell) -> None:
    """Restart a child's group, once; a child that does not start has its turn again later."""
    ids = restart_group(supervision.policy.strategy, list(supervision.children), crashed.id)
    group = [supervision.children[id_] for id_ in ids]
    await _halt(supervision, group)
    await trio.sleep(supervision.delay(crashed))
    failed = await _start(supervision, group)
    if failed is not None:
        supervision.restart_later(failed)


async def _halt(supervision: Supervision, group: list[Cell]) -> None:
    """Stop what runs of a group; a temporary child is gone then.

    As in OTP, a child comes back with its group also when it was down before, or ends by itself
    before its turn to be stopped, however it ends: then that is no second restart. One that
    somebody terminates meanwhile stays down.
    """
    for cell in group:
        stays_down = cell.alive and cell.intent is TO_TERMINATE
        if cell.restart is Restart.TEMPORARY:
            cell.intent = TO_TERMINATE  # also when it ends before its turn: it shuts nothing down
        elif not stays_down:
            cell.intent = TO_RESTART
    for cell in reversed(group):
        if cell.restart is Restart.TEMPORARY and cell.alive:
            await supervision.terminate(cell)
        elif cell.alive:
            if cell.intent is not TO_TERMINATE:  # nor restarted by hand meanwhile
                cell.begin_halt()
            if cell.alive:
                # This end, not until it is down: by then somebody may have started it by hand.
                await cell.next_exit()
    for cell in group:
        known = supervision.children.get(cell.id) is cell
        if known and cell.intent is TO_RESTART:
            cell.state = RESTARTING


async def _start(supervision: Supervision, group: list[Cell]) -> Cell | None:
    """Start a group; returns the child that did not start, if one did not.

    As in OTP, the children after one that is terminated by hand while it starts stay down.
    """
    for cell in group:
        if cell.state is not RESTARTING or supervision.children.get(cell.id) is not cell:
            continue  # terminated or deleted by hand meanwhile
        if not supervision.start_again(cell, IN_GROUP) or not await _has_started(cell):
            return cell
        if cell.intent is TO_TERMINATE:
            _leave_down(supervision, group)
    return None


async def _has_started(cell: Cell) -> bool:
    """Wait for a child to start; False when it failed to, and is to be tried again.

    One that was terminated by hand meanwhile is none to try again.
    """
    if cell.state is STARTING:
        try:
            await cell.wait_started()
        except ActorError:
            return cell.intent is TO_TERMINATE
    return True


def _leave_down(supervision: Supervision, group: list[Cell]) -> None:
    for cell in group:
        if cell.state is RESTARTING:
            supervision.give_up_restart(cell, "shutdown")
