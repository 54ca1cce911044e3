"""From a URL to an open store."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.memory import MemoryStore
from lexigram_actors.storage.ports import Store
from lexigram_actors.storage.sqlite.store import SQLiteStore, Synchronous, checked_synchronous

FORMS: Final = (
    "memory: (nothing outlives the process), sqlite:///relative/path.db, "
    "sqlite:////absolute/path.db"
)
SQLITE: Final = "sqlite:///"
SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
SECRETIVE: Final = re.compile(r"[@?#&=]|password", re.IGNORECASE)


@asynccontextmanager
async def open_store(
    url: str,
    *,
    synchronous: Synchronous = "full",
    codec: Codec | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Store]:
    """Open the store that the URL names, and close it when the block is left.

    Closing waits for what was queued, also when the block was cancelled.

    Args:
        url: `memory:`, `sqlite:///relative.db` or `sqlite:////absolute/path.db`. The path is taken
            as it stands: nothing in it is decoded.
        synchronous: `"full"`: what was acknowledged survives a power loss. `"normal"`: it survives
            a crash of the process. Without meaning for `memory:`.
        codec: Holds your registered types and the limits. None: a plain one.
        clock: Returns wall time in seconds; times to live are judged by it.

    Raises:
        ConfigurationError: The URL has no form that is known; the message shows them.
        StoreVersionError, StoreCorruptedError, StoreError: As `SQLiteStore`.
    """
    path = checked_url(url)
    checked_synchronous(synchronous)
    if path is None:
        yield MemoryStore(codec=codec, clock=clock)
        return
    async with SQLiteStore(path, synchronous=synchronous, codec=codec, clock=clock) as store:
        yield store


def checked_url(url: str) -> str | None:
    """Return the path in the URL of a SQLite store; None for the memory."""
    if url == "memory:":
        return None
    if not isinstance(url, str):
        raise ConfigurationError(
            f"the URL of a store is text, and was {type(url).__qualname__}", hint=FORMS
        )
    path = url.removeprefix(SQLITE)
    if path == url or not path or path == ":memory:" or "?" in path or "\0" in path:
        raise ConfigurationError(f"no store has the URL {shown(url)}: {problem(url)}", hint=FORMS)
    return path


def problem(url: str) -> str:
    """Say what is wrong with a URL."""
    if url.startswith(("postgresql:", "postgres:")):
        return "this build has no PostgreSQL store"
    if ":memory:" in url:
        return "the store in memory is memory:"
    if url.startswith(SQLITE):
        return "it takes the path of a file, and no parameters"
    if url.startswith("sqlite:"):
        return "sqlite: is followed by three slashes, and by four where the path is absolute"
    return "it begins with memory: or sqlite:///"


def shown(url: str) -> str:
    """Return the URL as a message may show it: the path of a file, else its scheme alone.

    A secret may stand anywhere in the URL of a server, and in parameters whatever their names.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        scheme, rest = "", url
    if SECRETIVE.search(rest) is None and scheme.lower() in ("", "sqlite", "memory"):
        return repr(url)
    return repr(f"{scheme}:...") if SCHEME.fullmatch(scheme) else "'...'"
