"""Crashed at every call of its store, a request is decided as if it had not been."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lexigram_actors import Ok
from lexigram_actors.approval import ApprovalChain, ApprovalLevel, ApprovalOutcome
from lexigram_actors.errors import AnswerInvalidError, StoreError, WorkflowStateError
from lexigram_actors.host.opening import open_host
from lexigram_actors.kernel import Backoff
from lexigram_actors.testing import World, crash_everywhere
from tests.approval.chains import says

SAYS = {
    "a/ana": says("ana", "delegated", to="dan"),
    "a/dan": says("dan"),
    "a/bob": says("bob", "rejected"),
    "c/eve": says("eve"),
}


def chain() -> ApprovalChain:
    return ApprovalChain(
        "crash",
        [
            ApprovalLevel("a", ["ana", "bob", "cleo"], required=1),
            ApprovalLevel("b", "nobody", expires_after=1000, on_expiry="escalate"),
            ApprovalLevel("c", "eve"),
        ],
    )


async def program(world: World) -> Any:
    crashing = chain()
    options: Any = {"poll": 1e6, "backoff": Backoff(initial=0.1, jitter=0.0)}
    async with open_host(world.store, register=[crashing], **options) as host:
        while True:
            try:
                handle = await host.start(crashing, None, id="x")
                break
            except StoreError:
                await trio.sleep(1)
        await world.acknowledge("x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_all, handle)
            result = await handle.result()
            nursery.cancel_scope.cancel()
        return result


async def answer_all(handle: Any) -> None:
    """Answer what is asked, as often as it takes."""
    while True:
        try:
            for question in await handle.questions():
                if question.id in SAYS:
                    await handle.answer(SAYS[question.id], question=question.id)
        except (StoreError, WorkflowStateError, AnswerInvalidError):
            pass
        await trio.sleep(50)


def check(world: World) -> None:
    assert isinstance(world.result, Ok)
    outcome = ApprovalOutcome.from_data(world.result.unwrap())
    assert outcome.approved
    found = [(each.level, each.by, each.verdict.value) for each in outcome.decisions]
    assert found[-2:] == [("b", None, "expired"), ("c", "eve", "approved")]
    assert sorted(found[:-2], key=str) == [
        ("a", "ana", "delegated"),
        ("a", "bob", "rejected"),
        ("a", "dan", "approved"),
    ]
    assert outcome.levels[1].ended_at is not None
    assert outcome.levels[1].asked_at is not None
    assert outcome.levels[1].ended_at - outcome.levels[1].asked_at >= 1000


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_crashed_anywhere_it_comes_to_the_same_end(store: Any) -> None:
    most = None if store == "memory" else 40  # on disk that takes long, and shows the same
    report = crash_everywhere(program, check=check, store=store, most=most, within=1e6)
    assert report.points > 30


def test_crashed_again_while_it_recovers_it_comes_to_the_same_end() -> None:
    report = crash_everywhere(program, check=check, twice=True, most=8, within=1e6)
    assert report.points > 8
