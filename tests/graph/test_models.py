"""Values of graphs: what nodes return, and what a run results in."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

from lexigram_actors.graph.models import (
    Command,
    GraphResult,
    NodeResult,
    NodeStarted,
    NodeType,
    PendingQuestion,
    Send,
)


def test_a_command_says_nothing_unless_told() -> None:
    command = Command()
    assert (command.update, command.goto, command.send) == ({}, None, ())


def test_commands_share_no_update() -> None:
    assert Command().update is not Command().update
    assert Send("a").state is not Send("a").state


def test_one_send_stands_for_a_list_of_one() -> None:
    send = Send("worker", {"part": 1})
    assert Command(send=send).send == (send,)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_several_sends_keep_their_order(kind: Any) -> None:
    sends = [Send("worker", {"part": part}) for part in range(3)]
    assert Command(send=kind(sends)).send == tuple(sends)


def test_a_list_of_sends_may_be_changed_after_the_command_was_made() -> None:
    sends = [Send("a")]
    command = Command(send=sends)
    sends.append(Send("b"))
    assert command.send == (Send("a"),)


@pytest.mark.parametrize("goto", ["b", ["b", "c"], (), None])
def test_a_command_keeps_where_to_go_as_it_was_given(goto: Any) -> None:
    assert Command(goto=goto).goto is goto


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Command(), "goto"),
        (Send("a"), "node"),
        (NodeResult("a", {}), "node_name"),
        (NodeStarted("a", 1), "node"),
    ],
)
def test_values_cannot_be_changed(value: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, "other")


@pytest.mark.parametrize(
    ("error", "skipped", "succeeded"),
    [(None, False, True), ("broken", False, False), (None, True, False), ("broken", True, False)],
)
def test_a_node_succeeded_if_it_ran_without_an_error(
    error: str | None, skipped: bool, succeeded: bool
) -> None:
    assert NodeResult("a", {}, 1.5, error, skipped).succeeded is succeeded


def test_an_empty_error_is_an_error() -> None:
    assert not NodeResult("a", {}, error="").succeeded


def test_the_output_of_a_run_is_that_key_of_the_final_state() -> None:
    assert GraphResult({"output": "done"}).output == "done"
    assert GraphResult({}).output is None


def test_a_run_succeeded_if_every_node_that_ran_did() -> None:
    good = NodeResult("a", {})
    skipped = NodeResult("b", {}, skipped=True)
    bad = NodeResult("c", {}, error="broken")
    assert GraphResult({}, [good, skipped]).succeeded
    assert not GraphResult({}, [good, bad]).succeeded


def test_a_run_in_which_nothing_ran_succeeded() -> None:
    result = GraphResult({})
    assert result.succeeded
    assert (result.node_results, result.iterations, result.terminated_at) == ([], 0, None)


def test_a_node_s_type_is_its_word() -> None:
    assert [str(each) for each in NodeType] == [
        "agent",
        "tool",
        "llm",
        "gate",
        "human",
        "subworkflow",
        "custom",
    ]
    assert NodeType.HUMAN == "human"


def test_a_pending_question_is_a_tuple_with_names() -> None:
    question = PendingQuestion("ask", "Sure?", "run/ask", None)
    node, prompt, checkpoint_id, schema = question
    assert (node, prompt, checkpoint_id, schema) == ("ask", "Sure?", "run/ask", None)
    assert question.checkpoint_id == "run/ask"


def test_a_pending_question_says_how_long_it_may_be_answered() -> None:
    question = PendingQuestion("ask", "Sure?", "run/ask", None, 5.0)
    assert PendingQuestion("ask", "Sure?", "run/ask", None).seconds_left == math.inf
    assert question == PendingQuestion("ask", "Sure?", "run/ask", None)
    for twin in (copy.copy(question), pickle.loads(pickle.dumps(question))):
        assert twin == question
        assert twin.seconds_left == 5
    assert "seconds_left" not in question._fields
