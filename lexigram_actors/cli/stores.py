"""The store that a command names, and the values it is given."""

import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.summary import PROGRAM
from lexigram_actors.storage import open_store
from lexigram_actors.storage.opening import checked_url
from lexigram_actors.storage.ports import Store

STORE_VARIABLE = "LEXIGRAM_STORE"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Open the store of instances that there are. None is made: a misspelt path is an error.

    Raises:
        OptionError: there is no such file, or what is there ends with this process.
        LexigramError: it cannot be opened.
    """
    check_exists(url)
    async with open_store(url) as store:
        yield store


def check_exists(url: str) -> str:
    """Return the path of the file of a store that is there.

    Raises:
        OptionError: there is none, or the store is no file.
        ConfigurationError: the URL is not one of a store.
    """
    path = checked_url(url)
    if path is None:
        raise OptionError(
            "--store memory: holds nothing that another process could see.",
            hint="give the store that the host uses: --store sqlite:///flows.db",
        )
    if not os.path.exists(path):
        raise OptionError(
            f"--store {url}: there is no file {os.path.abspath(path)}.",
            hint="check the path; a store is made by the host that uses it first",
        )
    return path


def parse_value(name: str, text: str | None) -> Any:
    """Return a value that was given as JSON, or as text: what is no JSON stands for itself.

    `7` is a number, `'"7"'` and `seven` are texts. What begins as an object, a list or a quoted
    text and is no JSON is a mistake, rather than a text.

    Raises:
        OptionError: it is such a mistake.
    """
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as problem:
        raise OptionError(f"{name} is nested too deep.", cause=problem) from problem
    except ValueError as problem:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise OptionError(
                f"{name} begins as JSON and is none: {problem}.",
                hint="""quote it for the shell: '{"amount": 3}'; a text of its own: '"[draft]"'""",
                cause=problem,
            ) from problem
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def command_line(command: str, *arguments: str, store: str) -> str:
    """Return a command line to be copied from the terminal."""
    return shlex.join([PROGRAM, command, *arguments, "--store", store])
