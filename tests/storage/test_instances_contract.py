"""What every store promises of instances, their journals and their mail."""

from __future__ import annotations

import pytest
import trio

from lexigram_actors.errors import LeaseLost, WorkflowNotFoundError, WorkflowStateError
from lexigram_actors.storage import Entry, InstanceStatus, InstanceStore
from tests.storage.conftest import FakeClock, InstancePlace
from tests.storage.instance_values import LEASE, ORDER, OTHER, begin, ended, new, step

PENDING = InstanceStatus.PENDING
RUNNING = InstanceStatus.RUNNING
COMPLETED = InstanceStatus.COMPLETED
FAILED = InstanceStatus.FAILED
CANCELLED = InstanceStatus.CANCELLED
STUCK = InstanceStatus.COMPENSATION_STUCK


# --- beginning ---------------------------------------------------------------------------------


async def test_an_instance_is_found_as_it_was_begun(
    instances: InstanceStore, clock: FakeClock
) -> None:
    begun, is_new = await instances.create(
        new(seed="seed", start_at=clock.now + 5, parent="order-0", input=(1, {"a": b"\0"}))
    )
    assert is_new
    assert (begun.status, begun.owner, begun.epoch, begun.run, begun.copied) == (
        PENDING, None, 0, 0, 0,
    )  # fmt: skip
    assert (begun.seed, begun.parent) == ("seed", "order-0")
    assert (begun.created_at, begun.start_at, begun.ended_at) == (clock.now, clock.now + 5, None)
    assert await instances.get("order-1") == begun
    assert await instances.input("order-1") == (1, {"a": b"\0"})
    assert await instances.outcome("order-1") is None
    loaded = await instances.load("order-1")
    assert loaded is not None
    assert loaded.instance == begun
    assert (loaded.input, loaded.entries, loaded.mail) == ((1, {"a": b"\0"}), [], [])


async def test_an_instance_that_a_host_begins_is_its_own_with_epoch_one(
    instances: InstanceStore,
) -> None:
    begun = await begin(instances)
    assert (begun.owner, begun.epoch) == ("a", 1)


async def test_beginning_with_an_id_that_is_taken_writes_nothing(instances: InstanceStore) -> None:
    begun, _ = await instances.create(new())
    found, is_new = await instances.create(new(definition=OTHER, input="other"), host="a")
    assert (found, is_new) == (begun, False)
    assert await instances.input("order-1") == {"of": "order-1"}


async def test_what_is_not_there_is_none_or_empty(instances: InstanceStore) -> None:
    assert await instances.get("gone") is None
    assert await instances.load("gone") is None
    assert await instances.input("gone") is None
    assert await instances.outcome("gone") is None
    assert await instances.journal("gone") == []
    assert await instances.select() == []
    assert await instances.count() == {}
    assert await instances.mail_after(0) == []
    assert await instances.last_mail() == 0
    assert await instances.delete("gone") is False


async def test_everything_is_there_when_the_store_is_opened_again(place: InstancePlace) -> None:
    async with place.opened() as store:
        await begin(store)
        await store.append("order-1", 1, [step(1, {"a": (1,)})], status=RUNNING, note="at it")
        await store.post("order-1", "signal", "paid", 5, key="k")
        before = await store.load("order-1")
    async with place.opened() as store:
        assert await store.load("order-1") == before
        assert await store.last_mail() == 1


# --- the journal --------------------------------------------------------------------------------


async def test_entries_come_back_in_order_with_the_epoch_of_their_owner(
    instances: InstanceStore,
) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [step(3, "c"), step(1, (1,), at=5.5, mail=7, epoch=99)])
    first = Entry("step1", "step", (1,), 1, 5.5, 7, 1)
    third = Entry("step3", "step", "c", 3, 0.0, 0, 1)
    assert await instances.journal("order-1") == [first, third]
    assert await instances.journal("order-1", 1) == [third]
    assert await instances.journal("order-1", 3) == []


async def test_a_status_goes_with_the_entries_and_none_leaves_it(instances: InstanceStore) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [], status=RUNNING, note="first")
    await instances.append("order-1", 1, [step(1)], note="not written")
    found = await instances.get("order-1")
    assert found is not None
    assert (found.status, found.note) == (RUNNING, "first")


