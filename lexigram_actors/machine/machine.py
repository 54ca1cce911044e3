"""`StateMachine`: one lock around guard, hooks and write."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NoReturn, final

import trio

from lexigram_actors.checks import given
from lexigram_actors.errors import (
    ConfigurationError,
    StateConcurrencyError,
    StateError,
    StoreError,
)
from lexigram_actors.host.observing import OBSERVER
from lexigram_actors.machine.history import Position, replayed
from lexigram_actors.machine.models import (
    State,
    StatePersistenceProtocol,
    Transition,
    checked_states,
)
from lexigram_actors.machine.moving import Move, arrive, is_allowed, leave
from lexigram_actors.machine.writing import Refused, Written, append

logger = logging.getLogger(__name__)

RECOVER: Final = "call recover() to see where the machine stands, then decide"

UNNAMED: Final = "machine"
"""What a machine without an id is called towards those who observe."""


@final
class StateMachine:
    """Moves between declared states, one event at a time.

    An event that comes while another is handled waits for it. For each, in this order: the
    transition's `guard`, the old state's `on_exit`, the new one's `on_enter` (from here on
    `current_state` is the new one), `on_transition(event, target)`, and the write. Where one of
    these fails, or is cancelled, state and version are what they were; what a hook has done outside
    is not undone. Each transition that was made is told of inside `observing`: a
    `WorkflowStateTransitionedHook`, with the machine's id as the `workflow_id`.

    Args:
        states: All of them; each name once.
        initial_state: Where it stands while nothing is recorded.
        persistence: Where each transition is recorded; None: nowhere.
        machine_id: Under which name; needed with a persistence, and else of no account.

    A machine with a persistence begins in `initial_state` at version 0. Where it has a past, call
    `recover()` first: without it the first transition is refused.

    Raises:
        ConfigurationError: A name stands for two states; the initial state, or a target, is none; a
            transition is filed under the name of another event; or there is no `machine_id`.
    """

    def __init__(
        self,
        states: Sequence[State],
        initial_state: str,
        persistence: StatePersistenceProtocol | None = None,
        machine_id: str | None = None,
    ) -> None:
        self._states = checked_states(states, initial_state)
        self._initial = initial_state
        self._persistence = persistence
        self._id = checked_id(persistence, machine_id)
        # These two always change together, but for the hooks of a move, which see the new state.
        self._current = initial_state
        self._version = 0
        self._is_unknown = False
        self._lock = trio.Lock()
        self._move: Move | None = None

    @property
    def current_state(self) -> str:
        """The name of the state it is in; while hooks run the one that it comes to."""
        return self._current

    @property
    def version(self) -> int:
        """How many transitions it has made, over all its lives."""
        return self._version

    @property
    def machine_id(self) -> str | None:
        """The name under which its transitions are recorded."""
        return self._id

    def can_transition(self, event: str) -> bool:
        """Say whether the current state declares the event; its guard is not asked."""
        return event in self._states[self._current].transitions

    async def transition(self, event: str) -> str:
        """Handle an event; return the name of the state it is in then.

        A checkpoint. Cancelled, nothing has changed; but a write that had begun is finished, within
        30 seconds, and then the machine has moved.

        Raises:
            StateError: The state does not declare the event, or its guard said no.
            StateConcurrencyError: Somebody else has moved the machine; nothing was written.
            WorkflowStateError: A guard or a hook of this machine called it, and would wait for
                itself.
            StoreError: Whether the transition is recorded is not known, and `recover()` has to find
                out before the next one.
            Exception: What a guard, a hook or the persistence raised, as it is.
        """
        self._refuse_reentrance(f"transition({event!r})")
        async with self._lock:
            self._check_known(event)
            source = self._states[self._current]
            transition = source.transitions.get(event)
            if transition is None:
                known = ", ".join(map(repr, source.transitions)) or "none, the state is final"
                raise StateError(event, source.name, hint=f"events of this state: {known}")
            before = Position(self._current, self._version)
            self._move = Move()
            try:
                self._stand(await self._moved(source, transition))
            except BaseException:
                self._stand(before)
                raise
            finally:
                self._move = None
            self._tell_of_move(before.state)
            return self._current

    async def recover(self, machine_id: str | None = None) -> str:
        """Go where the recorded transitions lead; return the name of that state.

        Waits for a transition that is under way. Neither guards nor hooks are called. Without a
        persistence nothing happens. Cancelled or failed, the machine is as it was.

        Args:
            machine_id: Be the machine of that name from now on; None: remain the same.

        Raises:
            StoreCorruptedError: What is recorded is no history of this machine; `details` names
                the machine and the version.
            WorkflowStateError: A guard or a hook of this machine called it.
            Exception: What the persistence raised, as it is.
        """
        self._refuse_reentrance("recover()")
        async with self._lock:
            if self._persistence is None:
                return self._current
            id = checked_id(self._persistence, self._id if machine_id is None else machine_id)
            assert id is not None
            records = await self._persistence.load_transitions(id)
            position = replayed(id, records, self._states, self._initial)
            self._id = id
            self._is_unknown = False
            self._stand(position)
            return self._current

    def __repr__(self) -> str:
        name = "" if self._id is None else f" {self._id!r}"
        return f"<StateMachine{name} in {self._current!r}, version {self._version}>"

    # --- one move -------------------------------------------------------------------------------

    async def _moved(self, source: State, transition: Transition) -> Position:
        """Ask, call and write; return where the machine stands then."""
        event, target = transition.event, self._states[transition.target]
        if not await is_allowed(transition):
            raise StateError(
                event,
                source.name,
                message=f"the guard of event {event!r} said no in state {source.name!r}",
            )
        await leave(source, event)
        self._current = target.name
        await arrive(target, transition, source.name)
        if self._persistence is not None:
            await self._write(source.name, event, target.name)
        return Position(target.name, self._version + 1)

    async def _write(self, source: str, event: str, target: str) -> None:
        assert self._persistence is not None
        assert self._id is not None
        end = await append(self._persistence, self._id, source, event, target, self._version)
        if isinstance(end, Written):
            return
        if isinstance(end, Refused):
            raise StateConcurrencyError(
                event, source, self._version, end.version, cause=end.error, hint=RECOVER
            )
        if end.is_unknown:
            self._raise_unknown(event, end.error)
        raise end.error

    def _raise_unknown(self, event: str, error: Exception) -> NoReturn:
        self._is_unknown = True
        logger.error("machine %r: whether %r is recorded is not known", self._id, event)
        raise StoreError(
            f"whether event {event!r} of machine {self._id!r} is recorded is not known; the "
            "machine moves no more until it is recovered",
            details={"machine_id": self._id, "event": event, "version": self._version},
            hint="mend the store, then call recover()",
            cause=error,
        )

    # --- what holds before one ------------------------------------------------------------------

    def _refuse_reentrance(self, what: str) -> None:
        if self._move is not None:
            self._move.refuse_caller(what)

    def _check_known(self, event: str) -> None:
        if self._is_unknown:
            raise StoreError(
                f"event {event!r} was not handled: whether the event before it is recorded is not "
                f"known of machine {self._id!r}",
                hint="mend the store, then call recover()",
            )

    def _tell_of_move(self, source: str) -> None:
        observer = OBSERVER.get()
        if observer is not None:
            observer.transitioned(self._id or UNNAMED, source, self._current)

    def _stand(self, position: Position) -> None:
        self._current, self._version = position


def checked_id(persistence: StatePersistenceProtocol | None, machine_id: str | None) -> str | None:
    """Return the name of a machine.

    Raises:
        ConfigurationError: There is none, or it is no text, and transitions are recorded under it;
            or the persistence is none.
    """
    if persistence is None:
        return machine_id
    if not callable(getattr(persistence, "append_transition", None)):
        raise ConfigurationError(
            f"persistence: {given(persistence)} records no transitions",
            hint="of a store make one: StoreStatePersistence(store)",
        )
    if not isinstance(machine_id, str) or not machine_id:
        raise ConfigurationError(
            f"a machine with a persistence needs a machine_id, and {given(machine_id)} was given",
            hint="StateMachine(states, initial_state, persistence, machine_id='door-1')",
        )
    return machine_id
