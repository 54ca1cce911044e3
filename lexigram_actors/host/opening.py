"""Opening a host, and what it does besides running instances."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import trio

from lexigram_actors.checks import given, number, require, whole
from lexigram_actors.errors import ConfigurationError, LeaseLost, StoreError
from lexigram_actors.events import HookRegistry
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.leases import HostLease
from lexigram_actors.host.lives import RestartPolicy
from lexigram_actors.host.observing import DRAIN, pumping
from lexigram_actors.kernel import ActorContext, Backoff, Restart, open_system
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.storage.opening import open_store
from lexigram_actors.storage.ports import Store

logger = logging.getLogger(__name__)

FLUSH_DELAY: Final = 0.05
"""Seconds for which a new status waits to be written along with something else."""

LEAVE_TIMEOUT: Final = 30.0
"""Seconds that leaving a store may take."""

SWEEPS: Final = 10
"""How often in the time of a retention what is older is removed."""

BATCH: Final = 1000

RETRY: Final = 1.0
"""Seconds before something that the store could not do is tried again."""

REMOVED: Final = frozenset({InstanceStatus.COMPLETED, InstanceStatus.CANCELLED})
"""What a retention removes. What failed is there until a person has looked at it."""

DEFAULT_BACKOFF: Final = Backoff()


@asynccontextmanager
async def open_host(
    store: Store | str,
    *,
    register: Iterable[Any] = (),
    name: str = "host",
    grace: float = 5.0,
    max_restarts: int = 3,
    period: float = 60.0,
    backoff: Backoff = DEFAULT_BACKOFF,
    retention: float | None = None,
    lease: float | None = None,
    poll: float | None = None,
    hooks: HookRegistry | None = None,
) -> AsyncIterator[WorkflowHost]:
    """Run durable instances for the length of an `async with` block.

    On entry every instance that had not ended, and that no other host has, goes on from what it had
    recorded. When the block ends nothing new begins; what is under way has `grace` seconds to end
    and be recorded, then it is cancelled, and every instance is left as it is recorded, for the
    next host. When the block raises or is cancelled there is no such wait.

    Args:
        store: An open store, or the URL of one (`"sqlite:///flows.db"`), which is opened and closed
            here. A SQLite file takes one host at a time.
        register: What can be run: see `WorkflowHost.register`.
        name: Of the system of actors, and in the store, for people.
        max_restarts: How often an instance that raises is started again within any `period`
            seconds; then it is parked FAILED.
        backoff: The waits before that.
        retention: Seconds after which what COMPLETED or was CANCELLED is removed. None: never.
        lease: Seconds after which other hosts take over, when this one is not heard of. None: as
            the store has it.
        poll: Seconds between two looks for what other processes want, and for what a host left
            that is not heard of any more. None: as the store has it, and at least once in the time
            of a lease.
        hooks: What is called when a transition of an instance is recorded: `host.hooks`. When the
            block has ended they are called for what has happened, for a few seconds at the most.
            None: a registry of the host's own.

    Raises:
        StoreError: The store cannot be opened, or another host has it.
        ConfigurationError: One of these makes no sense.
        TypeError: It is no store, or something registered cannot be run.
    """
    refuse_misuse(store, register, name, backoff)
    if hooks is not None and not isinstance(hooks, HookRegistry):
        raise TypeError(f"hooks must be a HookRegistry, not {given(hooks)}")
    require("grace", grace, number(least=0, unbounded=True))
    require("max_restarts", max_restarts, whole(least=0))
    require("period", period, number(least=0, unbounded=True))
    for what, value in (("retention", retention), ("lease", lease), ("poll", poll)):
        if value is not None:
            require(what, value, number(above=0, unbounded=True))
    restarts = RestartPolicy(max_restarts, period, backoff)
    async with AsyncExitStack() as stack:
        if isinstance(store, str):
            store = await stack.enter_async_context(open_store(store))
        instances = store.instances
        seconds = instances.lease if lease is None else lease
        looks = min(instances.poll, seconds) if poll is None else poll
        entered = HostLease(instances, new_name(name), seconds)
        called = HookRegistry() if hooks is None else hooks
        host = WorkflowHost(store, entered, restarts, looks, called)
        # Last of all, when everything has ended and other hosts may have what this one had.
        await stack.enter_async_context(pumping(host.pump, DRAIN))
        stack.push_async_callback(leave, host)
        await entered.enter()
        async with open_system(name, grace=grace) as host.system:
            try:
                await begin(host, name, retention)
                await host.register(*register)
                yield host
            except BaseException:
                await close(host, 0.0)  # noqa: ASYNC102 - it shields itself, and has time limits
                raise
            else:
                await close(host, grace)


def refuse_misuse(store: object, register: object, name: object, backoff: object) -> None:
    """Refuse what is of the wrong sort, before anything is opened."""
    if not isinstance(store, str | Store):
        raise TypeError(f"open_host takes a store or the URL of one, not {given(store)}")
    if isinstance(register, str) or not isinstance(register, Iterable):
        raise TypeError(f"register takes a list: register=[flow], not {given(register)}")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"name must be text, and not empty; got {given(name)}")
    if not isinstance(backoff, Backoff):
        raise ConfigurationError(f"backoff must be a Backoff, not {given(backoff)}")


def new_name(name: str) -> str:
    """Return a name that no host had before: what an earlier one had is not ours."""
    return f"{name}-{uuid4().hex[:12]}"


async def begin(host: WorkflowHost, name: str, retention: float | None) -> None:
    """Start what a host does besides running instances."""
    host.last_mail = await host.instances.last_mail()
    keepers: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (keeper, ()) for keeper in (keep_lease, watch_store, save_statuses, cancel_children)
    ]
    if retention is not None:
        keepers.append((remove_old, (retention,)))
    for keeper, arguments in keepers:
        # Without one of them a host is of no use: where it fails again and again, so does the host.
        await host.system.spawn(
            keeper,
            host,
            *arguments,
            name=f"{name} {keeper.__name__}",
            restart=Restart.TRANSIENT,
            shutdown=0,
        )


async def close(host: WorkflowHost, grace: float) -> None:
    """Put every instance away; what is under way has `grace` seconds to end and be recorded.

    Cancelled meanwhile, these are over. Without any it does not raise a cancellation: what the
    block raised goes on.
    """
    with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
        await write_statuses(host)  # while those who wait still say so
    residents = host.begin_closing()
    try:
        if grace > 0:
            with trio.move_on_after(grace):
                for resident in residents:
                    await resident.gone.wait()
    finally:
        for resident in residents:
            resident.suspend()
    with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
        for resident in residents:
            if resident.is_supervised:  # it may be that no actor of ours is: nobody else waits
                await resident.gone.wait()


async def leave(host: WorkflowHost) -> None:
    """Let other hosts have what this one had."""
    with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
        try:
            await host.instances.leave(host.lease.host)
        except StoreError as error:
            logger.warning("host %s: it could not be signed off: %s", host.lease.host, error)


# --- actors beside the instances ------------------------------------------------------------


async def keep_lease(context: ActorContext[Any], host: WorkflowHost) -> None:
    """Renew the lease; when it is lost let everything go, and begin anew."""
    while True:
        await host.lease.keep()
        if not host.lease.is_lost:
            return  # it lasts for good
        logger.error("host %s: its lease is over; it begins anew", host.lease.host)
        await let_go_of_all(host)
        await begin_anew(host)


async def let_go_of_all(host: WorkflowHost) -> None:
    """Let nothing more be done to instances that may be another host's."""
    residents = tuple(host.residents.values())
    for resident in residents:
        resident.lose(LeaseLost(f"host {host.lease.host}: its lease is over"))
    with trio.move_on_after(LEAVE_TIMEOUT):
        for resident in residents:
            await resident.gone.wait()


