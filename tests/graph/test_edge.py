"""Edges: when they are followed."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from lexigram_actors.graph.edge import WorkflowEdge


def test_an_edge_without_a_condition_is_always_active() -> None:
    assert WorkflowEdge("a", "b").is_active({}) is True


@pytest.mark.parametrize(("score", "active"), [(0.9, True), (0.1, False)])
def test_a_condition_decides_with_the_state(score: float, active: bool) -> None:
    edge = WorkflowEdge("a", "b", lambda state: state["score"] > 0.5)
    assert edge.is_active({"score": score}) is active


@pytest.mark.parametrize(("value", "active"), [([1], True), ([], False), (None, False), (2, True)])
def test_what_a_condition_returns_counts_by_its_truth(value: Any, active: bool) -> None:
    assert WorkflowEdge("a", "b", lambda _state: value).is_active({}) is active


def test_a_key_that_is_not_there_yet_means_no() -> None:
    assert WorkflowEdge("a", "b", lambda state: state["score"] > 0.5).is_active({}) is False


@pytest.mark.parametrize("error", [IndexError("i"), LookupError("l"), TypeError("t"), ValueError()])
def test_any_other_exception_of_a_condition_passes(error: Exception) -> None:
    def condition(state: dict[str, Any]) -> bool:
        raise error

    with pytest.raises(type(error)) as caught:
        WorkflowEdge("a", "b", condition).is_active({})
    assert caught.value is error


def test_an_answer_without_a_truth_value_is_an_error_and_no_no() -> None:
    class Torn:
        def __bool__(self) -> bool:
            raise TypeError("neither")

    with pytest.raises(TypeError, match="neither"):
        WorkflowEdge("a", "b", lambda _state: Torn()).is_active({})


def test_the_condition_sees_the_very_state() -> None:
    seen = []
    state = {"input": "x"}
    WorkflowEdge("a", "b", lambda given: bool(seen.append(given))).is_active(state)
    assert seen[0] is state


def test_an_edge_is_made_by_position_and_cannot_be_changed() -> None:
    edge = WorkflowEdge("a", "b", None, "then", is_parallel=True)
    assert (edge.source, edge.target, edge.label, edge.is_parallel) == ("a", "b", "then", True)
    assert edge == WorkflowEdge("a", "b", label="then", is_parallel=True)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        edge.target = "c"  # type: ignore[misc]
