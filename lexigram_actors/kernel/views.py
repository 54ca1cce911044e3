"""What can be seen of supervision: snapshots, taken by plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import Task

from lexigram_actors.kernel.specs import ActorNode, ChildCounts, ChildInfo

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell
    from lexigram_actors.kernel.refs import ActorRef
    from lexigram_actors.kernel.supervision import Supervision


def running_refs(supervision: Supervision) -> tuple[ActorRef[Any], ...]:
    return tuple(cell.ref for cell in supervision.children.values() if cell.active)


def which_children(supervision: Supervision) -> list[ChildInfo]:
    return [
        ChildInfo(cell.id, cell.ref if cell.active else None, cell.restart)
        for cell in supervision.children.values()
    ]


def count_children(supervision: Supervision) -> ChildCounts:
    cells = supervision.children.values()
    supervisors = sum(cell.is_supervisor for cell in cells)
    return ChildCounts(
        specs=len(cells),
        active=sum(cell.active for cell in cells),
        supervisors=supervisors,
        workers=len(cells) - supervisors,
    )


def runs_inside(cell: Cell, task: Task | None) -> bool:
    """Whether a task belongs to an actor or to one below it, and would wait for itself."""
    ancestors = set()
    while task is not None:
        ancestors.add(task)
        task = task.parent_nursery.parent_task if task.parent_nursery else None
    return _owns_one(cell, ancestors)


def _owns_one(cell: Cell, tasks: set[Task]) -> bool:
    if cell.task in tasks:
        return True
    below = () if cell.supervision is None else cell.supervision.children.values()
    return any(_owns_one(child, tasks) for child in below)


def tree(supervision: Supervision) -> tuple[ActorNode, ...]:
    return tuple(_node(cell) for cell in supervision.children.values())


def _node(cell: Cell) -> ActorNode:
    return ActorNode(
        name=cell.name,
        state=cell.state.value,
        restarts=cell.restarts,
        queued=cell.mailbox.statistics().queued,
        children=() if cell.supervision is None else tree(cell.supervision),
    )
