"""A host's lease: what waits for it goes on when it is renewed, and is told when it never is."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import LeaseLost, StoreError
from lexigram_actors.host.leases import HostLease


class Flaky:
    """A store of which only the lease is asked."""

    def __init__(self) -> None:
        self.answers: list[Exception | None] = []

    async def enter(self, host: str, lease: float) -> None:
        await trio.lowlevel.checkpoint()

    async def renew(self, host: str, lease: float) -> None:
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


async def test_what_waits_goes_on_when_the_lease_is_renewed(autojump_clock: MockClock) -> None:
    store = Flaky()
    lease = HostLease(store, "host", 9.0)  # type: ignore[arg-type]
    await lease.enter()
    await trio.sleep(10)
    assert lease.deadline < trio.current_time()
    went_on = []

    async def waiter() -> None:
        await lease.wait_renewed()
        went_on.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        assert went_on == []
        nursery.start_soon(lease.keep)
        await wait_all_tasks_blocked()
        assert went_on == [trio.current_time()]
        nursery.cancel_scope.cancel()


async def test_what_waits_is_told_when_the_lease_is_lost(autojump_clock: MockClock) -> None:
    store = Flaky()
    lease = HostLease(store, "host", 9.0)  # type: ignore[arg-type]
    await lease.enter()
    store.answers = [StoreError("locked"), LeaseLost("over")]
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lease.keep)  # tries again soon, then knows
        with pytest.raises(LeaseLost):
            await lease.wait_renewed()
    assert lease.is_lost
    with pytest.raises(LeaseLost):
        await lease.wait_renewed()


async def test_a_lease_that_stands_is_waited_for_no_moment(autojump_clock: MockClock) -> None:
    lease = HostLease(Flaky(), "host", 9.0)  # type: ignore[arg-type]
    await lease.enter()
    await lease.wait_renewed()
