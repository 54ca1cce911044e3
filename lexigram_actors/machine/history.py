"""Where a recorded history leads, and whether it can be one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.machine.models import States, StateTransitionRecord


class Position(NamedTuple):
    """Where a machine stands.

    Attributes:
        version: How many transitions led here.
    """

    state: str
    version: int


def replayed(
    machine_id: str, records: Sequence[StateTransitionRecord], states: States, initial_state: str
) -> Position:
    """Return where the transitions lead from the initial state.

    Raises:
        StoreCorruptedError: They are no history of this machine: `details` has the machine's id and
            the version at which it breaks off.
    """
    at = Position(initial_state, 0)
    for record in records:
        problem = problem_of(at, record, states)
        if problem is not None:
            raise StoreCorruptedError(
                f"the history of machine {machine_id!r} is none of this machine, at version "
                f"{at.version + 1}: {problem}",
                details={"machine_id": machine_id, "version": at.version + 1},
                hint="run it with the states it was begun with, or restore its transitions",
            )
        at = Position(record.to_state, record.version)
    return at


def problem_of(at: Position, record: StateTransitionRecord, states: States) -> str | None:
    """Return why a transition cannot be the next of a machine that stands there; None: it can."""
    if record.version != at.version + 1:
        return f"version {record.version} follows version {at.version}"
    if record.from_state != at.state:
        return f"it leads from {record.from_state!r}, and the machine was in {at.state!r}"
    transition = states[at.state].transitions.get(record.event)
    if transition is None:
        return f"{at.state!r} has no event {record.event!r}"
    if transition.target != record.to_state:
        return (
            f"{record.event!r} led from {at.state!r} to {record.to_state!r}, and leads to "
            f"{transition.target!r}"
        )
    return None
