"""Every row of a file compared with its checksum, and with the rows that belong to it. Reads only.

What SQLite's own check looks at is the structure of the file; whether a text or a number in it is
the one that was stored, only this tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.storage.sqlite import statements
from lexigram_actors.storage.sqlite.rows import checked_value

if TYPE_CHECKING:
    import apsw

Check = Callable[[Any], object]

ALL_CACHED: Final = "SELECT key, value, expires_at, checksum FROM cache"

CHECKS: Final[tuple[tuple[str, str, Check], ...]] = (
    (
        "instances",
        f"SELECT {statements.FACTS} FROM instances",  # noqa: S608 - constants
        statements.instance_of,
    ),
    (
        "instances",
        "SELECT id, status, epoch, ended_at, outcome, outcome_checksum FROM instances",
        lambda row: statements.checked_outcome(*row),
    ),
    (
        "inputs",
        "SELECT instance, value, checksum FROM inputs",
        lambda row: statements.checked_input(*row),
    ),
    (
        "journal",
        "SELECT instance, position, path, kind, value, at, mail, epoch, checksum FROM journal",
        statements.entry_of,
    ),
    (
        "mail",
        f"SELECT {statements.MAIL} FROM mail",  # noqa: S608
        statements.mail_of,
    ),
)

WITHOUT_INPUT: Final = "SELECT id FROM instances WHERE id NOT IN (SELECT instance FROM inputs)"
# What an owner changes all the time has no checksum; these never go together.
CONTRADICTORY: Final = """
SELECT id FROM instances
WHERE epoch < 0 OR (owner IS NOT NULL AND ended_at IS NOT NULL)
    OR epoch < (SELECT max(epoch) FROM journal WHERE instance = id)
"""
WITHOUT_INSTANCE: Final = """
SELECT instance FROM (
    SELECT instance FROM inputs UNION SELECT instance FROM journal UNION SELECT instance FROM mail
) WHERE instance NOT IN (SELECT id FROM instances)
"""


@frozen
class Damage:
    """What is not as it was stored.

    Attributes:
        instances: The ids of those that it concerns, each once.
        keys: Of the key-value view.
        unreadable: How many rows there are of which not even that can be read, by table.
    """

    instances: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, int], ...] = ()


def find_damage(connection: apsw.Connection) -> Damage:
    """Compare every row of a database of the newest version with its checksum."""
    instances: dict[str, None] = {}
    keys: dict[str, None] = {}
    unreadable: dict[str, int] = {}

    def verify(table: str, statement: str, check: Check, found: dict[str, None]) -> None:
        undecoded: list[StoreCorruptedError] = []
        for row in statements.readable(connection.execute(statement), undecoded, table):
            try:
                check(row)
            except StoreCorruptedError:
                found[row[1 if table == "mail" else 0]] = None
        if undecoded:
            unreadable[table] = max(unreadable.get(table, 0), len(undecoded))

    def add(row: tuple[Any, ...]) -> None:
        instances[row[0]] = None

    for table, statement, check in CHECKS:
        verify(table, statement, check, instances)
    verify("instances", WITHOUT_INPUT, add, instances)
    verify("instances", CONTRADICTORY, add, instances)
    verify("journal", WITHOUT_INSTANCE, add, instances)
    verify("cache", ALL_CACHED, lambda row: checked_value(*row), keys)
    return Damage(tuple(instances), tuple(keys), tuple(unreadable.items()))
