"""The programs in processes that really die: no clean-up runs, and nothing is closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.crash.points import tried
from tests.crash.test_everywhere import CASES

ROOT: Final = Path(__file__).parents[2]

MOST: Final = 40
MOST_ON_A_THREAD: Final = 8

QUICK: Final = ("pipeline", "question", "bulk")
"""The programs that wait for nothing long: on a thread time is real."""


def die(name: str, most: int, *options: str) -> int:
    """Let a program die in children, at most so often, and come back; return how often it was."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.child_program", name, str(most), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_process_that_dies_at_a_call_of_its_store_is_followed_by_one_that_ends_all(
    name: str,
) -> None:
    points = die(name, MOST)
    assert points >= MOST / 2
    tried(f"{name} in a child", points)


@pytest.mark.parametrize("name", QUICK)
def test_so_does_one_whose_store_has_a_thread(name: str) -> None:
    points = die(name, MOST_ON_A_THREAD, "thread")
    assert points == MOST_ON_A_THREAD
    tried(f"{name} in a child, on a thread", points)
