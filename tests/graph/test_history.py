"""The history of a run: as a dict, as text, as a timeline."""

from __future__ import annotations

import json

import orjson
import pytest

from lexigram_actors.graph.history import ExecutionHistory, TimelineEntry
from lexigram_actors.graph.models import GraphResult, NodeResult
from lexigram_actors.result import Ok
from tests.diagrams import HOSTILE

fetch = NodeResult("fetch", {"text": "s3cret", "size": 3}, 10.0, started_ms=0.0)
slow = NodeResult("slow", {}, 30.25, started_ms=10.0)
quick = NodeResult("quick", {}, 5.0, "KeyError: 'total'", started_ms=10.0)
left_out = NodeResult("left out", {}, skipped=True, started_ms=12.0)


def history(*results: NodeResult, **facts) -> ExecutionHistory:
    return ExecutionHistory(GraphResult({}, list(results), **facts))


def test_as_dict_has_the_run_and_every_execution():
    run = history(fetch, quick, iterations=2, duration_ms=15.5, terminated_at="quick")
    assert run.as_dict() == {
        "iterations": 2,
        "duration_ms": 15.5,
        "terminated_at": "quick",
        "nodes": [
            {
                "node": "fetch",
                "succeeded": True,
                "duration_ms": 10.0,
                "skipped": False,
                "output_keys": ["text", "size"],
                "error": None,
                "started_ms": 0.0,
            },
            {
                "node": "quick",
                "succeeded": False,
                "duration_ms": 5.0,
                "skipped": False,
                "output_keys": [],
                "error": "KeyError: 'total'",
                "started_ms": 10.0,
            },
        ],
    }


def test_what_nodes_wrote_is_not_shown():
    run = history(fetch)
    assert "s3cret" not in str(run.as_dict()) + run.as_text() + repr(run)


def test_as_dict_is_plain_json_whatever_the_names_and_keys_are():
    keys = {1: "", None: "", ("a", b"\xff"): "", object(): "", "\ud800": ""}
    run = history(
        *(NodeResult(name, keys, float("nan"), name) for name in HOSTILE),
        terminated_at="\udfff",
        duration_ms=float("inf"),
    )
    facts = run.as_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert orjson.loads(orjson.dumps(facts)) == facts
    assert facts["nodes"][0]["output_keys"][:3] == ["1", "None", r"('a', b'\xff')"]


def test_as_text_has_a_heading_and_one_line_for_each_execution():
    run = history(
        fetch, slow, quick, left_out, iterations=3, duration_ms=40.25, terminated_at="slow"
    )
    assert run.as_text().splitlines() == [
        "Workflow trace: 3 executed in 40.2 ms, ended at slow",
        "       +0.0 ms       10.0 ms  OK    fetch",
        "      +10.0 ms       30.2 ms  OK    slow",
        "      +10.0 ms        5.0 ms  ERR   quick: KeyError: 'total'",
        "      +12.0 ms        0.0 ms  SKIP  left out",
    ]


def test_as_text_of_a_run_in_which_nothing_ran_is_its_heading():
    assert history().as_text() == "Workflow trace: 0 executed in 0.0 ms"


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_and_no_error_breaks_a_line_or_reaches_the_terminal(name):
    run = history(NodeResult(name, {}, error=name), NodeResult("next", {}), terminated_at=name)
    text = run.as_text()
    assert len(text.splitlines()) == 3
    assert text.replace("\n", "").isprintable() or not name.isascii()
    assert text.encode("utf-8")
    assert "\x1b" not in text


def test_the_timeline_is_in_the_order_of_starts_then_in_merge_order():
    assert history(slow, quick, fetch).timeline() == [
        ("fetch", 0.0, 10.0),
        ("slow", 10.0, 30.25),
        ("quick", 10.0, 5.0),
    ]
    [entry] = history(fetch).timeline()
    assert isinstance(entry, TimelineEntry)
    assert (entry.node, entry.started_ms, entry.duration_ms) == ("fetch", 0.0, 10.0)


def test_failed_and_succeeded_executions_are_told_apart_and_skipped_ones_are_neither():
    run = history(fetch, slow, quick, left_out)
    assert run.failed_nodes() == [quick]
    assert run.succeeded_nodes() == [fetch, slow]


def test_the_time_of_all_executions_is_added_up():
    assert history(fetch, slow, quick).total_node_time_ms() == 45.25
    total = history().total_node_time_ms()
    assert (total, type(total)) == (0.0, float)


def test_the_repr_counts_executions():
    assert repr(history(fetch, slow, duration_ms=40)) == (
        "ExecutionHistory(nodes=2, duration_ms=40.0)"
    )


def test_the_result_around_is_refused():
    with pytest.raises(TypeError, match=r"Ok\(.* was given, expected a GraphResult.*unwrap"):
        ExecutionHistory(Ok(GraphResult({})))
