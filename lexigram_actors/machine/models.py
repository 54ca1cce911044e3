"""What a state machine is made of, and the ports around it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

from attrs import field, frozen

from lexigram_actors.checks import given
from lexigram_actors.errors import ConfigurationError

Guard = Callable[[], Any]
"""Returns whether the machine may move, or an awaitable of that."""

Hook = Callable[[], Any]
"""What it returns counts for nothing, unless it is an `Err`; awaited where it is awaitable."""

TransitionHook = Callable[[str, str], Any]
"""A hook that is given the event and the target."""


@final
@frozen
class Transition:
    """What an event does to a machine.

    Args:
        event: Its name: the key under which the transition stands in its state.
        target: The name of the state that it leads to, which may be the one it comes from.
        guard: Asked first; where its answer is false the machine stays. None: always allowed.
        on_transition: Called last, with the event and the target.
    """

    event: str
    target: str
    guard: Guard | None = field(default=None, repr=False)
    on_transition: TransitionHook | None = field(default=None, repr=False)


@final
@frozen
class State:
    """A state, and where events lead from it.

    Args:
        transitions: By the name of the event. A state without any is final.
        on_enter: Called when the machine comes here; not for the state that it begins in.
        on_exit: Called when it leaves.
    """

    name: str
    transitions: Mapping[str, Transition] = field(factory=dict)
    on_enter: Hook | None = field(default=None, repr=False)
    on_exit: Hook | None = field(default=None, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing leads on from here."""
        return not self.transitions


class StateTransitionRecord(NamedTuple):
    """One transition that a machine made.

    Attributes:
        version: Of the machine from then on: the first transition makes version 1.
        transitioned_at: Unix seconds.
    """

    machine_id: str
    version: int
    from_state: str
    event: str
    to_state: str
    transitioned_at: float


@runtime_checkable
class StateMachineProtocol(Protocol):
    """A machine, as those see it that only drive it."""

    @property
    def current_state(self) -> str:
        """The name of the state it is in."""
        ...

    @property
    def version(self) -> int:
        """How many transitions it has made."""
        ...

    def can_transition(self, event: str) -> bool:
        """Say whether the state declares the event."""
        ...

    async def transition(self, event: str) -> str:
        """Move; return the name of the state it is in then.

        Raises:
            StateError: The event is not permitted.
        """
        ...

    async def recover(self, machine_id: str | None = None) -> str:
        """Go where the stored transitions lead; return the name of that state."""
        ...


@runtime_checkable
class StatePersistenceProtocol(Protocol):
    """Where the transitions of machines are kept."""

    async def append_transition(
        self, machine_id: str, from_state: str, event: str, to_state: str, expected_version: int
    ) -> int:
        """Record a transition of a machine that has `expected_version`; return its version then.

        Of two that expect the same version one is refused.

        Raises:
            StateConcurrencyError: The machine has another version; nothing was written. A
                `RuntimeError` says the same.
        """
        ...

    async def load_transitions(self, machine_id: str) -> list[StateTransitionRecord]:
        """Return what was recorded of a machine, by version."""
        ...

    async def get_current_version(self, machine_id: str) -> int:
        """Return the version of the last transition; 0 when there is none."""
        ...


# --- checking -----------------------------------------------------------------------------------

States = Mapping[str, State]
"""The states of a machine, by name."""


def checked_states(states: Sequence[State], initial_state: str) -> States:
    """Return the states by name, as they are now: what is changed in them later counts not.

    Raises:
        ConfigurationError: A name stands for two states; the initial state, or a target, is none;
            a transition is filed under the name of another event; or something is no `State`. All
            that is wrong is listed.
    """
    by_name: dict[str, State] = {}
    problems: list[str] = []
    for state in states:
        if not isinstance(state, State):
            problems.append(f"{given(state)} is no State")
        elif state.name in by_name:
            problems.append(f"there are two states {state.name!r}")
        else:
            copied = dict(state.transitions)
            by_name[state.name] = State(state.name, copied, state.on_enter, state.on_exit)
    for state in by_name.values():
        problems += problems_of(state, by_name)
    if initial_state not in by_name:
        problems.append(f"the initial state {initial_state!r} is none of {sorted(by_name)}")
    if problems:
        raise ConfigurationError("wrong state machine", problems=problems)
    return by_name


def problems_of(state: State, states: States) -> list[str]:
    """Return a sentence for whatever is wrong with the transitions of a state."""
    problems = []
    for event, transition in state.transitions.items():
        where = f"{state.name!r} on {event!r}"
        if not isinstance(transition, Transition):
            problems.append(f"{where}: {given(transition)} is no Transition")
        elif transition.event != event:
            problems.append(f"{where}: the transition is that of {transition.event!r}")
        elif transition.target not in states:
            problems.append(f"{where}: the target {transition.target!r} is no state")
    return problems
