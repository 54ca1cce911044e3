"""A folder with functions and items, and the command run on it, in this process or in its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from lexigram_actors.cli import main

TASKS = """
import os, sys, time
import trio

def double(item: int):
    return item * 2

def slow(item: int):
    time.sleep(0.02)
    return item

async def aslow(item: int):
    await trio.sleep(0.02)
    return item

def odd_fails(item: int):
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item

def all_at_once(items: list):
    return [item + 1 for item in items]

def one_short(items: list):
    return items[:-1]

def unannotated(path):
    return path.upper()

def size(path: str):
    return os.path.getsize(path)

def no_json(item: int):
    return {1, 2}

def prints(item: int):
    print("printed", item)
    return item

def dies(item: int):
    if item == 3:
        os._exit(9)
    return item

def waits_for_file(item: int):
    while not os.path.exists("go"):
        time.sleep(0.01)
    return item

async def forever(item: int):
    await trio.sleep_forever()

def stubborn(item: int):
    open("started", "a").close()
    time.sleep(30)

def flaky(item: int):
    if item % 5 == 0 and not os.path.exists("good"):
        raise RuntimeError("not yet")
    return item
"""

COMMAND = [sys.executable, "-m", "lexigram_actors.cli"]


class Workshop:
    """A folder of its own, current while the test runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tasks.py").write_text(TASKS)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(textwrap.dedent(text))
        return path

    def items(self, count: int, name: str = "items.jsonl") -> Path:
        return self.write(name, "".join(f"{number}\n" for number in range(count)))

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command to its end in a process of its own."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    def results(self, name: str = "out.jsonl") -> dict[int, Any]:
        """Return the results by index; fails on a torn or duplicate line."""
        text = (self.folder / name).read_text()
        assert not text or text.endswith("\n")
        lines = [json.loads(line) for line in text.splitlines()]
        found = {line["index"]: line["result"] for line in lines}
        assert len(found) == len(lines), "an item stands twice"
        return found

    def errors(self, name: str = "out.errors.jsonl") -> dict[int, dict[str, Any]]:
        lines = [json.loads(line) for line in (self.folder / name).read_text().splitlines()]
        found = {line["index"]: line for line in lines}
        assert len(found) == len(lines), "an item stands twice"
        return found

    def names(self) -> set[str]:
        """Return the names of the files that stand here now."""
        return {path.name for path in self.folder.iterdir()} - {"tasks.py", "__pycache__"}


@pytest.fixture(scope="session", autouse=True)
def resource_tracker_is_running() -> None:
    # The first worker process starts it, and it stays: no test left it behind.
    resource_tracker.ensure_running()


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Tests write files of the same size within a second: cached bytecode would be mistaken.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield Workshop(tmp_path)
    for name in set(sys.modules) - known:
        path = getattr(sys.modules[name], "__file__", None) or ""
        if path.startswith(str(tmp_path)):
            del sys.modules[name]


class Commanded:
    """What a command in this process left: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def summary(self) -> dict[str, Any]:
        parsed = json.loads(self.out)
        assert isinstance(parsed, dict)
        return parsed


class Command:
    """Runs the command in this process; `command("bulk", ...)`."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *arguments: str) -> Commanded:
        self.capfd.readouterr()
        code = main(arguments)
        # A worker that died by itself is kept in multiprocessing's list until somebody looks.
        multiprocessing.active_children()
        captured = self.capfd.readouterr()
        return Commanded(code, captured.out, captured.err)

    def bulk(self, target: str, *arguments: str, out: str = "out.jsonl") -> Commanded:
        return self("bulk", target, "--items", "items.jsonl", "--out", out, *arguments)

    def job(self, target: str, *arguments: str) -> Commanded:
        return self.bulk(target, "--checkpoint", "jobs.db", "--id", "job", *arguments)


@pytest.fixture
def command(workshop: Workshop, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


def without_color() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1"}
