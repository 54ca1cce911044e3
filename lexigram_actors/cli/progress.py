"""The live bar on a terminal: items, rate, time to go, in flight, retries, failed."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from lexigram_actors.cli.counters import Counters

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

REFRESH = 0.1
"""Seconds between two pictures."""
WIDE = 100
"""Columns from which there is room for a picture of the progress."""


class Bar:
    """Shows the counters on a terminal inside `with`; on anything else it shows nothing.

    What the processor prints meanwhile appears above the bar. The terminal is as before when the
    block ends, however it ends. `keep_drawn` does the drawing: run it as a task.
    """

    def __init__(self, counters: Counters, title: str, console: "Console | None") -> None:
        """Prepare the bar; a `console` of None shows nothing."""
        self._counters = counters
        self._progress = None if console is None else _make_progress(console)
        self._task = self._progress.add_task(title, total=None) if self._progress else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self.draw()
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.draw()
        self.close()

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._progress is not None:
            self._progress.stop()

    async def keep_drawn(self) -> None:
        """Draw again and again until cancelled."""
        while self._progress is not None:
            self.draw()
            self._progress.refresh()
            await trio.sleep(REFRESH)

    def draw(self) -> None:
        """Take over the counters as they are now."""
        if self._progress is not None and self._task is not None:
            counters = self._counters
            self._progress.update(
                self._task, completed=counters.done, total=counters.total, facts=facts(counters)
            )


def facts(counters: Counters) -> str:
    """Return what stands right of the bar, in one line of steady order."""
    count = f"{counters.done:,}"
    if counters.total is not None:
        count += f"/{counters.total:,}"
    parts = [f"{count} items", f"{counters.rate:,.1f}/s"]
    if counters.remaining:
        parts.append(f"{clock(counters.remaining)} to go")
    if counters.in_flight:
        parts.append(f"{counters.in_flight} in flight")
    if counters.retries:
        parts.append(f"{counters.retries:,} retries")
    if counters.failed:
        parts.append(f"[red]{counters.failed:,} failed[/red]")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _make_progress(console: "Console") -> "Progress":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    # On a narrow terminal the numbers are worth more than the picture.
    picture = [BarColumn(bar_width=None)] if console.width >= WIDE else []
    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        *picture,
        TextColumn("{task.fields[facts]}"),
        console=console,
        auto_refresh=False,
        expand=True,
        # Prints of the processor go above the bar, unless they were sent somewhere else.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
