"""The root of the error tree, and what makes every error survive pickle and copy.

An exception of Python is rebuilt by calling its class with `args`, which breaks as soon as a
constructor takes anything but the message. Errors here are rebuilt *without* their constructor:
the fields are put back as they were, so a subclass with any constructor of its own travels too.
What cannot travel at all (a lock among the details, a cause whose class refuses to be rebuilt) is
replaced by a description of it, because an error that fails to arrive hides the failure it reports.

Whether a value can travel is judged by copying it, which does not notice a lambda deep inside an
object of another library.

Rejected: rebuilding through a recorded constructor call. It runs user code on arrival, and one
changed signature makes old errors unreadable.
"""

from __future__ import annotations

import copy
import math
import operator
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict, final

MAX_DEPTH = 16
"""Nesting of details that `to_dict` follows; what lies deeper is shown as its repr."""


PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values travel, without looking further."""


class ErrorFacts(TypedDict, total=False):
    """The keywords that every error takes besides its own fields and its cause."""

    code: str | None
    details: Mapping[str, Any] | None
    hint: str | None


class LexigramError(Exception):
    """The root of every error this library raises; catch it to catch them all.

    Args:
        message: What happened, for a person. None takes the class's own sentence.
        code: A stable name for programs, as `LEX_ERR_ACT_001`. None takes the class's.
        details: Facts for programs. Copied; any value is allowed.
        hint: What the reader can do about it. Shown below the message.
        cause: What led to this. It becomes `__cause__`, so that a traceback shows it.

    `raise error from other` is seen in `cause` as well, unless a cause was given here.
    """

    code: str = "LEX_ERR_CORE_001"
    default_message: str = "lexigram_actors failed"

    message: str
    details: dict[str, Any]
    hint: str | None

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        self.message = self.default_message if message is None else str(message)
        super().__init__(self.message)
        if code is not None:
            self.code = code
        self.details = dict(details) if details else {}
        self.hint = hint
        self._cause: object = None
        if cause is not None:
            self.cause = cause

    @property
    def cause(self) -> Any:
        """What led to this error: the one given, else the one of `raise ... from`, else None."""
        return self.__cause__ if self._cause is None else self._cause

    @cause.setter
    def cause(self, cause: object) -> None:
        # A saga step may fail with any value (`Err("no stock")`), which `__cause__` cannot hold.
        self._cause = cause
        self.__cause__ = cause if isinstance(cause, BaseException) else None

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain JSON values.

        Always `code`, `message` and `details`; `hint` and `cause` (`type`, `message`) when there
        are any. A value JSON has no form for is shown as its repr.
        """
        facts: dict[str, Any] = {
            "code": self.code,
            "message": json_safe(self.message),
            "details": json_safe(self.details),
        }
        if self.hint is not None:
            facts["hint"] = json_safe(self.hint)
        if self.cause is not None:
            facts["cause"] = {
                "type": type(self.cause).__name__,
                "message": json_safe(text_of(self.cause)),
            }
        return facts

    def __reduce__(self) -> tuple[Any, ...]:
        return revive, (type(self), portable(self.args)), portable(self._state())

    def __copy__(self) -> Self:
        twin: Self = revive(type(self), self.args)
        twin.__setstate__(self._state())
        twin.details = dict(self.details)
        return twin

    def _state(self) -> dict[str, Any]:
        # In this order: setting a cause sets the flag too. Notes are in `__dict__`.
        return {
            **self.__dict__,
            **slots_of(self),
            "__cause__": self.__cause__,
            "__suppress_context__": self.__suppress_context__,
        }


@final
class ForeignError(LexigramError):
    """Stands in the place of an exception that could not be copied or sent to another process.

    Found as `cause` (or among the details) of an error that travelled. Nothing is wrong with the
    error itself; look at `type_name` and `text`, and in the log of the process it came from.
    """

    code = "LEX_ERR_CORE_002"

    def __init__(self, type_name: str, text: str = "") -> None:
        self.type_name = type_name
        self.text = text
        super().__init__(f"{type_name}: {text}" if text else type_name)


def revive(kind: type[LexigramError], args: tuple[Any, ...]) -> Any:
    """Make an error of that class without running its constructor; its state follows."""
    error = kind.__new__(kind, *args)
    super(LexigramError, error).__init__(*args)
    return error


