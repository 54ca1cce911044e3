"""What a durable function has in place of a host and a store, where it runs without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, final
from uuid import uuid4

import trio

from lexigram_actors.host.journal import Journal
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    Loaded,
)

if TYPE_CHECKING:
    from lexigram_actors.workflow.function import DurableFunction


@final
class Copies:
    """What is recorded in a journal without a store, for a function that is called again.

    As from a store it is given what was recorded, not what it made of it. A value that cannot be
    copied is given as it is.

    Attributes:
        are_kept: Whether they are; only what is called again needs them.
    """

    __slots__ = ("_entries", "are_kept")

    def __init__(self) -> None:
        self.are_kept = False
        self._entries: dict[int, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Keep a copy."""
        if self.are_kept:
            self._entries[entry.position] = copied(entry)

    def of(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries as they were recorded."""
        return [copied(self._entries.get(entry.position, entry)) for entry in entries]


def copied(entry: Entry) -> Entry:
    """Return an entry whose value nobody else has."""
    try:
        return entry._replace(value=deepcopy(entry.value))
    except Exception:  # noqa: BLE001 - a class of the user's may refuse it in any way
        return entry


def journal_of_nothing(
    function: DurableFunction, run_id: str | None, times: int
) -> tuple[Journal, Copies]:
    """Return a journal that is kept by nobody, for a run without a host."""
    begun = time.time() - trio.current_time()

    def clock() -> float:
        # Waits are Trio's, and so must be the clock: in a test they pass in no time.
        return begun + trio.current_time()

    instance = Instance(
        id=uuid4().hex if run_id is None else run_id,
        definition=Definition(function.kind, function.name, function.version),
        status=InstanceStatus.RUNNING,
        run=times,
        seed=uuid4().hex,
        created_at=clock(),
    )
    copies = Copies()
    journal = Journal(Loaded(instance=instance, input=None, entries=[], mail=[]), None, clock)
    journal.on_entry = copies.add
    return journal, copies
