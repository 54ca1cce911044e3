"""Errors of state machines."""

from __future__ import annotations

from typing import Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError


class StateError(LexigramError):
    """`event` is not permitted from `current_state`; the machine is as it was."""

    code = "LEX_ERR_WF_017"

    def __init__(
        self,
        event: str,
        current_state: str,
        *,
        message: str | None = None,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.event = event
        self.current_state = current_state
        if message is None:
            message = f"event {event!r} is not permitted from state {current_state!r}"
        super().__init__(message, cause=cause, **facts)


class StateConcurrencyError(StateError):
    """Somebody else moved the machine meanwhile; nothing was written.

    Call `recover()` to see where it stands now, then decide whether the event still applies.
    """

    code = "LEX_ERR_WF_018"

    def __init__(
        self,
        event: str,
        current_state: str,
        expected_version: int,
        actual_version: int,
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.expected_version = expected_version
        self.actual_version = actual_version
        super().__init__(
            event,
            current_state,
            message=f"event {event!r} from state {current_state!r} was refused: version "
            f"{expected_version} was expected, version {actual_version} is stored",
            cause=cause,
            **facts,
        )