async def test_adding_the_same_again_changes_nothing(instances: InstanceStore) -> None:
    await begin(instances)
    for at in (1.0, 2.0):
        await instances.append("order-1", 1, [step(1, "x", at=at), step(2)])
    await instances.append("order-1", 1, [step(2), step(3)])
    assert [(e.position, e.at) for e in await instances.journal("order-1")] == [
        (1, 1.0), (2, 0.0), (3, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "second",
    [
        step(2, "other"),
        step(2, mail=1),
        step(2)._replace(path="else"),
        step(2)._replace(kind="sleep"),
    ],
)
async def test_another_entry_at_the_same_position_is_refused_with_all_beside_it(
    instances: InstanceStore, second: Entry
) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [step(2)])
    with pytest.raises(LeaseLost, match="position 2") as caught:
        await instances.append("order-1", 1, [step(1), second], status=RUNNING)
    assert caught.value.details["instance"] == "order-1"
    with pytest.raises(LeaseLost, match="position 5"):
        await instances.append("order-1", 1, [step(5), step(5, "other")])
    assert [entry.position for entry in await instances.journal("order-1")] == [2]
    found = await instances.get("order-1")
    assert found is not None
    assert found.status is PENDING


async def test_marking_passes_over_what_is_not_its_owners(instances: InstanceStore) -> None:
    await begin(instances)
    await begin(instances, "order-2")
    await ended(instances, "order-3")
    mark = (1, InstanceStatus.WAITING, "for a payment")
    await instances.mark(
        {"order-1": mark, "order-2": (2, *mark[1:]), "order-3": mark, "gone": mark}
    )
    statuses = {each.id: (each.status, each.note) for each in await instances.select()}
    assert statuses == {
        "order-1": (InstanceStatus.WAITING, "for a payment"),
        "order-2": (PENDING, ""),
        "order-3": (FAILED, "so"),
    }


# --- the end --------------------------------------------------------------------------------------


async def test_an_end_has_its_outcome_its_entries_and_no_owner(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances)
    clock.advance(5)
    await instances.end("order-1", 1, COMPLETED, (1,), note="well", entries=[step(1)])
    found = await instances.get("order-1")
    assert found is not None
    assert (found.status, found.note, found.owner, found.epoch) == (COMPLETED, "well", None, 1)
    assert (found.status.has_ended, found.ended_at) == (True, clock.now)
    assert await instances.outcome("order-1") == (1,)
    assert len(await instances.journal("order-1")) == 1


async def test_ending_the_same_way_again_does_nothing(
    instances: InstanceStore, clock: FakeClock
) -> None:
    before = await ended(instances)
    clock.advance(5)
    await instances.end("order-1", 1, FAILED, "why", note="other")
    assert await instances.get("order-1") == before


@pytest.mark.parametrize(
    ("epoch", "status", "outcome"), [(2, FAILED, "why"), (1, CANCELLED, "why"), (1, FAILED, None)]
)
async def test_ending_another_way_is_refused(
    instances: InstanceStore, epoch: int, status: InstanceStatus, outcome: object
) -> None:
    before = await ended(instances)
    with pytest.raises(LeaseLost):
        await instances.end("order-1", epoch, status, outcome, entries=[step(1)])
    assert await instances.get("order-1") == before
    assert await instances.journal("order-1") == []


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
async def test_what_is_to_be_cancelled_ends_no_other_way(
    instances: InstanceStore, status: InstanceStatus
) -> None:
    await begin(instances)
    await instances.post("order-1", "cancel", "why")
    with pytest.raises(WorkflowStateError, match="cancellation"):
        await instances.end("order-1", 1, status, None, entries=[step(1)])
    with pytest.raises(LeaseLost):
        await instances.end("order-1", 7, status, None)
    assert await instances.journal("order-1") == []
    await instances.end("order-1", 1, CANCELLED, None, entries=[step(1)])


