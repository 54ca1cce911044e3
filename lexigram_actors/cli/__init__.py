"""The command `lexigram-actors`. Importing this imports neither cyclopts nor rich: `main` does."""

import sys
from collections.abc import Sequence

EXTRA = "cli"
NEEDED = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. None takes the process's own arguments.

    Where the packages of the extra `cli` are not installed, it says which extra to install and
    returns 2.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from lexigram_actors.cli.app import run
    except KeyboardInterrupt:
        return 130  # as `errors.EXIT_INTERRUPTED`, which may be what could not be imported
    except ModuleNotFoundError as problem:
        missing = (problem.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        return _without_extra(missing, problem)
    return run(given)


def _without_extra(package: str, problem: ModuleNotFoundError) -> int:
    from lexigram_actors.cli.errors import EXIT_USAGE
    from lexigram_actors.errors import MissingExtraError

    error = MissingExtraError(package, EXTRA, cause=problem)
    print(f"error: {error}", file=sys.stderr)
    return EXIT_USAGE


__all__ = ["main"]
