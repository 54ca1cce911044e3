"""The last line of defence: every error becomes text, an object if asked for, and an exit code."""

import contextlib
import traceback
from collections.abc import Callable

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    OutputError,
    describe,
    exit_code_of,
)
from lexigram_actors.cli.summary import print_error
from lexigram_actors.errors import LexigramError


def guarded(terminal: Terminal, command: Callable[[], int]) -> int:
    """Run `command`; an error is printed, in JSON too if asked for, and gives its code.

    What is not known is a defect of this program: it is printed with its traceback.
    """
    try:
        code = command()
        terminal.flush()
    except BaseException as error:  # noqa: ASYNC103, BLE001 - there is nobody further out
        known = _known(error)
        return (  # noqa: ASYNC104
            EXIT_INTERRUPTED if isinstance(known, KeyboardInterrupt) else _report(terminal, known)
        )
    return code


def _report(terminal: Terminal, error: BaseException) -> int:
    code = exit_code_of(error) if isinstance(error, LexigramError) else EXIT_DEFECT
    # Whatever cannot be written any more, the code is to tell how it ended.
    with contextlib.suppress(Exception):
        if isinstance(error, LexigramError):
            print_error(terminal.err, error)
        else:
            text = "".join(traceback.format_exception(error))
            terminal.err.print(text, markup=False, highlight=False, soft_wrap=True, end="")
    with contextlib.suppress(Exception):
        terminal.emit({"status": "failed", "exit_code": code, "error": describe(error)})
    return code


def _known(error: BaseException) -> BaseException:
    """Return the one known error that is meant, or `error` itself."""
    only = error
    while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
        only = only.exceptions[0]
    if isinstance(only, LexigramError | KeyboardInterrupt):
        return only
    if isinstance(only, OSError):
        place = only.filename or "standard output, or the current folder"
        return OutputError(f"{place}: {only.strerror or only}.", cause=only)
    return error
