"""What a run tells at its end: a table and a sentence for people, one JSON object for programs."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import (
    EXIT_ITEMS_FAILED,
    EXIT_OK,
    describe,
    exit_code_of,
)
from lexigram_actors.errors import LexigramError

if TYPE_CHECKING:
    from rich.console import Console

Status = Literal["complete", "already_complete", "items_failed", "failed", "interrupted"]
PROGRAM = "lexigram-actors"
KINDS_SHOWN = 5
MESSAGE_SHOWN = 100


@frozen
class Ending:
    """How a run ended. `error` is set when it was not the end of the items that ended it."""

    status: Status
    exit_code: int
    error: LexigramError | None = None


def ending_of(counters: Counters, error: LexigramError | None, interrupted: int | None) -> Ending:
    """Judge a run: a signal outweighs an error, an error outweighs failed items."""
    if interrupted is not None:
        return Ending("interrupted", interrupted)
    if error is not None:
        return Ending("failed", exit_code_of(error), error)
    if counters.failed:
        return Ending("items_failed", EXIT_ITEMS_FAILED)
    return Ending("complete", EXIT_OK)


def as_json(ending: Ending, counters: Counters, files: dict[str, str | None]) -> dict[str, Any]:
    """Return the summary as plain values."""
    summary: dict[str, Any] = {
        "status": ending.status,
        "exit_code": ending.exit_code,
        "items": counters.done,
        "total": counters.total,
        "succeeded": counters.resumed + counters.succeeded,
        "failed": counters.failed,
        "resumed": counters.resumed,
        "retries": counters.retries,
        "seconds": round(counters.seconds, 3),
        "rate": round(counters.rate, 3),
        "failures": dict(counters.failures),
        **files,
    }
    if ending.error is not None:
        summary["error"] = describe(ending.error)
    return summary


def print_table(
    console: "Console", ending: Ending, counters: Counters, files: dict[str, str | None]
) -> None:
    """Print the summary for a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=_title(ending), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(counters, files):
        table.add_row(name, Text(value))
    console.print(table)
    _print_failures(console, counters)


def _title(ending: Ending) -> str:
    return {
        "complete": "every item succeeded",
        "already_complete": "this job is complete already",
        "items_failed": "done, some items failed",
        "failed": "the run ended early",
        "interrupted": "interrupted",
    }[ending.status]


def _rows(counters: Counters, files: dict[str, str | None]) -> list[tuple[str, str]]:
    total = f" of {counters.total:,}" if counters.total not in (None, counters.done) else ""
    rows = [("items", f"{counters.done:,}{total}")]
    if counters.resumed:
        rows.append(("recorded before", f"{counters.resumed:,}"))
    rows += [("succeeded", f"{counters.succeeded:,}"), ("failed", f"{counters.failed:,}")]
    if counters.retries:
        rows.append(("retries", f"{counters.retries:,}"))
    rows.append(("time", f"{counters.seconds:,.2f} s ({counters.rate:,.1f} items/s)"))
    rows += [(name, path) for name, path in files.items() if path is not None]
    return rows


def _print_failures(console: "Console", counters: Counters) -> None:
    for kind, count in counters.failures.most_common(KINDS_SHOWN):
        example = printable(counters.examples[kind].partition("\n")[0][:MESSAGE_SHOWN])
        line = f"  {count:,} x {kind}: {example}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    others = len(counters.failures) - KINDS_SHOWN
    if others > 0:
        console.print(f"  and {others} more kinds of error")


def print_error(console: "Console", error: LexigramError) -> None:
    """Print an error as one block: what happened, then what to do. No traceback."""
    from rich.text import Text

    text = Text("error: ", style="bold red")
    text.append(printable(error.message), style="not bold default")
    if error.hint:
        text.append("\n  hint: ", style="bold")
        text.append(printable(error.hint), style="not bold default")
    # Not wrapped: a path or a command is to be copied from the terminal as it is.
    console.print(text, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """Return `text` with whatever would steer the terminal shown as an escape.

    Messages quote items and file names, which come from anywhere.
    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text
    )


def continue_command(arguments: Sequence[str]) -> str:
    """Return the command line that goes on where the one with `arguments` ended.

    It is the same without `--overwrite`, which would begin anew.
    """
    return shlex.join([PROGRAM, *(one for one in arguments if one != "--overwrite")])
