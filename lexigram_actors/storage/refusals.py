"""What every store says alike when it refuses a call about an instance."""

from __future__ import annotations

from typing import Final

from lexigram_actors.errors import (
    LeaseLost,
    StoreCorruptedError,
    WorkflowNotFoundError,
    WorkflowStateError,
)
from lexigram_actors.storage.instances import Instance, InstanceStatus

RESTORE: Final = "stop the hosts, copy the database to a safe place, and restore a backup"
NOTHING_TO_RETRY: Final = (
    "there is nothing to retry; what has ended well can be run again with a fork"
)
A_HOST_FIRST: Final = (
    "its start, or the last decision or retry, waits for a host: run one, then give the next"
)
CHECK_THE_ID: Final = "check the id; an instance that was deleted is gone for good"


def lease_lost(id: str, epoch: int, found: Instance | None) -> LeaseLost:
    """Say why a write of an owner is refused, from the instance as it is; None: there is none."""
    if found is None:
        why = "it is gone"
    elif found.epoch != epoch:
        why = f"it was taken over, and is at epoch {found.epoch} (owner: {found.owner!r})"
    else:
        why = f"it has ended: {found.status}"
    return LeaseLost(
        f"instance {id!r}: the write of epoch {epoch} is refused, because {why}",
        details={"instance": id, "epoch": epoch, "found": None if found is None else found.epoch},
        hint="stop working on it; whoever has it goes on from what is recorded",
    )


def position_taken(id: str, epoch: int, position: int) -> LeaseLost:
    """Say that another entry stands where one was to be added."""
    return LeaseLost(
        f"instance {id!r}: the write of epoch {epoch} is refused, because another entry stands at "
        f"position {position}",
        details={"instance": id, "epoch": epoch, "position": position},
        hint="stop working on it, and load it again",
    )


def host_lease_over(host: str) -> LeaseLost:
    """Say that a host has no lease any more, or never had one."""
    return LeaseLost(
        f"host {host!r} has no lease: it is over, or was never begun",
        details={"host": host},
        hint="stop what the host runs, enter again, and claim",
    )


def not_found(id: str) -> WorkflowNotFoundError:
    """Say that there is no such instance."""
    return WorkflowNotFoundError(id, details={"instance": id}, hint=CHECK_THE_ID)


def takes_no_mail(instance: Instance) -> WorkflowStateError:
    """Say that an instance has ended, so that mail would never be read."""
    return WorkflowStateError(
        f"instance {instance.id!r} has ended ({instance.status}), and takes no mail",
        details={"instance": instance.id, "status": str(instance.status)},
        hint="look at its outcome; one that failed can be retried",
    )


def is_to_be_cancelled(instance: Instance, status: InstanceStatus) -> WorkflowStateError:
    """Say that somebody asked for an end that this one would pass over."""
    return WorkflowStateError(
        f"instance {instance.id!r} cannot end as {status}: its cancellation was asked for",
        details={"instance": instance.id, "status": str(status)},
        hint="end it as cancelled, with what the cancellation says as its reason",
    )


def has_not_failed(instance: Instance) -> WorkflowStateError:
    """Say that only what failed can be reopened."""
    is_pending = instance.status is InstanceStatus.PENDING
    return WorkflowStateError(
        f"instance {instance.id!r} is {instance.status}, and only one that failed can be reopened",
        details={"instance": instance.id, "status": str(instance.status)},
        hint=A_HOST_FIRST if is_pending else NOTHING_TO_RETRY,
    )


def journal_went_on(instance: Instance, position: int) -> WorkflowStateError:
    """Say that what was to be added on reopening was decided on an older journal."""
    return WorkflowStateError(
        f"instance {instance.id!r}: its journal has gone on, and has an entry at position "
        f"{position} already",
        details={"instance": instance.id, "position": position},
        hint="read the journal again, then decide anew",
    )


def id_taken(instance: Instance) -> WorkflowStateError:
    """Say that a fork needs an id of its own."""
    return WorkflowStateError(
        f"the id {instance.id!r} is taken by an instance that is {instance.status}",
        details={"instance": instance.id, "status": str(instance.status)},
        hint="choose another id for the fork",
    )


def has_not_ended(instance: Instance) -> WorkflowStateError:
    """Say that what still runs is not deleted."""
    return WorkflowStateError(
        f"instance {instance.id!r} is {instance.status}, and only one that has ended is deleted",
        details={"instance": instance.id, "status": str(instance.status)},
        hint="cancel it first",
    )


def damaged(id: str, what: str, why: str = "its checksum does not match") -> StoreCorruptedError:
    """Say which part of which instance is not what was stored."""
    return StoreCorruptedError(
        f"instance {id!r}: {what} is damaged: {why}",
        details={"instance": id},
        hint=RESTORE,
    )


def unreadable(what: str, error: UnicodeDecodeError) -> StoreCorruptedError:
    """Say that something of an instance is no text, so that it cannot be said which it is."""
    return StoreCorruptedError(
        f"instances: {what} is damaged: it is no UTF-8", hint=RESTORE, cause=error
    )
