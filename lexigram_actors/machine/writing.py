"""Recording one transition, and finding out what became of it where that is not said."""

from __future__ import annotations

from typing import Final, final

import trio
from attrs import frozen
from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.errors import StateConcurrencyError, StoreError
from lexigram_actors.machine.models import StatePersistenceProtocol

WRITE_TIMEOUT: Final = 30.0
"""Seconds that a write may take, and again as many to read back what became of it."""

NOT_READ: Final = -1
"""The version of a machine that was refused, where it could not be read."""


@final
@frozen
class Written:
    """It is recorded."""


@final
@frozen
class Refused:
    """Somebody else has moved the machine to `version`; nothing is recorded."""

    version: int
    error: Exception


@final
@frozen
class Failed:
    """The store failed: nothing is recorded, or that is not known."""

    error: Exception
    is_unknown: bool


End = Written | Refused | Failed


async def append(
    persistence: StatePersistenceProtocol,
    machine_id: str,
    source: str,
    event: str,
    target: str,
    version: int,
) -> End:
    """Record a transition of a machine that has this version; return what became of it.

    Once begun it is not cancelled: a store that was cut off may have written or not. But it is cut
    off after `WRITE_TIMEOUT`, as if the store had failed.
    """
    await checkpoint_if_cancelled()
    failure: Exception
    try:
        with trio.move_on_after(WRITE_TIMEOUT, shield=True) as limit:
            said = await persistence.append_transition(machine_id, source, event, target, version)
    except (StateConcurrencyError, RuntimeError) as error:
        return Refused(await version_told_by(persistence, machine_id, error), error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it may have been written
        failure = error
    else:
        if limit.cancelled_caught:
            failure = StoreError(f"the write of {event!r} took longer than {WRITE_TIMEOUT:g} s")
        elif said == version + 1:
            return Written()
        else:
            return Failed(strange_version(machine_id, event, version, said), is_unknown=True)
    return await read_back(persistence, machine_id, (source, event, target), version, failure)


def strange_version(machine_id: str, event: str, version: int, said: object) -> StoreError:
    """Return the error of a persistence that counts otherwise."""
    return StoreError(
        f"the persistence recorded {event!r} of machine {machine_id!r} as version {said!r}, where "
        f"version {version + 1} follows"
    )


async def version_told_by(
    persistence: StatePersistenceProtocol, machine_id: str, error: Exception
) -> int:
    """Return the version that a refusal names; where it names none, that of the store."""
    if isinstance(error, StateConcurrencyError):
        return error.actual_version
    with trio.move_on_after(WRITE_TIMEOUT, shield=True):
        try:
            return await persistence.get_current_version(machine_id)
        except Exception:  # noqa: BLE001 - that it was refused is what counts
            return NOT_READ
    return NOT_READ


async def read_back(
    persistence: StatePersistenceProtocol,
    machine_id: str,
    wanted: tuple[str, str, str],
    version: int,
    failure: Exception,
) -> End:
    """Find out what became of a write that failed.

    What stands at the version that was to be written is taken for it where it is the same
    transition: a store that two write to has to tell them apart by itself.
    """
    with trio.move_on_after(WRITE_TIMEOUT, shield=True):
        try:
            records = await persistence.load_transitions(machine_id)
        except Exception as error:  # noqa: BLE001 - the first failure is the one to be told
            failure.add_note(f"and it could not be read back: {error!r}")
            return Failed(failure, is_unknown=True)
        if len(records) <= version:
            return Failed(failure, is_unknown=False)
        if tuple(records[version][2:5]) == wanted:
            return Written()
        return Refused(records[-1].version, failure)
    return Failed(failure, is_unknown=True)
