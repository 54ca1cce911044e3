"""`TransformPipe`: one function after the other, each applied to what the one before returned.

    clean = TransformPipe[str]().pipe(parse).pipe_if(is_large, shrink).tap(log).pipe(store)
    receipt = await clean(text)

| | called as | its return value |
| --- | --- | --- |
| step of `pipe` | `step(value, **kwargs)` | is the next value |
| side effect of `tap` | `side_effect(value, **kwargs)` | is dropped |
| predicate of `pipe_if` | `predicate(value)` | says whether its step is applied |
| step of `pipe_if` | `step(value, **kwargs)` | is the next value |
| handler of `catch` | `handler(exception, value)` | is what the pipe returns |

Each of them may be plain or async. `kwargs` are those of `execute`; every step has to take them
all, so that a misspelt one is noticed. Predicates and handlers take what the table says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Concatenate, Generic, TypeAlias, TypeVar, final, overload

from attrs import NOTHING, frozen

from lexigram_actors.checks import given
from lexigram_actors.errors.base import repr_of, sole_error
from lexigram_actors.invoking import PLAIN_TYPES, invoke

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
U = TypeVar("U")

Step = Callable[..., Any]
"""Takes the value and the keywords of `execute`."""

PlainStep: TypeAlias = Callable[[T], U]
AsyncStep: TypeAlias = Callable[[T], Awaitable[U]]
PlainStepWithKeywords: TypeAlias = Callable[Concatenate[T, ...], U]
AsyncStepWithKeywords: TypeAlias = Callable[Concatenate[T, ...], Awaitable[U]]
Predicate: TypeAlias = Callable[[T], bool | Awaitable[bool]]
Handler = Callable[[Exception, Any], Any]


@frozen
class Tap:
    """A step that lets its value pass, after a look at it."""

    side_effect: Step

    async def __call__(self, value: Any, /, **kwargs: Any) -> Any:
        await invoke(self.side_effect, value, **kwargs)
        return value

    def __repr__(self) -> str:
        return f"tap({name_of(self.side_effect)})"


@frozen
class Conditional:
    """A step that is applied to some values, and lets the others pass."""

    predicate: Callable[..., Any]
    step: Step

    async def __call__(self, value: Any, /, **kwargs: Any) -> Any:
        if not await invoke(self.predicate, value):
            return value
        return await invoke(self.step, value, **kwargs)

    def __repr__(self) -> str:
        return f"pipe_if({name_of(self.predicate)}, {name_of(self.step)})"


@final
class TransformPipe(Generic[T_co]):
    """A chain of steps from a value to another; `T` is the type of what it returns.

    It never changes: each method returns a new pipe, so a common beginning can be shared and one
    pipe can run many times at once. It is a callable itself, and so a step for other pipes. `len`
    counts its steps, taps among them.

    Args:
        steps: The steps to begin with. The list is copied.
        error_handler: What `catch` would set.

    Raises:
        TypeError: Something that is no function was given for one; so do all its methods.
    """

    __slots__ = ("_error_handler", "_steps")

    def __init__(
        self,
        steps: Iterable[Step] | None = None,
        error_handler: Handler | None = None,
    ) -> None:
        if steps is not None and not isinstance(steps, Iterable):
            raise TypeError(f"steps: {given(steps)} was given, it must be a list of functions")
        self._steps = tuple(steps or ())
        self._error_handler = error_handler
        for step in self._steps:
            require_callable("step", step)
        if error_handler is not None:
            require_callable("error_handler", error_handler)

    # One for each kind of step: of a union type checkers find neither what `U` is nor what a lambda
    # takes. Functions with keywords of their own do match the last two, whatever mypy says of them.
    @overload
    def pipe(self, step: AsyncStep[T_co, U]) -> TransformPipe[U]: ...
    @overload
    def pipe(self, step: PlainStep[T_co, U]) -> TransformPipe[U]: ...
    @overload
    def pipe(self, step: AsyncStepWithKeywords[T_co, U]) -> TransformPipe[U]: ...  # type: ignore[overload-cannot-match]
    @overload
    def pipe(self, step: PlainStepWithKeywords[T_co, U]) -> TransformPipe[U]: ...  # type: ignore[overload-cannot-match]
    def pipe(self, step: Step) -> TransformPipe[Any]:
        """Return a pipe that goes on with `step`: what it returns is the next value."""
        require_callable("step", step)
        return TransformPipe([*self._steps, step], self._error_handler)

    def tap(
        self, side_effect: PlainStep[T_co, object] | PlainStepWithKeywords[T_co, object]
    ) -> TransformPipe[T_co]:
        """Return a pipe that shows the value to `side_effect` here, and goes on with the value.

        A side effect that is async is awaited; one that raises fails the pipe as a step does.
        """
        require_callable("side_effect", side_effect)
        return TransformPipe([*self._steps, Tap(side_effect)], self._error_handler)

    @overload
    def pipe_if(
        self, predicate: Predicate[T_co], step: AsyncStep[T_co, U]
    ) -> TransformPipe[U | T_co]: ...
    @overload
    def pipe_if(
        self, predicate: Predicate[T_co], step: PlainStep[T_co, U]
    ) -> TransformPipe[U | T_co]: ...
    @overload
    def pipe_if(  # type: ignore[overload-cannot-match]
        self, predicate: Predicate[T_co], step: AsyncStepWithKeywords[T_co, U]
    ) -> TransformPipe[U | T_co]: ...
    @overload
    def pipe_if(  # type: ignore[overload-cannot-match]
        self, predicate: Predicate[T_co], step: PlainStepWithKeywords[T_co, U]
    ) -> TransformPipe[U | T_co]: ...
    def pipe_if(self, predicate: Predicate[T_co], step: Step) -> TransformPipe[Any]:
        """Return a pipe that goes on with `step` where the predicate is true of the value.

        Where it is not, the value passes as it is. It counts as one step.
        """
        require_callable("predicate", predicate)
        require_callable("step", step)
        return TransformPipe([*self._steps, Conditional(predicate, step)], self._error_handler)

    # Not `T` for the value: the step that fails may be any, so the value may be of any type.
    @overload
    def catch(
        self, handler: Callable[[Exception, Any], Awaitable[U]]
    ) -> TransformPipe[U | T_co]: ...
    @overload
    def catch(self, handler: Callable[[Exception, Any], U]) -> TransformPipe[U | T_co]: ...
    def catch(self, handler: Handler) -> TransformPipe[Any]:
        """Return a pipe that asks `handler` for its result when a step fails.

        It holds for the whole pipe, steps added later included; a second one replaces the first.
        The handler is given the exception (of a group of one, that one) and the value that the
        failing step was given. The
        steps behind that one are left out. What the handler raises passes, with the exception as
        its context.

        Only an `Exception` is caught: cancellation and `KeyboardInterrupt` pass, and so does a
        group that holds one of them. Where failures are expected, steps that return a `Result`
        say so more clearly than a handler for all of them.
        """
        require_callable("handler", handler)
        return TransformPipe(self._steps, handler)

    # `Any` for the value: the type of what the first step takes is not recorded in the pipe's.
    async def execute(self, value: Any = NOTHING, /, **kwargs: Any) -> T_co:
        """Return what the value becomes on its way through all steps.

        A pipe without steps returns the value itself. What a step raises passes through unless
        there is a handler (`catch`). No checkpoint of its own: only what its async steps await.

        Args:
            value: What the first step is given; by position or, where that is left out, by name.
            kwargs: Keywords for every step and tap, of any name.

        Raises:
            TypeError: No value was given.
        """
        if value is NOTHING:
            if "value" not in kwargs:
                raise TypeError("execute: give it a value for the first step")
            value = kwargs.pop("value")
        try:
            for step in self._steps:
                # As `invoke` does, at a third of its time.
                answer = step(value, **kwargs) if kwargs else step(value)
                kind = type(answer)
                if kind is CoroutineType or (kind not in PLAIN_TYPES and isawaitable(answer)):
                    answer = await answer
                value = answer
        except Exception as error:
            if self._error_handler is None:
                raise
            value = await invoke(self._error_handler, sole_error(error), value)
        result: T_co = value
        return result

    async def __call__(self, value: Any, /, **kwargs: Any) -> T_co:
        """Do as `execute` does."""
        return await self.execute(value, **kwargs)

    def __len__(self) -> int:
        return len(self._steps)

    def __bool__(self) -> bool:
        return True  # without steps it is still a pipe

    def __repr__(self) -> str:
        said = f"[{', '.join(map(name_of, self._steps))}]"
        if self._error_handler is not None:
            said += f", error_handler={name_of(self._error_handler)}"
        return f"TransformPipe({said})"


def require_callable(name: str, value: object) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        raise TypeError(f"{name}: {given(value)} was given, it must be a function")


def name_of(function: object) -> str:
    """Return a function's name, and the repr of any other callable."""
    return getattr(function, "__qualname__", None) or repr_of(function)
