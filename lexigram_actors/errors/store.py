"""Errors of storage."""

from __future__ import annotations

from typing import Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError


class StoreError(LexigramError):
    """The store could not do it: unreachable, locked, full, or closed.

    Nothing that was acknowledged is lost. Whether *this* write took effect is unknown unless the
    message says so; what depends on it has not been started. Mend the store and run again.
    """

    code = "LEX_ERR_STORE_001"
    default_message = "the store failed"


class StoreCorruptedError(StoreError):
    """What was read is damaged: a checksum or a structure is wrong. Nothing was written.

    Do not delete the file: copy it, then restore from a backup as the hint says.
    """

    code = "LEX_ERR_STORE_002"
    default_message = "the store is damaged"


class StoreVersionError(StoreError):
    """The database is another program's, or of a newer version of this library; it is untouched.

    Check the path, or upgrade lexigram_actors.
    """

    code = "LEX_ERR_STORE_003"
    default_message = "the database is not one this version can use"


class LeaseLost(StoreError):
    """Another host owns this instance now, and the late write was refused.

    Stop working on it: the other host goes on from what is recorded.
    """

    code = "LEX_ERR_STORE_004"
    default_message = "the lease is lost: another host owns this instance now"


class NotStorableError(LexigramError, ValueError):
    """A value has no stored form; `path` says where in it, as `$.steps[3].result`.

    Raised before anything is written. Turn that part into plain data, or register its type.
    """

    code = "LEX_ERR_STORE_005"

    def __init__(
        self,
        reason: str,
        *,
        path: str = "$",
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.reason = reason
        self.path = path
        facts.setdefault("details", {"reason": reason, "path": path})
        super().__init__(f"cannot be stored, at {path}: {reason}", cause=cause, **facts)