def slots_of(error: LexigramError) -> dict[str, Any]:
    """Return what is in the slots that subclasses declare, where anything is."""
    state: Any = object.__getstate__(error)  # with slots: a pair of the dict and theirs
    return state[1] if isinstance(state, tuple) else {}


# --- describing ------------------------------------------------------------------------------


def text_of(value: object) -> str:
    """Return what an error says, without its class; never raises."""
    if isinstance(value, LexigramError):
        return value.message
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error being reported
        return f"<{type(value).__name__} that cannot be shown>"


def describe(value: object) -> str:
    """Return one phrase for a failure: `KeyError: 'total'`, or the message of one of ours."""
    text = text_of(value)
    if not isinstance(value, BaseException) or isinstance(value, LexigramError):
        return text
    name = type(value).__name__
    if not text:
        return name
    return text if type(value) is Exception else f"{name}: {text}"


def sole_error(error: BaseException) -> BaseException:
    """Return the one exception inside groups of one, else the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def repr_of(value: object) -> str:
    """Return the repr of anything; never raises."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"<{type(value).__name__} that cannot be shown>"


def json_safe(value: object, depth: int = 0) -> Any:
    """Return the value with whatever JSON cannot hold replaced by its repr."""
    if isinstance(value, str):
        # Lone surrogates are no UTF-8: strict encoders refuse them.
        return str.__str__(value).encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:  # what any store takes as well
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth < MAX_DEPTH:
        if isinstance(value, dict):
            return json_mapping(value, depth + 1)
        if isinstance(value, list | tuple):
            return [json_safe(item, depth + 1) for item in value]
    return json_safe(repr_of(value))


def json_mapping(mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """Return a mapping whose keys are strings; of keys that look alike, the later are numbered."""
    safe: dict[str, Any] = {}
    for key, item in mapping.items():
        name = plain = json_key(key)
        number = 1
        while name in safe:
            number += 1
            name = f"{plain} ({number})"
        safe[name] = json_safe(item, depth)
    return safe


def json_key(key: object) -> str:
    """Return a mapping's key as JSON wants it: a string."""
    safe = json_safe(key if isinstance(key, str) else repr_of(key))
    return str(safe)


# --- travelling ------------------------------------------------------------------------------


def portable(value: Any, depth: int = 0) -> Any:
    """Return the value with what cannot be pickled or copied replaced by a description of it.

    The very same value where nothing had to be replaced.
    """
    if type(value) in PLAIN or isinstance(value, LexigramError):
        return value  # errors of ours look after themselves
    if depth < MAX_DEPTH:
        if type(value) is dict:
            parts = [part for item in value.items() for part in item]
            fit = portable_parts(parts, depth)
            return value if fit is parts else dict(zip(fit[::2], fit[1::2], strict=True))
        if type(value) is list or type(value) is tuple:
            fit = portable_parts(value, depth)
            return value if fit is value else type(value)(fit)
        if isinstance(value, BaseExceptionGroup):
            fit = portable_parts(value.exceptions, depth)
            if fit is not value.exceptions:
                return BaseExceptionGroup(value.message, fit)
    if can_travel(value, depth):
        return value
    if isinstance(value, BaseException):
        return ForeignError(type(value).__name__, text_of(value))
    return repr_of(value)


def portable_parts(parts: Sequence[Any], depth: int) -> Sequence[Any]:
    """Return the parts made portable, or the very same sequence where all were."""
    fit = [portable(part, depth + 1) for part in parts]
    return parts if all(map(operator.is_, fit, parts)) else fit


def can_travel(value: object, depth: int) -> bool:
    """Say whether pickle and deepcopy can take the value there and rebuild it."""
    if isinstance(value, type) or callable(value):
        return found_by_name(value)
    if not found_by_name(type(value)):
        return False
    try:
        copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever it raises, the answer is no
        return False
    if not isinstance(value, BaseException):
        return True
    inside = (*value.args, *value.__dict__.values())
    return all(portable(item, depth + 1) is item for item in inside)


def found_by_name(thing: Any) -> bool:
    """Say whether a class or function can be found again by its module and name, as pickle does."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for part in getattr(thing, "__qualname__", "<none>").split("."):
        found = getattr(found, part, None)
    return found is thing
