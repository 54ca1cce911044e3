"""The command `bulk`: from checked options to an exit code."""

import contextlib
from collections.abc import Sequence

import trio

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.continuing import run_job
from lexigram_actors.cli.errors import EXIT_OK, CommandError, JobMismatchError, OptionError
from lexigram_actors.cli.lines import PARTIAL
from lexigram_actors.cli.locking import locked
from lexigram_actors.cli.options import BulkOptions, job_name
from lexigram_actors.cli.output import beside, refuse_existing
from lexigram_actors.cli.session import Session
from lexigram_actors.cli.summary import (
    Ending,
    as_json,
    continue_command,
    ending_of,
    print_error,
    print_table,
)
from lexigram_actors.cli.supervising import supervise
from lexigram_actors.errors import BulkOperationError, BulkOperationTimeoutError, LexigramError


async def run_bulk(options: BulkOptions, terminal: Terminal, arguments: Sequence[str]) -> int:
    """Run the command to its end, print its summary and return its exit code.

    Raises:
        LexigramError: nothing could be started.
    """
    session = Session.prepare(options, terminal)
    with contextlib.ExitStack() as locks:
        _lock(session, locks)
        ending = await _run(session)
    _tell(session, ending, arguments)
    return ending.exit_code


def _lock(session: Session, locks: contextlib.ExitStack) -> None:
    """Keep other processes from the output, and from the job, which might write elsewhere."""
    places, checkpoint = session.places, session.checkpoint
    if not places.is_special:
        locks.enter_context(locked(places.lock, str(places.out)))
    if checkpoint is not None:
        if places.is_special:
            raise OptionError(
                f"--out {places.out} is no regular file, and a job with a checkpoint needs one: "
                "it is read when the job is continued."
            )
        if not checkpoint.parent.is_dir():
            raise OptionError(
                f"--checkpoint {checkpoint}: there is no folder {checkpoint.parent}.",
                hint=f"create the folder: mkdir -p {checkpoint.parent}",
            )
        lock = beside(checkpoint, f".{session.options.job}.lock")
        locks.enter_context(locked(lock, f"job {session.options.job!r} in {checkpoint}"))


async def _run(session: Session) -> Ending:
    async def work(helpers: trio.Nursery) -> None:
        if session.checkpoint is None:
            await _run_once(session, helpers)
        else:
            await run_job(session, helpers)

    outcome = await supervise(
        work,
        session.counters,
        session.target.name.attribute,
        session.terminal,
        in_processes=session.executor == "process",
    )
    if outcome.error is not None and not session.began:
        raise outcome.error
    if session.already_complete:
        return Ending("already_complete", EXIT_OK)
    error = outcome.error and _explained(outcome.error, is_job=session.checkpoint is not None)
    return ending_of(session.counters, error, outcome.interrupted)


async def _run_once(session: Session, helpers: trio.Nursery) -> None:
    """Run without a checkpoint: the output gets its name when all items are through."""
    if not session.options.overwrite:
        places = session.places
        refuse_existing(
            beside(file, end) for file in (places.out, places.errors) for end in ("", PARTIAL)
        )
    source = await session.open_items(helpers)
    try:
        await session.run_to_output(source, session.setup(session.batch_size))
    finally:
        source.close()


def _explained(error: LexigramError, *, is_job: bool) -> LexigramError:
    """Return what a user of the command can act on, out of what the operation raised."""
    if isinstance(error.cause, CommandError):
        return error.cause
    is_refusal = isinstance(error, BulkOperationError) and error.cause is None
    if is_job and is_refusal and not isinstance(error, BulkOperationTimeoutError):
        return JobMismatchError(
            error.message,
            hint="give the items and the batch size it was started with, another --id for "
            "another job, or --overwrite to discard it and start again",
        )
    return error


# --- the end --------------------------------------------------------------------------------


def _tell(session: Session, ending: Ending, arguments: Sequence[str]) -> None:
    """Say how it ended: the summary on standard output, errors and what to do next on the other."""
    files = _files(session)
    if ending.error is not None and not session.counters.done:
        pass  # a table of zeros says nothing besides the error
    elif session.places.is_special:  # standard output may be the output itself
        print_table(session.terminal.err, ending, session.counters, files)
    else:
        session.terminal.show(lambda out: print_table(out, ending, session.counters, files))
    if ending.error is not None:
        print_error(session.terminal.err, ending.error)
    next_step = _next_step(session, ending, arguments)
    if next_step:
        session.terminal.err.print(next_step, soft_wrap=True, highlight=False, markup=False)
    summary = as_json(ending, session.counters, files)
    if next_step:
        summary["next"] = next_step
    session.terminal.emit(summary)


def _files(session: Session) -> dict[str, str | None]:
    """Return where the results and the errors are, None for a file that there is not."""
    if session.output is None:
        return {"out": str(session.places.out), "errors": None}
    written = {"out": session.output.results_path, "errors": session.output.errors_path}
    return {
        name: str(path) if path is not None and path.exists() else None
        for name, path in written.items()
    }


def _next_step(session: Session, ending: Ending, arguments: Sequence[str]) -> str | None:
    """Say how to go on, after an end that leaves something to do."""
    if ending.status in ("complete", "already_complete"):
        return None
    if isinstance(ending.error, JobMismatchError):
        return None  # the same command would be refused again; the error's hint says what will do
    if session.checkpoint is not None:
        verb = "try the failed items again" if ending.status == "items_failed" else "continue"
        return f"to {verb}: {continue_command(arguments)}"
    if ending.status == "items_failed" or session.places.is_special:
        return None
    if not session.counters.succeeded:
        return None
    job = ["--checkpoint", "jobs.db", "--id", job_name(session.places.out.stem)]
    return (
        f"the results so far are kept in {_files(session)['out']}. Without a checkpoint a run "
        f"begins anew; one that can be continued: {continue_command([*arguments, *job])}"
    )
