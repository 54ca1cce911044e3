"""Of two that take themselves for the owner of an instance, one cannot write (I11, I12)."""

from __future__ import annotations

import math

import pytest

from lexigram_actors.errors import LeaseLost
from lexigram_actors.storage import InstanceStatus, InstanceStore
from tests.storage.conftest import FakeClock, InstancePlace
from tests.storage.instance_values import LEASE, ORDER, OTHER, begin, ended, new, step
from tests.storage.test_instances_contract import every_write_is_refused

DAY = 86_400.0


async def claimed(store: InstanceStore, host: str, **limits: object) -> list[tuple[str, int]]:
    """Claim, and return ids with epochs."""
    taken = await store.claim(host, [ORDER], **limits)  # type: ignore[arg-type]
    assert all(each.owner == host for each in taken)
    for each in taken:
        assert await store.get(each.id) == each
    return [(each.id, each.epoch) for each in taken]


async def test_what_nobody_has_is_claimed_oldest_first(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await instances.create(new("b", start_at=clock.now + DAY))
    await instances.create(new("a"))
    clock.advance(1)
    await instances.create(new("0"))
    await instances.create(new("other", definition=OTHER))
    await ended(instances, "over")
    assert await claimed(instances, "a", limit=2) == [("a", 1), ("b", 1)]
    assert await claimed(instances, "a", limit=2) == [("0", 1)]
    assert await claimed(instances, "a") == []
    assert await instances.claim("a", []) == []
    assert [each.id for each in await instances.claim("a", [ORDER, OTHER])] == ["other"]


async def test_only_the_ids_that_are_wanted_are_claimed(instances: InstanceStore) -> None:
    await instances.enter("a", LEASE)
    for id in ("a", "b", "c"):
        await instances.create(new(id))
    await instances.create(new("other", definition=OTHER))
    await ended(instances, "over")
    assert await claimed(instances, "a", ids=[]) == []
    assert await claimed(instances, "a", ids=["c", "gone", "b", "other", "over"], limit=1) == [
        ("b", 1)
    ]
    assert await claimed(instances, "a", ids={"b", "c"}) == [("c", 1)]


async def test_a_host_without_a_lease_claims_nothing(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await instances.create(new())
    with pytest.raises(LeaseLost, match="host 'a' has no lease"):
        await instances.claim("a", [ORDER])
    await instances.enter("a", LEASE)
    clock.advance(LEASE)
    with pytest.raises(LeaseLost):
        await instances.claim("a", [ORDER])
    found = await instances.get("order-1")
    assert found is not None
    assert (found.owner, found.epoch) == (None, 0)


async def test_what_a_living_host_has_is_not_claimed_while_it_renews(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances)
    await instances.enter("b", 10 * LEASE)
    for _ in range(5):
        clock.advance(LEASE - 1)
        await instances.renew("a", LEASE)
        assert await claimed(instances, "b") == []
        assert await claimed(instances, "b", ids=["order-1"]) == []


async def test_a_frozen_host_finds_its_late_writes_refused(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [step(1)])
    clock.advance(LEASE)
    await instances.enter("b", LEASE)
    # Its lease is over, but nobody took over: what it writes is still in order.
    await instances.append("order-1", 1, [step(2)])
    assert await claimed(instances, "b") == [("order-1", 2)]
    with pytest.raises(LeaseLost):
        await instances.renew("a", LEASE)
    await every_write_is_refused(instances, "order-1", 1)
    with pytest.raises(LeaseLost, match="epoch 2 \\(owner: 'b'\\)"):
        await instances.append("order-1", 1, [step(1)])  # what is there already, too
    await instances.append("order-1", 2, [step(3)])
    assert [each.epoch for each in await instances.journal("order-1")] == [1, 1, 2]


async def test_epochs_rise_with_each_takeover(instances: InstanceStore, clock: FakeClock) -> None:
    await begin(instances)
    for epoch in range(2, 6):
        clock.advance(LEASE)
        host = f"h{epoch}"
        await instances.enter(host, LEASE)
        assert await claimed(instances, host) == [("order-1", epoch)]
        await instances.append("order-1", epoch, [step(epoch)])
    assert [each.epoch for each in await instances.journal("order-1")] == [2, 3, 4, 5]


async def test_what_is_released_is_anybodys(instances: InstanceStore) -> None:
    await begin(instances)
    await instances.enter("b", LEASE)
    for _ in range(2):  # it is not known whether the first was done
        await instances.release("order-1", 1)
    found = await instances.get("order-1")
    assert found is not None
    assert found.owner is None
    assert await claimed(instances, "b") == [("order-1", 2)]
    await every_write_is_refused(instances, "order-1", 1)


async def test_a_host_that_leaves_lets_go_of_everything(instances: InstanceStore) -> None:
    await begin(instances)
    await begin(instances, "order-2")
    await instances.enter("b", LEASE)
    await instances.leave("a")
    await instances.leave("a")
    with pytest.raises(LeaseLost):
        await instances.renew("a", LEASE)
    assert await claimed(instances, "b") == [("order-1", 2), ("order-2", 2)]


async def test_an_owner_that_never_entered_is_gone(instances: InstanceStore) -> None:
    await instances.create(new("1"), host="x")
    await instances.create(new("2"), host="y")
    await instances.create(new("3"), host="a")
    await instances.enter("b", LEASE)
    assert await claimed(instances, "b") == [("1", 2), ("2", 2), ("3", 2)]


async def test_a_lease_may_last_for_good(instances: InstanceStore, clock: FakeClock) -> None:
    await instances.enter("a", math.inf)
    await instances.create(new(), host="a")
    clock.advance(1e9)
    await instances.renew("a", math.inf)
    await instances.enter("b", 10**400)
    assert await claimed(instances, "b") == []


async def test_entering_again_within_the_lease_only_prolongs_it(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances)
    await instances.enter("b", 10 * LEASE)
    clock.advance(LEASE - 1)
    await instances.enter("a", LEASE)
    clock.advance(LEASE - 1)
    assert await claimed(instances, "b") == []
    assert await claimed(instances, "a") == []


async def test_entering_again_after_the_lease_has_nothing_that_was_there(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances)
    clock.advance(LEASE)
    await instances.enter("a", LEASE)
    assert await claimed(instances, "a") == [("order-1", 2)]


async def test_a_host_that_comes_back_under_its_name_has_to_claim(place: InstancePlace) -> None:
    async with place.opened() as store:
        await begin(store)
    async with place.opened() as store:
        await store.enter("a", LEASE)
        assert await claimed(store, "a") == [("order-1", 2)]
        await every_write_is_refused(store, "order-1", 1)


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_after_a_jump_of_the_clock_nothing_is_lost_and_nothing_is_written_twice(
    instances: InstanceStore, clock: FakeClock, jump: float
) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [step(1)])
    clock.advance(jump)
    await instances.append("order-1", 1, [step(2)])
    if jump > 0:
        with pytest.raises(LeaseLost):
            await instances.renew("a", LEASE)
        await instances.enter("a", LEASE)
        assert await claimed(instances, "a") == [("order-1", 2)]
        await every_write_is_refused(instances, "order-1", 1)
    else:
        await instances.renew("a", LEASE)
        assert await claimed(instances, "a") == []
    assert [each.position for each in await instances.journal("order-1")] == [1, 2]


async def test_a_jump_of_the_clock_does_not_touch_a_lease_for_good(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await instances.enter("a", math.inf)
    await instances.create(new(), host="a")
    for jump in (DAY, -3 * DAY):
        clock.advance(jump)
        await instances.renew("a", math.inf)
        await instances.append("order-1", 1, [step(int(abs(jump)))])
    assert await claimed(instances, "a") == []


async def test_what_ended_has_no_owner_to_disown_or_claim(instances: InstanceStore) -> None:
    before = await ended(instances, status=InstanceStatus.COMPLETED)
    assert await claimed(instances, "a") == []
    await instances.leave("a")
    assert await instances.get("order-1") == before
