"""Errors of actors and supervisors."""

from __future__ import annotations

from typing import Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError, describe

CHILD_PROBLEMS = {
    "not_found": "is not known",
    "running": "is running; terminate it first",
    "restarting": "is being restarted; wait, or terminate it first",
    "already_present": "is there already, stopped; restart it or delete it first",
    "already_started": "is there already, and running",
    "max_children": "was refused: the supervisor has as many children as it may have",
}
"""What each `ChildError.problem` means, in words. The names are Erlang/OTP's."""


class ActorError(LexigramError):
    """Base of what goes wrong between actors and their supervisors."""

    code = "LEX_ERR_ACT_001"
    default_message = "an actor failed"


class MailboxFull(ActorError):
    """The message was not taken: the mailbox holds as many as it may.

    Raised by `tell_nowait`, and by `tell` and `ask` under `Overflow.REJECT`. Wait with
    `await ref.tell(...)`, send less, or give the actor a larger mailbox.
    """

    code = "LEX_ERR_ACT_002"

    def __init__(self, actor: str, bound: float, **facts: Unpack[ErrorFacts]) -> None:
        self.actor = actor
        self.bound = bound
        facts.setdefault("details", {"actor": actor, "bound": bound})
        super().__init__(f"the mailbox of actor {actor!r} is full (bound {bound})", **facts)


class ActorStopped(ActorError):
    """The actor is stopping or gone, by `reason`; the message was not taken, or not answered.

    Raised by `tell`, `tell_nowait` and `ask`. Nobody will answer under this reference: look the
    actor up again by its name, or spawn another.
    """

    code = "LEX_ERR_ACT_003"

    def __init__(self, actor: str, reason: str = "stopped", **facts: Unpack[ErrorFacts]) -> None:
        self.actor = actor
        self.reason = reason
        facts.setdefault("details", {"actor": actor, "reason": reason})
        super().__init__(f"actor {actor!r} is not running any more: {reason}", **facts)


class ActorFailed(ActorError):
    """The actor crashed while it had the message in hand; the crash is in `cause`.

    Raised by `ask`. Whether the message took effect is unknown. The supervisor has seen the
    crash too: asking again is safe when the message may be handled twice.
    """

    code = "LEX_ERR_ACT_004"

    def __init__(
        self, actor: str, cause: BaseException | None = None, **facts: Unpack[ErrorFacts]
    ) -> None:
        self.actor = actor
        facts.setdefault("details", {"actor": actor})
        why = "" if cause is None else f": {describe(cause)}"
        super().__init__(f"actor {actor!r} failed{why}", cause=cause, **facts)


class AskTimeout(ActorError, TimeoutError):
    """No answer came within `timeout` seconds; the actor goes on.

    Raised by `ask(..., timeout=)`. The message may still be handled later; its answer is dropped.
    """

    code = "LEX_ERR_ACT_005"

    def __init__(self, actor: str, timeout: float, **facts: Unpack[ErrorFacts]) -> None:
        self.actor = actor
        self.timeout = timeout
        facts.setdefault("details", {"actor": actor, "timeout": timeout})
        super().__init__(f"actor {actor!r} did not answer within {timeout:g} s", **facts)


class RestartIntensityExceeded(ActorError):
    """A supervisor gave up: its children failed more than `max_restarts` times in `period` s.

    It has stopped all its children in reverse start order and reports this to its own
    supervisor. The last failure is in `cause`: that is the thing to mend.
    """

    code = "LEX_ERR_ACT_006"

    def __init__(
        self,
        supervisor: str,
        max_restarts: int,
        period: float,
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.supervisor = supervisor
        self.max_restarts = max_restarts
        self.period = period
        facts.setdefault(
            "details",
            {"supervisor": supervisor, "max_restarts": max_restarts, "period": period},
        )
        why = "" if cause is None else f"; last failure: {describe(cause)}"
        super().__init__(
            f"supervisor {supervisor!r} gave up: more than {max_restarts} restarts "
            f"within {period:g} s{why}",
            cause=cause,
            **facts,
        )


class ActorUnresponsive(ActorError):
    """An actor was told to stop, then cancelled, and is still there after `grace` seconds.

    Logged and published, never raised: the stop goes on waiting, since Trio abandons no task.
    `stack` shows where the actor is: look there for a shield or a call that blocks the thread.
    """

    code = "LEX_ERR_ACT_007"

    def __init__(
        self, actor: str, grace: float, stack: str = "", **facts: Unpack[ErrorFacts]
    ) -> None:
        self.actor = actor
        self.grace = grace
        self.stack = stack
        facts.setdefault("details", {"actor": actor, "grace": grace, "stack": stack})
        super().__init__(
            f"actor {actor!r} does not stop: cancelled, and still running after {grace:g} s",
            **facts,
        )


class ActorNameTaken(ActorError):
    """An actor of that name runs already. Choose another name, or look it up with `whereis`."""

    code = "LEX_ERR_ACT_008"

    def __init__(self, name: str, **facts: Unpack[ErrorFacts]) -> None:
        self.name = name
        facts.setdefault("details", {"name": name})
        super().__init__(f"an actor named {name!r} is running already", **facts)


class ChildError(ActorError):
    """A supervisor could not do what it was asked with that child; `problem` says why.

    Raised by `start_child`, `terminate_child`, `restart_child` and `delete_child`. `problem` is
    one of the keys of `CHILD_PROBLEMS`, as Erlang/OTP names them.
    """

    code = "LEX_ERR_ACT_009"

    def __init__(
        self, supervisor: str, child_id: str, problem: str, **facts: Unpack[ErrorFacts]
    ) -> None:
        self.supervisor = supervisor
        self.child_id = child_id
        self.problem = problem
        facts.setdefault(
            "details", {"supervisor": supervisor, "child_id": child_id, "problem": problem}
        )
        words = CHILD_PROBLEMS.get(problem, problem)
        super().__init__(f"child {child_id!r} of supervisor {supervisor!r} {words}", **facts)