async def test_every_write_of_an_owner_is_refused_after_the_end(instances: InstanceStore) -> None:
    await ended(instances)
    await every_write_is_refused(instances, "order-1", 1)


async def every_write_is_refused(instances: InstanceStore, id: str, epoch: int) -> None:
    """Check that nothing an owner writes is taken, and that nothing changes."""
    before = await instances.load(id)
    for call in (
        lambda: instances.append(id, epoch, [step(8)]),
        lambda: instances.append(id, epoch, [step(8), step(9)], status=RUNNING),
        lambda: instances.append(id, epoch, [], status=RUNNING),
        lambda: instances.append(id, epoch, []),
        lambda: instances.end(id, epoch, CANCELLED, "late", entries=[step(8)]),
        lambda: instances.start_over(id, epoch, "late", []),
        lambda: instances.release(id, epoch),
    ):
        with pytest.raises(LeaseLost) as caught:
            await call()
        assert id in caught.value.message
    await instances.mark({id: (epoch, RUNNING, "late")})
    assert await instances.load(id) == before


async def test_every_write_to_what_is_gone_is_refused(instances: InstanceStore) -> None:
    await every_write_is_refused(instances, "gone", 1)


async def test_starting_over_leaves_the_mail_that_was_not_taken(instances: InstanceStore) -> None:
    await begin(instances)
    await begin(instances, "order-2")
    first = await instances.post("order-1", "signal", "first")
    second = await instances.post("order-1", "signal", "second")
    others = await instances.post("order-2", "signal")
    await instances.append("order-1", 1, [step(1, mail=first.seq)])
    await instances.start_over("order-1", 1, "anew", [first.seq, others.seq])
    loaded = await instances.load("order-1")
    assert loaded is not None
    assert (loaded.input, loaded.entries, loaded.mail) == ("anew", [], [second])
    assert (loaded.instance.run, loaded.instance.copied) == (1, 0)
    assert await instances.mail_after(0) == [second, others]
    await instances.append("order-1", 1, [step(1, "again")])


# --- mail ---------------------------------------------------------------------------------------


