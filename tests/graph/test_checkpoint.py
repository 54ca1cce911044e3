"""`WorkflowCheckpoint`: snapshots in memory."""

from __future__ import annotations

import pytest

from lexigram_actors.graph.checkpoint import WorkflowCheckpoint
from lexigram_actors.graph.state import WorkflowState


def state(number: int) -> WorkflowState:
    return WorkflowState("in", initial={"number": number})


def test_what_was_saved_is_loaded() -> None:
    checkpoint = WorkflowCheckpoint()
    checkpoint.save("one", state(1))
    loaded = checkpoint.load("one")
    assert loaded is not None
    assert (loaded["input"], loaded["number"]) == ("in", 1)


def test_what_is_not_there_is_none() -> None:
    assert WorkflowCheckpoint().load("nothing") is None


def test_a_later_save_takes_the_place_of_an_earlier() -> None:
    checkpoint = WorkflowCheckpoint()
    checkpoint.save("one", state(1))
    checkpoint.save("one", state(2))
    assert (checkpoint.load("one") or {})["number"] == 2


def test_a_snapshot_is_untouched_by_later_changes() -> None:
    checkpoint = WorkflowCheckpoint()
    saved = WorkflowState("in", initial={"number": 1})
    checkpoint.save("one", saved)
    saved["number"] = 2
    saved.record("node", {})
    loaded = checkpoint.load("one") or {}
    assert (loaded["number"], loaded["_iteration"], loaded["_history"]) == (1, 0, [])


def test_a_change_to_what_was_loaded_is_not_saved() -> None:
    checkpoint = WorkflowCheckpoint()
    checkpoint.save("one", state(1))
    (checkpoint.load("one") or {})["number"] = 2
    assert (checkpoint.load("one") or {})["number"] == 1


def test_delete_says_whether_there_was_anything() -> None:
    checkpoint = WorkflowCheckpoint()
    checkpoint.save("one", state(1))
    assert checkpoint.delete("one") is True
    assert checkpoint.delete("one") is False
    assert checkpoint.load("one") is None


def test_the_oldest_give_way_when_it_is_full() -> None:
    checkpoint = WorkflowCheckpoint(max_size=2)
    for number in range(4):
        checkpoint.save(str(number), state(number))
    assert [checkpoint.load(str(number)) is None for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_saving_again_costs_no_other_its_place() -> None:
    checkpoint = WorkflowCheckpoint(max_size=2)
    checkpoint.save("one", state(1))
    checkpoint.save("two", state(2))
    checkpoint.save("two", state(3))
    assert checkpoint.load("one") is not None


def test_a_size_of_zero_is_no_limit() -> None:
    checkpoint = WorkflowCheckpoint(max_size=0)
    for number in range(2000):
        checkpoint.save(str(number), state(number))
    assert checkpoint.load("0") is not None


def test_there_is_room_for_512_by_default() -> None:
    checkpoint = WorkflowCheckpoint()
    for number in range(513):
        checkpoint.save(str(number), state(number))
    assert (checkpoint.load("0"), checkpoint.load("1") is None) == (None, False)


@pytest.mark.parametrize("size", [-1, 1.5, "many"])
def test_a_size_out_of_range_is_refused(size: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        WorkflowCheckpoint(max_size=size)  # type: ignore[arg-type]
