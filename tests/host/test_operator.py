"""Everything that can be done to instances over a store alone, in memory and in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lexigram_actors.errors import (
    ConfigurationError,
    NotStorableError,
    WorkflowNotFoundError,
    WorkflowStateError,
    WorkflowStepError,
)
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.host.journal import VOID
from lexigram_actors.host.operator import LONGEST_ID, InstanceTree, Operator
from lexigram_actors.host.outcomes import outcome_of
from lexigram_actors.host.surroundings import Question
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage import MemoryStore, SQLiteStore
from lexigram_actors.storage.instances import Definition, Entry, InstanceStatus, NewInstance
from lexigram_actors.storage.ports import Store

ORDER = Definition("workflow", "order", 1)
NOW = 1_000_000.0
NOTHING: Result[Any, Exception] = Ok(None)
ASKED = {"prompt": "ok?", "schema": "bool", "expires_at": None}


class Desk:
    """A store with a host in it that writes what a test says, and an operator over the same."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.instances = store.instances
        self.operator = Operator(store, clock=lambda: NOW)

    async def begin(self, id: str, input: Any = None, **facts: Any) -> None:
        new = NewInstance(id=id, definition=ORDER, input=input, **facts)
        await self.instances.create(new, host="desk")

    async def record(self, id: str, *rows: tuple[str, str, Any]) -> None:
        last = len(await self.instances.journal(id))
        entries = [
            Entry(path, kind, value, position, at=5.0)
            for position, (path, kind, value) in enumerate(rows, last + 1)
        ]
        await self.instances.append(id, 1, entries)

    async def end(
        self, id: str, status: InstanceStatus, result: Result[Any, Exception] = NOTHING
    ) -> None:
        await self.instances.end(id, 1, status, outcome_of(result))

    async def fail_at(self, id: str, path: str) -> None:
        error = WorkflowStepError(path, "no", path=path, details={"path": path})
        await self.end(id, InstanceStatus.FAILED, Err(error))


@asynccontextmanager
async def open_desk(kind: str, folder: Path) -> AsyncIterator[Desk]:
    if kind == "memory":
        store: Store = MemoryStore()
        await store.instances.enter("desk", 60.0)
        yield Desk(store)
        return
    async with SQLiteStore(folder / "desk.db") as store:
        await store.instances.enter("desk", 60.0)
        yield Desk(store)
        await store.instances.leave("desk")


