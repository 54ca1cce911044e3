"""The options of `bulk` as checked values. What is wrong is said before anything is opened."""

import math
import os
import re
from pathlib import Path
from typing import Literal

from attrs import frozen

from lexigram_actors.cli.errors import OptionError

Executor = Literal["task", "thread", "process"]

RATE = re.compile(r"(?P<count>[0-9]*\.?[0-9]+)(?:/(?P<unit>s|m))?")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_BATCH = 1_000_000


@frozen
class BulkOptions:
    """What the command line asks for; `None` leaves the choice to the kind of TARGET."""

    target: str
    items: str
    out: Path
    errors: Path | None = None
    concurrency: int | None = None
    batch_size: int | None = None
    rate: float | None = None
    """Items a second."""
    retries: int = 0
    retry_delay: float = 1.0
    timeout: float = math.inf
    failure_limit: int | None = None
    executor: Executor | None = None
    each: bool | None = None
    checkpoint: Path | None = None
    job: str | None = None
    overwrite: bool = False
    as_json: bool = False

    def __attrs_post_init__(self) -> None:
        _check_numbers(self)
        _check_job(self)
        if not self.items:
            raise OptionError("--items is empty.", hint="a file, - or a quoted pattern")
        _check_files(self)


def _check_numbers(options: BulkOptions) -> None:
    for name, value, least in (
        ("--concurrency", options.concurrency, 1),
        ("--batch-size", options.batch_size, 1),
        ("--retries", options.retries, 0),
        ("--failure-limit", options.failure_limit, 0),
    ):
        if value is not None and value < least:
            raise OptionError(f"{name} is {value}; it is a number from {least} on.")
    if options.batch_size is not None and options.batch_size > MAX_BATCH:
        raise OptionError(f"--batch-size is {options.batch_size}; {MAX_BATCH} is the most.")
    if not options.timeout > 0:
        raise OptionError(f"--timeout is {options.timeout:g}; it is seconds, more than 0.")
    if not 0 <= options.retry_delay < math.inf:
        raise OptionError(f"--retry-delay is {options.retry_delay:g}; it is seconds, 0 or more.")


def _check_files(options: BulkOptions) -> None:
    files: dict[str, str | Path | None] = {
        "--items": options.items,
        "--out": options.out,
        "--errors": options.errors,
        "--checkpoint": options.checkpoint,
    }
    seen: dict[str, str] = {}
    for name, path in files.items():
        if path is not None:
            other = seen.setdefault(os.path.realpath(path), name)
            if other != name:
                raise OptionError(f"{other} and {name} are both {path}; give two files.")


def _check_job(options: BulkOptions) -> None:
    if (options.checkpoint is None) is not (options.job is None):
        given, missing = (
            ("--checkpoint", "--id") if options.job is None else ("--id", "--checkpoint")
        )
        raise OptionError(
            f"{given} needs {missing} as well: the file keeps the progress of several jobs, and "
            "the id says which one this is.",
            hint="--checkpoint jobs.db --id NAME",
        )
    if options.job is not None and not JOB_NAME.fullmatch(options.job):
        raise OptionError(
            f"--id {options.job!r} is not a job name: up to 100 letters, digits, '.', '_' "
            "and '-', beginning with a letter or digit."
        )


def job_name(text: str) -> str:
    """Return a name for a job that is like `text`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or "job"


def parse_rate(text: str) -> float:
    """Return items a second from `50/s`, `50` or `30/m`.

    Raises:
        OptionError: it is none of these, or not above 0.
    """
    match = RATE.fullmatch(text.strip())
    rate = float(match["count"]) / (60 if match["unit"] == "m" else 1) if match else 0.0
    if not rate > 0:
        raise OptionError(
            f"--rate {text!r} is not a rate above 0.", hint="50/s, 50 (a second) or 30/m"
        )
    return rate


def check_folder() -> None:
    """Refuse to start where there is no current folder any more.

    Raises:
        OptionError: it was removed, or may not be read.
    """
    try:
        os.getcwd()
    except OSError as problem:
        raise OptionError(
            f"the current folder cannot be used: {problem.strerror}.",
            hint="it was removed, perhaps; change to another",
            cause=problem,
        ) from problem
