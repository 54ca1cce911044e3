"""`bulk` on real files: results, errors, and every refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import Command, Workshop


def test_one_line_of_json_per_item(workshop: Workshop, command: Command) -> None:
    workshop.items(100)
    done = command.bulk("tasks:double")
    assert done.code == 0
    assert workshop.results() == {index: 2 * index for index in range(100)}
    assert "every item succeeded" in done.out
    assert done.err == ""
    assert workshop.names() == {"items.jsonl", "out.jsonl"}


@pytest.mark.parametrize("options", [(), ("--executor", "process", "--concurrency", "2")])
def test_a_batch_function_gets_lists(
    workshop: Workshop, command: Command, options: tuple[str, ...]
) -> None:
    workshop.items(25)
    assert command.bulk("tasks:all_at_once", *options).code == 0
    assert workshop.results() == {index: index + 1 for index in range(25)}


def test_an_async_function_runs_as_tasks(workshop: Workshop, command: Command) -> None:
    workshop.items(60)
    assert command.bulk("tasks:aslow", "--concurrency", "60").code == 0
    assert len(workshop.results()) == 60


@pytest.mark.parametrize("target", ["tasks:odd_fails", "tasks.py:odd_fails"])
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_failed_items_are_listed_and_their_mates_succeed(
    workshop: Workshop, command: Command, executor: str, target: str
) -> None:
    workshop.items(20)
    done = command.bulk(
        target, "--executor", executor, "--retries", "2", "--retry-delay", "0", "--json"
    )
    assert done.code == 1
    assert done.summary["status"] == "items_failed"
    assert (done.summary["succeeded"], done.summary["failed"]) == (10, 10)
    assert done.summary["retries"] == 20
    assert set(workshop.results()) == set(range(0, 20, 2))
    errors = workshop.errors()
    assert set(errors) == set(range(1, 20, 2))
    assert errors[3] == {
        "index": 3,
        "item": 3,
        "error": "3 is odd",
        "error_type": "ValueError",
        "where": errors[3]["where"],
        "retries": 2,
    }
    assert "tasks.py:18 in odd_fails" in errors[3]["where"]


def test_errors_go_where_they_are_told(workshop: Workshop, command: Command) -> None:
    workshop.items(2)
    assert command.bulk("tasks:odd_fails", "--errors", "bad.jsonl").code == 1
    assert set(workshop.errors("bad.jsonl")) == {1}


def test_a_worker_that_dies_fails_the_item_that_killed_it(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(12)
    done = command.bulk("tasks:dies", "--executor", "process", "--concurrency", "2")
    assert done.code == 1
    assert set(workshop.results()) == set(range(12)) - {3}
    assert "the worker process died, exit code 9" in workshop.errors()[3]["error"]


def test_a_result_that_is_no_json_is_an_error_naming_the_type(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(1)
    assert command.bulk("tasks:no_json", "--retries", "3").code == 1
    error = workshop.errors()[0]
    assert error["error_type"] == "NotJSONError"
    assert "set" in error["error"]
    assert error["retries"] == 0


def test_each_calls_an_unannotated_function_with_one_item(
    workshop: Workshop, command: Command
) -> None:
    workshop.write("items.jsonl", '"a"\n"b"\n')
    assert command.bulk("tasks:unannotated", "--each").code == 0
    assert workshop.results() == {0: "A", 1: "B"}


def test_no_each_calls_an_item_function_with_batches(workshop: Workshop, command: Command) -> None:
    workshop.items(4)
    done = command.bulk("tasks:double", "--no-each", "--batch-size", "2")
    assert done.code == 2
    assert "returned 4 results for a batch of 2 items" in done.err


def test_the_paths_that_match_a_pattern_are_items(workshop: Workshop, command: Command) -> None:
    for number, name in enumerate(("b", "a", "c")):
        workshop.write(f"data/{name}.txt", "x" * number)
    done = command("bulk", "tasks:size", "--items", "data/*.txt", "--out", "out.jsonl", "--json")
    assert done.summary["total"] == 3
    assert workshop.results() == {0: 1, 1: 0, 2: 2}


def test_no_items_are_no_results(workshop: Workshop, command: Command) -> None:
    workshop.write("items.jsonl", "\n\n")
    assert command.bulk("tasks:double").code == 0
    assert workshop.results() == {}


def test_standard_input_is_read_to_its_end(workshop: Workshop) -> None:
    done = workshop.run(
        "bulk", "tasks:double", "--items", "-", "--out", "out.jsonl", input="1\n\n2\n3"
    )
    assert done.returncode == 0, done.stderr
    assert workshop.results() == {0: 2, 1: 4, 2: 6}


def test_a_stream_is_worked_on_while_it_flows(workshop: Workshop) -> None:
    process = workshop.start(
        "bulk",
        "tasks:double",
        "--items",
        "-",
        "--out",
        "out.jsonl",
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write("1\n")
    process.stdin.flush()
    partial = workshop.folder / "out.jsonl.partial"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert partial.read_text() == '{"index":0,"result":2}\n'
    process.communicate("2\n", timeout=20)
    assert process.returncode == 0
    assert workshop.results() == {0: 2, 1: 4}


def test_the_rate_is_kept(workshop: Workshop, command: Command) -> None:
    workshop.items(6)
    began = time.monotonic()
    assert command.bulk("tasks:double", "--rate", "20/s").code == 0
    assert time.monotonic() - began > 0.24


# --- an output that is something else --------------------------------------------------------


def test_results_may_go_to_a_device_and_errors_stay_here(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(3)
    assert command.bulk("tasks:double", out="/dev/null").code == 0
    assert workshop.names() == {"items.jsonl"}
    assert command.bulk("tasks:odd_fails", out="/dev/null").code == 1
    assert set(workshop.errors()) == {1}


def test_results_may_go_down_a_pipe(workshop: Workshop) -> None:
    workshop.items(3)
    done = workshop.run(
        "bulk", "tasks:double", "--items", "items.jsonl", "--out", "/dev/stdout", "--concurrency=1"
    )
    assert done.returncode == 0
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [0, 2, 4]
    assert "every item succeeded" in done.stderr


def test_a_job_needs_a_file_that_can_be_read_again(workshop: Workshop, command: Command) -> None:
    workshop.items(3)
    done = command.bulk(
        "tasks:double",
        *("--checkpoint", "jobs.db", "--id", "x"),
        out="/dev/null",
    )
    assert done.code == 2
    assert "no regular file" in done.err


def test_a_link_is_followed(workshop: Workshop, command: Command) -> None:
    workshop.items(3)
    (workshop.folder / "data").mkdir()
    os.symlink("data/real.jsonl", "out.jsonl")
    assert command.bulk("tasks:double").code == 0
    assert os.path.islink("out.jsonl")
    assert len(workshop.results("data/real.jsonl")) == 3


# --- refusals --------------------------------------------------------------------------------


def test_existing_results_are_not_overwritten_unless_told(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(3)
    workshop.write("out.jsonl", "precious\n")
    done = command.bulk("tasks:double")
    assert done.code == 2
    assert "out.jsonl exists already" in done.err
    assert "--overwrite" in done.err
    assert (workshop.folder / "out.jsonl").read_text() == "precious\n"
    assert command.bulk("tasks:double", "--overwrite").code == 0
    assert len(workshop.results()) == 3


def test_results_of_an_interrupted_run_are_not_overwritten_unless_told(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(3)
    workshop.write("out.jsonl.partial", "precious\n")
    done = command.bulk("tasks:double")
    assert done.code == 2
    assert "left by a run that was interrupted" in done.err
    assert command.bulk("tasks:double", "--overwrite").code == 0
    assert workshop.names() == {"items.jsonl", "out.jsonl"}


def test_errors_of_an_earlier_run_do_not_stay(workshop: Workshop, command: Command) -> None:
    workshop.items(4)
    assert command.bulk("tasks:odd_fails").code == 1
    assert "out.errors.jsonl" in workshop.names()
    assert command.bulk("tasks:double", "--overwrite").code == 0
    assert workshop.names() == {"items.jsonl", "out.jsonl"}


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("none/out.jsonl", "there is no such folder"),
        ("items.jsonl/out.jsonl", "items.jsonl is not a folder"),
        ("items.jsonl/deeper/out.jsonl", "Not a directory"),
        ("x" * 300, "choose a shorter name"),
        ("x" * 250, "choose a shorter name"),
        (".", "Is a directory"),
        ("/proc/out.jsonl", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(
    workshop: Workshop, command: Command, out: str, says: str
) -> None:
    workshop.items(3)
    done = command.bulk("tasks:double", out=out)
    assert done.code == 2
    assert says in done.err
    assert "hint:" in done.err


def test_missing_items_leave_nothing_behind(workshop: Workshop, command: Command) -> None:
    done = command.bulk("tasks:double")
    assert done.code == 2
    assert "there is no such file" in done.err
    assert workshop.names() == set()


def test_a_pattern_without_a_match_is_refused(workshop: Workshop, command: Command) -> None:
    done = command("bulk", "tasks:size", "--items", "*.none", "--out", "out.jsonl")
    assert done.code == 2
    assert "matches no file" in done.err


def test_a_function_that_returns_too_few_results_ends_the_run(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(30)
    done = command.bulk("tasks:one_short", "--json")
    assert done.code == 2
    assert "returned 9 results for a batch of 10 items" in done.summary["error"]["message"]
    assert workshop.names() == {"items.jsonl"}


def test_an_unannotated_function_that_wants_items_is_told_of_each(
    workshop: Workshop, command: Command
) -> None:
    workshop.write("items.jsonl", '"a"\n"b"\n')
    began = time.monotonic()
    done = command.bulk("tasks:unannotated", "--retries", "5")
    assert time.monotonic() - began < 1, "not tried again"
    assert done.code == 2
    assert "AttributeError" in done.err
    assert "--each" in done.err


def test_a_broken_line_keeps_what_was_done_before_it(workshop: Workshop, command: Command) -> None:
    lines = [f"{number}\n" for number in range(40)]
    lines[16] = '{"id": 16,, "x": 1}\n'
    workshop.write("items.jsonl", "".join(lines))
    done = command.bulk("tasks:slow", "--json")
    assert done.code == 2
    error = done.summary["error"]
    assert error["details"] == {"path": "items.jsonl", "line": 17, "column": 11}
    assert "items.jsonl, line 17, column 11" in error["message"]
    assert set(workshop.results("out.jsonl.partial")) == set(range(16))


def test_an_async_function_runs_nowhere_else(workshop: Workshop, command: Command) -> None:
    workshop.items(1)
    done = command.bulk("tasks:aslow", "--executor", "process")
    assert done.code == 2
    assert "tasks:aslow is async" in done.err


def test_a_plain_function_does_not_run_on_the_event_loop(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(1)
    done = command.bulk("tasks:double", "--executor", "task")
    assert done.code == 2
    assert "hold up everything else" in done.err


# --- early ends ------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_ended_with_what_is_done(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(200)
    done = command.bulk("tasks:aslow", "--concurrency", "1", "--timeout", "0.3", "--json")
    assert done.code == 3
    assert "timeout" in done.summary["error"]["message"]
    kept = workshop.results("out.jsonl.partial")
    assert 0 < len(kept) < 20
    assert len(kept) == done.summary["succeeded"]
    assert "--checkpoint jobs.db --id out" in done.summary["next"]


@pytest.mark.parametrize(("limit", "code"), [("5", 1), ("4", 3), ("0", 3)])
def test_more_failures_than_the_limit_end_the_run(
    workshop: Workshop, command: Command, limit: str, code: int
) -> None:
    workshop.items(10)
    done = command.bulk("tasks:odd_fails", "--failure-limit", limit, "--concurrency", "1")
    assert done.code == code
    if code == 3:
        assert f"--failure-limit is {limit}" in done.err


def test_two_runs_at_once_do_not_share_an_output(workshop: Workshop, command: Command) -> None:
    workshop.items(3)
    first = workshop.start("bulk", "tasks:waits_for_file", "--items", "items.jsonl", "--out", "o")
    deadline = time.monotonic() + 20
    while not (workshop.folder / "o.partial").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done = command.bulk("tasks:double", "--overwrite", out="o")
    assert done.code == 2
    assert f"in use by process {first.pid}" in done.err
    workshop.write("go", "")
    first.communicate(timeout=20)
    assert first.returncode == 0
    assert set(workshop.results("o")) == {0, 1, 2}


def test_python_m_is_the_same_command(workshop: Workshop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lexigram_actors.cli", "bulk", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["status"] == "failed"


# --- hostile items and results ---------------------------------------------------------------

HOSTILE = """
import asyncio
import os