async def begin_anew(host: WorkflowHost) -> None:
    """Enter under another name; what nobody has is taken in then, while the lease is kept."""
    while True:
        lease = HostLease(host.instances, new_name(host.system.name), host.lease.seconds)
        try:
            await lease.enter()
        except StoreError as error:
            logger.warning("host %s: it cannot begin anew yet: %s", lease.host, error)
            await trio.sleep(min(lease.seconds, RETRY))
        else:
            host.lease = lease  # not before: what began under it would be nobody's
            host.has_news.set()
            return


async def watch_store(context: ActorContext[Any], host: WorkflowHost) -> None:
    """Look for what others have posted, and for instances that nobody has."""
    while True:
        with trio.move_on_after(host.poll):
            await host.has_news.wait()
        host.has_news = trio.Event()
        has_looked = await try_to_do("deliver mail", host, deliver_mail(host))
        has_looked &= await try_to_do("take in", host, host.recover(host.definitions))
        if not has_looked:
            await trio.sleep(RETRY)
            host.has_news.set()


async def try_to_do(what: str, host: WorkflowHost, call: Awaitable[None]) -> bool:
    """Say whether the store could do it."""
    try:
        await call
    except StoreError as error:
        logger.warning("host %s: it cannot %s now: %s", host.lease.host, what, error)
        return False
    return True


