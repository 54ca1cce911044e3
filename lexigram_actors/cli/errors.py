"""What can go wrong with a command, and the exit code of each.

    LexigramError
        CommandError            2   the command line or what it names is wrong
            OptionError         2   change an option
            TargetError         2   change TARGET, or the function behind it
            ItemsError          2   change the items
            OutputPlaceError    2   no file can be written there: choose another place
            OutputExistsError   2   choose another output, or say --overwrite
            OutputBusyError     2   another process is writing there: wait, or choose another
            JobMismatchError    2   the job of this --id was started differently
            OutputError         3   the disk or the folder refused a write: mend it and continue
            RunError            3   the run ended before its items did

Every other `LexigramError` (a store that is damaged, a run that timed out) ends with 3 as well, but
for a missing extra, a wrong configuration, an instance that there is not and a value that cannot be
stored, which end with 2. Any other exception is a defect of this program, and ends with 70 and its
traceback.
"""

from typing import Any, ClassVar, final

from lexigram_actors.errors import (
    ConfigurationError,
    LexigramError,
    MissingExtraError,
    NotStorableError,
    WorkflowNotFoundError,
)
from lexigram_actors.errors.base import json_safe

EXIT_OK = 0
EXIT_ITEMS_FAILED = 1
EXIT_USAGE = 2
EXIT_RUN_FAILED = 3
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class CommandError(LexigramError):
    """The command cannot do what was asked; `exit_code` is what the process ends with."""

    code = "LEX_ERR_CLI_001"
    exit_code: ClassVar[int] = EXIT_USAGE


@final
class OptionError(CommandError):
    """An option's value, or a combination of options, is wrong. Nothing was started."""

    code = "LEX_ERR_CLI_002"


@final
class TargetError(CommandError):
    """TARGET cannot be imported, is not a function, or breaks its contract.

    When it breaks the contract while running (a wrong number of results), what was done before
    is kept and recorded.
    """

    code = "LEX_ERR_CLI_003"


@final
class ItemsError(CommandError):
    """The items cannot be read: no such file, no match, or a line that is not JSON.

    A broken line is found when it is reached; what was done before is kept and recorded.
    `details` holds `path`, `line` and `column` (both from 1) for a broken line.
    """

    code = "LEX_ERR_CLI_004"


@final
class OutputPlaceError(CommandError):
    """No file can be written where the option says: no such folder, or no permission."""

    code = "LEX_ERR_CLI_010"


@final
class OutputExistsError(CommandError):
    """Results of an earlier run stand where this one would write. Nothing was touched."""

    code = "LEX_ERR_CLI_005"


@final
class OutputBusyError(CommandError):
    """Another running process holds the output or the job. Nothing was touched."""

    code = "LEX_ERR_CLI_006"


@final
class JobMismatchError(CommandError):
    """The recorded job of this id and the command, or its results file, do not fit together.

    Nothing was touched.
    """

    code = "LEX_ERR_CLI_007"


@final
class OutputError(CommandError):
    """The output could not be written. What was recorded before is kept."""

    code = "LEX_ERR_CLI_008"
    exit_code: ClassVar[int] = EXIT_RUN_FAILED


@final
class RunError(CommandError):
    """The run ended before all items did: time-out, failure limit. What was done is kept."""

    code = "LEX_ERR_CLI_009"
    exit_code: ClassVar[int] = EXIT_RUN_FAILED


WRONGLY_CALLED = (
    MissingExtraError,
    ConfigurationError,
    WorkflowNotFoundError,
    NotStorableError,
)
"""What the caller of a command mends by calling it differently."""


def exit_code_of(error: LexigramError) -> int:
    """Return the documented exit code for `error`."""
    if isinstance(error, WRONGLY_CALLED):
        return EXIT_USAGE
    return error.exit_code if isinstance(error, CommandError) else EXIT_RUN_FAILED


def describe(error: BaseException) -> dict[str, Any]:
    """Return `error` as plain values, for the JSON summary."""
    if isinstance(error, LexigramError):
        return error.to_dict()
    return {"code": type(error).__name__, "message": json_safe(str(error)), "details": {}}
