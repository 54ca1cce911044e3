"""Names: each actor of a system has one, and no two the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from lexigram_actors.errors import ActorNameTaken

if TYPE_CHECKING:
    from lexigram_actors.kernel.cell import Cell


@final
class Registry:
    """The actors of one system by name."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}

    def add(self, cell: Cell) -> None:
        if cell.name in self.cells:
            raise ActorNameTaken(cell.name)
        self.cells[cell.name] = cell

    def has(self, name: str) -> bool:
        return name in self.cells

    def remove(self, cell: Cell) -> None:
        if self.cells.get(cell.name) is cell:
            del self.cells[cell.name]

    def find(self, name: str) -> Cell | None:
        """The actor of that name; one that does not run now is not found."""
        cell = self.cells.get(name)
        return cell if cell is not None and cell.alive else None
