"""The command `demo`: measures the standard library of this Python, in worker processes."""

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from attrs import evolve

from lexigram_actors.cli.calling import Failure
from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import EXIT_OK, OptionError
from lexigram_actors.cli.items import PathSource
from lexigram_actors.cli.measure import measure_file
from lexigram_actors.cli.processing import Attempted
from lexigram_actors.cli.running import Setup, default_concurrency, run_items
from lexigram_actors.cli.shape import Shape
from lexigram_actors.cli.summary import Ending, as_json, ending_of, print_error
from lexigram_actors.cli.supervising import supervise
from lexigram_actors.cli.target import Target, TargetName

if TYPE_CHECKING:
    from rich.console import Console

FILES_A_CALL = 8
"""A file takes a few milliseconds, a call to a process a tenth of one."""
SHOWN = 10
NUMBERS_WIDTH = 42
"""Columns of the table that names do not get."""
TOTALS = ("lines", "functions", "classes", "imports")
FOREIGN = ("site-packages", "dist-packages", "__pycache__")


class Measures:
    """Collects what was measured: a sink."""

    def __init__(self) -> None:
        self.modules: list[dict[str, Any]] = []
        self.failed: list[tuple[str, Failure]] = []

    async def write(self, batch: list[list[Any]], attempted: list[Attempted]) -> None:
        """Take the measures of a batch of files. Does not wait."""
        import orjson

        for (_, path), one in zip(batch, attempted, strict=True):
            if isinstance(one.outcome, Failure):
                self.failed.append((path, one.outcome))
            else:
                self.modules.append({"path": path, **orjson.loads(one.outcome)})

    def largest(self) -> list[dict[str, Any]]:
        """Return the modules with the most lines, largest first."""
        return sorted(self.modules, key=lambda one: (-one["lines"], one["path"]))[:SHOWN]

    def total(self, name: str) -> int:
        """Return the sum of a measure over all modules."""
        return sum(module[name] for module in self.modules)


def standard_library() -> Path:
    """Return the folder of this interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def source_files(folder: Path, limit: int | None) -> list[str]:
    """Return the source files below `folder`, sorted, without what was installed there. Blocks."""
    files = [
        str(path)
        for path in folder.rglob("*.py")
        if not set(FOREIGN).intersection(path.relative_to(folder).parts)
    ]
    return sorted(files)[:limit]


async def run_demo(concurrency: int | None, limit: int | None, terminal: Terminal) -> int:
    """Measure the library, print the summary and return the exit code.

    Raises:
        LexigramError: nothing could be started.
    """
    for name, value in (("--concurrency", concurrency), ("--limit", limit)):
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}; it is a number from 1 on.")
    folder, counters, measures = standard_library(), Counters(), Measures()

    async def work(helpers: trio.Nursery) -> None:
        paths = await trio.to_thread.run_sync(source_files, folder, limit)
        counters.total = len(paths)
        setup = _setup(concurrency or default_concurrency("process"))
        await run_items(setup, PathSource(str(folder), paths), measures, counters)

    outcome = await supervise(work, counters, "standard library", terminal, in_processes=True)
    if outcome.error is not None and not counters.done:
        raise outcome.error
    ending = ending_of(counters, outcome.error, outcome.interrupted)
    if ending.status == "items_failed":  # expected: the library keeps broken files for its tests
        ending = evolve(ending, exit_code=EXIT_OK)
    _tell(terminal, ending, counters, measures, folder)
    return ending.exit_code


def _setup(concurrency: int) -> Setup:
    name = TargetName(measure_file.__module__, measure_file.__name__, False, str(Path.cwd()))
    target = Target(name, measure_file, Shape(is_async=False, each=True, guessed=False))
    return Setup(target, "process", concurrency, FILES_A_CALL)


def _tell(
    terminal: Terminal, ending: Ending, counters: Counters, measures: Measures, folder: Path
) -> None:
    terminal.show(lambda console: _print(console, ending, counters, measures, folder))
    if ending.error is not None:
        print_error(terminal.err, ending.error)
    summary = as_json(ending, counters, {"folder": str(folder)})
    summary["largest"] = measures.largest()
    summary["totals"] = {name: measures.total(name) for name in TOTALS}
    summary["not_parsed"] = [
        {"path": path, "error": failure.error, "error_type": failure.error_type}
        for path, failure in measures.failed
    ]
    terminal.emit(summary)


def _print(
    console: "Console", ending: Ending, counters: Counters, measures: Measures, folder: Path
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"largest modules in {folder}", markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    room = max(console.width - NUMBERS_WIDTH, 40)
    for name in ("module", *TOTALS, "longest function"):
        table.add_column(name, justify="right" if name in TOTALS else "left", no_wrap=True)
    for module in measures.largest():
        lines = f" ({module['longest_lines']})" if module["longest"] else ""
        table.add_row(
            shortened(str(Path(module["path"]).relative_to(folder)), room * 11 // 20),
            *(f"{module[name]:,}" for name in TOTALS),
            shortened(module["longest"], room * 9 // 20 - len(lines)) + lines,
        )
    table.add_section()
    table.add_row(
        f"all {len(measures.modules):,}", *(f"{measures.total(name):,}" for name in TOTALS)
    )
    console.print(table)
    _print_failed(console, measures, folder)
    console.print(
        f"{counters.done:,} files in {counters.seconds:.1f} s, {counters.rate:,.0f} files/s"
        + (" (interrupted)" if ending.status == "interrupted" else ""),
        highlight=False,
    )


def shortened(text: str, width: int) -> str:
    """Return `text`, without its beginning where it is wider; the end tells more."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _print_failed(console: "Console", measures: Measures, folder: Path) -> None:
    if not measures.failed:
        return
    console.print(
        f"{len(measures.failed)} files do not parse; the library keeps some to test its own tools:"
    )
    for path, failure in sorted(measures.failed, key=lambda one: one[0])[:SHOWN]:
        console.print(
            f"  {Path(path).relative_to(folder)}: {failure.error}",
            markup=False,
            highlight=False,
            overflow="ellipsis",
            no_wrap=True,
        )