async def test_mail_is_numbered_over_all_instances(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await instances.create(new())
    await instances.create(new("order-2"))
    first = await instances.post("order-1", "signal", "paid", {"by": (1,)})
    second = await instances.post("order-2", "cancel", key="k")
    assert first == (1, "order-1", "signal", "paid", {"by": (1,)}, clock.now, None)
    assert second == (2, "order-2", "cancel", "", None, clock.now, "k")
    assert await instances.mail_after(0) == [first, second]
    assert await instances.mail_after(0, limit=1) == [first]
    assert await instances.mail_after(1) == [second]
    assert await instances.mail_after(2) == []
    loaded = await instances.load("order-2")
    assert loaded is not None
    assert loaded.mail == [second]


async def test_two_posts_with_one_key_are_one_even_after_the_end(instances: InstanceStore) -> None:
    await begin(instances)
    await instances.create(new("order-2"))
    first = await instances.post("order-1", "signal", "paid", 1, key="k")
    assert await instances.post("order-1", "signal", "other", 2, key="k") == first
    assert (await instances.post("order-2", "signal", key="k")).seq == 2
    third = await instances.post("order-1", "signal", key="l")
    assert await instances.post("order-1", "signal", key="l") == third
    await instances.end("order-1", 1, COMPLETED, None)
    assert await instances.post("order-1", "signal", key="k") == first
    assert await instances.last_mail() == third.seq == 3


async def test_what_is_gone_or_has_ended_takes_no_mail(instances: InstanceStore) -> None:
    with pytest.raises(WorkflowNotFoundError):
        await instances.post("gone", "signal")
    await ended(instances)
    with pytest.raises(WorkflowStateError, match="has ended"):
        await instances.post("order-1", "signal", key="k")
    assert await instances.last_mail() == 0


async def test_the_number_of_mail_never_comes_back(instances: InstanceStore) -> None:
    await begin(instances)
    await instances.post("order-1", "signal")
    await instances.end("order-1", 1, COMPLETED, None)
    await instances.delete("order-1")
    assert await instances.mail_after(0) == []
    assert await instances.last_mail() == 1
    await instances.create(new())
    assert (await instances.post("order-1", "signal")).seq == 2


# --- for operators ------------------------------------------------------------------------------


async def test_instances_are_listed_newest_first_page_by_page(
    instances: InstanceStore, clock: FakeClock
) -> None:
    for id in ("b", "a", "\U0001f600", "\uffff"):
        await instances.create(new(id))
    clock.advance(1)
    await instances.create(new("c"))
    order = ["c", "\U0001f600", "\uffff", "b", "a"]
    assert [each.id for each in await instances.select()] == order
    found: list[str] = []
    before = None
    while page := await instances.select(before=before, limit=2):
        found += [each.id for each in page]
        before = (page[-1].created_at, page[-1].id)
    assert found == order
    assert await instances.select(limit=0) == []


async def test_instances_are_listed_by_status_name_and_parent(instances: InstanceStore) -> None:
    await instances.create(new("a"))
    await instances.create(new("b", definition=OTHER, parent="a"))
    await ended(instances, "c")
    assert [each.id for each in await instances.select(status=[PENDING])] == ["b", "a"]
    assert [each.id for each in await instances.select(status={FAILED, RUNNING})] == ["c"]
    assert await instances.select(status=[]) == []
    assert [each.id for each in await instances.select(name="review")] == ["b"]
    assert [each.id for each in await instances.select(parent="a")] == ["b"]
    assert await instances.select(parent="a", name="order") == []
    assert await instances.count() == {PENDING: 2, FAILED: 1}


@pytest.mark.parametrize("status", [FAILED, STUCK])
async def test_what_failed_is_reopened_with_an_epoch_that_its_owner_has_not(
    instances: InstanceStore, status: InstanceStatus
) -> None:
    await begin(instances)
    await instances.end("order-1", 1, status, "why", note="so", entries=[step(1)])
    found = await instances.reopen("order-1", [step(2, "retry")])
    assert found == await instances.get("order-1")
    assert (found.status, found.note, found.owner, found.ended_at) == (PENDING, "", None, None)
    assert found.epoch == 2
    assert await instances.outcome("order-1") is None
    assert [(e.value, e.epoch) for e in await instances.journal("order-1")] == [
        (None, 1), ("retry", 2),
    ]  # fmt: skip
    # The call that ended it, made again because nobody knew whether it was done:
    with pytest.raises(LeaseLost):
        await instances.end("order-1", 1, status, "why", entries=[step(1)])
    await every_write_is_refused(instances, "order-1", 1)


async def test_what_has_not_failed_is_not_reopened(instances: InstanceStore) -> None:
    with pytest.raises(WorkflowNotFoundError):
        await instances.reopen("gone")
    await begin(instances)
    with pytest.raises(WorkflowStateError, match="only one that failed"):
        await instances.reopen("order-1")
    await instances.end("order-1", 1, COMPLETED, None)
    with pytest.raises(WorkflowStateError, match="only one that failed"):
        await instances.reopen("order-1", [step(1)])
    assert await instances.journal("order-1") == []


async def test_reopening_with_a_journal_that_went_on_changes_nothing(
    instances: InstanceStore,
) -> None:
    await begin(instances)
    await instances.end("order-1", 1, FAILED, "why", entries=[step(1), step(2)])
    before = await instances.load("order-1")
    for entries in ([step(3), step(2)], [step(3), step(3)]):
        with pytest.raises(WorkflowStateError, match="has gone on"):
            await instances.reopen("order-1", entries)
    assert await instances.load("order-1") == before
    assert await instances.outcome("order-1") == "why"


async def test_a_fork_has_the_input_and_the_entries_before_a_position(
    instances: InstanceStore, clock: FakeClock
) -> None:
    await begin(instances, seed="old", parent="p")
    await instances.post("order-1", "signal")
    await instances.append("order-1", 1, [step(1, "a", at=3.0, mail=1), step(2, "b"), step(4)])
    clock.advance(5)
    fork = await instances.fork("order-1", "fork", 4, "new")
    assert fork == await instances.get("fork")
    assert (fork.definition, fork.status, fork.owner, fork.epoch) == (ORDER, PENDING, None, 0)
    assert (fork.copied, fork.seed, fork.parent, fork.created_at) == (2, "new", None, clock.now)
    loaded = await instances.load("fork")
    assert loaded is not None
    assert (loaded.input, loaded.mail) == ({"of": "order-1"}, [])
    assert loaded.entries == [
        Entry("step1", "step", "a", 1, 3.0, 1, 0),
        Entry("step2", "step", "b", 2, 0.0, 0, 0),
    ]
    await instances.append("fork", 0, [step(3)])
    assert len(await instances.journal("order-1")) == 3


async def test_a_fork_needs_an_origin_and_an_id_of_its_own(instances: InstanceStore) -> None:
    with pytest.raises(WorkflowNotFoundError):
        await instances.fork("gone", "fork", 1, "")
    await instances.create(new())
    with pytest.raises(WorkflowStateError, match="is taken"):
        await instances.fork("order-1", "order-1", 1, "")


async def test_what_is_deleted_leaves_nothing(instances: InstanceStore) -> None:
    await begin(instances)
    await instances.post("order-1", "signal")
    await instances.append("order-1", 1, [step(1)])
    with pytest.raises(WorkflowStateError, match="only one that has ended"):
        await instances.delete("order-1")
    await instances.end("order-1", 1, COMPLETED, "x")
    assert await instances.delete("order-1") is True
    assert await instances.delete("order-1") is False
    await instances.create(new(input=None))
    loaded = await instances.load("order-1")
    assert loaded is not None
    assert (loaded.input, loaded.entries, loaded.mail) == (None, [], [])
    assert await instances.outcome("order-1") is None


async def test_what_ended_before_a_moment_is_deleted_oldest_first(
    instances: InstanceStore, clock: FakeClock
) -> None:
    for id, status in (("c", COMPLETED), ("f", FAILED), ("d", COMPLETED), ("e", COMPLETED)):
        await ended(instances, id, status)
        clock.advance(1)
    await begin(instances, "running")
    last = clock.now - 1
    assert await instances.delete_ended(last, [COMPLETED], limit=1) == 1
    assert sorted(each.id for each in await instances.select()) == ["d", "e", "f", "running"]
    assert await instances.delete_ended(last, [COMPLETED, RUNNING, PENDING]) == 1
    assert await instances.delete_ended(last, []) == 0
    assert sorted(each.id for each in await instances.select()) == ["e", "f", "running"]


# --- as calls -------------------------------------------------------------------------------------


async def test_every_call_is_a_checkpoint_and_cancelled_it_has_changed_nothing(
    instances: InstanceStore,
) -> None:
    await begin(instances)
    await ended(instances, "order-2")
    before = (await instances.load("order-1"), await instances.load("order-2"))
    for call in (
        lambda: instances.enter("b", LEASE),
        lambda: instances.renew("a", LEASE),
        lambda: instances.leave("a"),
        lambda: instances.create(new("order-3")),
        lambda: instances.claim("a", [ORDER]),
        lambda: instances.release("order-1", 1),
        lambda: instances.load("order-1"),
        lambda: instances.append("order-1", 1, [step(1)]),
        lambda: instances.mark({"order-1": (1, RUNNING, "")}),
        lambda: instances.end("order-1", 1, COMPLETED, None),
        lambda: instances.start_over("order-1", 1, None, []),
        lambda: instances.get("order-1"),
        lambda: instances.input("order-1"),
        lambda: instances.outcome("order-1"),
        lambda: instances.journal("order-1"),
        lambda: instances.select(),
        lambda: instances.count(),
        lambda: instances.post("order-1", "signal"),
        lambda: instances.mail_after(0),
        lambda: instances.last_mail(),
        lambda: instances.reopen("order-2"),
        lambda: instances.fork("order-1", "order-3", 1, ""),
        lambda: instances.delete("order-2"),
        lambda: instances.delete_ended(1e12, [FAILED]),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert (await instances.load("order-1"), await instances.load("order-2")) == before
    assert await instances.get("order-3") is None
    with pytest.raises(LeaseLost):
        await instances.renew("b", LEASE)
