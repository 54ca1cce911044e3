"""A door whose state survives, and that two people cannot open at once.

                   lock                    open
    locked ◀───────────────── closed ─────────────────▶ open
       └──────────────────────▶ └◀──────────────────────┘
              unlock(code)                 close

Two processes, here two machines, drive the same door. Each transition is recorded before it counts;
whoever comes second is refused, looks where the door stands, and decides anew.

    python docs/examples/door_machine.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from lexigram_actors.errors import StateConcurrencyError, StateError
from lexigram_actors.machine import DatabaseStatePersistence, State, StateMachine, Transition
from lexigram_actors.storage.sqlite.database import SQLiteDatabase


class Keypad:
    """Where somebody enters a code."""

    entered = ""

    def is_right(self) -> bool:
        return self.entered == "1234"


def door(keypad: Keypad, creaks: list[str]) -> list[State]:
    """Return the states; `creaks` fills with what is heard."""

    async def creak() -> None:
        await trio.sleep(0.01)
        creaks.append("creak")

    return [
        State(
            "closed",
            {"open": Transition("open", "open"), "lock": Transition("lock", "locked")},
        ),
        State("open", {"close": Transition("close", "closed")}, on_enter=creak),
        State("locked", {"unlock": Transition("unlock", "closed", guard=keypad.is_right)}),
    ]


async def visit(path: Path) -> None:
    """Let two people meet at the door."""
    keypad = Keypad()
    creaks: list[str] = []
    async with SQLiteDatabase(path) as database:
        persistence = DatabaseStatePersistence(database)
        ann = StateMachine(door(keypad, creaks), "closed", persistence, "front door")
        bob = StateMachine(door(keypad, creaks), "closed", persistence, "front door")

        print("ann:", await ann.transition("open"))
        try:
            await bob.transition("lock")
        except StateConcurrencyError as error:
            print(f"bob: refused, version {error.actual_version} is stored")
        print("bob sees:", await bob.recover())
        await bob.transition("close")
        print("bob:", await bob.transition("lock"))

        await ann.recover()
        try:
            await ann.transition("unlock")
        except StateError as error:
            print("ann:", error.message)
        keypad.entered = "1234"
        print("ann:", await ann.transition("unlock"), f"(heard: {', '.join(creaks)})")


async def come_back(path: Path) -> None:
    """Find the door as it was left."""
    async with SQLiteDatabase(path) as database:
        persistence = DatabaseStatePersistence(database)
        machine = StateMachine(door(Keypad(), []), "closed", persistence, "front door")
        state = await machine.recover()
        print(f"the door is {state} after {machine.version} transitions:")
        for row in await persistence.load_transitions("front door"):
            print(f"  {row.version} {row.from_state:6} -- {row.event:6} --> {row.to_state}")


async def main() -> None:
    """Run both, one after the other, on one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "doors.db"
        await visit(path)
        await come_back(path)


if __name__ == "__main__":
    trio.run(main)
