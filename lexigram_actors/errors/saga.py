"""Errors of sagas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError, describe


class SagaError(LexigramError):
    """A saga failed at `step_name`; the steps done before were undone, as far as could be.

    `cause` is what the step failed with (any value, as it returned it), `compensation_errors` has
    the undos that failed by step, `uncompensated` the steps that stand and need an operator.
    """

    code = "LEX_ERR_WF_019"

    def __init__(
        self,
        step_name: str,
        cause: Any = None,
        *,
        compensation_errors: Mapping[str, Exception] | None = None,
        uncompensated: Sequence[str] = (),
        message: str | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.step_name = step_name
        self.compensation_errors = dict(compensation_errors or {})
        self.uncompensated = list(uncompensated)
        if message is None:
            failed = f"saga step {step_name!r} failed"
            why = "" if cause is None else describe(cause)
            says_so_itself = why.startswith(failed)
            message = why if says_so_itself else f"{failed}: {why}" if why else failed
            if self.uncompensated:
                message += f" (not undone: {', '.join(map(repr, self.uncompensated))})"
        super().__init__(message, **facts)
        self.cause = cause


class SagaStepError(SagaError):
    """The action or the undo of one step failed, by raising or by its time-out."""

    code = "LEX_ERR_WF_023"

    def __init__(
        self,
        step_name: str,
        detail: str = "",
        cause: Any = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.detail = detail
        message = f"saga step {step_name!r} failed: {detail}" if detail else None
        super().__init__(step_name, cause, message=message, **facts)


class SagaVersionMismatchError(SagaError):
    """The stored saga was begun under another version of its class; it is untouched.

    Migrate the record, let `is_compatible_with` accept it, or run the old class.
    """

    code = "LEX_ERR_WF_009"

    def __init__(
        self,
        saga_id: str,
        expected_version: int,
        stored_version: int,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.saga_id = saga_id
        self.expected_version = expected_version
        self.stored_version = stored_version
        super().__init__(
            "",
            message=f"saga {saga_id!r} was begun with version {stored_version}, "
            f"the class here is version {expected_version}",
            **facts,
        )
