"""Errors of bulk operations."""

from __future__ import annotations

from typing import Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError


class BulkOperationError(LexigramError):
    """A bulk operation could not begin, go on or resume; the message says which and why.

    Failed items are no such error: they are reported in the results.
    """

    code = "LEX_ERR_WF_020"

    def __init__(
        self,
        message: str = "Bulk operation error",
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, cause=cause, **facts)


class BulkOperationTimeoutError(BulkOperationError, TimeoutError):
    """The run took longer than its `timeout`. What ended before has been delivered."""

    code = "LEX_ERR_WF_021"

    def __init__(
        self,
        message: str = "Bulk operation timed out",
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, cause=cause, **facts)


class BulkOperationCancelledError(BulkOperationError):
    """The run was ended by `cancel()`. What ended before has been delivered."""

    code = "LEX_ERR_WF_022"

    def __init__(
        self,
        message: str = "Bulk operation cancelled",
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, cause=cause, **facts)
