"""How a function wants to be called, read off its signature: item by item, or in batches."""

import collections.abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from attrs import frozen

BATCHES = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Iterator,
)
BATCH_TEXT = re.compile(
    r"\s*([A-Za-z_][\w.]*\.)?"
    r"(list|List|Sequence|MutableSequence|Collection|Iterable|Iterator)\b"
)


@frozen
class Shape:
    """What `read_shape` found.

    | | |
    | --- | --- |
    | `is_async` | the function is declared with `async def` and runs as a task on Trio |
    | `each` | it takes one item; otherwise a list of items and returns a list of as many results |
    | `guessed` | its first parameter has no annotation, so `each` is an assumption |
    """

    is_async: bool
    each: bool
    guessed: bool


def read_shape(function: Callable[..., Any]) -> Shape:
    """Read how `function` wants to be called.

    Raises:
        ValueError: it cannot be called with one positional argument, or it is a generator. The
            message continues a sentence that begins with the function's name.
    """
    called = _called(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ValueError("is a generator function; a processor returns its results.")
    first = _first_parameter(function)
    annotation = _annotation(called, first)
    return Shape(
        is_async=inspect.iscoroutinefunction(called),
        each=annotation is not None and not _takes_batch(annotation),
        guessed=annotation is None,
    )


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a call runs: of an object its `__call__`, of a partial its own."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return typing.cast("Callable[..., Any]", function.__call__)  # type: ignore[operator]


def _first_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None  # builtins without a signature: called and seen
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
    if not positional and not variadic:
        raise ValueError("takes no positional parameter; it is called with an item or a batch.")
    required = [p.name for p in positional[1:] if p.default is p.empty] + [
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    ]
    if required:
        raise ValueError(
            f"needs {', '.join(required)} besides its first parameter; "
            "it is called with one argument only, so give the others defaults."
        )
    return (positional or variadic)[0]


def _annotation(called: Callable[..., Any], first: inspect.Parameter | None) -> Any:
    """Return the annotation of the first parameter, its text where it cannot be resolved."""
    if first is None or first.annotation is first.empty:
        return None
    try:
        hints = typing.get_type_hints(called)
    except Exception:  # noqa: BLE001 - it evaluates text: a name that only type checkers see
        return first.annotation
    return hints.get(first.name, first.annotation)


def _takes_batch(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return BATCH_TEXT.match(annotation) is not None
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Union or origin is types.UnionType:
        return any(_takes_batch(member) for member in typing.get_args(annotation))
    return origin in BATCHES or (inspect.isclass(origin) and issubclass(origin, list))
