"""The values that describe actors: policies, child specs, exits and snapshots.

Every value is frozen and checked where it is made, so that a system never runs on a wrong one.
The meanings are those of Erlang/OTP's `supervisor` (module documentation, OTP 26); each deviation
is named where it stands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.errors.base import repr_of

if TYPE_CHECKING:
    from lexigram_actors.kernel.refs import ActorRef


class Restart(Enum):
    """When an actor that ended is started again (OTP: `restart`)."""

    PERMANENT = "permanent"
    """Always, whatever the reason it ended for: also after `ref.stop()`, as `exit(Pid, shutdown)`
    in OTP. `terminate_child` is what stops it for good."""

    TRANSIENT = "transient"
    """Only after a failure. Deviation: every reason given to `stop()` counts as OTP's `shutdown`,
    so only an exception is a failure."""

    TEMPORARY = "temporary"
    """Never; its spec is forgotten when it ends."""


class Strategy(Enum):
    """Which children are restarted when one of them has to be (OTP: `strategy`)."""

    ONE_FOR_ONE = "one_for_one"
    """That child alone."""

    ONE_FOR_ALL = "one_for_all"
    """All: the others are stopped in reverse start order, then all start in start order."""

    REST_FOR_ONE = "rest_for_one"
    """That child and those started after it, stopped in reverse and started in start order."""


class AutoShutdown(Enum):
    """When a supervisor ends because significant children did (OTP: `auto_shutdown`).

    Only a child that ended by itself and is not restarted counts: one stopped by
    `terminate_child`, or in a group that is being restarted, does not. The supervisor stops the
    children that are left, in reverse start order, and ends with reason `"shutdown"`.
    """

    NEVER = "never"
    """Never; significant children are refused."""

    ANY_SIGNIFICANT = "any_significant"
    """When any significant child has ended."""

    ALL_SIGNIFICANT = "all_significant"
    """When the last significant child has ended."""


class Overflow(Enum):
    """What a full mailbox does with one more message."""

    BLOCK = "block"
    """The sender waits for room: backpressure. `tell_nowait` raises `MailboxFull`."""

    REJECT = "reject"
    """The sender gets `MailboxFull`."""

    DROP_OLDEST = "drop_oldest"
    """The oldest queued message is dropped; one that was asked is answered `MailboxFull`."""

    DROP_NEWEST = "drop_newest"
    """The new message is dropped; an `ask` raises `MailboxFull`."""

    COALESCE = "coalesce"
    """A message whose `key` is queued already replaces the older one in its place, full or not
    (an older one that was asked is answered `MailboxFull`). A new key in a full mailbox waits
    as under `BLOCK`."""


def _check_mailbox(bound: float, overflow: Overflow, key: object) -> None:
    if isinstance(bound, bool) or not (isinstance(bound, int) or bound == inf) or bound < 0:
        raise ConfigurationError(
            f"a mailbox bound is a whole number >= 0 or inf, not {repr_of(bound)}"
        )
    if not isinstance(overflow, Overflow):
        raise ConfigurationError(
            f"overflow is an Overflow, such as Overflow.BLOCK, not {overflow!r}"
        )
    if (overflow is Overflow.COALESCE) != callable(key):
        raise ConfigurationError(
            "Overflow.COALESCE needs key=, a function of the message; no other policy takes one"
        )
    if bound == 0 and overflow in (Overflow.DROP_OLDEST, Overflow.COALESCE):
        raise ConfigurationError(
            f"{overflow} needs a bound of at least 1: there is no older message"
        )


@frozen
class Mailbox:
    """How an actor's mailbox is bounded.

    Args:
        bound: messages that may be queued; 0 is a rendezvous (a sender waits until the actor takes
            its message), `inf` never fills.
        overflow: what happens to one more.
        key: for `Overflow.COALESCE`, the function of a message that says what it is about.
    """

    bound: float = 64
    overflow: Overflow = Overflow.BLOCK
    key: Callable[[Any], Any] | None = None

    def __attrs_post_init__(self) -> None:
        _check_mailbox(self.bound, self.overflow, self.key)


DEFAULT_MAILBOX = Mailbox()


def as_mailbox(mailbox: float | Mailbox) -> Mailbox:
    """A bound alone is a mailbox that blocks."""
    if isinstance(mailbox, Mailbox):
        return mailbox
    return DEFAULT_MAILBOX if mailbox == 64 and mailbox is not True else Mailbox(mailbox)


@frozen
class MailboxStatistics:
    """What became of a mailbox's messages, over all restarts of its actor.

    `accepted == handled + queued + dropped + dead_lettered`, always. A message counts as handled
    from the moment the actor takes it. `rejected` ones were never accepted.
    """

    accepted: int
    handled: int
    queued: int
    dropped: int
    dead_lettered: int
    rejected: int


@frozen
class Backoff:
    """Waits between restarts that grow, so that a broken dependency is not hammered.

    The n-th restart in a row waits `initial * factor ** (n - 1)` seconds, at most `maximum`, plus
    up to `jitter` times that at random. A child that ran for `reset_after` seconds begins anew.
    OTP has no such thing: it restarts at once.
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1
    reset_after: float = 30.0

    def __attrs_post_init__(self) -> None:
        for name in ("initial", "maximum", "jitter", "reset_after"):
            check_seconds(name, getattr(self, name))
        if check_seconds("factor", self.factor) < 1:
            raise ConfigurationError(f"factor is at least 1, not {self.factor!r}")


