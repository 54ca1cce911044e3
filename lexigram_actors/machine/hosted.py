"""A machine as an instance: its events are signals, and its transitions stand in the journal.

| entry | value | when |
| --- | --- | --- |
| `transition` | `{"from", "event", "to", "version"}` | the machine has moved |
| `refused` | `{"event", "state"}` | the state does not declare the event, or the guard said no |
| `refused` | `{"event", "state", "error"}` | the guard or a hook failed; the machine stays |

Each takes the signal that it came of. The path is that of the machine with the name of the event.
After a crash between a hook and the record the same signal is handled again, with the same
idempotency key (`current_step()`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple, final

from attrs import define

from lexigram_actors.checks import given, require, text, whole
from lexigram_actors.errors import (
    ConfigurationError,
    NonDeterminismError,
    StoreCorruptedError,
    WorkflowStateError,
)
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import RunContext, escaped
from lexigram_actors.host.steps import Failure, Step, attempted, failure_record
from lexigram_actors.machine.history import Position, replayed
from lexigram_actors.machine.models import (
    State,
    States,
    StateTransitionRecord,
    Transition,
    checked_states,
)
from lexigram_actors.machine.moving import arrive, is_allowed, leave
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage.instances import Entry, Mail

TRANSITION: Final = "transition"
REFUSED: Final = "refused"

StatesOf = Callable[[Any], Sequence[State]]
"""What returns the states for an input."""


class MachineEvent(NamedTuple):
    """An event that a machine in a host handles.

    Attributes:
        payload: What was sent with the signal; None: nothing.
    """

    name: str
    payload: Any = None


CURRENT: Final[ContextVar[MachineEvent]] = ContextVar("the event that a machine handles")


def current_event() -> MachineEvent:
    """Return the event that is handled, with what came with it; for guards and hooks in a host.

    Raises:
        WorkflowStateError: None is.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise WorkflowStateError(
            "current_event() was called outside of the guards and hooks of a machine in a host",
            hint="call it in a guard, in on_exit, on_enter or on_transition",
        ) from None


@final
class StateMachineDefinition:
    """A state machine for a host: each instance is one, and a signal to it an event.

    An instance ends with `Ok` of the name of its state, once that is final: leads nowhere. Until
    then it takes signals, one after the other, in the order in which they were sent. What the state
    does not declare, the guard does not allow, or a hook fails at, is recorded as refused. A
    definition can be a part of a pipeline, a graph or a durable function as well; there it takes
    only signals that are events of it.

    Hooks run at least once: again after a crash that came before the transition was recorded.
    `current_step().idempotency_key` is the same then; `current_event()` has what was sent. The
    order is that of `StateMachine`.

    Args:
        name: Of the definition, as in `host.start("door")`.
        states: All of them; or what returns them for the input of an instance, called in each life.
        initial_state: Where an instance begins.
        version: Raise it where old instances do not fit any more.

    Raises:
        ConfigurationError: As for `StateMachine`; or the name is empty.
    """

    tells_its_work: Final = True

    def __init__(
        self,
        name: str,
        states: Sequence[State] | StatesOf,
        initial_state: str,
        *,
        version: int = 1,
    ) -> None:
        require("name", name, text())
        require("version", version, whole(least=1))
        if not name:
            raise ConfigurationError("a machine needs a name")
        self._name = name
        self._version = version
        self._initial = initial_state
        self._states = states if callable(states) else checked_states(states, initial_state)

    @property
    def kind(self) -> str:
        """`"machine"`."""
        return "machine"

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def version(self) -> int:
        """The version it was given."""
        return self._version

    async def run(self, context: RunContext, /) -> Result[str, Exception]:
        """Handle events until the state is final; return `Ok` of it.

        Cancelled, or crashed, what is recorded stands, and the signal in hand is not taken.

        Raises:
            WorkflowStateError: There is no host that could bring events.
            NonDeterminismError: The instance has made a transition that the states have not.
        """
        found = self._states_for(context.input)
        if isinstance(found, Err):
            return found
        if context.journal is None:
            raise WorkflowStateError(
                f"the machine {self._name!r} gets its events from a host, and there is none",
                hint="start it in one: host.start(...); by itself use StateMachine",
            )
        return Ok(await HostedRun(context.journal, context.place, found.value, self._initial).run())

    def _states_for(self, input: Any) -> Result[States, ConfigurationError]:
        if not callable(self._states):
            return Ok(self._states)
        try:
            return Ok(checked_states(self._states(input), self._initial))
        except ConfigurationError as error:
            return Err(error)
        except Exception as error:  # noqa: BLE001 - a function of the user's
            return Err(
                ConfigurationError(
                    f"the states of machine {self._name!r} cannot be had for {given(input)}",
                    problems=[f"{type(error).__name__}: {error}"],
                    cause=error,
                )
            )

    def __repr__(self) -> str:
        return f"StateMachineDefinition({self._name!r}, version={self._version})"


