"""The process's own standard output and error, kept apart by purpose.

Standard output carries the summary: a table, or with `--json` exactly one JSON object. Standard
error carries the bar and errors. A reader that goes away (`| head`) is no error.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

from lexigram_actors.cli.encode import to_json
from lexigram_actors.errors.base import json_safe

STDOUT, STDERR = 1, 2


class Terminal:
    """Where a command writes. With `as_json` everything that others print goes to standard error,
    also from worker processes and C code, so that the object stands alone.
    """

    def __init__(self, out: Console, err: Console, *, as_json: bool) -> None:
        self.out = out
        self.err = err
        self.as_json = as_json
        self._saved: int | None = None

    @classmethod
    def of_process(cls, *, as_json: bool) -> "Terminal":
        """Use the standard output and error of this process."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A file name may hold what the terminal's encoding has no letter for.
                stream.reconfigure(errors="backslashreplace")
        return cls(PatientConsole(), PatientConsole(stderr=True), as_json=as_json)

    @property
    def is_live(self) -> bool:
        """Whether a bar can be shown: standard error is a terminal that can move its cursor."""
        return self.err.file.isatty() and not self.err.is_dumb_terminal

    def __enter__(self) -> Self:
        if self.as_json:
            sys.stdout.flush()
            self._saved = os.dup(STDOUT)
            os.dup2(STDERR, STDOUT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self.flush()
        if self._saved is not None:
            os.dup2(self._saved, STDOUT)
            os.close(self._saved)
            self._saved = None

    def flush(self) -> None:
        """Write out what is still kept back of standard output. Does not fail a second time.

        Raises:
            OSError: it cannot be written, for another reason than a reader that has gone.
        """
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # what TARGET printed has no reader any more
            write_nowhere(STDOUT)
        except OSError:
            write_nowhere(STDOUT)
            raise

    def note(self, text: str) -> None:
        """Say something beside the bar, on standard error."""
        # A styled text, not print's own style: that would colour the bar below it too.
        self.err.print(Text(text, style="yellow"), soft_wrap=True)

    def emit(self, summary: dict[str, Any]) -> None:
        """Write the JSON object, if one was asked for."""
        if self._saved is not None:
            with contextlib.suppress(BrokenPipeError):
                write_whole(self._saved, to_json(json_safe(summary)) + b"\n")

    def show(self, draw: Callable[[Console], None]) -> None:
        """Print for people, unless JSON was asked for."""
        if not self.as_json:
            draw(self.out)


class PatientConsole(Console):
    """A console that goes on when its reader has gone; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        """Let nothing fail on this output again."""
        self.quiet = True
        write_nowhere(self.file.fileno())


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however many pieces the reader takes it in."""
    while data:
        data = data[os.write(descriptor, data) :]


def open_standard_streams() -> None:
    """Open what was closed of standard input, output and error, before files get their numbers.

    What is written vanishes then; reading standard input fails.
    """
    for descriptor in (0, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # gets the lowest number that is free
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
    for name, descriptor in (("stdout", STDOUT), ("stderr", STDERR)):
        if getattr(sys, name) is None:
            stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def write_nowhere(descriptor: int) -> None:
    """Let what is written to `descriptor` vanish."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
