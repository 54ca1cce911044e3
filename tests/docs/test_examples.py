"""Each file in `docs/examples` runs to its end by itself, without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

EXPECTED = {
    "approval_chain.py": "paid: 12000 EUR",
    "ask_a_person.py": "transfer-1, approved by Ada",
    "bulk_checksums.py": "1000 checksums of 1000 files",
    "bulk_processes.py": "files parsed in",
    "circuit_breaker_bulk.py": "0 of ",
    "content_addressed.py": "translated 1 time for 4 reports",
    "counter.py": "messages accepted",
    "csv_pipeline.py": "4863 of 5000 orders cleaned",
    "door_machine.py": "the door is closed after 4 transitions",
    "durable_order.py": "done more than once: ship",
    "fan_out.py": "merged in the order they were sent: True",
    "order_saga.py": "order-3 is failed: a person has settled it",
    "poison_items.py": "calls for ",
    "review_graph.py": "ran twice: none",
    "supervised_service.py": "2 actors at work",
    "svcs_application.py": "the office closes after 1000 letters",
    "watch_with_hooks.py": "alarms: chair",
    "virtual_clock.py": "real time: under 5 s",
}
"""What a line of the output holds, by file."""

PASSING = {"test_doorbell.py": 2, "test_your_workflow.py": 4}
"""How many tests pass, by file."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONWARNINGS": "error",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_runs_and_prints_its_point(name: str) -> None:
    done = run(str(EXAMPLES / name))
    assert done.returncode == 0, done.stderr
    assert any(EXPECTED[name] in line for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("name", sorted(PASSING))
def test_the_example_of_a_test_passes(name: str) -> None:
    options = ("-q", "-c", os.devnull, "-p", "no:cacheprovider")
    done = run("-m", "pytest", *options, str(EXAMPLES / name))
    assert done.returncode == 0, done.stdout
    assert f"{PASSING[name]} passed" in done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*EXPECTED, *PASSING}
