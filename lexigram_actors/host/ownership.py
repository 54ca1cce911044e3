"""Which instances are a host's: recorded as its own, claimed, or in doubt.

A call of the store may fail and have been done all the same. So an instance can be this host's, and
nobody in it know: it would stand still until the host is opened anew. What is in doubt is looked
for until it is found, or it is certain that there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar, final

import trio

from lexigram_actors.errors import (
    LeaseLost,
    StoreError,
    WorkflowNotFoundError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.host.definitions import Definitions
from lexigram_actors.host.journal import RETRY_DELAYS
from lexigram_actors.host.leases import HostLease
from lexigram_actors.storage.instances import (
    Definition,
    Instance,
    InstanceStatus,
    InstanceStore,
    Loaded,
    NewInstance,
)

T = TypeVar("T")

PAGE: Final = 1000

UNFINISHED: Final = frozenset(each for each in InstanceStatus if not each.has_ended)


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call of the store, again where it fails, a few times; it must be safe to repeat.

    A lease that is lost is no failure that passes: it is raised at once.
    """
    for delay in RETRY_DELAYS:
        try:
            return await call()
        except LeaseLost:
            raise
        except StoreError:
            pass
        await trio.sleep(delay)
    return await call()


@final
class Ownership:
    """What a host has in a store.

    Args:
        lease: Returns the host's lease, as it is now.
        is_here: Says whether the host runs an instance.
        look: Has somebody claim what nobody runs, soon.
    """

    __slots__ = (
        "_begins",
        "_definitions",
        "_doubts",
        "_in_doubt",
        "_instances",
        "_is_here",
        "_lease",
        "_look",
        "_mailed",
    )

    def __init__(
        self,
        instances: InstanceStore,
        definitions: Definitions,
        lease: Callable[[], HostLease],
        is_here: Callable[[str], bool],
        look: Callable[[], None],
    ) -> None:
        self._instances = instances
        self._definitions = definitions
        self._lease = lease
        self._is_here = is_here
        self._look = look
        # How often it was not known whether something is recorded as this host's, and not taken
        # in; 0: since somebody has looked, never.
        self._doubts = 0
        self._begins: set[str] = set()
        self._mailed: set[str] = set()  # of these, what has mail that nobody was there for
        self._in_doubt: set[str] = set()  # of these, what could not be begun so far

    def is_ours(self, instance: Instance) -> bool:
        """Say whether an instance is recorded as this host's."""
        return instance.owner == self._lease().host

    def is_beginning(self, id: str) -> bool:
        """Say whether somebody is recording an instance, and will run it."""
        return id in self._begins

    def note_mail(self, id: str) -> None:
        """Note that mail came for an instance that is not here."""
        if id in self._begins:
            self._mailed.add(id)

    async def claimed(
        self, definitions: Collection[Definition], ids: Collection[str] | None
    ) -> list[Instance]:
        """Claim instances; or return those that were claimed before, with nobody told."""

        async def attempt() -> list[Instance]:
            return await self._forgotten() or await self.claim(definitions, ids)

        return await persistently(attempt)

    async def claim(
        self, definitions: Collection[Definition], ids: Collection[str] | None
    ) -> list[Instance]:
        try:
            return await self._instances.claim(self._lease().host, definitions, ids=ids)
        except LeaseLost:
            raise
        except StoreError:
            self.doubt()
            raise

    def doubt(self) -> None:
        """Have somebody look for what may be recorded as ours, and is not taken in."""
        self._doubts += 1
        self._look()

    async def _forgotten(self) -> list[Instance]:
        """Return the instances that are this host's, and that it does not run, if there may be."""
        doubts = self._doubts
        if not doubts:
            return []
        forgotten: list[Instance] = []
        before = None
        while page := await self._instances.select(status=UNFINISHED, before=before, limit=PAGE):
            forgotten += [
                each
                for each in page
                if self.is_ours(each) and not self._is_here(each.id) and each.id not in self._begins
            ]
            before = (page[-1].created_at, page[-1].id)
        if not forgotten and self._doubts == doubts:
            self._doubts = 0
        return forgotten

    @contextmanager
    def beginning(self, id: str) -> Iterator[None]:
        """Say that an instance is being recorded, and will be run by whoever does it."""
        self._begins.add(id)
        try:
            yield
        finally:
            self._begins.discard(id)
            self._mailed.discard(id)
            if id in self._in_doubt:
                self._in_doubt.discard(id)
                self.doubt()

    async def begun(self, new: NewInstance) -> Instance:
        """Record an instance, or find the one that there is, the same."""
        # Where it is not known whether it was written, the same again is safe.
        instance, is_new = await persistently(partial(self._created, new))
        self._in_doubt.discard(new.id)
        if not is_new and instance.seed != new.seed:
            await self._check_same(instance, new)
            return await self._instances.get(new.id) or instance  # it may have ended meanwhile
        return instance

    async def _created(self, new: NewInstance) -> tuple[Instance, bool]:
        try:
            return await self._instances.create(new, host=self._lease().host)
        except LeaseLost:
            raise
        except StoreError:
            self._in_doubt.add(new.id)
            raise

    def fresh(self, instance: Instance, new: NewInstance) -> Loaded | None:
        """Return what a new instance begins with; None where that has to be read."""
        if instance.seed != new.seed or instance.id in self._mailed:
            return None
        return Loaded(instance=instance, input=new.input, entries=[], mail=[])

    async def _check_same(self, instance: Instance, new: NewInstance) -> None:
        found, asked = instance.definition, new.definition
        if (found.kind, found.name) != (asked.kind, asked.name):
            raise WorkflowStateError(
                f"{new.id!r} is an instance of the {found.kind} {found.name!r}, not of the "
                f"{asked.kind} {asked.name!r}",
                hint="choose another id",
            )
        if await self._has_other_input(new):
            raise WorkflowStateError(
                f"{new.id!r} was begun with another input", hint="choose another id"
            )
        if not instance.status.has_ended:
            self.check_runnable(instance)

    async def _has_other_input(self, new: NewInstance) -> bool:
        """Say whether an instance was begun with another input; once it began anew, who knows."""
        codec = self._instances.codec
        recorded = await self._instances.input(new.id)
        if codec.dumps(recorded) == codec.dumps(new.input):
            return False
        latest = await self._instances.get(new.id)  # it may have begun anew meanwhile
        return latest is not None and not latest.run

    def check_runnable(self, instance: Instance) -> None:
        """Refuse an instance that cannot be run here."""
        definition = instance.definition
        if self._definitions.get(definition) is not None:
            return
        versions = self._definitions.versions(definition.name)
        if not versions:
            raise WorkflowNotFoundError(
                definition.name, hint=f"register it, so that {instance.id!r} can go on"
            )
        raise WorkflowVersionMismatchError(
            definition.name,
            definition.version,
            versions[-1],
            hint=f"register version {definition.version} beside it, or start a new instance",
        )
