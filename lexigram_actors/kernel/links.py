"""Links: actors that live and die together, as in Erlang, but no exit can be trapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexigram_actors.errors import ActorFailed
from lexigram_actors.kernel.specs import Exit

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell


def link(one: Cell, other: Cell) -> None:
    """Link two actors; with one that has ended, that end takes effect at once."""
    if one is other:
        return
    if not other.alive:
        _follow(one, other.last_exit or Exit(other.name, "stopped"))
        return
    for cell, partner in ((one, other), (other, one)):
        if cell.links is None:
            cell.links = set()
        cell.links.add(partner)


def unlink(one: Cell, other: Cell) -> None:
    """Undo a link; nothing happens when there is none."""
    for cell, partner in ((one, other), (other, one)):
        if cell.links is not None:
            cell.links.discard(partner)


def break_links(cell: Cell, partners: set[Cell], exit_: Exit) -> None:
    """Let the partners of an actor that ended follow it.

    A partner may end there and then, and its own partners with it: they are taken in turn, not in
    depth, so that a long chain does not meet Python's limit of recursion.
    """
    broken = cell.system.broken_links
    for partner in partners:
        if partner.links is not None and cell in partner.links:
            partner.links.discard(cell)
            broken.append((partner.context, partner, exit_))
    if cell.system.breaking_links:
        return
    cell.system.breaking_links = True
    try:
        while broken:
            incarnation, partner, why = broken.popleft()
            if partner.context is incarnation:
                _follow(partner, why)
    finally:
        cell.system.breaking_links = False


def _follow(cell: Cell, exit_: Exit) -> None:
    if exit_.reason == "failed":
        # Down a chain the first failure is passed on, not wrapped once more at each link.
        error = exit_.error
        cell.fail(error if isinstance(error, ActorFailed) else ActorFailed(exit_.name, error))
    elif exit_.reason != "normal":
        cell.begin_stop(exit_.reason, None)
