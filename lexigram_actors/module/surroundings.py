"""Where a provider is awaited: under Trio, under asyncio, or under neither.

A host framework awaits providers on whatever loop it has. Trio called from another loop fails, and
asyncio called from Trio too; so what waits, limits or runs side by side asks here first. Trio and
AnyIO have the same names for most of it, and AnyIO is imported where it is needed and not before:
under Trio it never is.

Without AnyIO there are no time limits under asyncio. Then nothing is asked that may not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import sniffio
import trio
from attrs import frozen

TRIO: Final = "trio"


@frozen
class Surroundings:
    """The tools of the library that runs the task: those that Trio and AnyIO both have.

    Args:
        library: `"trio"` or `"asyncio"`.
        open_group: Opens a nursery, or a task group: it has `start_soon(fn, *args)`.
        move_on_after: As Trio's: `move_on_after(seconds, shield=False)`.
        current_time: Returns the seconds of the clock that limits go by.
        lock: Makes a lock.
    """

    library: str
    open_group: Callable[[], AbstractAsyncContextManager[Any]]
    move_on_after: Callable[..., Any]
    current_time: Callable[[], float]
    lock: Callable[[], AbstractAsyncContextManager[Any]]


UNDER_TRIO: Final = Surroundings(
    TRIO, trio.open_nursery, trio.move_on_after, trio.current_time, trio.Lock
)


def library() -> str | None:
    """Return the name of the async library that runs this task; None: none does."""
    try:
        return sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None


def surroundings() -> Surroundings | None:
    """Return the tools of this task; None: there are none here.

    There are none outside of an async library, under one that is neither Trio nor asyncio, and
    under asyncio where AnyIO is not installed.
    """
    found = library()
    if found == TRIO:
        return UNDER_TRIO
    return under_anyio() if found == "asyncio" else None


def under_anyio() -> Surroundings | None:
    """Return AnyIO's tools; None: it is not installed."""
    try:
        import anyio
    except ImportError:
        return None
    return Surroundings(
        "asyncio", anyio.create_task_group, anyio.move_on_after, anyio.current_time, anyio.Lock
    )