@pytest.fixture(params=["memory", "sqlite"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(request.param, tmp_path) as opened:
        yield opened


# --- looking ---------------------------------------------------------------------------------


async def test_an_instance_is_found_with_its_input(desk: Desk) -> None:
    await desk.begin("a", {"item": 7})
    assert (await desk.operator.find("a")).definition == ORDER
    assert await desk.operator.input("a") == {"item": 7}


async def test_what_there_is_not_is_not_found_whatever_is_asked_of_it(desk: Desk) -> None:
    operator = desk.operator
    calls = [
        operator.find, operator.input, operator.outcome, operator.history, operator.questions,
        operator.tree, operator.cancel, operator.pause, operator.resume, operator.retry,
        operator.fork, operator.delete,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(WorkflowNotFoundError, match="'nobody'"):
            await call("nobody")
    with pytest.raises(WorkflowNotFoundError):
        await operator.signal("nobody", "paid")
    with pytest.raises(WorkflowNotFoundError):
        await operator.answer("nobody", 1)


async def test_instances_are_selected_and_counted(desk: Desk) -> None:
    for id in ("a", "b", "c"):
        await desk.begin(id)
    await desk.end("b", InstanceStatus.COMPLETED)
    completed = await desk.operator.select(status=[InstanceStatus.COMPLETED])
    assert [each.id for each in completed] == ["b"]
    assert len(await desk.operator.select(name="order", limit=2)) == 2
    assert await desk.operator.select(name="other") == []
    assert (await desk.operator.count())[InstanceStatus.COMPLETED] == 1


async def test_an_outcome_is_there_once_it_has_ended(desk: Desk) -> None:
    await desk.begin("a")
    await desk.begin("b")
    assert await desk.operator.outcome("a") is None
    await desk.end("a", InstanceStatus.COMPLETED, Ok((1, None)))
    await desk.fail_at("b", "pay")
    assert await desk.operator.outcome("a") == Ok((1, None))
    failure = await desk.operator.outcome("b")
    assert failure is not None
    assert isinstance(failure.unwrap_err(), WorkflowStepError)


async def test_the_history_has_a_row_for_each_entry(desk: Desk) -> None:
    await desk.begin("a")
    await desk.record("a", ("load", "step", {"value": 1}))
    assert await desk.operator.history("a") == [HistoryEntry(1, "load", "step", 5.0, "1")]


async def test_questions_are_those_that_are_open_and_none_once_it_has_ended(desk: Desk) -> None:
    await desk.begin("a")
    await desk.record("a", ("ask", "asked", ASKED))
    assert await desk.operator.questions("a") == [Question("ask", "ok?", "bool", None)]
    await desk.end("a", InstanceStatus.CANCELLED)
    assert await desk.operator.questions("a") == []


async def test_a_tree_has_the_children_and_theirs(desk: Desk) -> None:
    await desk.begin("root")
    for at in range(130):  # more than a page
        await desk.begin(f"child-{at:03}", parent="root")
    await desk.begin("grandchild", parent="child-000")
    tree = await desk.operator.tree("root")
    assert [each.instance.id for each in tree.children] == [f"child-{at:03}" for at in range(130)]
    assert [each.instance.id for each in tree.children[0].children] == ["grandchild"]
    assert (await desk.operator.tree("grandchild")).children == ()


async def test_instances_that_are_each_others_parents_are_a_tree_all_the_same(desk: Desk) -> None:
    await desk.begin("a", parent="b")
    await desk.begin("b", parent="a")
    tree = await desk.operator.tree("a")
    assert isinstance(tree, InstanceTree)
    assert [each.instance.id for each in tree.children] == ["b"]
    assert tree.children[0].children == ()


# --- posting ---------------------------------------------------------------------------------


async def posted(desk: Desk, id: str) -> list[tuple[str, str, Any]]:
    loaded = await desk.instances.load(id)
    assert loaded is not None
    return [(mail.kind, mail.name, mail.payload) for mail in loaded.mail]


async def test_signals_wishes_and_cancellations_are_posted(desk: Desk) -> None:
    await desk.begin("a")
    await desk.operator.signal("a", "paid", {"by": "card"})
    await desk.operator.pause("a")
    await desk.operator.resume("a")
    await desk.operator.cancel("a", "no longer wanted", 1.5)
    assert await posted(desk, "a") == [
        ("signal", "paid", {"by": "card"}),
        ("pause", "", None),
        ("resume", "", None),
        ("cancel", "no longer wanted", {"grace": 1.5}),
    ]


async def test_two_signals_with_one_key_are_one(desk: Desk) -> None:
    await desk.begin("a")
    first = await desk.operator.signal("a", "paid", 1, key="k")
    again = await desk.operator.signal("a", "paid", 2, key="k")
    assert again.seq == first.seq
    assert await posted(desk, "a") == [("signal", "paid", 1)]


async def test_what_has_ended_takes_nothing(desk: Desk) -> None:
    await desk.begin("a")
    await desk.end("a", InstanceStatus.COMPLETED)
    operator = desk.operator
    for call in (operator.cancel, operator.pause, operator.resume):
        with pytest.raises(WorkflowStateError):
            await call("a")
    with pytest.raises(WorkflowStateError):
        await operator.signal("a", "paid")
    with pytest.raises(WorkflowStateError, match="it is completed"):
        await operator.answer("a", 1)


@pytest.mark.parametrize("grace", [-1.0, float("inf"), float("nan")])
async def test_a_grace_that_is_no_time_is_refused(desk: Desk, grace: float) -> None:
    await desk.begin("a")
    with pytest.raises(ConfigurationError, match="grace"):
        await desk.operator.cancel("a", grace=grace)
    assert await posted(desk, "a") == []


async def test_a_payload_that_cannot_be_stored_is_refused(desk: Desk) -> None:
    await desk.begin("a")
    with pytest.raises(NotStorableError):
        await desk.operator.signal("a", "paid", object())


async def test_the_only_question_is_answered_without_naming_it(desk: Desk) -> None:
    await desk.begin("a")
    await desk.record("a", ("review/ask", "asked", ASKED))
    await desk.operator.answer("a", True)
    assert await posted(desk, "a") == [("answer", "review/ask", True)]


async def test_of_several_questions_one_has_to_be_named(desk: Desk) -> None:
    await desk.begin("a")
    with pytest.raises(WorkflowStateError, match="asks nothing now"):
        await desk.operator.answer("a", 1)
    await desk.record("a", ("x", "asked", ASKED), ("y", "asked", ASKED))
    with pytest.raises(WorkflowStateError, match="asks 2 questions: 'x', 'y'") as caught:
        await desk.operator.answer("a", 1)
    assert caught.value.details["questions"] == ["x", "y"]
    with pytest.raises(WorkflowStateError, match="does not ask 'z'; it asks 'x', 'y'"):
        await desk.operator.answer("a", 1, question="z")
    await desk.operator.answer("a", 1, question="y")
    assert await posted(desk, "a") == [("answer", "y", 1)]


# --- changing --------------------------------------------------------------------------------

FAILED_STEP = {"error": {"type": "ValueError", "message": "no"}}


async def test_a_retry_takes_back_the_failure_and_lets_it_be_claimed(desk: Desk) -> None:
    await desk.begin("a")
    await desk.record("a", ("load", "step", {"value": 1}), ("pay", "step", FAILED_STEP))
    await desk.fail_at("a", "pay")
    instance = await desk.operator.retry("a")
    assert (instance.status, instance.owner) == (InstanceStatus.PENDING, None)
    last = (await desk.instances.journal("a"))[-1]
    assert (last.kind, last.value, last.position, last.at) == (VOID, [2], 3, NOW)
    assert await desk.operator.outcome("a") is None
    assert [each.id for each in await desk.instances.claim("desk", [ORDER])] == ["a"]


async def test_a_retry_of_what_failed_by_a_bug_adds_nothing(desk: Desk) -> None:
    await desk.begin("a")
    await desk.record("a", ("load", "step", {"value": 1}))
    await desk.end("a", InstanceStatus.FAILED, Err(ValueError("a bug")))
    await desk.operator.retry("a")
    assert len(await desk.instances.journal("a")) == 1


@pytest.mark.parametrize("status", [InstanceStatus.COMPLETED, InstanceStatus.CANCELLED, None])
async def test_only_what_failed_is_retried(desk: Desk, status: InstanceStatus | None) -> None:
    await desk.begin("a")
    if status is not None:
        await desk.end("a", status)
    with pytest.raises(WorkflowStateError):
        await desk.operator.retry("a")


async def test_a_fork_keeps_what_came_before_the_step_and_the_seed(desk: Desk) -> None:
    await desk.begin("a", {"item": 7}, seed="s")
    await desk.record("a", ("load", "step", {"value": 1}), ("pay", "step", {"value": 2}))
    forked = await desk.operator.fork("a", "b", step="pay")
    assert (forked.id, forked.copied, forked.seed) == ("b", 1, "s")
    assert [entry.path for entry in await desk.instances.journal("b")] == ["load"]
    assert await desk.operator.input("b") == {"item": 7}


async def test_a_fork_from_the_start_has_an_empty_journal_and_a_name_of_its_own(
    desk: Desk,
) -> None:
    long = "a" * LONGEST_ID
    await desk.begin(long)
    await desk.record(long, ("load", "step", {"value": 1}))
    forked = await desk.operator.fork(long)
    assert len(forked.id) <= LONGEST_ID
    assert forked.id != long
    assert await desk.instances.journal(forked.id) == []


async def test_a_fork_with_an_id_that_is_taken_or_a_step_that_is_not_there_is_refused(
    desk: Desk,
) -> None:
    await desk.begin("a")
    await desk.begin("b")
    with pytest.raises(WorkflowStateError):
        await desk.operator.fork("a", "b")
    with pytest.raises(WorkflowStateError, match="nothing is recorded at 'x'"):
        await desk.operator.fork("a", "c", step="x")


async def test_only_what_has_ended_is_deleted(desk: Desk) -> None:
    await desk.begin("a")
    with pytest.raises(WorkflowStateError):
        await desk.operator.delete("a")
    await desk.end("a", InstanceStatus.COMPLETED)
    await desk.operator.delete("a")
    with pytest.raises(WorkflowNotFoundError):
        await desk.operator.find("a")
