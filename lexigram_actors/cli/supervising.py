"""Runs the work of a command with what goes beside it: the bar, signals, a count of the items."""

import contextlib
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import OutputError
from lexigram_actors.cli.interrupts import SIGNALS, Interrupts, workers_spared
from lexigram_actors.cli.progress import Bar
from lexigram_actors.errors import LexigramError


@frozen
class Outcome:
    """How the work ended: by itself, by an error, or by a signal (the exit code it asks for)."""

    error: LexigramError | None
    interrupted: int | None


async def supervise(
    work: Callable[[trio.Nursery], Awaitable[None]],
    counters: Counters,
    title: str,
    terminal: Terminal,
    *,
    in_processes: bool,
) -> Outcome:
    """Run `work` until it ends, or until the first SIGINT or SIGTERM, which cancels it.

    `work` gets a nursery for what should go on beside it and end with it. Errors of the
    `LexigramError` tree, and what the system refused, are returned; others are defects and raised.
    `in_processes` says that it starts worker processes.
    """
    error: LexigramError | None = None
    bar = Bar(counters, title, terminal.err if terminal.is_live else None)

    def announce() -> None:
        terminal.note(
            "stopping: calls under way are ended or waited for; once more to leave at once"
        )

    interrupts = Interrupts(trio.CancelScope(), on_first=announce, before_exit=bar.close)
    spared = workers_spared() if in_processes else contextlib.nullcontext()
    with spared, trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as helpers:
            helpers.start_soon(interrupts.listen, signals)
            with bar, interrupts.scope:
                helpers.start_soon(bar.keep_drawn)
                try:
                    await work(helpers)
                except LexigramError as problem:
                    error = problem
                except OSError as problem:  # of files that were there a moment ago, mostly
                    error = OutputError(f"{problem.filename}: {problem.strerror}", cause=problem)
            helpers.cancel_scope.cancel()
    counters.end()
    return Outcome(error, interrupts.exit_code)
