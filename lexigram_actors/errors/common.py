"""Errors of the ground: configuration, a missing extra, an open breaker, a wrong unwrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from lexigram_actors.errors.base import ErrorFacts, LexigramError, repr_of


class ConfigurationError(LexigramError, ValueError):
    """A setting is wrong: its name, its type, its range, or the file it should come from.

    Raised when a config is made, before anything runs. Correct the setting that the message
    names; all wrong ones are listed at once, and `problems` holds them one by one.
    """

    code = "LEX_ERR_CONF_001"
    default_message = "wrong configuration"

    def __init__(
        self,
        message: str | None = None,
        *,
        problems: Sequence[str] = (),
        cause: BaseException | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        self.problems = tuple(problems)
        head = self.default_message if message is None else str(message)
        if len(self.problems) == 1:
            head = f"{head}: {self.problems[0]}"
        elif self.problems:
            head = "\n  - ".join([f"{head}:", *self.problems])
        super().__init__(head, cause=cause, **facts)


class MissingExtraError(LexigramError, ImportError):
    """Something was used that needs a package which is not installed; install the extra named.

    Raised on first use, never on `import lexigram_actors`.
    """

    code = "LEX_ERR_CONF_002"
    name: str | None = None  # over ImportError's, whose value a copy would lose

    def __init__(self, package: str, extra: str, *, cause: BaseException | None = None) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"the package {package!r} is needed for this and is not installed",
            details={"package": package, "extra": extra},
            hint=f"pip install 'lexigram-actors[{extra}]'",
            cause=cause,
        )
        self.name = package


class CircuitOpenError(LexigramError):
    """The circuit breaker is open: the call was not made, because recent ones kept failing.

    Try again after `retry_after` seconds (None: unknown, a probe is under way or the breaker was
    opened by hand), or do without.
    """

    code = "LEX_ERR_RES_001"

    def __init__(
        self, name: str = "", retry_after: float | None = None, **facts: Unpack[ErrorFacts]
    ) -> None:
        self.name = name
        self.retry_after = retry_after
        who = f"circuit breaker {name!r}" if name else "the circuit breaker"
        when = "" if retry_after is None else f"; next try in {retry_after:g} s"
        facts.setdefault("details", {"name": name, "retry_after": retry_after})
        super().__init__(f"{who} is open, the call was not made{when}", **facts)


class UnwrapError(LexigramError):
    """A result was unwrapped as what it is not; it is in `result`.

    Raised by `unwrap` and `expect` of an `Err` (an exception in it is the cause) and by
    `unwrap_err` of an `Ok`. Ask `is_ok()` first, `match` on it, or use `unwrap_or`.
    """

    code = "LEX_ERR_CORE_003"

    def __init__(self, result: object, message: str | None = None) -> None:
        self.result = result
        cause = getattr(result, "error", None)
        said = repr_of(result)
        super().__init__(
            f"unwrapped the wrong way: {said}" if message is None else f"{message}: {said}",
            cause=cause if isinstance(cause, BaseException) else None,
        )