MOST = 1e300
"""Seconds that no clock reaches; a whole number beyond is none that a clock can add."""


def check_seconds(name: str, value: float) -> float:
    """`value`, when it is a number >= 0 or inf."""
    if type(value) is float and value >= 0.0:  # the common case, on the path of every spawn
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not `isnan`: that cannot be asked about an int that no float can hold.
    if not number or value != value or value < 0 or (value > MOST and value != inf):
        raise ConfigurationError(f"{name} is a number >= 0 or inf, not {repr_of(value)}")
    return value


def check_intensity(max_restarts: int, period: float) -> None:
    """Refuse a restart intensity that means nothing."""
    if isinstance(max_restarts, bool) or not isinstance(max_restarts, int) or max_restarts < 0:
        raise ConfigurationError(
            f"max_restarts is a whole number >= 0, not {repr_of(max_restarts)}"
        )
    if check_seconds("period", period) == 0:
        raise ConfigurationError("period is more than 0 seconds")


@frozen
class SupervisionPolicy:
    """How children are supervised: the facts a supervisor acts on."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    backoff: Backoff | None = None
    dynamic: bool = False
    max_children: float = inf
    children: tuple[ChildSpec, ...] = ()

    def __attrs_post_init__(self) -> None:
        check_intensity(self.max_restarts, self.period)
        for name, kind in (("strategy", Strategy), ("auto_shutdown", AutoShutdown)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigurationError(
                    f"{name} is a {kind.__name__}, not {getattr(self, name)!r}"
                )
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise ConfigurationError(f"backoff is a Backoff or None, not {self.backoff!r}")
        check_seconds("max_children", self.max_children)
        self._check_children()

    def _check_children(self) -> None:
        seen = set()
        for spec in self.children:
            self.check_child(spec)
            if spec.id in seen:
                raise ConfigurationError(f"two children have the id {spec.id!r}; ids are unique")
            seen.add(spec.id)

    def check_child(self, spec: ChildSpec) -> None:
        """Refuse what is no child spec, or significant where nothing shuts itself down."""
        if not isinstance(spec, ChildSpec):
            raise ConfigurationError(f"a supervisor's children are ChildSpecs, not {spec!r}")
        if spec.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise ConfigurationError(
                f"child {spec.id!r} is significant, which means something only under "
                "auto_shutdown ANY_SIGNIFICANT or ALL_SIGNIFICANT"
            )


class SupervisingBehaviour:
    """What describes a supervisor: a behaviour that is nothing but its policy."""

    __slots__ = ("supervision",)

    supervision: SupervisionPolicy


class ActorBehaviour:
    """The base of `Actor`, for those who may not know it."""

    __slots__ = ()


def is_plain_function(function: object) -> bool:
    """Whether it is surely not async: a decorated one may be all the same."""
    return (
        inspect.isfunction(function)
        and not inspect.iscoroutinefunction(function)
        and not hasattr(function, "__wrapped__")
    )


def check_behaviour(behaviour: object) -> None:
    """Refuse what cannot be run as an actor, and say what can."""
    if isinstance(behaviour, type):
        runs = issubclass(behaviour, ActorBehaviour)
    elif isinstance(behaviour, partial):
        runs = not isinstance(behaviour.func, type)
    else:
        runs = isinstance(behaviour, SupervisingBehaviour) or callable(behaviour)
        if is_plain_function(behaviour):
            name = getattr(behaviour, "__name__", "function")
            raise ConfigurationError(
                f"a function that runs as an actor is async: write `async def {name}`"
            )
    if not runs:
        raise ConfigurationError(
            "a behaviour is an Actor class (its arguments are given apart), an async function of "
            f"a context, or a supervisor such as Supervisor([...]); not {behaviour!r}"
        )


def _positional(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"args is a tuple of arguments: ({value!r},), not {value!r}")
    return tuple(value)


@frozen
class ChildSpec:
    """How a supervisor starts, restarts and stops one child (OTP: child specification).

    Args:
        id: the child's name among its siblings.
        behaviour: an `Actor` class, an async function, or a `Supervisor`.
        args, kwargs: given to it at every start.
        restart: when it is started again after it ended.
        shutdown: seconds it has to end when its supervisor stops it, then it is cancelled; 0
            cancels at once, `inf` waits as long as it takes. A supervisor has its children's own
            deadlines instead, except that 0 cancels the whole subtree.
        significant: whether its end may end the supervisor, see `AutoShutdown`.
        mailbox: a bound, or a `Mailbox`.

    Raises:
        ConfigurationError: (a `ValueError`) when a field makes no sense, or `significant` is
            combined with `Restart.PERMANENT`.
    """

    id: str
    behaviour: Any
    args: tuple[Any, ...] = field(default=(), converter=_positional)
    kwargs: Mapping[str, Any] = Factory(dict)
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    significant: bool = False
    mailbox: float | Mailbox = 64

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ConfigurationError(f"a child's id is a string that is not empty, not {self.id!r}")
        check_behaviour(self.behaviour)
        as_mailbox(self.mailbox)
        check_seconds("shutdown", self.shutdown)
        if not isinstance(self.kwargs, Mapping):
            raise ConfigurationError(f"kwargs is a mapping of names to values, not {self.kwargs!r}")
        if not isinstance(self.restart, Restart):
            raise ConfigurationError(f"restart is a Restart, not {self.restart!r}")
        if self.significant and self.restart is Restart.PERMANENT:
            raise ConfigurationError(
                f"child {self.id!r} is significant and permanent: a permanent child never ends "
                "by itself; make it TRANSIENT or TEMPORARY"
            )


@frozen
class Exit:
    """How an actor ended.

    `reason` is `"normal"` (it returned), `"failed"` (it raised `error`), or the reason given to
    `stop()`: `"stopped"` when none was, `"shutdown"` when its supervisor stopped it.
    """

    name: str
    reason: str
    error: BaseException | None = None


@frozen
class ActorRestarted:
    """Published when a supervisor has started an actor again; `restarts` counts them all."""

    name: str
    restarts: int
    error: BaseException | None = None


@frozen
class DeadLetter:
    """A message that no actor will handle, and why."""

    message: Any
    recipient: str
    reason: str


@frozen
class ActorNode:
    """One actor in a snapshot of the tree.

    `state` is `"starting"`, `"running"`, `"stopping"`, `"restarting"` or `"stopped"` (kept by its
    supervisor, to be restarted by hand).
    """

    name: str
    state: str
    restarts: int
    queued: int
    children: tuple[ActorNode, ...] = ()


@frozen
class ChildInfo:
    """One row of `which_children()`; `ref` is None while the child is not running."""

    id: str
    ref: ActorRef[Any] | None
    restart: Restart


@frozen
class ChildCounts:
    """`count_children()`: all specs, those running, and how many are supervisors or workers."""

    specs: int
    active: int
    supervisors: int
    workers: int
