"""`open_host`: the home of durable instances.

    async with open_host("sqlite:///flows.db", register=[order]) as host:
        handle = await host.start(order, {"item": 7}, id="order-42")
        result = await handle.result()

Everything that `start` has returned for survives: when the process dies, the next host on the same
store goes on with every instance that had not ended, from what it had recorded.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar, final, overload
from uuid import uuid4
from weakref import WeakValueDictionary

import trio
from trio_util import AsyncValue

from lexigram_actors.checks import number, require
from lexigram_actors.errors import (
    ActorNameTaken,
    ActorStopped,
    LeaseLost,
    StoreError,
    WorkflowNotFoundError,
    WorkflowStateError,
)
from lexigram_actors.events import (
    EventBus,
    HookRegistry,
    Subscription,
    WorkflowStateTransitionedHook,
)
from lexigram_actors.host.compensation import stuck_in
from lexigram_actors.host.definitions import Definitions
from lexigram_actors.host.handle import LONGEST_LOOK, WorkflowHandle, wait_gone
from lexigram_actors.host.journal import standing
from lexigram_actors.host.leases import HostLease
from lexigram_actors.host.lives import RestartPolicy, Services, live
from lexigram_actors.host.observing import Pump, events_of, hooks_of
from lexigram_actors.host.operator import Operator, forked_id
from lexigram_actors.host.outcomes import result_of
from lexigram_actors.host.ownership import UNFINISHED, Ownership, persistently
from lexigram_actors.host.residents import Resident, grace_in
from lexigram_actors.kernel import ActorContext, ActorRef, ActorSystem, ChildSpec, Restart
from lexigram_actors.kernel.failures import report_unresponsive
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import (
    Definition,
    Instance,
    InstanceStatus,
    Loaded,
    Mail,
    NewInstance,
)
from lexigram_actors.storage.ports import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")


WITH_ITS_PARENT: Final = "lexigram:cancel"
"""The key of the mail that cancels an instance because its parent is."""


@final
class WorkflowHost:
    """Runs instances, and goes on with those that another host left. Made by `open_host`."""

    def __init__(
        self,
        store: Store,
        lease: HostLease,
        restarts: RestartPolicy,
        poll: float,
        hooks: HookRegistry,
    ) -> None:
        self.store = store
        self.system: ActorSystem  # set once the host is open
        self.operator = Operator(store, clock=store.instances.clock, on_change=self._noticed)
        """What can be done without a definition: listing, deleting, looking into others."""
        self.bus = EventBus()
        self.hooks = hooks
        """Called for each transition that is recorded, one after the other, by a task of theirs."""
        self.pump = Pump(hooks)
        self.instances = store.instances
        self.clock = store.instances.clock
        self.lease = lease
        self.poll = poll
        self.definitions = Definitions()
        self.residents: dict[str, Resident] = {}
        self.changed: dict[str, Resident] = {}  # whose status may not be written yet
        self.has_changed = trio.Event()
        self.to_cancel: list[Mail] = []  # of instances whose children are to be cancelled
        self.has_to_cancel = trio.Event()
        self.taken_in = trio.Event()  # replaced each time
        self.has_news = trio.Event()  # there are instances that nobody has
        self.last_mail = 0
        self.closing = False
        self._failures: dict[str, Exception] = {}  # why these could not go on here
        self._ownership = Ownership(
            self.instances,
            self.definitions,
            lambda: self.lease,
            self.residents.__contains__,
            lambda: self.has_news.set(),
        )
        self._actors: dict[str, ActorRef[Any]] = {}
        self._statuses: WeakValueDictionary[str, AsyncValue[InstanceStatus]] = WeakValueDictionary()
        self._services = Services(
            self.instances,
            self.clock,
            lambda: self.lease,
            self,
            restarts,
            self.ask_children_to_end,
        )

    # --- definitions

    async def register(self, *definitions: Any) -> None:
        """Let more definitions be run, and go on with their instances that nobody has.

        Args:
            definitions: `@workflow` functions, pipelines, engines, `runner.as_runnable()`, ...
                Several versions of one name may be registered: each instance goes on under the one
                it was begun with.

        Raises:
            TypeError: One of them cannot be run.
            ConfigurationError: One has the kind, name and version of another.
            StoreError: The store cannot say which instances there are.
        """
        await self.recover([self.definitions.add(each) for each in definitions])

    # --- instances

    async def start(
        self,
        definition: Any,
        input: Any = None,
        *,
        id: str | None = None,
        delay: float | None = None,
        parent: str | None = None,
    ) -> WorkflowHandle:
        """Begin an instance; on return it is recorded, and will come to an end.

        Called again with the same id, definition and input it finds what is there already: running,
        or ended.

        Args:
            definition: What was registered, or its name (then its highest version).
            input: Any storable value.
            id: Chosen by you, so that a repeated call means the same; None: made up.
            delay: Seconds before it does anything, over crashes and restarts. None: none.
            parent: The id of the instance that it belongs to: it is cancelled with that one.

        Cancelled, it may have begun or not; if it has, it runs.

        Raises:
            WorkflowNotFoundError: The definition is not registered.
            WorkflowStateError: The id is that of an instance of something else, or with another
                input; or the host is closing.
            WorkflowVersionMismatchError: The id is that of an instance of a version that is not
                registered here; it is untouched.
            NotStorableError: The input or the id has no stored form; nothing was written.
            StoreError: It could not be recorded. Whether it will run is not known; call it again.
        """
        if delay is not None:
            require("delay", delay, number(least=0))
        new = NewInstance(
            id=uuid4().hex if id is None else id,
            definition=self.definitions.find(definition),
            input=input,
            seed=secrets.token_hex(16),
            start_at=None if delay is None else self.clock() + delay,
            parent=parent,
        )
        with self._ownership.beginning(new.id):
            instance = await self._begun(new)
            if instance.id not in self.residents and self._ownership.is_ours(instance):
                await self._take_in(instance, self._ownership.fresh(instance, new))
        if instance.owner is None and not instance.status.has_ended:
            await self.recover([instance.definition], ids=[instance.id])
        return self._handle_of(instance)

    def child_spec(self, definition: Any, input: Any = None, *, id: str) -> ChildSpec:
        """Return what lets a supervisor of yours have an instance: it decides what follows a crash.

        The child is transient: it is started again, from the journal, when the instance raises,
        and with its siblings as the strategy says. When the supervisor gives up, or is stopped,
        the instance is left as it is recorded: it goes on when it is started here, or under the
        next host. The child ends normally when the instance has ended, and when the host closes or
        has lost its lease; then whoever has the instance goes on with it.
        """
        return ChildSpec(
            id, self._supervised, args=(definition, input, id), restart=Restart.TRANSIENT
        )

    async def _supervised(
        self, context: ActorContext[Any], definition: Any, input: Any, id: str
    ) -> None:
        if self.closing:
            return  # the next host goes on with it
        found = self.definitions.find(definition)
        new = NewInstance(id=id, definition=found, input=input, seed=secrets.token_hex(16))
        with self._ownership.beginning(id):
            instance = await self._begun(new)
            if instance.status.has_ended:
                return
            instance = await self._made_ours(instance)
            await self._take_from_host(id)
            if self.closing:
                return
            resident = self._resident(instance, self._ownership.fresh(instance, new))
            resident.is_supervised = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._put_away_when_stopped, context, resident)
                await live(self._services, resident)
                nursery.cancel_scope.cancel()
        finally:
            self._depart(resident)

    async def _put_away_when_stopped(self, context: ActorContext[Any], resident: Resident) -> None:
        """Let what is at work come to its end when the supervisor stops the child, and no more."""
        await context.stopping.wait_value(True)
        resident.wind_down()

    async def _made_ours(self, instance: Instance) -> Instance:
        """Return an instance as this host's; claim it where nobody has it."""
        if self._ownership.is_ours(instance):
            return instance
        for claimed in await self._ownership.claim([instance.definition], [instance.id]):
            return claimed
        raise WorkflowStateError(f"instance {instance.id!r} is another host's")

    async def _take_from_host(self, id: str) -> None:
        """Let an instance go that the host has taken in: now it is a supervisor's."""
        resident = self.residents.get(id)
        if resident is None:
            return
        if resident.is_supervised:
            raise WorkflowStateError(f"instance {id!r} is supervised already")
        resident.suspend()
        await resident.gone.wait()

    def handle(self, id: str) -> WorkflowHandle:
        """Return the handle of an instance, whether there is one or not; no checkpoint."""
        return WorkflowHandle(self, id, self._status_of(id, InstanceStatus.PENDING))

    async def find(self, id: str) -> WorkflowHandle:
        """Return the handle of an instance that there is.

        Raises:
            WorkflowNotFoundError: There is none.
            StoreError: The store cannot say.
        """
        instance = await self.operator.find(id)
        handle = self.handle(id)
        if id not in self.residents:
            handle.status.value = instance.status
        return handle

    def _handle_of(self, instance: Instance) -> WorkflowHandle:
        """Return a handle that knows of the end, also of one that this host did not see."""
        handle = self.handle(instance.id)
        if instance.status.has_ended and instance.id not in self.residents:
            handle.status.value = instance.status
        return handle

    @overload
    def events(self, *, bound: int = 1024) -> Subscription[Any]: ...
    @overload
    def events(self, *types: type[T], bound: int = 1024) -> Subscription[T]: ...
    def events(self, *types: type[Any], bound: int = 1024) -> Subscription[Any]:
        """Watch what happens: `async with host.events(WorkflowFailedEvent) as events:`.

        See `EventBus.subscribe`. What happened while nobody watched is in the histories.
        """
        return self.bus.subscribe(*types, bound=bound)

    @property
    def has_listeners(self) -> bool:
        """Whether anybody watches."""
        return self.bus.subscribers > 0

    def publish(self, event: object) -> None:
        """Tell whoever watches."""
        self.bus.publish(event)

    def transitioned(self, id: str, from_state: str, to_state: str) -> None:
        """Tell hooks that an instance with states of its own has moved."""
        if self.hooks.count:
            self.pump.give(WorkflowStateTransitionedHook(id, from_state, to_state))

    # --- acting on instances

    def resident(self, id: str) -> Resident | None:
        """Return an instance that this host has."""
        return self.residents.get(id)

    def _noticed(self, what: Mail | Instance) -> None:
        if isinstance(what, Mail):
            self.deliver(what)
        else:
            self.has_news.set()

    def deliver(self, mail: Mail) -> None:
        """Hand mail over, where the instance is here."""
        resident = self.residents.get(mail.instance)
        if resident is not None:
            resident.deliver(mail)
        else:
            self._ownership.note_mail(mail.instance)

    async def wait_result(self, id: str) -> Result[Any, Exception]:
        """See `WorkflowHandle.result`."""
        while True:
            taken_in = self.taken_in
            resident = self.residents.get(id)
            if resident is not None:
                await resident.gone.wait()
                if resident.outcome is not None:
                    return resident.outcome
            if id in self._failures and id not in self.residents:
                raise self._failures[id]
            if self.closing:
                raise WorkflowStateError(f"the host is closed; {id!r} goes on with the next one")
            instance = await self.operator.find(id)
            if instance.status.has_ended:
                self._handle_of(instance)
                return result_of(await self.instances.outcome(id))
            self._ownership.check_runnable(instance)
            with trio.move_on_after(min(self.poll, LONGEST_LOOK)):
                await taken_in.wait()

    async def cancel(self, id: str, reason: str, grace: float) -> None:
        """See `WorkflowHandle.cancel`."""
        try:
            mail = await self.operator.cancel(id, reason, grace)
        except WorkflowStateError:
            pass  # it has ended
        except StoreError:
            self.has_news.set()  # it may be posted, with nobody told
            raise
        else:
            await self._ended_by(mail, grace)
        for child in await self._children(id):
            await self.cancel(child.id, reason, grace)

    async def _ended_by(self, mail: Mail, grace: float) -> None:
        """Wait until an instance has ended that was asked to, here or elsewhere."""
        while True:
            await wait_gone(self, mail.instance, grace)
            instance = await self.operator.find(mail.instance)
            if instance.status.has_ended:
                return
            if self.closing:
                raise WorkflowStateError(
                    f"the host is closed; {mail.instance!r} is cancelled by the next one"
                )
            # Nobody may have it: one of a definition that is not known here ends all the same, and
            # so does one that a supervisor gave up.
            if not self._ownership.is_ours(instance):
                for each in await self._ownership.claim([instance.definition], [instance.id]):
                    await self._take_in(each)
            elif not self._ownership.is_beginning(instance.id):
                await self._take_in(instance)
            if mail.instance not in self.residents:
                await trio.sleep(min(self.poll, LONGEST_LOOK))

    async def _children(self, id: str) -> list[Instance]:
        return await self.operator.select(parent=id, status=UNFINISHED, limit=100_000)

    async def retry(self, id: str) -> WorkflowHandle:
        """See `WorkflowHandle.retry`."""

        async def reopened() -> bool:
            return not (await self.operator.find(id)).status.has_ended

        with self._telling():
            await surely(partial(self.operator.retry, id), reopened)
        await self.recover(self.definitions, ids=[id])
        return await self.find(id)

    async def settle(
        self, id: str, decide: Callable[[str, str], Awaitable[Instance]], step: str
    ) -> WorkflowHandle:
        """See `WorkflowHandle.skip` and `WorkflowHandle.force`."""

        async def settled() -> bool:
            return step not in stuck_in(standing(await self.instances.journal(id)))

        with self._telling():
            await surely(partial(decide, id, step), settled)
        await self.recover(self.definitions, ids=[id])
        return await self.find(id)

    async def fork(
        self, id: str, new_id: str | None = None, *, step: str | None = None
    ) -> WorkflowHandle:
        """See `WorkflowHandle.fork`."""
        chosen = forked_id(id) if new_id is None else new_id

        async def forked() -> bool:
            return await self.instances.get(chosen) is not None

        with self._telling():
            await surely(partial(self.operator.fork, id, chosen, step=step), forked)
        await self.recover(self.definitions, ids=[chosen])
        return await self.find(chosen)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Look for instances that nobody has afterwards, also where it fails or is cancelled."""
        try:
            yield
        finally:
            self.has_news.set()

    def report(self, resident: Resident, grace: float) -> None:
        """Report an instance that was cancelled and does not end."""
        ref = self._actors.get(resident.id)
        if resident.status.value is InstanceStatus.COMPENSATING:
            return  # undos have time limits of their own
        if ref is not None:  # it is not stopped: its end has yet to be recorded
            report_unresponsive(ref.cell, grace)

    # --- taking in

    async def recover(
        self, definitions: Collection[Definition], *, ids: Collection[str] | None = None
    ) -> None:
        """Take in the instances that nobody has.

        Raises:
            StoreError: The store cannot say which there are. What was taken in so far runs.
        """
        while definitions and not self.closing:
            claimed = await self._ownership.claimed(definitions, ids)
            for instance in claimed:
                await self._take_in(instance)
            if not claimed:
                return

    async def _begun(self, new: NewInstance) -> Instance:
        """Record an instance, or find the one that there is, the same."""
        if self.closing:
            raise WorkflowStateError("the host is closing, and begins nothing more")
        return await self._ownership.begun(new)

    async def _take_in(self, instance: Instance, fresh: Loaded | None = None) -> None:
        """Let an instance live here, unless it does, or the host is closing.

        A checkpoint, but whoever calls it is not cancelled there.
        """
        there = self.residents.get(instance.id)
        if self.closing or (there is not None and there.instance.epoch >= instance.epoch):
            return
        resident = self._resident(instance, fresh)
        with trio.CancelScope(shield=True):  # it is recorded as ours: it must not be left alone
            try:
                self._actors[instance.id] = await self._spawn(resident)
            except ActorStopped:
                self._depart(resident)  # the system closes; the next host goes on with it

    async def _spawn(self, resident: Resident) -> ActorRef[Any]:
        try:
            return await self.system.spawn(self._house, resident, name=f"instance {resident.id}")
        except ActorNameTaken:  # an earlier one of the same id is on its way out
            return await self.system.spawn(self._house, resident)

    async def _house(self, context: ActorContext[Any], resident: Resident) -> None:
        try:
            await live(self._services, resident)
        except Exception as error:
            logger.exception("instance %r cannot go on here", resident.id)
            resident.failure = error
        finally:
            self._depart(resident)

    def _resident(self, instance: Instance, fresh: Loaded | None) -> Resident:
        runnable = self.definitions.get(instance.definition)
        status = self._status_of(instance.id, instance.status)
        status.value = instance.status  # not that of an earlier end
        resident = Resident(instance, runnable, status, fresh)
        resident.on_status = self._status_changed
        resident.on_recorded = self._status_recorded
        resident.on_cancel = self._cancel_children
        self.residents[instance.id] = resident
        self._failures.pop(instance.id, None)
        self.taken_in.set()
        self.taken_in = trio.Event()
        return resident

    def _depart(self, resident: Resident) -> None:
        if self.residents.get(resident.id) is resident:
            del self.residents[resident.id]
            self._actors.pop(resident.id, None)
            self.changed.pop(resident.id, None)
            if resident.failure is not None and not isinstance(resident.failure, LeaseLost):
                self._failures[resident.id] = resident.failure
        resident.gone.set()

    # --- what residents tell

    def _status_of(self, id: str, status: InstanceStatus) -> AsyncValue[InstanceStatus]:
        value = self._statuses.get(id)
        if value is None:
            self._statuses[id] = value = AsyncValue(status)
        return value

    def _status_changed(self, resident: Resident, before: InstanceStatus) -> None:
        status = resident.status.value
        if not status.has_ended:
            self.changed[resident.id] = resident
            self.has_changed.set()

    def _status_recorded(self, resident: Resident, before: InstanceStatus) -> None:
        id, name = resident.id, resident.instance.definition.name
        status, note = resident.recorded
        if self.bus.subscribers:
            for event in events_of(id, name, before, status, note, why_ended(resident)):
                self.bus.publish(event)
        if self.hooks.count:
            for payload in hooks_of(id, name, before, status):
                self.pump.give(payload)

    def _cancel_children(self, resident: Resident, mail: Mail) -> None:
        self.to_cancel.append(mail)
        self.has_to_cancel.set()

    async def ask_children_to_end(self, mail: Mail) -> None:
        """Pass a wish for the end on to the children of an instance, once to each."""
        for child in await self._children(mail.instance):
            try:
                passed_on = await self.instances.post(
                    child.id, "cancel", mail.name, {"grace": grace_in(mail)}, key=WITH_ITS_PARENT
                )
            except (WorkflowStateError, WorkflowNotFoundError):
                continue  # it has ended meanwhile
            self.deliver(passed_on)

    def begin_closing(self) -> list[Resident]:
        """Let every instance come to a point where it can be put away; return those here."""
        self.closing = True
        residents = list(self.residents.values())
        for resident in residents:
            resident.wind_down()
        return residents


async def surely(
    call: Callable[[], Awaitable[Any]], is_done: Callable[[], Awaitable[bool]]
) -> None:
    """Make a call of the store, again where it failed and it is not known whether it was done.

    Args:
        is_done: Says whether a call that is refused now was done before.
    """
    tried = 0

    async def attempt() -> None:
        nonlocal tried
        tried += 1
        await call()

    try:
        await persistently(attempt)
        return
    except WorkflowStateError as error:
        refusal = error
    if tried == 1 or not await is_done():
        raise refusal


def why_ended(resident: Resident) -> str | None:
    """Return why an instance ended, for a person; None: it has not, or all went well."""
    if resident.outcome is None or resident.outcome.is_ok():
        return None
    error = resident.outcome.unwrap_err()
    if resident.status.value is InstanceStatus.CANCELLED:
        return getattr(error, "reason", "")
    return str(error)
