"""A question asked in one process and answered in others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("human_process.py")


def process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_run_goes_on_in_another_process(tmp_path: Path) -> None:
    checkpoint = str(tmp_path / "checkpoint.json")
    assert process("start", checkpoint) == {"open": ["r/one", "r/two"], "ran": ["a"]}
    assert process("answer", checkpoint, "second", "two") == {"open": ["r/one"], "ran": ["c"]}
    assert process("answer", checkpoint, "first") == {
        "final": {
            "input": "in",
            "output": "",
            "deep": {"x": [1, None]},
            "one": "first",
            "two": "second",
            "trail": ["a", "b", "c", "d"],
        },
        "nodes": ["a", "one", "two", "b", "c", "d"],
        "iterations": 6,
        "ran": ["b", "d"],
    }
