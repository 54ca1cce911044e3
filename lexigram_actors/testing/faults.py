"""A store at whose calls a process dies.

A process that dies at a call of its store has, or has not, done what the call was to do; from then
on it does nothing at all. Here its death is an exception that no `except Exception` catches. Since
user code may catch `BaseException`, and clean-up code runs in Trio though no process would live to
run it, the store refuses every call after the death, and counts them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NoReturn, TypeVar, final

import trio
from attrs import field, frozen

from lexigram_actors.errors import StoreError
from lexigram_actors.result import Err
from lexigram_actors.storage.instances import InstanceStore
from lexigram_actors.storage.ports import CacheBackendProtocol, Store

Answer = TypeVar("Answer")

How = Literal["before", "inside", "after", "reported"]
HOWS: Final[tuple[How, ...]] = ("before", "inside", "after", "reported")

READS: Final = frozenset(
    {
        *("cache.get", "cache.exists"),
        *("get", "input", "outcome", "journal", "load", "select", "count"),
        *("mail_after", "last_mail"),
    }
)
"""Calls that write nothing: dying after one of them is dying before the next."""

KILLED: Final = 137
"""The exit status of a process that was killed."""


class SimulatedCrash(BaseException):
    """The process would be gone. Let it pass, as you let `trio.Cancelled`."""


class CommitBroken(Exception):
    """Raised before a commit, so that the store undoes it."""


@final
@frozen
class CrashPoint:
    """Where a life ends.

    | `how` | the call at which it ends |
    | --- | --- |
    | `"before"` | did nothing |
    | `"inside"` | was undone: the process died in its transaction. Of a SQLite file alone |
    | `"after"` | did what it was to do, and nobody was told |
    | `"reported"` | did what it was to do, and said that it had not: the life goes on |

    Attributes:
        call: Which call of the store in this life, from 1.
        name: The call's name, for the reader.
    """

    call: int
    how: How = field()
    name: str = field(default="", eq=False)

    @how.validator
    def _check_how(self, attribute: object, how: str) -> None:
        if how not in HOWS:
            raise ValueError(f"a life ends in one of the ways {HOWS}, not {how!r}")

    def __repr__(self) -> str:
        return f"CrashPoint({self.call}, {self.how!r})"


@final
class Life:
    """One life of a program: what it called, and its end.

    Attributes:
        number: Of this life, from 1.
        point: Where it ends; None: when it has done its work.
        calls: The names of the calls of its store, in order.
        is_dead: Whether it came to that end.
        is_struck: Whether what `point` says has happened; so also where a failure was reported.
        refused: How many calls and effects there were after the death.
        scope: Cancelled at the death, so that what sleeps ends as well.
        exits: Whether the process itself ends.
    """

    def __init__(
        self, number: int, point: CrashPoint | None = None, *, exits: bool = False
    ) -> None:
        self.number = number
        self.point = point
        self.calls: list[str] = []
        self.is_dead = False
        self.is_struck = False
        self.refused = 0
        self.scope = trio.CancelScope()
        self.exits = exits
        self._breaks_commit = False

    async def call(
        self,
        name: str,
        perform: Callable[[], Awaitable[Answer]],
        report: Callable[[StoreError], Answer],
    ) -> Answer:
        """Do what a call of the store does, unless, or until, the life ends here.

        Args:
            report: Tells the caller of a failure, in the manner of this store.
        """
        await self.live_on()
        how = self._how_at(name)
        if how == "before":
            self.die()
        self._breaks_commit = how == "inside"
        try:
            answer = await perform()
        except Exception:
            # Refused by itself: there is nothing to report wrongly.
            self.is_struck = self.is_struck or how == "reported"
            raise
        finally:
            # Also when another task's call was the end while this one was under way.
            if self.is_dead or how in ("inside", "after"):
                self.die()
        if how == "reported":
            self.is_struck = True
            return report(StoreError(f"{name}: the store says that it failed, and did not"))
        return answer

    def _how_at(self, name: str) -> How | None:
        self.calls.append(name)
        if self.point is None or self.point.call != len(self.calls):
            return None
        return self.point.how

    async def live_on(self) -> None:
        """Refuse what is asked of a dead process."""
        if self.is_dead:
            self.refused += 1
            # So that a loop that catches everything is seen to spin.
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise SimulatedCrash("nothing happens any more: the process is dead")

    def die(self) -> NoReturn:
        """End here."""
        if self.exits:
            os._exit(KILLED)
        self.is_dead = self.is_struck = True
        self.scope.cancel()
        raise SimulatedCrash(f"died in life {self.number}, at {self.point!r}")

    def before_commit(self) -> None:
        """Called by the store before a commit; raises where the process dies in the transaction."""
        if self._breaks_commit and self.exits:
            os._exit(KILLED)
        # Whatever else was under way when the process died is not committed either.
        if self._breaks_commit or self.is_dead:
            self.is_dead = True
            raise CommitBroken


class View:
    """The calls of one view of a store, each passed on through the life."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner = inner
        self._life = life


def fail(error: StoreError) -> NoReturn:
    raise error


def passed_on(name: str, shown: str, report: Callable[[StoreError], Any]) -> Any:
    """Return a method that passes a call on."""

    async def call(self: View, *args: Any, **kwargs: Any) -> Any:
        perform = getattr(self._inner, name)
        return await self._life.call(shown, lambda: perform(*args, **kwargs), report)

    call.__name__ = name
    return call


def attribute_of(name: str) -> property:
    """Return a property that is the inner view's: reading it is no call."""
    return property(lambda self: getattr(self._inner, name))


def attributes_of(protocol: type) -> dict[str, Any]:
    """Return, by name, what the protocol has besides methods."""
    return {
        name: attribute_of(name)
        for name, member in vars(protocol).items()
        if isinstance(member, property)
    }


def methods_of(protocol: type, prefix: str, report: Callable[[StoreError], Any]) -> dict[str, Any]:
    """Return, by name, methods that pass on what the protocol's coroutine functions are asked."""
    return {
        name: passed_on(name, prefix + name, report)
        for name, member in vars(protocol).items()
        if inspect.iscoroutinefunction(member)
    }


FaultyCache: Final = type("FaultyCache", (View,), methods_of(CacheBackendProtocol, "cache.", Err))
FaultyInstances: Final = type(
    "FaultyInstances",
    (View,),
    {**attributes_of(InstanceStore), **methods_of(InstanceStore, "", fail)},
)


@final
class FaultyStore:
    """A store whose calls go through a life, and end with it.

    Opening and closing it are no calls, and left to whoever opened `store`.

    Args:
        store: Any store.
        life: Counts the calls; says at which it ends.
    """

    __slots__ = ("_cache", "_instances", "life")

    def __init__(self, store: Store, life: Life) -> None:
        self.life = life
        self._cache: CacheBackendProtocol = FaultyCache(store.cache, life)
        self._instances: InstanceStore = FaultyInstances(store.instances, life)

    @property
    def cache(self) -> CacheBackendProtocol:
        """The key-value view."""
        return self._cache

    @property
    def instances(self) -> InstanceStore:
        """The view of instances, journals and mail."""
        return self._instances
