"""The first example of the README, killed for real: it prints what the README says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from lexigram_actors import Operator, open_store

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)}


def block(language: str, beginning: str) -> str:
    """Return the first block of a language that begins so."""
    pattern = rf"^```{language}\n({re.escape(beginning)}.*?)^```"
    found = re.search(pattern, README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def outputs(transcript: str) -> list[str]:
    """Return what is printed after each command."""
    parts = re.split(r"^\$ ", transcript, flags=re.MULTILINE)
    return [part.partition("\n")[2] for part in parts[1:]]


async def wait_asleep(database: Path, id: str) -> None:
    """Wait until an instance of another process has recorded that it sleeps."""
    with trio.fail_after(30):
        async with open_store(f"sqlite:///{database}") as store:
            operator = Operator(store)
            while not any(row.kind == "sleep" for row in await operator.history(id)):
                await trio.sleep(0.01)


@pytest.mark.leaves("threads", reason="Trio keeps idle threads for reuse")
def test_the_first_example_is_killed_and_goes_on_as_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(block("python", "import trio"), "utf-8")
    killed, second, third = outputs(block("text", "$ python orders.py"))
    command = [sys.executable, "orders.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline().decode() == killed
        trio.run(wait_asleep, tmp_path / "orders.db", "order-42")
        os.kill(first.pid, signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    for printed in (second, third):
        again = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        assert (again.stdout, again.stderr) == (printed, "")


def test_the_example_that_the_readme_runs_prints_what_it_says() -> None:
    shown = block("text", "killed while it ships")
    command = block("sh", "python3 -m venv .venv && .venv/bin/pip install . ").split()[-2:]
    assert command[0] == ".venv/bin/python"
    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert without_times(done.stdout) == without_times(shown)


def without_times(text: str) -> str:
    """Return a text without the moments in it, which differ each time."""
    return re.sub(r"\d{10}\.\d+", "<time>", text)


def test_the_command_runs_the_same_function(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(block("python", "import trio"), "utf-8")
    for line in block("sh", "lexigram-actors run").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "lexigram-actors"
        done = subprocess.run(
            [sys.executable, "-m", "lexigram_actors.cli", *arguments],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "order-43" in done.stdout or "paid for a book" in done.stdout
