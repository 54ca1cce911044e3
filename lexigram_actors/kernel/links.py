"""Links: actors that live and die together, as in Erlang, but no exit can be trapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexigram_actors.errors import ActorFailed
from lexigram_actors.kernel.specs import Exit

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell


def link(one: Cell, other: Cell) -> None:
    """Link two actors; with one that has ended, that end takes effect at once."""
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
    """Let the partners of an actor that ended follow it."""
    for partner in partners:
        if partner.links is not None:
            partner.links.discard(cell)
        _follow(partner, exit_)


def _follow(cell: Cell, exit_: Exit) -> None:
    if exit_.reason == "failed":
        cell.fail(ActorFailed(exit_.name, exit_.error))
    elif exit_.reason != "normal":
        cell.begin_stop(exit_.reason, None)
