"""The last line of defence: every known error becomes one block of text and an exit code."""

from collections.abc import Callable

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import EXIT_INTERRUPTED, describe, exit_code_of
from lexigram_actors.cli.summary import print_error
from lexigram_actors.errors import LexigramError


def guarded(terminal: Terminal, command: Callable[[], int]) -> int:
    """Run `command`; a known error is printed, in JSON too if asked for, and gives its code.

    What is not known is a defect of this program and passes, with its traceback.
    """
    try:
        return command()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseExceptionGroup as group:
        return _report(terminal, _known(group))
    except LexigramError as error:
        return _report(terminal, error)


def _report(terminal: Terminal, error: LexigramError) -> int:
    code = exit_code_of(error)
    print_error(terminal.err, error)
    terminal.emit({"status": "failed", "exit_code": code, "error": describe(error)})
    return code


def _known(group: BaseExceptionGroup[BaseException]) -> LexigramError:
    """Return the one known error in a group, or raise the group."""
    if len(group.exceptions) == 1:
        only = group.exceptions[0]
        if isinstance(only, LexigramError):
            return only
        if isinstance(only, BaseExceptionGroup):
            return _known(only)
    raise group
