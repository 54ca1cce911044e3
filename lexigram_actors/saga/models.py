"""What a saga is made of: its steps, what they are told, and its states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from inspect import signature
from operator import attrgetter, is_
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple, Protocol, final, runtime_checkable

from attrs import field, fields, frozen

from lexigram_actors.checks import flag, number, require, whole
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.host.seam import Runnable

LONGEST_NAME: Final = 256


class SagaState(StrEnum):
    """How far a saga is.

    | | |
    | --- | --- |
    | `PENDING` | nothing has begun |
    | `RUNNING` | on its way forward; after a crash it goes on after the last recorded step |
    | `COMPENSATING` | undoing; after a crash it goes on with the next undo |
    | `COMPLETED` | every step is done |
    | `FAILED` | a step failed; what was done before is undone, but for what `uncompensated` lists |
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"


class SagaContext(NamedTuple):
    """What an action, an undo or a probe is told, if it takes a parameter.

    Attributes:
        saga_id: What the saga's `get_id` says.
        step_name: Of the step that is done, or undone.
        attempt: From 1, in each execution.
        results: Of the steps that are done, by name; a copy.
        idempotency_key: The same on every attempt of this step of this saga, after a crash too,
            and of no other: what a system outside can tell a repeated call by. That of an undo is
            another than that of the action.
        epoch: Rises each time the saga is taken up after a crash: with `attempt`, what a system
            outside can fence by.
    """

    saga_id: str
    step_name: str
    attempt: int
    results: Mapping[str, Any]
    idempotency_key: str
    epoch: int


Action = Callable[..., Any] | Runnable


class Way(Enum):
    """How something is called: without arguments, with a `SagaContext`, or run."""

    PLAIN = 0
    CONTEXT = 1
    RUN = 2


class Calls(NamedTuple):
    """How the functions of a step are called."""

    action: Way
    compensation: Way


@final
@frozen
class SagaStep:
    """One step of a saga: what it does, and how that is undone.

    Attributes:
        name: Of this step alone in its saga, 1 to 256 characters.
        action: Async or not; returns a `Result` or a plain value, or raises. Called without
            arguments where it can be, else with a `SagaContext`. Or a `Runnable`: a pipeline, a
            graph, another saga's `as_runnable()`.
        compensation: Undoes it; called as the action is. It fails by raising or with an `Err`.
            None: there is nothing to undo.
        max_retries: Attempts of the action in all, at least one: 0 counts as 1.
        retry_delay: Seconds between two attempts, of an undo too.
        idempotent: Whether the compensation is safe to run more than once, and for a step that may
            not have happened. Only then it is tried again.
        timeout: Seconds for each attempt; None: no limit.
        compensation_timeout: Seconds for each attempt of the undo, and for the probe.
        compensation_attempts: Of the undo in all, if it is idempotent.
        probe: Says whether the step happened, where that is in doubt and the saga asks.
        pivot: Once it is done there is no way back: nothing is undone, later steps are retried.

    Raises:
        ConfigurationError: A value is none that it could be.
        TypeError: Something that is to be called cannot be.
    """

    name: str
    action: Action
    compensation: Callable[..., Any] | None = None
    max_retries: int = 3
    retry_delay: float = 1.0
    idempotent: bool = False
    timeout: float | None = field(default=None, kw_only=True)
    compensation_timeout: float = field(default=30.0, kw_only=True)
    compensation_attempts: int = field(default=3, kw_only=True)
    probe: Callable[..., Any] | None = field(default=None, kw_only=True)
    pivot: bool = field(default=False, kw_only=True)
    calls: Calls = field(init=False, repr=False, eq=False)
    """How its functions are called: worked out once."""

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        if not is_action(self.action):
            raise TypeError(f"the action of saga step {self.name!r} cannot be called")
        for what in (self.compensation, self.probe):
            if what is not None and not callable(what):
                raise TypeError(f"{what!r} of saga step {self.name!r} cannot be called")
        check_numbers(self)
        undo = self.compensation
        try:
            calls = Calls(way_of(self.action), Way.PLAIN if undo is None else way_of(undo))
            if self.probe is not None:
                way_of(self.probe)
        except TypeError as error:
            raise TypeError(f"saga step {self.name!r}: {error}") from None
        object.__setattr__(self, "calls", calls)


RULES: Final = {
    "max_retries": whole(least=0),
    "retry_delay": number(least=0),
    "idempotent": flag(),
    "timeout": number(above=0, optional=True),
    "compensation_timeout": number(above=0),
    "compensation_attempts": whole(least=1),
    "pivot": flag(),
}

settings_of: Final = attrgetter(*RULES)
"""Returns the values that there are rules for."""


def check_numbers(step: SagaStep) -> None:
    """Refuse settings that make no sense.

    Raises:
        ConfigurationError: Says which.
    """
    given = settings_of(step)
    if all(map(is_, given, DEFAULTS)):  # most are, and need no look
        return
    for value, default, (name, rule) in zip(given, DEFAULTS, RULES.items(), strict=True):
        if value is not default:
            require(name, value, rule)


def check_name(name: object) -> None:
    """Refuse what names no step."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise ConfigurationError(
            f"a saga step's name is a string of 1 to {LONGEST_NAME} characters without NUL, "
            f"and was given as {name!r:.80}"
        )


def is_action(given: object) -> bool:
    """Say whether it can be done: called, or run."""
    return callable(given) or is_runnable(given)


def way_of(given: Any) -> Way:
    """Return how it is called."""
    is_bound = type(given) is MethodType
    plain = given.__func__ if is_bound else given
    if type(plain) is FunctionType and not (
        hasattr(plain, "__wrapped__") or hasattr(plain, "__runnable__")
    ):
        code = plain.__code__
        required = code.co_argcount - len(plain.__defaults__ or ()) - is_bound
        if required <= 1 and not code.co_kwonlyargcount:
            return Way.CONTEXT if required == 1 else Way.PLAIN
    if not callable(given) or hasattr(given, "__runnable__"):
        return Way.RUN
    return Way.CONTEXT if takes_context(given) else Way.PLAIN


def is_runnable(given: object) -> bool:
    """Say whether it is to be run: what can be called is called, whatever else it has."""
    return not callable(given) and isinstance(given, Runnable)


def takes_context(fn: Callable[..., Any]) -> bool:
    """Say whether something has to be called with a `SagaContext`: it has no other way.

    Raises:
        TypeError: It has neither way.
    """
    try:
        known = signature(fn)
    except (TypeError, ValueError):  # of a builtin that does not tell
        return False
    try:
        known.bind()
    except TypeError:
        try:
            known.bind(None)
        except TypeError:
            raise TypeError(
                f"{fn!r:.100} can be called neither without arguments nor with one, a SagaContext"
            ) from None
        return True
    return False


DEFAULTS: Final = tuple(getattr(fields(SagaStep), name).default for name in RULES)
"""Of the settings, in the order of the rules."""


@runtime_checkable
class SagaStoreProtocol(Protocol):
    """Where the progress of sagas is kept. What `save` has returned for is durable."""

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        """Keep this in place of what there was."""
        ...

    async def load(self, saga_id: str) -> tuple[SagaState, dict[str, Any]] | None:
        """Return what is kept; None: nothing."""
        ...

    async def delete(self, saga_id: str) -> None:
        """Forget it; fine where there is nothing."""
        ...