@define(eq=False)
class HostedRun:
    """One life of a machine in an instance."""

    journal: Journal
    place: str
    states: States
    initial: str

    async def run(self) -> str:
        at = self._recorded()
        query = f"{self.place}/state" if self.place else "state"
        self.journal.queries[query] = lambda: at.state
        while not self.states[at.state].is_final:
            mail = await self._next_event(at.state)
            at = await self._handled(at, mail)
        return at.state

    def _recorded(self) -> Position:
        """Return where the transitions that are recorded here lead.

        Raises:
            NonDeterminismError: They are none of this machine.
        """
        records = [
            StateTransitionRecord(
                self.journal.id,
                entry.value["version"],
                entry.value["from"],
                entry.value["event"],
                entry.value["to"],
                entry.at,
            )
            for entry in self.journal.entries
            if entry.kind == TRANSITION and entry.path == self._path(entry.value["event"])
        ]
        try:
            return replayed(self.journal.id, records, self.states, self.initial)
        except StoreCorruptedError as error:
            record = records[error.details["version"] - 1]
            raise NonDeterminismError(
                self._path(record.event),
                f"{record.event!r} from {record.from_state!r} to {record.to_state!r}",
                "states without that",
                hint="give the machine with the other states another version",
            ) from error

    def _path(self, event: str) -> str:
        name = escaped(event)
        return f"{self.place}/{name}" if self.place else name

    async def _next_event(self, state: str) -> Mail:
        """Wait for a signal: any, where the instance is nothing but this machine."""
        if not self.journal.is_open:
            await self.journal.ready()
        with self.journal.waiting(f"an event in state {state!r}"):
            mail = await self.journal.receive("signal", *self._events())
        assert mail is not None
        if not self.journal.is_open:
            await self.journal.ready()
        return mail

    def _events(self) -> list[str]:
        if not self.place:
            return []
        return sorted({event for state in self.states.values() for event in state.transitions})

    async def _handled(self, at: Position, mail: Mail) -> Position:
        """Handle an event, and record what came of it; return where the machine stands then."""
        transition = self.states[at.state].transitions.get(mail.name)
        if transition is None:
            await self._refuse(at, mail)
            return at
        end = await self._moved(at, transition, mail)
        if isinstance(end, Failure):
            await self._refuse(at, mail, end.error)
            return at
        if not end:
            await self._refuse(at, mail)
            return at
        to = Position(transition.target, at.version + 1)
        value = {"from": at.state, "event": mail.name, "to": to.state, "version": to.version}
        await self.journal.append(self._path(mail.name), TRANSITION, value, mail=mail.seq)
        if self.journal.host is not None:
            self.journal.host.transitioned(self.journal.id, at.state, to.state)
        return to

    async def _moved(self, at: Position, transition: Transition, mail: Mail) -> bool | Failure:
        """Ask and call; return whether the machine has moved, or what failed."""
        # With the number of the signal: the key of an effect is that of no other event.
        path = f"{self._path(mail.name)}#{mail.seq}"
        token = CURRENT.set(MachineEvent(mail.name, mail.payload))
        try:
            call = partial(moved, self.states[at.state], transition, self.states[transition.target])
            outcome: bool | Failure = await attempted(self.journal, Step(path, mail.name, call), 1)
            return outcome
        finally:
            CURRENT.reset(token)

    async def _refuse(self, at: Position, mail: Mail, error: object = None) -> Entry:
        value: dict[str, Any] = {"event": mail.name, "state": at.state}
        if error is not None:
            value["error"] = failure_record(error)
        return await self.journal.append(self._path(mail.name), REFUSED, value, mail=mail.seq)


async def moved(source: State, transition: Transition, target: State) -> bool:
    """Ask the guard, then call the hooks; say whether the guard allowed it."""
    if not await is_allowed(transition):
        return False
    await leave(source, transition.event)
    await arrive(target, transition, source.name)
    return True
