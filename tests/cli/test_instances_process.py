"""A run in a process of its own: killed, interrupted, asked and answered from another."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, Workshop
from tests.cli.test_signals import wait_until

FLOWS = """
import os
import trio
from lexigram_actors import workflow
from lexigram_actors.machine import State, StateMachineDefinition, Transition

closed = State("closed", {"open": Transition("open", "open")})
door = StateMachineDefinition("door", [closed, State("open")], "closed")

def begin():
    with open("begun", "a") as file:
        file.write("x")
    return "begun"

async def wait_for_file():
    open("waiting", "a").close()
    while not os.path.exists("go"):
        await trio.sleep(0.005)
    return "gone"

@workflow
async def slow(ctx):
    return [await ctx.step(begin), await ctx.step(wait_for_file)]

@workflow
async def asking(ctx, topic):
    begun = await ctx.step(begin)
    return [begun, await ctx.ask_human(f"publish {topic}?", schema=bool)]
"""

STORE = "sqlite:///flows.db"


class Runs:
    """The command `run` in processes, and the others in this one."""

    def __init__(self, command: Command, workshop: Workshop) -> None:
        self.command = command
        self.workshop = workshop
        self.folder: Path = workshop.folder
        workshop.write("flows.py", FLOWS)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with self.workshop.start("run", *arguments, "--store", STORE) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: str) -> dict[str, Any]:
        return self.command(*arguments, "--store", STORE, "--json").summary

    def statuses(self) -> dict[str, str]:
        return {each["id"]: each["status"] for each in self.json("ls")["instances"]}

    def has_question(self) -> Callable[[], bool]:
        def found() -> bool:
            is_there = (self.folder / "flows.db").exists() and "a" in self.statuses()
            return is_there and bool(self.json("show", "a")["questions"])

        return found


@pytest.fixture
def runs(command: Command, workshop: Workshop) -> Runs:
    return Runs(command, workshop)


def test_a_run_that_is_killed_is_listed_and_goes_on(runs: Runs) -> None:
    with runs.started("flows:slow", "--id", "a") as process:
        wait_until((runs.folder / "waiting").exists)
        wait_until(lambda: runs.statuses() == {"a": "running"})
        assert runs.json("doctor")["findings"] == []
        process.kill()
        process.communicate(timeout=20)
    assert runs.statuses() == {"a": "running"}
    (finding,) = runs.json("doctor")["findings"]
    assert finding["what"] == "1 have not ended, and no host runs: a"
    (runs.folder / "go").touch()
    again = runs.workshop.run("run", "flows:slow", "--id", "a", "--store", STORE)
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout) == ["begun", "gone"]
    assert runs.statuses() == {"a": "completed"}
    assert (runs.folder / "begun").read_text() == "x"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_says_how_to_go_on_and_does(
    runs: Runs, number: signal.Signals, code: int
) -> None:
    with runs.started("flows:asking", "the news", "--id", "a") as process:
        wait_until(runs.has_question())
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == "a is interrupted\n"
    assert "publish the news?" in err
    assert "Traceback" not in err
    command = f"run flows:asking 'the news' --id a --store {STORE}"
    assert f"to continue: lexigram-actors {command}" in err
    assert runs.json("answer", "a", "true")["exit_code"] == 0  # while nobody runs it
    again = runs.workshop.run("run", "flows:asking", "the news", "--id", "a", "--store", STORE)
    assert json.loads(again.stdout) == ["begun", True]
    assert (runs.folder / "begun").read_text() == "x"


def test_a_question_is_answered_from_another_process_after_an_answer_that_does_not_fit(
    runs: Runs,
) -> None:
    with runs.started("flows:asking", "it", "--id", "a", "--json") as process:
        wait_until(runs.has_question())
        assert runs.json("answer", "a", "perhaps")["exit_code"] == 0
        wait_until(lambda: "refused" in str(runs.json("show", "a")["journal"]))
        assert runs.json("answer", "a", "false")["exit_code"] == 0
        out, err = process.communicate(timeout=20)
    assert json.loads(out)["outcome"] == {"ok": ["begun", False]}
    (line,) = [each for each in err.splitlines() if "does not fit" in each]
    assert line.startswith("the answer to 'ask' does not fit: ")
    assert "problem" not in line
    assert err.count(f"in another terminal: lexigram-actors answer a VALUE --store {STORE}") == 2


def test_an_event_that_a_machine_refused_is_told_as_an_event(runs: Runs) -> None:
    with runs.started("flows:door", "--id", "a") as process:
        wait_until(lambda: (runs.folder / "flows.db").exists() and runs.statuses() != {})
        wait_until(lambda: runs.statuses() == {"a": "waiting"})
        assert runs.json("signal", "a", "close")["exit_code"] == 0
        wait_until(lambda: "refused" in str(runs.json("show", "a")["journal"]))
        assert runs.json("signal", "a", "open")["exit_code"] == 0
        out, err = process.communicate(timeout=20)
    assert (out, err) == ('"open"\n', "event 'close' was refused in state 'closed'\n")


def test_a_run_is_cancelled_from_another_process(runs: Runs) -> None:
    with runs.started("flows:asking", "it", "--id", "a") as process:
        wait_until(runs.has_question())
        summary = runs.json("cancel", "a", "--reason", "enough", "--grace", "0", "--wait", "20")
        assert summary["instance"]["status"] == "cancelled"
        _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "error: cancelled: enough" in err


def test_a_second_host_of_one_file_is_refused(runs: Runs) -> None:
    with runs.started("flows:asking", "it", "--id", "a"):
        wait_until(runs.has_question())
        done = runs.command("run", "flows:asking", "it", "--id", "b", "--store", STORE)
        assert done.code == 3
        assert "only one process at a time" in done.err
