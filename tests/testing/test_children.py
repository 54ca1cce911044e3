"""Processes that really die at a call of their store."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lexigram_actors.testing import crash_in_child
from tests.testing.toy import Toy

ROOT = Path(__file__).parents[2]


def run_program(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.testing.child_program", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("options", "points"), [((), 22), (("thread",), 5)])
def test_a_sound_program_goes_on_after_its_process_died(
    options: tuple[str, ...], points: int
) -> None:
    done = run_program(*options)
    assert done.returncode == 0, done.stderr
    assert f"points={points}, crashes={points}" in done.stdout


def test_a_bug_is_found_and_its_point_noted() -> None:
    done = run_program("bug")
    assert done.returncode == 1
    assert "only=[CrashPoint(" in done.stderr


def test_where_forking_is_not_safe_it_is_refused() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="not safe"):
            crash_in_child(Toy(), check=lambda world: None)
    finally:
        release.set()
        thread.join()
