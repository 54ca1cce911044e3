"""A disk that is full: nothing recorded is lost, and the job goes on when there is room."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable

import pytest

from tests.cli.conftest import Workshop

JOB = ("--items", "items.jsonl", "--out", "out.jsonl", "--checkpoint", "jobs.db", "--id", "job")


def limited_to(size: int) -> Callable[[], None]:
    """Return what lets no file of the child grow beyond `size` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [70_000, 100_001])
def test_a_job_that_fills_the_disk_can_be_continued(workshop: Workshop, size: int) -> None:
    workshop.write("wide.py", "def wide(item: int): return str(item) * 400\n")
    workshop.items(400)
    done = workshop.run("bulk", "wide:wide", *JOB, "--json", preexec_fn=limited_to(size))
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert "to continue: lexigram-actors bulk" in summary["next"]
    assert "Traceback" not in done.stderr
    before = workshop.results()
    assert len(before) > 10
    again = workshop.run("bulk", "wide:wide", *JOB, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["resumed"] >= len(before) - 1
    assert workshop.results() == {index: str(index) * 400 for index in range(400)}


def test_a_plain_run_that_fills_the_disk_keeps_whole_lines(workshop: Workshop) -> None:
    workshop.items(4000)
    done = workshop.run(
        "bulk",
        "tasks:double",
        "--items",
        "items.jsonl",
        "--out",
        "out.jsonl",
        preexec_fn=limited_to(20_000),
    )
    assert done.returncode == 3
    assert "out.jsonl.partial cannot be written: File too large" in done.stderr
    assert "ulimit" in done.stderr
    assert len(workshop.results("out.jsonl.partial")) > 100
    assert "out.jsonl" not in workshop.names()


def test_a_store_that_fills_the_disk_is_an_error_of_the_run(workshop: Workshop) -> None:
    workshop.items(10)
    done = workshop.run("bulk", "tasks:double", *JOB, preexec_fn=limited_to(2000))
    assert done.returncode == 3
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert workshop.run("bulk", "tasks:double", *JOB).returncode == 0
    assert len(workshop.results()) == 10
