"""The container of a run's state."""

from __future__ import annotations

import pytest

from lexigram_actors.graph.state import WorkflowState


def test_a_new_state_has_the_keys_of_the_engine() -> None:
    assert WorkflowState("hello").as_dict() == {
        "input": "hello",
        "output": "",
        "_iteration": 0,
        "_history": [],
    }


def test_a_state_can_begin_without_an_input() -> None:
    assert WorkflowState()["input"] == ""


def test_the_input_among_the_initial_keys_wins_over_the_argument() -> None:
    state = WorkflowState("argument", initial={"input": "initial", "tone": "calm"})
    assert (state["input"], state["tone"]) == ("initial", "calm")


def test_an_initial_state_may_bring_its_count_and_history() -> None:
    earlier = WorkflowState("x")
    earlier.record("a", {"output": 1})
    later = WorkflowState(initial=earlier.as_dict())
    assert (later.iteration, later.history) == (1, [("a", {"output": 1})])


def test_the_initial_state_does_not_grow_with_the_run() -> None:
    initial = {"_history": [("a", {})], "notes": []}
    state = WorkflowState(initial=initial)
    state.record("b", {})
    state["more"] = 1
    assert initial == {"_history": [("a", {})], "notes": []}
    assert state["notes"] is initial["notes"]


def test_merging_overwrites_and_adds() -> None:
    state = WorkflowState("x", initial={"a": 1})
    state.merge({"a": 2, "b": 3})
    assert (state["a"], state["b"]) == (2, 3)


def test_merging_leaves_the_keys_of_the_engine_alone() -> None:
    state = WorkflowState("x")
    state.merge({"_iteration": 99, "_history": "gone", "_mine": 1, "output": "y"})
    assert (state.iteration, state.history, state["output"]) == (0, [], "y")
    assert "_mine" not in state


def test_merging_may_change_the_input() -> None:
    state = WorkflowState("x")
    state.merge({"input": "y"})
    assert state["input"] == "y"


def test_recording_counts_and_keeps_the_order() -> None:
    state = WorkflowState()
    state.record("a", {"output": 1})
    state.record("b", {})
    assert state.iteration == 2
    assert state["_iteration"] == 2
    assert state.history == [("a", {"output": 1}), ("b", {})]


def test_recording_writes_no_key() -> None:
    state = WorkflowState("x")
    state.record("a", {"output": 1})
    assert state["output"] == ""


def test_the_history_given_out_is_a_copy() -> None:
    state = WorkflowState()
    state.history.append(("never", {}))
    assert state.history == []


def test_the_dict_given_out_is_a_shallow_copy() -> None:
    state = WorkflowState("x", initial={"notes": []})
    given = state.as_dict()
    given["input"] = "changed"
    assert state["input"] == "x"
    assert given["notes"] is state["notes"]


def test_a_state_is_read_like_a_dict() -> None:
    state = WorkflowState("x")
    state["score"] = 1
    assert state.get("score") == 1
    assert state.get("nothing") is None
    assert state.get("nothing", 5) == 5
    assert "score" in state
    assert "nothing" not in state
    assert list(state) == ["input", "output", "_iteration", "_history", "score"]
    assert len(state) == 5
    assert dict(state.as_dict()) == {key: state[key] for key in state}
    with pytest.raises(KeyError, match="nothing"):
        state["nothing"]


def test_its_repr_tells_keys_and_no_values() -> None:
    state = WorkflowState("a secret")
    assert repr(state) == "WorkflowState(iteration=0, keys=['input', 'output'])"


def test_a_state_has_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        WorkflowState().inputs = "x"  # type: ignore[attr-defined]
