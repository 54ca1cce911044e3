"""`Result`: an outcome that is either `Ok(value)` or `Err(error)`.

A result carries expected outcomes; exceptions carry misuse, bugs and cancellation. Nothing here
catches an exception: what a function given to a method raises passes through.

| method | on `Ok(v)` | on `Err(e)` |
| --- | --- | --- |
| `unwrap()`, `expect(m)` | `v` | raises `UnwrapError` |
| `unwrap_err()` | raises `UnwrapError` | `e` |
| `unwrap_or(d)`, `ok_or(d)` | `v` | `d` |
| `unwrap_or_else(fn)` | `v` | `fn(e)` |
| `to_optional()` | `v` | `None` |
| `map_sync(fn)`, `map(fn)` | `Ok(fn(v))` | itself |
| `map_err(fn)` | itself | `Err(fn(e))` |
| `and_then_sync(fn)`, `and_then(fn)` | `fn(v)` | itself |
| `or_else_sync(fn)`, `or_else(fn)` | itself | `fn(e)` |
| `match(ok, err)` | `ok(v)` | `err(e)` |
| `filter(p, e2)` | itself if `p(v)`, else `Err(e2)` | itself |
| `flatten()` | `v` if it is a result, else itself | itself |
| `inspect(fn)`, `inspect_err(fn)` | itself, after `fn(v)` | itself, after `fn(e)` |

`map`, `and_then` and `or_else` are async and await what `fn` returns. They are no checkpoint
themselves: where `fn` is not called, or does not wait, Trio is not entered.

**Two faces of `Result`.** When the program runs it is the base class of `Ok` and `Err`. For a type
checker it is the union `Ok[T] | Err[E]`, since only of a union does it know that `match` with both
cases is complete, and what is inside each. The price: a type checker does not see
`Result.from_exception`; typed code writes `Err(exc)`, which is the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Never,
    NoReturn,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    final,
    overload,
)

from lexigram_actors.errors import UnwrapError

T = TypeVar("T")
E = TypeVar("E")
T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
U = TypeVar("U")
F = TypeVar("F")
X = TypeVar("X", bound=BaseException)


class Outcome(Generic[T_co, E_co]):
    """`Result`: either `Ok` or `Err`; the type to annotate with, and to `isinstance` against.

    Immutable. Equal and hashable by variant and content; survives pickle and copy.
    `match result: case Ok(value): ... case Err(error): ...`.
    """

    __slots__ = ()

    def __new__(cls) -> Self:
        raise TypeError("a Result is made with Ok(value) or Err(error), not with Result()")

    @staticmethod
    def from_exception(exc: X) -> Err[X]:
        """Return the exception as an `Err`."""
        return Err(exc)

    def is_ok(self) -> bool:
        """Say whether this is an `Ok`."""
        return isinstance(self, Ok)

    def is_err(self) -> bool:
        """Say whether this is an `Err`."""
        return isinstance(self, Err)

    def unwrap(self) -> T_co:
        """Return the value.

        Raises:
            UnwrapError: This is an `Err`. An exception in it is the cause.
        """
        if isinstance(self, Ok):
            value: T_co = self.value
            return value
        raise UnwrapError(self, "unwrap() of an Err")

    def unwrap_err(self) -> E_co:
        """Return the error.

        Raises:
            UnwrapError: This is an `Ok`.
        """
        if isinstance(self, Err):
            error: E_co = self.error
            return error
        raise UnwrapError(self, "unwrap_err() of an Ok")

    def expect(self, message: str) -> T_co:
        """Return the value, or raise `UnwrapError` that begins with `message`."""
        if isinstance(self, Ok):
            value: T_co = self.value
            return value
        raise UnwrapError(self, message)

    def unwrap_or(self, default: U) -> T_co | U:
        """Return the value, or `default`."""
        return self.value if isinstance(self, Ok) else default

    def ok_or(self, default: U) -> T_co | U:
        """Return the value, or `default`: another name of `unwrap_or`."""
        return self.unwrap_or(default)

    def unwrap_or_else(self, fn: Callable[[E_co], U]) -> T_co | U:
        """Return the value, or what `fn` makes of the error."""
        return self.match(_same, fn)

    def to_optional(self) -> T_co | None:
        """Return the value, or None."""
        return self.unwrap_or(None)

    def match(self, ok: Callable[[T_co], U], err: Callable[[E_co], F]) -> U | F:
        """Return `ok(value)` or `err(error)`."""
        if isinstance(self, Ok):
            return ok(self.value)
        return err(self.unwrap_err())

    def map_sync(self, fn: Callable[[T_co], U]) -> Result[U, E_co]:
        """Return `Ok(fn(value))`; an `Err` stays."""
        return Ok(fn(self.value)) if isinstance(self, Ok) else self._as_err()

    async def map(self, fn: Callable[[T_co], Awaitable[U]]) -> Result[U, E_co]:
        """Return `Ok(await fn(value))`; an `Err` stays."""
        return Ok(await fn(self.value)) if isinstance(self, Ok) else self._as_err()

    def map_err(self, fn: Callable[[E_co], F]) -> Result[T_co, F]:
        """Return `Err(fn(error))`; an `Ok` stays."""
        return Err(fn(self.error)) if isinstance(self, Err) else self._as_ok()

    def and_then_sync(self, fn: Callable[[T_co], Result[U, F]]) -> Result[U, E_co | F]:
        """Return `fn(value)`, which is a result; an `Err` stays."""
        return fn(self.value) if isinstance(self, Ok) else self._as_err()

    async def and_then(self, fn: Callable[[T_co], Awaitable[Result[U, F]]]) -> Result[U, E_co | F]:
        """Return `await fn(value)`, which is a result; an `Err` stays."""
        return await fn(self.value) if isinstance(self, Ok) else self._as_err()

    def or_else_sync(self, fn: Callable[[E_co], Result[U, F]]) -> Result[T_co | U, F]:
        """Return `fn(error)`, which is a result; an `Ok` stays."""
        return fn(self.error) if isinstance(self, Err) else self._as_ok()

    async def or_else(self, fn: Callable[[E_co], Awaitable[Result[U, F]]]) -> Result[T_co | U, F]:
        """Return `await fn(error)`, which is a result; an `Ok` stays."""
        return await fn(self.error) if isinstance(self, Err) else self._as_ok()

    def filter(self, predicate: Callable[[T_co], bool], error: F) -> Result[T_co, E_co | F]:
        """Return `Err(error)` in place of a value that `predicate` refuses."""
        if isinstance(self, Ok) and not predicate(self.value):
            return Err(error)
        return cast("Result[T_co, E_co]", self)

    @overload
    def flatten(self: Outcome[Result[U, F], E]) -> Result[U, E | F]: ...
    @overload
    def flatten(self) -> Result[T_co, E_co]: ...
    def flatten(self) -> Result[Any, Any]:
        """Take one layer off `Ok(Ok(v))` and `Ok(Err(e))`; anything else stays."""
        if isinstance(self, Ok) and isinstance(self.value, Outcome):
            return cast("Result[Any, Any]", self.value)
        return cast("Result[Any, Any]", self)

    def inspect(self, fn: Callable[[T_co], object]) -> Self:
        """Call `fn(value)` for its effect on an `Ok`; return the result itself."""
        if isinstance(self, Ok):
            fn(self.value)
        return self

    def inspect_err(self, fn: Callable[[E_co], object]) -> Self:
        """Call `fn(error)` for its effect on an `Err`; return the result itself."""
        if isinstance(self, Err):
            fn(self.error)
        return self

    def _as_err(self) -> Err[E_co]:
        return self  # type: ignore[return-value]  # called where it is no Ok

    def _as_ok(self) -> Ok[T_co]:
        return self  # type: ignore[return-value]  # called where it is no Err

    def __copy__(self) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a result cannot be changed: tried to set {name!r} of {self!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a result cannot be changed: tried to delete {name!r} of {self!r}")


@final
class Ok(Outcome[T_co, Never]):
    """The good outcome, with its `value`."""

    __slots__ = ("value",)
    __match_args__ = ("value",)

    value: T_co

    def __new__(cls, value: T_co) -> Self:  # an `__init__` could be called again, with another
        self = _new(cls)
        _set_value(self, value)
        return self

    def __repr__(self) -> str:
        return f"Ok({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return self.value == other.value if isinstance(other, Ok) else NotImplemented

    def __hash__(self) -> int:
        return hash((Ok, self.value))

    def __reduce__(self) -> tuple[Any, ...]:
        return Ok, (self.value,)


@final
class Err(Outcome[Never, E_co]):
    """The bad outcome, with its `error`: an exception, or any value."""

    __slots__ = ("error",)
    __match_args__ = ("error",)

    error: E_co

    def __new__(cls, error: E_co) -> Self:
        self = _new(cls)
        _set_error(self, error)
        return self

    def __repr__(self) -> str:
        return f"Err({self.error!r})"

    def __eq__(self, other: object) -> bool:
        return self.error == other.error if isinstance(other, Err) else NotImplemented

    def __hash__(self) -> int:
        return hash((Err, self.error))

    def __reduce__(self) -> tuple[Any, ...]:
        return Err, (self.error,)


if TYPE_CHECKING:
    Result: TypeAlias = Ok[T] | Err[E]
else:
    Result = Outcome
    Outcome.__name__ = Outcome.__qualname__ = "Result"  # as people write it


_new = object.__new__
# The slots themselves, past `__setattr__`; the type checker sees what is in them.
_set_value: Callable[[object, object], None] = vars(Ok)["value"].__set__
_set_error: Callable[[object, object], None] = vars(Err)["error"].__set__


def _same(value: T) -> T:
    return value
