"""What is needed of a SQL database, as a structural protocol: one that fits, fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, final, runtime_checkable

from attrs import field, frozen

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def is_identifier(name: object) -> bool:
    """Say whether a name can stand in SQL as it is: letters, digits, underscores, 63 at most."""
    return isinstance(name, str) and IDENTIFIER.fullmatch(name) is not None


@final
@frozen
class QueryResult:
    """What a statement came to.

    Attributes:
        rows: Values by the name of the column.
        row_count: How many rows were written, or read by a query.
    """

    rows: list[dict[str, Any]] = field(factory=list, repr=False)
    row_count: int = 0


@runtime_checkable
class DatabaseProviderProtocol(Protocol):
    """A SQL database; placeholders are `?`.

    The statements of a task that is inside of `transaction()` belong to it.
    """

    async def execute(self, sql: str, params: Any = None) -> Any:
        """Run a statement."""
        ...

    async def execute_query(
        self, sql: str, params: Sequence[Any] | None = None, **options: Any
    ) -> Any:
        """Run a query; the `rows` of what is returned are a list of dicts."""
        ...

    async def execute_insert(self, table: str, data: Mapping[str, Any], **options: Any) -> Any:
        """Add a row."""
        ...

    async def execute_update(
        self,
        table: str,
        data: Mapping[str, Any],
        where_clause: str,
        where_params: Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        """Change rows."""
        ...

    async def execute_delete(
        self,
        table: str,
        where_clause: str,
        where_params: Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        """Remove rows."""
        ...

    def transaction(self, isolation_level: str | None = None) -> AbstractAsyncContextManager[Any]:
        """Return what commits at its end, and rolls back when something is raised in it."""
        ...

    async def connect(self) -> None:
        """Make it ready."""
        ...

    async def disconnect(self) -> None:
        """Let go of everything."""
        ...

    async def is_connected(self) -> bool:
        """Say whether it is ready."""
        ...
