"""The commands and their options, nothing else. What they do stands in `bulk` and `demo`.

Those for instances stand in `instance_commands`.
"""

import math
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from lexigram_actors.cli.console import Terminal, open_standard_streams
from lexigram_actors.cli.errors import EXIT_OK, OptionError
from lexigram_actors.cli.instance_commands import add_instance_commands
from lexigram_actors.cli.options import BulkOptions, Executor, check_folder, parse_rate
from lexigram_actors.cli.outermost import guarded
from lexigram_actors.cli.summary import PROGRAM

EXIT_CODES = """\
Exit codes:

- 0: every item succeeded; the instance completed; what was asked for is done
- 1: some items failed, and are listed in the errors file; the instance failed; `doctor` found
  something to look after
- 2: the command line, TARGET, the items, the store or the place of the output is wrong, or there
  is no such instance
- 3: the run ended early: time-out, failure limit, cancelled, disk, store; or the instance is in a
  state in which this cannot be done
- 70: a defect of this program; the traceback is shown
- 130, 143: interrupted by Ctrl-C, by SIGTERM; the message says how to continue
"""

JSON_FLAG = re.compile(r"--json(=(true|t|yes|y|1))?", re.IGNORECASE)
Flag = Parameter(negative="")


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; every known error is shown as one block."""
    open_standard_streams()
    terminal = Terminal.of_process(as_json=any(JSON_FLAG.fullmatch(one) for one in arguments))
    with terminal:
        return guarded(terminal, lambda: _dispatch(arguments, terminal))


def _dispatch(arguments: Sequence[str], terminal: Terminal) -> int:
    try:
        code = make_app(arguments, terminal)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as problem:
        raise _option_error(problem, arguments) from problem
    return EXIT_OK if code is None else int(code)


def _option_error(problem: CycloptsError, arguments: Sequence[str]) -> OptionError:
    hint = f"{PROGRAM} --help"
    if problem.command_chain:
        hint = " ".join([PROGRAM, *problem.command_chain, "--help"])
    if problem.unused_tokens and len(problem.unused_tokens) > 1 and "--items" in arguments:
        hint = "quote a pattern, or the shell puts all matches in its place: --items 'data/*.txt'"
    return OptionError(str(problem), hint=hint)


def make_app(arguments: Sequence[str], terminal: Terminal) -> App:
    """Build the application for one command line."""
    app = App(
        name=PROGRAM,
        help="Runs functions over many items: concurrently, restartable, with every item "
        "accounted for. Runs workflows that survive crashes, and looks after them.",
        help_epilogue=EXIT_CODES,
        help_format="markdown",
        version=lambda: version("lexigram-actors"),
        console=terminal.out,
        backend="trio",
        suppress_keyboard_interrupt=False,
    )

    @app.command
    async def bulk(
        target: str,
        /,
        *,
        items: Annotated[str, Parameter(allow_leading_hyphen=True)],
        out: Path,
        errors: Path | None = None,
        concurrency: int | None = None,
        batch_size: int | None = None,
        rate: str | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        timeout: float | None = None,
        failure_limit: int | None = None,
        executor: Executor | None = None,
        each: bool | None = None,
        checkpoint: Path | None = None,
        job: Annotated[str | None, Parameter(name="--id")] = None,
        overwrite: Annotated[bool, Flag] = False,
        as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    ) -> int:
        """Run TARGET over many items and write one line of JSON per result.

        Args:
            target: The function to run: module:function or path/file.py:function, sync or async.
                Its first parameter says how it is called: `item: dict` once per item, `items:
                list` or no annotation with a batch, for a list of as many results.
            items: A file of JSON lines, `-` for standard input, or a quoted pattern
                ('data/**/*.txt') whose matching paths are the items.
            out: Where the results go: {"index": 0, "result": ...} a line, in the order in which
                they are ready.
            errors: Where failed items go. Beside the results, as NAME.errors.jsonl, if not given.
            concurrency: How many batches are worked on at once. 5; in processes, one for each
                processor.
            batch_size: Items in one call. 1 when TARGET takes one item in a task or a thread,
                else 10.
            rate: At most so many items a second (50/s) or a minute (30/m).
            retries: How often a failed item is tried again.
            retry_delay: Seconds before the first retry, doubled for each further one.
            timeout: Seconds for the whole run.
            failure_limit: End the run when more items than this have failed.
            executor: Where TARGET runs. task (on the event loop) for an async function, thread
                for a plain one; process for work that keeps the processor busy.
            each: Call TARGET with one item, or with batches, whatever its annotation says.
            checkpoint: A file that keeps the progress of jobs; the same command then continues
                where it stopped. Needs --id.
            job: The name of this job in the checkpoint file.
            overwrite: Discard the results, errors and progress that are there and begin anew.
            as_json: Print the summary as one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.bulk import run_bulk

        check_folder()
        options = BulkOptions(
            target=target,
            items=items,
            out=out,
            errors=errors,
            concurrency=concurrency,
            batch_size=batch_size,
            rate=None if rate is None else parse_rate(rate),
            retries=retries,
            retry_delay=retry_delay,
            timeout=math.inf if timeout is None else timeout,
            failure_limit=failure_limit,
            executor=executor,
            each=each,
            checkpoint=checkpoint,
            job=job,
            overwrite=overwrite,
        )
        return await run_bulk(options, terminal, arguments)

    @app.command
    async def demo(
        *,
        concurrency: int | None = None,
        limit: int | None = None,
        as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    ) -> int:
        """Measure every source file of this Python's standard library, in worker processes.

        Each file is parsed and its lines, functions, classes, imports and longest function are
        counted. Files that do not parse (the library keeps some, to test its own tools) are
        failed items; they are counted and shown, and the exit code stays 0.

        Args:
            concurrency: Worker processes; one for each processor if not given.
            limit: Measure only the first so many files.
            as_json: Print the summary as one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.demo import run_demo

        check_folder()
        return await run_demo(concurrency, limit, terminal)

    add_instance_commands(app, terminal)
    return app