async def deliver_mail(host: WorkflowHost) -> None:
    """Hand over what was posted since the last time."""
    while mail := await host.instances.mail_after(host.last_mail, BATCH):
        for each in mail:
            host.deliver(each)
        host.last_mail = mail[-1].seq


async def save_statuses(context: ActorContext[Any], host: WorkflowHost) -> None:
    """Write what instances do, where it was not written along with something else."""
    while True:
        await host.has_changed.wait()
        host.has_changed = trio.Event()
        await trio.sleep(FLUSH_DELAY)
        if not await write_statuses(host):
            await trio.sleep(RETRY)
            host.has_changed.set()


async def write_statuses(host: WorkflowHost) -> bool:
    """Write the statuses that are not written yet; say whether the store could do it."""
    changed, host.changed = host.changed, {}
    residents = {id: each for id, each in changed.items() if each.has_unsaved_status}
    if not residents:
        return True
    changes = {
        id: (each.instance.epoch, each.status.value, each.note) for id, each in residents.items()
    }
    lease = host.lease
    try:
        with ExitStack() as stack:
            for each in residents.values():
                stack.enter_context(each.marking(lambda: trio.current_time() < lease.deadline))
            await host.instances.mark(changes)
    except StoreError as error:
        logger.warning("host %s: statuses are not written: %s", host.lease.host, error)
        host.changed = {**residents, **host.changed}
        return False
    return True


async def cancel_children(context: ActorContext[Any], host: WorkflowHost) -> None:
    """Ask the children of instances to end that were asked to end."""
    while True:
        await host.has_to_cancel.wait()
        host.has_to_cancel = trio.Event()
        asked, host.to_cancel = host.to_cancel, []
        for mail in asked:
            try:
                await host.ask_children_to_end(mail)
            except StoreError as error:
                logger.warning("the children of %r go on: %s", mail.instance, error)
                host.to_cancel.append(mail)
        if host.to_cancel:
            await trio.sleep(RETRY)
            host.has_to_cancel.set()


async def remove_old(context: ActorContext[Any], host: WorkflowHost, retention: float) -> None:
    """Remove what ended well long ago."""
    while True:
        try:
            before = host.clock() - retention
            while await host.instances.delete_ended(before, REMOVED, BATCH) == BATCH:
                pass
        except StoreError as error:
            logger.warning("host %s: old instances are not removed: %s", host.lease.host, error)
        await trio.sleep(retention / SWEEPS)