def deep(item: int):
    value = item
    for _ in range(item):
        value = [value]
    return value

def spoils(item: dict):
    item["self"] = item
    item["set"] = {1}
    raise ValueError("spoilt")

def cancels(item: int):
    raise asyncio.CancelledError("of another library")

async def cancels_async(item: int):
    raise BaseExceptionGroup("several", [asyncio.CancelledError(), ValueError()])

def cancels_all(items: list):
    raise asyncio.CancelledError("of another library")

class Odd(BaseException):
    pass

def odd(item: int):
    raise Odd("odd")

def fails(item):
    raise ValueError("no")
"""
DEEP = "[" * 200 + "]" * 200
JOB = ("--checkpoint", "jobs.db", "--id", "a")


@pytest.mark.parametrize("job", [(), JOB])
def test_a_result_that_is_nested_is_written_or_is_an_error_of_its_item(
    workshop: Workshop, command: Command, job: tuple[str, ...]
) -> None:
    workshop.write("hostile.py", HOSTILE)
    workshop.write("items.jsonl", "1\n300\n100000\n2\n")
    done = command.bulk("hostile:deep", *job, "--json")
    assert done.code == 1
    assert set(workshop.results()) == {0, 1, 3}
    assert "nested too deep" in workshop.errors()[2]["error"]


@pytest.mark.parametrize("each", ["--each", "--no-each"])
@pytest.mark.parametrize("job", [(), JOB])
def test_a_nested_item_that_fails_is_listed_like_any_other(
    workshop: Workshop, command: Command, job: tuple[str, ...], each: str
) -> None:
    workshop.write("hostile.py", HOSTILE)
    workshop.write("items.jsonl", f'1\n{DEEP}\n[12345678901234567890123, "x"]\n')
    done = command.bulk("hostile:fails", each, *job, "--json")
    assert done.code == 1, done.err
    errors = workshop.errors()
    assert json.dumps(errors[1]["item"]) == DEEP
    assert errors[2]["item"] == [12345678901234567890123, "x"]


@pytest.mark.parametrize("job", [(), JOB])
def test_an_item_that_is_nested_too_deep_is_named_and_what_was_before_is_kept(
    workshop: Workshop, command: Command, job: tuple[str, ...]
) -> None:
    workshop.write("items.jsonl", f'1\n2\n{{"n":[{DEEP}]}}\n3\n')
    done = command.bulk("tasks:double", *job, "--json")
    assert done.code == 2
    assert done.summary["error"]["details"]["line"] == 3
    assert done.summary["succeeded"] == 2


@pytest.mark.parametrize("job", [(), JOB])
def test_an_item_that_the_function_has_spoilt_is_listed_all_the_same(
    workshop: Workshop, command: Command, job: tuple[str, ...]
) -> None:
    workshop.write("hostile.py", HOSTILE)
    workshop.write("items.jsonl", '{"a": 1}\n{"a": 2}\n')
    assert command.bulk("hostile:spoils", *job).code == 1
    assert {n: line["item"]["a"] for n, line in workshop.errors().items()} == {0: 1, 1: 2}
    assert workshop.errors()[0]["error"] == "spoilt"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("cancels", ()),
        ("cancels", ("--executor", "process", "--concurrency", "1")),
        ("cancels_async", ()),
        ("cancels_all", ()),
        ("odd", ()),
        ("odd", ("--executor", "process", "--concurrency", "1")),
    ],
)
def test_an_exception_that_is_none_of_the_usual_fails_its_item(
    workshop: Workshop, command: Command, target: str, options: tuple[str, ...]
) -> None:
    workshop.write("hostile.py", HOSTILE)
    workshop.items(2)
    done = command.bulk(f"hostile:{target}", *options, "--json")
    assert done.code == 1, done.err
    assert done.summary["failed"] == 2


# --- what to do next -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "name"),
    [
        ("my results (1).jsonl", "my-results-1"),
        ("-x.jsonl", "x"),
        ("é.jsonl", "job"),
        ("a.b.jsonl", "a.b"),
    ],
)
def test_the_job_that_is_proposed_has_a_name_that_is_accepted(
    workshop: Workshop, command: Command, out: str, name: str
) -> None:
    workshop.items(10)
    done = command(
        *("bulk", "tasks:odd_fails", "--items", "items.jsonl", f"--out={out}"),
        *("--failure-limit", "2", "--concurrency", "1", "--json"),
    )
    assert done.code == 3
    assert done.summary["next"].endswith(f"--checkpoint jobs.db --id {name}")


def test_a_refused_job_is_not_told_to_go_on_with_the_same_command(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    workshop.write("items.jsonl", "".join(f"{n + 100}\n" for n in range(10)))
    done = command.job("tasks:flaky", "--json")
    assert done.code == 2
    assert "next" not in done.summary
    assert "to continue" not in done.err
