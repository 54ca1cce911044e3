"""The store that a command names, and the values it is given."""

import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, final

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.summary import PROGRAM
from lexigram_actors.errors.base import json_safe
from lexigram_actors.storage import Codec, open_store
from lexigram_actors.storage.opening import checked_url, shown
from lexigram_actors.storage.ports import Store
from lexigram_actors.storage.registered import Registered

STORE_VARIABLE = "LEXIGRAM_STORE"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Open the store of instances that there are. None is made: a misspelt path is an error.

    Raises:
        OptionError: there is no such file, or what is there ends with this process.
        LexigramError: it cannot be opened.
    """
    check_exists(url)
    async with open_store(url, codec=reading_codec()) as store:
        yield store


def reading_codec() -> Codec:
    """Return a codec that reads values of types that it does not know, as text.

    The types are registered in the programs that run the instances; their values can be shown, and
    told from others, without them.
    """
    codec = Codec()
    codec.by_name = ShownTypes()
    return codec


@final
class ShownTypes(dict[str, Registered]):
    """What a codec knows of types by their names: of each how to show it."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return what shows values of that type."""

        def load(inner: Any) -> str:
            return f"{name}({json.dumps(json_safe(inner), ensure_ascii=False)})"

        # Nothing is stored as such a type: `dump` is never called.
        return Registered(object, name, str, load) if isinstance(name, str) else default


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
        is_shown = shown(url) == repr(url)
        raise OptionError(
            f"--store {url}: there is no file {os.path.abspath(path)}."
            if is_shown
            else f"--store {shown(url)}: there is no such file.",
            hint="check the path; a store is made by the host that uses it first",
        )
    return path


def parse_value(name: str, text: str | None) -> Any:
    """Return a value that was given as JSON, or as text: what is no JSON stands for itself.

    `7` is a number, `'"7"'` and `seven` are texts. What begins as an object, a list or a quoted
    text and is no JSON is a mistake, rather than a text; so is a number too long to be one.

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
        if text.lstrip()[:1] in ("{", "[", '"') or text.strip().lstrip("-").isdigit():
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
