"""A bank with a database of its own: it knows nothing of sagas, and each call is a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, final

ACCOUNTS: Final = 50
AT_FIRST: Final = 1000

Kind = Literal["debit", "credit"]

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS legs (
        transfer INTEGER NOT NULL,
        kind TEXT NOT NULL,
        key TEXT UNIQUE,
        account INTEGER,
        amount INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (transfer, kind)
    );
    CREATE TABLE IF NOT EXISTS complaints (text TEXT NOT NULL);
"""


class Leg(NamedTuple):
    """One side of a transfer: what it adds to an account.

    `state`: it `"stands"`, was `"undone"`, or is `"void"`: undone before it came.
    """

    transfer: int
    kind: Kind
    amount: int
    state: Literal["stands", "undone", "void"]


class Refusal(Exception):
    """The bank does not do it, and has not done it."""


@final
class Bank:
    """An open bank.

    Args:
        durable: Whether each transaction is on disk when its call returns; for processes that are
            only said to die it does not matter.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._rows = sqlite3.connect(path, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        self._rows.execute("PRAGMA busy_timeout = 5000")
        self._rows.executescript(SCHEMA)
        with self._transaction():
            self._rows.executemany(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?)",
                [(number, AT_FIRST) for number in range(ACCOUNTS)],
            )

    def close(self) -> None:
        self._rows.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")

    def move(self, key: str, transfer: int, kind: Kind, account: int, amount: int) -> None:
        """Add to an account; with a key that was there before, nothing.

        Raises:
            Refusal: There is not enough on it; or the leg was undone already.
        """
        with self._transaction():
            known = self._rows.execute(
                "SELECT key, state FROM legs WHERE transfer = ? AND kind = ?", (transfer, kind)
            ).fetchone()
            if known is not None:
                if known[1] != "stands":
                    complaint = f"{kind} of {transfer} came after its undo"
                elif known[0] != key:
                    complaint = f"{kind} of {transfer} has two keys: {known[0]!r}, {key!r}"
                else:
                    return
                self._rows.execute("INSERT INTO complaints VALUES (?)", (complaint,))
                return
            (balance,) = self._rows.execute(
                "SELECT balance FROM accounts WHERE id = ?", (account,)
            ).fetchone()
            if balance + amount < 0:
                raise Refusal(f"account {account} has {balance}")
            self._add(account, amount)
            self._rows.execute(
                "INSERT INTO legs VALUES (?, ?, ?, ?, ?, 'stands')",
                (transfer, kind, key, account, amount),
            )

    def undo(self, transfer: int, kind: Kind, *, once: bool = False) -> None:
        """Take a leg back; where it has not come it is void from now on.

        Args:
            once: It is not to be undone for a second time: that is complained of.
        """
        with self._transaction():
            known = self._rows.execute(
                "SELECT account, amount, state FROM legs WHERE transfer = ? AND kind = ?",
                (transfer, kind),
            ).fetchone()
            if known is None:
                self._rows.execute(
                    "INSERT INTO legs VALUES (?, ?, NULL, NULL, 0, 'void')", (transfer, kind)
                )
            elif known[2] == "stands":
                self._add(known[0], -known[1])
                self._rows.execute(
                    "UPDATE legs SET state = 'undone' WHERE transfer = ? AND kind = ?",
                    (transfer, kind),
                )
            elif once:
                complaint = f"{kind} of {transfer} was undone twice"
                self._rows.execute("INSERT INTO complaints VALUES (?)", (complaint,))

    def _add(self, account: int, amount: int) -> None:
        self._rows.execute(
            "UPDATE accounts SET balance = balance + ? WHERE id = ?", (amount, account)
        )

    def total(self) -> int:
        """Return what is on all accounts together."""
        (total,) = self._rows.execute("SELECT sum(balance) FROM accounts").fetchone()
        return int(total)

    def legs(self) -> dict[int, dict[Kind, Leg]]:
        """Return the legs by transfer."""
        found: dict[int, dict[Kind, Leg]] = {}
        query = "SELECT transfer, kind, amount, state FROM legs"
        for row in self._rows.execute(query):
            leg = Leg(*row)
            found.setdefault(leg.transfer, {})[leg.kind] = leg
        return found

    def size(self) -> int:
        """Return how many legs there were."""
        (number,) = self._rows.execute("SELECT count(*) FROM legs").fetchone()
        return int(number)

    def complaints(self) -> list[str]:
        """Return what was done that must not be."""
        return [text for (text,) in self._rows.execute("SELECT text FROM complaints")]
