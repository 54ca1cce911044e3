"""State machines: states, events, guards, and a history that two writers cannot fork."""

from lexigram_actors.machine.hosted import MachineEvent, StateMachineDefinition, current_event
from lexigram_actors.machine.machine import StateMachine
from lexigram_actors.machine.models import (
    State,
    StateMachineProtocol,
    StatePersistenceProtocol,
    StateTransitionRecord,
    Transition,
)
from lexigram_actors.machine.persistence import DatabaseStatePersistence
from lexigram_actors.machine.stored import StoreStatePersistence

__all__ = [
    "DatabaseStatePersistence",
    "MachineEvent",
    "State",
    "StateMachine",
    "StateMachineDefinition",
    "StateMachineProtocol",
    "StatePersistenceProtocol",
    "StateTransitionRecord",
    "StoreStatePersistence",
    "Transition",
    "current_event",
]
