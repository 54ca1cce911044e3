"""Counters, the line beside the bar, and the summary."""

from __future__ import annotations

import io

import pytest
import trio
from rich.console import Console

from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import OutputError, RunError, TargetError, describe, exit_code_of
from lexigram_actors.cli.progress import Bar, clock, facts
from lexigram_actors.cli.summary import (
    Ending,
    as_json,
    continue_command,
    ending_of,
    print_error,
    print_table,
    printable,
)
from lexigram_actors.errors import BulkOperationTimeoutError, LexigramError, StoreError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def counters(**values: int) -> tuple[Counters, Clock]:
    time = Clock()
    made = Counters(time)
    for name, value in values.items():
        setattr(made, name, value)
    return made, time


def printed(*, width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_rate_counts_this_run_and_the_rest_follows_from_it() -> None:
    made, time = counters(total=100, resumed=50, succeeded=9, failed=1)
    time.now += 5
    assert (made.done, made.processed, made.rate, made.remaining) == (60, 10, 2.0, 20.0)
    made.end()
    time.now += 1000
    assert made.seconds == 5


def test_before_the_first_item_nothing_is_promised() -> None:
    made, _ = counters(total=10)
    assert (made.rate, made.remaining) == (0.0, None)
    assert facts(made) == "0/10 items · 0.0/s"


def test_the_line_tells_items_rate_time_to_go_in_flight_retries_and_failed() -> None:
    made, time = counters(total=5000, succeeded=1998, failed=2, in_flight=5, retries=3)
    time.now += 10
    assert facts(made) == (
        "2,000/5,000 items · 200.0/s · 0:15 to go · 5 in flight · 3 retries · [red]2 failed[/red]"
    )


def test_without_a_total_there_is_no_time_to_go() -> None:
    made, time = counters(succeeded=10)
    time.now += 10
    assert facts(made) == "10 items · 1.0/s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3599.7, "1:00:00"), (90061, "25:01:01")]
)
def test_durations_read_as_clocks(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("width", [60, 140])
async def test_the_bar_draws_on_a_terminal_and_leaves_it_in_order(width: int) -> None:
    made, _ = counters(total=10, succeeded=3)
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    bar = Bar(made, "work", console)
    with trio.move_on_after(0.05), bar:
        await bar.keep_drawn()
    assert "3/10 items" in text_of(console)
    assert text_of(console).count("\x1b[?25l") == text_of(console).count("\x1b[?25h") == 1


async def test_without_a_terminal_nothing_is_drawn() -> None:
    bar = Bar(Counters(), "work", None)
    with bar:
        await bar.keep_drawn()
    bar.close()


@pytest.mark.parametrize(
    ("failed", "error", "interrupted", "status", "code"),
    [
        (0, None, None, "complete", 0),
        (2, None, None, "items_failed", 1),
        (2, TargetError("x"), None, "failed", 2),
        (2, StoreError("x"), None, "failed", 3),
        (2, StoreError("x"), 130, "interrupted", 130),
    ],
)
def test_a_signal_outweighs_an_error_and_an_error_failed_items(
    failed: int, error: LexigramError | None, interrupted: int | None, status: str, code: int
) -> None:
    made, _ = counters(failed=failed)
    ending = ending_of(made, error, interrupted)
    assert (ending.status, ending.exit_code) == (status, code)


def test_every_error_has_an_exit_code() -> None:
    assert exit_code_of(TargetError("x")) == 2
    assert exit_code_of(OutputError("x")) == exit_code_of(RunError("x")) == 3
    assert exit_code_of(BulkOperationTimeoutError("x")) == 3


def test_a_foreign_error_is_described_too() -> None:
    assert describe(KeyError("x"))["code"] == "KeyError"


def test_the_table_shows_what_came_of_the_items_and_the_kinds_of_failures() -> None:
    made, time = counters(total=1000, resumed=10, succeeded=3, retries=4)
    for number in range(7):
        made.fail(f"Error{number}", f"message {number}\nmore")
    made.fail("Error3", "another")
    time.now += 2
    console = printed()
    print_table(console, Ending("items_failed", 1), made, {"out": "[x].jsonl", "errors": None})
    text = text_of(console)
    assert "21 of 1,000" in text
    assert "recorded before" in text
    assert "2 x Error3: message 3\n" in text
    assert "and 2 more kinds of error" in text
    assert "[x].jsonl" in text
    assert "errors" not in text


def test_the_json_holds_numbers_and_the_error() -> None:
    made, time = counters(total=4, succeeded=2)
    made.fail("ValueError", "x")
    time.now += 2
    made.end()
    summary = as_json(Ending("failed", 3, RunError("why", hint="do")), made, {"out": "o"})
    assert summary["error"]["hint"] == "do"
    assert (summary["items"], summary["rate"], summary["failures"]) == (3, 1.5, {"ValueError": 1})


def test_an_error_is_one_block_with_its_hint_and_no_wrapping() -> None:
    console = printed(width=20)
    print_error(console, OutputError("a message [with] brackets " * 3, hint="do this"))
    lines = text_of(console).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: a message [with] brackets")
    assert lines[1] == "  hint: do this"


def test_what_an_item_holds_does_not_steer_the_terminal() -> None:
    console = printed()
    print_error(console, OutputError("a\x1b[31mb\x07\r é ü\nc"))
    assert text_of(console) == "error: a\\x1b[31mb\\x07\\r é ü\nc\n"
    assert printable("\udcff") == "\\udcff"


def test_the_command_to_go_on_with_begins_nothing_anew() -> None:
    given = ["bulk", "m:f", "--items", "a b*.txt", "--overwrite"]
    assert continue_command(given) == "lexigram-actors bulk m:f --items 'a b*.txt'"
