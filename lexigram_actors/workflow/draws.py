"""What looks random and comes out the same in every replay. Pure.

A draw is made of the instance's seed and of the place of the draw: the scope, the command before
it, and how many draws came since. So one draw more in one place changes none in another, and
nothing has to be recorded.
"""

from __future__ import annotations

import json
from hashlib import sha256
from random import Random
from uuid import UUID

Parts = tuple[str | int, ...]


def uuid_of(parts: Parts) -> UUID:
    """Return a UUID (version 4 by its form) that no other parts give."""
    return UUID(bytes=_digest(("uuid", *parts))[:16], version=4)


def random_of(parts: Parts) -> Random:
    """Return a generator that begins at a state of its own for these parts."""
    return Random(_digest(("random", *parts)))  # noqa: S311 - the same each time, on purpose


def _digest(parts: Parts) -> bytes:
    return sha256(json.dumps(parts).encode()).digest()
