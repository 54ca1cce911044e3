"""Transitions in one of our own stores: a machine is an instance, its transitions the journal.

An entry's position is the version that it makes, so that of two writers of one version the store
refuses one. A token in each tells them apart, as the same entry at the same position would count
as written again.

Nobody runs these instances: their kind is one that no host has a definition of, and they have no
owner. In listings each says where it stands.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, final

from lexigram_actors.errors import (
    LeaseLost,
    StateConcurrencyError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
)
from lexigram_actors.machine.models import StateTransitionRecord
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    NewInstance,
)
from lexigram_actors.storage.keys import check_key
from lexigram_actors.storage.ports import Store

KIND: Final = "stored-machine"
"""Not that of machines in a host, which would claim what has their name."""

TRANSITION: Final = "transition"


@final
class StoreStatePersistence:
    """Keeps the transitions of machines in a store: `open_store(...)`, open while it is used.

    Args:
        store: Any of ours.
        name: What the machines are listed as. A machine's id is that of the instance, and so must
            differ from the ids of all instances of the store.
    """

    def __init__(self, store: Store, name: str = "machine") -> None:
        check_key(name, what="name")
        self._instances = store.instances
        self._definition = Definition(KIND, name, 1)

    async def append_transition(
        self, machine_id: str, from_state: str, event: str, to_state: str, expected_version: int
    ) -> int:
        """Record a transition of a machine that has `expected_version`; return its version then.

        Durable on return. Cancelled, nothing was written.

        Raises:
            StateConcurrencyError: The machine has another version; nothing was written.
            WorkflowStateError: The id is that of something else, or an operator has ended the
                machine; nothing was written.
            StoreError: The store failed, and nothing is recorded, or that is not known.
        """
        value = {"from": from_state, "to": to_state, "token": secrets.token_hex(16)}
        at = self._instances.clock()
        entry = Entry(event, TRANSITION, value, expected_version + 1, at)
        instance = await self._instance(machine_id)
        actual = await self._version_after(machine_id, expected_version)
        if actual != expected_version:
            raise StateConcurrencyError(event, from_state, expected_version, actual)
        try:
            await self._instances.append(
                machine_id,
                instance.epoch,
                [entry],
                status=InstanceStatus.WAITING,
                note=f"in {to_state}",
            )
        except StoreError as error:
            failure = error
        else:
            return expected_version + 1
        return await self._judged(machine_id, entry, failure)

    async def load_transitions(self, machine_id: str) -> list[StateTransitionRecord]:
        """Return what was recorded of a machine, by version.

        Raises:
            WorkflowStateError: The id is that of something else.
            StoreCorruptedError: What is recorded is damaged, or no transition.
        """
        instance = await self._instances.get(machine_id)
        if instance is None:
            return []
        self._check_ours(instance)
        return [record_in(machine_id, each) for each in await self._instances.journal(machine_id)]

    async def get_current_version(self, machine_id: str) -> int:
        """Return the version of the last transition; 0 when there is none."""
        entries = await self._instances.journal(machine_id)
        return entries[-1].position if entries else 0

    async def _instance(self, machine_id: str) -> Instance:
        """Return the instance that a machine is, begun where there is none."""
        new = NewInstance(id=machine_id, definition=self._definition)
        instance, _ = await self._instances.create(new)
        self._check_ours(instance)
        if instance.status.has_ended:
            raise WorkflowStateError(
                f"machine {machine_id!r} is {instance.status} by an operator, and moves no more",
                hint="begin a machine with another id",
            )
        return instance

    def _check_ours(self, instance: Instance) -> None:
        if instance.definition != self._definition:
            kind, name, _ = instance.definition
            raise WorkflowStateError(
                f"{instance.id!r} is an instance of the {kind} {name!r}, and no machine "
                f"{self._definition.name!r}",
                hint="choose another id",
            )

    async def _version_after(self, machine_id: str, expected: int) -> int:
        """Return the version of a machine; the whole journal is read only where it is lower."""
        later = await self._instances.journal(machine_id, max(0, expected - 1))
        if later or not expected:
            return later[-1].position if later else 0
        return await self.get_current_version(machine_id)

    async def _judged(self, machine_id: str, entry: Entry, failure: StoreError) -> int:
        """Return the version where the entry is there, though its write failed; else raise."""
        version = entry.position
        later = await self._instances.journal(machine_id, version - 1)
        if later and later[0].position == version and same_token(later[0].value, entry.value):
            return version
        if later:
            actual = later[-1].position
            raise StateConcurrencyError(
                entry.path, entry.value["from"], version - 1, actual, cause=failure
            )
        if isinstance(failure, LeaseLost):
            await self._instance(machine_id)  # says that it was ended, if that is why
        raise failure


def same_token(recorded: Any, written: Any) -> bool:
    """Say whether what is recorded is what was written."""
    return isinstance(recorded, dict) and recorded.get("token") == written["token"]


def record_in(machine_id: str, entry: Entry) -> StateTransitionRecord:
    """Return an entry as a record.

    Raises:
        StoreCorruptedError: It is none.
    """
    value = entry.value
    if entry.kind != TRANSITION or not isinstance(value, dict) or not {"from", "to"} <= set(value):
        raise StoreCorruptedError(
            f"entry {entry.position} of machine {machine_id!r} is no transition",
            details={"machine_id": machine_id, "version": entry.position},
        )
    return StateTransitionRecord(
        machine_id, entry.position, value["from"], entry.path, value["to"], entry.at
    )
