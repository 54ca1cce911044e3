"""A process that makes transfers in a host; and an operator who sees to what is stuck."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from lexigram_actors.errors import StoreError, WorkflowStateError
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.storage.instances import InstanceStatus
from tests.crash.programs import surely
from tests.saga.bank.auditing import stuck_in
from tests.saga.bank.bank import Bank
from tests.saga.bank.transfers import Transfer

AT_ONCE: Final = 40
AT_WORK: Final = [status for status in InstanceStatus if not status.has_ended]


async def make_transfers(
    host: WorkflowHost,
    runnable: Any,
    transfers: list[Transfer],
    ended: set[int],
    at_once: int = AT_ONCE,
) -> None:
    """See the transfers to their ends, some at a time.

    Args:
        ended: Those of which that is known; the others are added.
    """
    waiting = iter([each for each in transfers if each.number not in ended])

    async def work() -> None:
        for transfer in waiting:
            handle = await started(host, runnable, transfer)
            await handle.result()
            ended.add(transfer.number)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)


async def started(host: WorkflowHost, runnable: Any, transfer: Transfer) -> Any:
    """Begin a transfer; again, where it is not known whether it did."""
    while True:
        try:
            return await host.start(runnable, transfer.number, id=transfer.id)
        except StoreError:
            await trio.sleep(1)


async def see_to_stuck(host: WorkflowHost, bank: Bank, alive: Callable[[], None]) -> None:
    """Let each step that is stuck be undone: by another try, or by hand.

    A process that dies meanwhile begins again with what is still stuck.
    """
    for instance in await surely(host.operator.select, status=AT_WORK):
        await host.handle(instance.id).result()  # a life before has seen to it
    for transfer, steps in (await surely(stuck_in, host.operator)).items():
        handle = host.handle(f"transfer {transfer}")
        if transfer % 2:
            await acted(handle.retry)
        else:
            for step in sorted(steps):
                alive()
                bank.undo(transfer, step)
                await acted(handle.force, step)
        await handle.result()


async def acted(call: Any, *args: Any) -> None:
    """Do as an operator; fine where it was done by a life before."""
    with suppress(WorkflowStateError):
        await surely(call, *args)
