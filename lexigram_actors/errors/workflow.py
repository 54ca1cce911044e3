"""Errors of pipelines and workflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError, describe


class PipelineExecutionError(LexigramError):
    """A step of a pipeline failed: `step_name` is the step, `error` what it failed with.

    Returned in an `Err` by `execute`. With several failures, `details["errors"]` has them all by
    step. `error` is the cause too, unless another one is given.
    """

    code = "LEX_ERR_PIPE_001"

    def __init__(
        self,
        step_name: str,
        error: Exception,
        details: Mapping[str, Any] | None = None,
        *,
        message: str | None = None,
        code: str | None = None,
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        self.step_name = step_name
        self.error = error
        if cause is None and isinstance(error, BaseException):
            cause = error
        if message is None:
            message = f"step {step_name!r} failed: {describe(error)}"
        super().__init__(message, code=code, details=details, hint=hint, cause=cause)


class PipelineStepError(LexigramError):
    """A step says by itself that it failed: for step functions to raise, or return in an `Err`."""

    code = "LEX_ERR_PIPE_002"

    def __init__(
        self,
        message: str = "Pipeline step error",
        *,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, cause=cause, **facts)


class WorkflowError(PipelineExecutionError):
    """Base of what goes wrong with a workflow as a whole."""

    code = "LEX_ERR_WF_003"

    def __init__(
        self,
        message: str = "Workflow error",
        *,
        step_name: str = "workflow",
        error: Exception | None = None,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        given = error if cause is None else cause
        super().__init__(
            step_name,
            Exception(message) if error is None else error,
            message=message,
            cause=given,
            **facts,
        )
        self.cause = given  # an error made up from the message is no cause of it


class WorkflowNotFoundError(WorkflowError):
    """No workflow is known under that id. Check the id, or register the definition first."""

    code = "LEX_ERR_WF_004"

    def __init__(self, workflow_id: str, **facts: Unpack[ErrorFacts]) -> None:
        self.workflow_id = workflow_id
        super().__init__(f"no workflow is known as {workflow_id!r}", **facts)


class WorkflowStateError(WorkflowError):
    """The workflow is in a state in which this cannot be done. Look at the state, then decide."""

    code = "LEX_ERR_WF_005"


class WorkflowStepError(WorkflowError):
    """A step of a workflow failed for `reason`.

    In a durable function `path` says where in the instance, and `error_type` names the class of
    what it failed with: they are the same after a crash, when `error` itself is gone.
    """

    code = "LEX_ERR_WF_006"

    def __init__(
        self,
        step_name: str,
        reason: str,
        *,
        error: Exception | None = None,
        path: str = "",
        error_type: str = "",
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.reason = reason
        self.path = path
        self.error_type = error_type
        super().__init__(
            f"step {step_name!r} failed: {reason}",
            step_name=step_name,
            error=error,
            cause=cause,
            **facts,
        )


class WorkflowTimeoutError(WorkflowError, TimeoutError):
    """A workflow or step was cancelled because its time was up; all below it has stopped.

    Give it more time, or find what it waited for.
    """

    code = "LEX_ERR_WF_007"


class WorkflowCompensationError(WorkflowError):
    """Undoing failed, at least in part: something is left as it should not be.

    Look at what could not be undone, and try again or settle it by hand.
    """

    code = "LEX_ERR_WF_008"


class WorkflowVersionMismatchError(WorkflowError):
    """A running instance was begun under another version of its definition; it is untouched.

    `expected_version` is the instance's, `actual_version` the definition's. Migrate the instance,
    or run it under the old definition.
    """

    code = "LEX_ERR_WF_010"

    def __init__(
        self,
        workflow_name: str,
        expected_version: int,
        actual_version: int,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.workflow_name = workflow_name
        self.expected_version = expected_version
        self.actual_version = actual_version
        facts.setdefault("hint", "migrate the instance, or start a new one")
        super().__init__(
            f"workflow {workflow_name!r}: the instance was begun with version "
            f"{expected_version}, the definition here is version {actual_version}",
            **facts,
        )


class NonDeterminismError(WorkflowError):
    """A replay did something else than was recorded at the same place; nothing was written.

    `path` is where the code is now, `found` what it asked for there, and `recorded` what the
    journal has instead, as next in that scope. Guard the change with `patched(id)`, or let old
    instances finish under the old code.
    """

    code = "LEX_ERR_WF_026"

    def __init__(self, path: str, recorded: str, found: str, **facts: Unpack[ErrorFacts]) -> None:
        self.path = path
        self.recorded = recorded
        self.found = found
        facts.setdefault("details", {"path": path, "recorded": recorded, "found": found})
        super().__init__(
            f"replay differs at {path}: recorded {recorded}, now {found}",
            **facts,
        )


class WorkflowCancelledError(WorkflowError):
    """The instance was cancelled, because of `reason`; nothing of it is at work any more.

    Start a new one, where it was not meant to end.
    """

    code = "LEX_ERR_WF_028"

    def __init__(
        self,
        reason: str,
        *,
        error: Exception | None = None,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.reason = reason
        facts.setdefault("details", {"reason": reason})
        super().__init__(f"cancelled: {reason}", error=error, cause=cause, **facts)


class WorkflowFailedError(WorkflowError):
    """An instance ended with an error, of which this is what is recorded.

    `error_type` names the class it had. `details` are its own, and `code` among them where it had
    one.
    """

    code = "LEX_ERR_WF_027"

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        error: Exception | None = None,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.error_type = error_type
        super().__init__(message or error_type, error=error, cause=cause, **facts)
