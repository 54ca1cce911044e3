"""Ctrl-C, SIGTERM, and real SIGKILLs at random moments, from outside."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lexigram_actors.cli.interrupts import workers_spared
from tests.cli.conftest import COMMAND, Workshop

JOB = ("--items", "items.jsonl", "--out", "out.jsonl", "--checkpoint", "jobs.db", "--id", "job")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("target", ["tasks:slow", "tasks:aslow"])
def test_the_first_signal_stops_in_order_and_says_how_to_go_on(
    workshop: Workshop, number: signal.Signals, code: int, target: str
) -> None:
    workshop.items(300)
    with workshop.start("bulk", target, *JOB) as process:
        wait_until(lambda: lines_in(workshop.folder / "out.jsonl") > 5)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "interrupted" in out
    assert f"to continue: lexigram-actors bulk {target} --items items.jsonl" in err
    assert "Traceback" not in err
    done = workshop.results()
    assert 5 < len(done) < 300
    again = workshop.run("bulk", target, *JOB, "--concurrency", "100", "--json")
    assert again.returncode == 0, again.stderr
    # The last batch that was written may not have been recorded yet; all others were.
    assert json.loads(again.stdout)["resumed"] >= len(done) - 1
    assert workshop.results() == {index: index for index in range(300)}
    assert workshop.names() == {"items.jsonl", "out.jsonl", "jobs.db"}


def test_a_plain_run_that_is_interrupted_keeps_its_results_and_says_where(
    workshop: Workshop,
) -> None:
    workshop.items(300)
    command = ("bulk", "tasks:slow", "--items", "items.jsonl", "--out", "out.jsonl", "--json")
    partial = workshop.folder / "out.jsonl.partial"
    with workshop.start(*command) as process:
        wait_until(lambda: lines_in(partial) > 5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    summary = json.loads(out)
    assert process.returncode == summary["exit_code"] == 130
    assert len(workshop.results("out.jsonl.partial")) == summary["succeeded"]
    assert str(partial) in summary["next"]
    assert workshop.names() == {"items.jsonl", "out.jsonl.partial"}


def test_a_signal_is_heard_while_the_input_is_silent(workshop: Workshop) -> None:
    command = ("bulk", "tasks:double", "--items", "-", "--out", "out.jsonl")
    with workshop.start(*command, stdin=subprocess.PIPE) as process:
        wait_until((workshop.folder / "out.jsonl.partial").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert workshop.names() == set()


def test_worker_processes_end_with_the_first_signal(workshop: Workshop) -> None:
    workshop.items(10)
    with workshop.start("bulk", "tasks:stubborn", *JOB, "--executor", "process") as process:
        wait_until((workshop.folder / "started").exists)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "stopping" in err


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_second_signal_leaves_at_once(workshop: Workshop, executor: str) -> None:
    workshop.items(10)
    with workshop.start("bulk", "tasks:stubborn", *JOB, "--executor", executor) as process:
        assert process.stderr is not None
        wait_until((workshop.folder / "started").exists)
        process.send_signal(signal.SIGINT)
        assert "stopping" in process.stderr.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert time.monotonic() - began < 10
    # Worker processes are killed by the first signal already, so the end may come by itself.
    assert code == 143 or (executor == "process" and code == 130)


def test_an_interrupt_before_the_run_leaves_nothing(workshop: Workshop) -> None:
    workshop.items(3)
    workshop.write("sleepy.py", "import time\nopen('started', 'a').close()\ntime.sleep(30)\n")
    with workshop.start("bulk", "sleepy:run", *JOB) as process:
        wait_until((workshop.folder / "started").exists)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert workshop.names() == {"items.jsonl", "sleepy.py", "started"}


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency", "8"),
        ("--concurrency", "8", "--batch-size", "7"),
        ("--concurrency", "2", "--executor", "process"),
    ],
)
def test_a_job_that_is_killed_at_random_moments_gets_through(
    workshop: Workshop, options: tuple[str, ...]
) -> None:
    """Each run is killed a random while after it has written a random number of lines."""
    workshop.items(300)
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    out, kills = workshop.folder / "out.jsonl", 0
    while True:
        before, enough = lines_in(out), dice.randrange(10, 90)
        with workshop.start("bulk", "tasks:slow", *JOB, *options) as process:
            wait_until(
                lambda: (
                    process.poll() is not None or lines_in(out) >= before + enough  # noqa: B023
                )
            )
            time.sleep(dice.random() * 0.03)
            process.kill()
            process.communicate(timeout=20)
        if process.returncode == 0:
            break
        kills += 1
        assert process.returncode == -signal.SIGKILL, seed
        assert lines_in(out) >= before + enough, seed
    assert workshop.results() == {index: index for index in range(300)}, seed
    assert kills >= 1, seed  # the chance decides how many; without one nothing was shown


def test_worker_processes_are_spared_a_ctrl_c_while_they_start() -> None:
    show = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    shown: list[str] = []

    def start() -> None:
        shown.append(subprocess.check_output([sys.executable, "-c", show], text=True))

    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        with workers_spared():
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
            os.kill(os.getpid(), signal.SIGINT)
            wait_until(lambda: bool(received))
    finally:
        signal.signal(signal.SIGINT, before)
    assert shown == ["True\n"]
    assert received == [signal.SIGINT]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def on_a_terminal(workshop: Workshop, arguments: tuple[str, ...], keys: bytes = b"") -> str:
    """Run the command with a terminal as its standard error, and return what that shows."""
    shown, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=workshop.folder,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env=environment,
    )
    os.close(terminal)
    text = b""
    try:
        while chunk := os.read(shown, 65536):
            text += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    process.wait(20)
    os.close(shown)
    return text.decode()


def test_a_terminal_shows_a_live_bar(workshop: Workshop) -> None:
    workshop.items(60)
    shown = on_a_terminal(
        workshop, ("bulk", "tasks:slow", "--items", "items.jsonl", "--out", "out.jsonl")
    )
    assert "60/60 items" in shown
    assert "5 in flight" in shown
    assert "/s" in shown
    assert shown.rstrip().endswith("\x1b[?25h"), "the cursor is visible again"


def test_without_a_terminal_nothing_but_the_table_is_shown(workshop: Workshop) -> None:
    workshop.items(3)
    done = workshop.run("bulk", "tasks:slow", "--items", "items.jsonl", "--out", "out.jsonl")
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_with_json_there_is_no_table(workshop: Workshop) -> None:
    workshop.items(3)
    arguments = ("bulk", "tasks:slow", "--items", "items.jsonl", "--out", "out.jsonl", "--json")
    done = workshop.run(*arguments)
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["status"] == "complete"
