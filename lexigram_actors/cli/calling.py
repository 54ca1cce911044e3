"""Calls TARGET with a batch of items and turns what it does into plain outcomes.

A result becomes its JSON text, an exception a `Failure`: both cross a process boundary whatever
the function returns or raises. This runs where the function runs: in a task, a thread or a
worker process.
"""

import functools
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import trio
from attrs import evolve, frozen

from lexigram_actors.bulk.failures import type_name
from lexigram_actors.cli.encode import to_json
from lexigram_actors.cli.shape import Shape
from lexigram_actors.cli.target import Target, TargetName, load_target
from lexigram_actors.errors.base import text_of

EACH_HINT = "if it takes one item, pass --each or annotate its parameter (item: dict)"


@frozen
class Failure:
    """Why an item has no result."""

    error: str
    error_type: str
    """The qualified name of the exception's class."""
    where: str = ""
    """`file:line in function`, the place in the user's code where it was raised, if known."""
    permanent: bool = False
    """Calling again cannot help: the function returned something that JSON cannot express."""
    suspect: bool = False
    """The function may want one item: it was given a list on a guess, and refused its type."""


@frozen
class ContractBreak:
    """The function does not do what a processor must; no call of it can be trusted."""

    problem: str
    hint: str


Outcome = bytes | Failure
Outcomes = list[Outcome] | ContractBreak


def failure_from(error: BaseException) -> Failure:
    """Describe `error`, with the place in the user's code where it was raised."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]
    # The deepest place in code of the user's own tells more than the library it called.
    own = [frame for frame in frames if not is_library(frame.filename)] or frames
    where = f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else ""
    text = text_of(error)
    if isinstance(error, RuntimeError) and text == "no running event loop":
        text += "; async functions run on Trio here, and this one is made for asyncio"
    return Failure(text, type_name(type(error)), where)


LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def is_library(filename: str) -> bool:
    """Say whether a file is part of Python or of an installed package."""
    return filename.startswith(("<", *LIBRARIES))


ENDS_RUN = (KeyboardInterrupt, GeneratorExit, trio.Cancelled)


def speaks_of_item(error: BaseException) -> bool:
    """Say whether an item has failed, and not the run been stopped.

    A function that calls sys.exit() for a bad item, or raises an exception of another library's
    cancellation, must end neither the run nor the worker process.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(ENDS_RUN) is None
    return not isinstance(error, ENDS_RUN)


def call(target: Target, items: list[Any]) -> Outcomes:
    """Call a plain function with `items`, one by one or at once as its shape asks."""
    if target.shape.each:
        return [_call_one(target.function, item) for item in items]
    try:
        results = target.function(list(items))
    except BaseException as error:  # noqa: ASYNC103 - what ends the run is raised
        if not speaks_of_item(error):
            raise
        return _failed_batch(target, error, items)  # noqa: ASYNC104
    return _batch_outcomes(target, results, items)


async def call_async(target: Target, items: list[Any]) -> Outcomes:
    """Like `call`, for an `async def` function; checkpoints as often as the function does."""
    if target.shape.each:
        return [await _call_one_async(target.function, item) for item in items]
    try:
        results = await target.function(list(items))
    except BaseException as error:  # noqa: ASYNC103 - what ends the run is raised
        if not speaks_of_item(error):
            raise
        return _failed_batch(target, error, items)  # noqa: ASYNC104
    return _batch_outcomes(target, results, items)


@frozen
class RemoteCall:
    """`call` for another process: carries TARGET's name, loads it there once."""

    name: TargetName
    shape: Shape

    def __call__(self, items: list[Any]) -> Outcomes:
        """Load TARGET in this process if it is not yet, and call it with `items`."""
        return call(_load_once(self.name, self.shape), items)


@functools.cache
def _load_once(name: TargetName, shape: Shape) -> Target:
    return evolve(load_target(name), shape=shape)


def _call_one(function: Callable[..., Any], item: Any) -> Outcome:
    try:
        result = function(item)
    except BaseException as error:  # noqa: ASYNC103 - what ends the run is raised
        if not speaks_of_item(error):
            raise
        return failure_from(error)  # noqa: ASYNC104
    return _encode(result)


async def _call_one_async(function: Callable[..., Any], item: Any) -> Outcome:
    try:
        result = await function(item)
    except BaseException as error:  # noqa: ASYNC103 - what ends the run is raised
        if not speaks_of_item(error):
            raise
        return failure_from(error)  # noqa: ASYNC104
    return _encode(result)


def _encode(result: Any) -> Outcome:
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that it was never awaited, once for every item
        return Failure(
            "the function returned a coroutine; declare it with async def to have it awaited",
            "TypeError",
            permanent=True,
        )
    try:
        return to_json(result)
    except ValueError as refusal:
        return Failure(
            f"JSON cannot express the result ({type(result).__qualname__}): {refusal}",
            "NotJSONError",
            permanent=True,
        )


def _failed_batch(target: Target, error: BaseException, items: list[Any]) -> Outcomes:
    suspect = target.shape.guessed and isinstance(error, TypeError | AttributeError)
    return [evolve(failure_from(error), suspect=suspect)] * len(items)


def _batch_outcomes(target: Target, results: Any, items: list[Any]) -> Outcomes:
    is_list = isinstance(results, Sequence) and not isinstance(results, str | bytes)
    if is_list and len(results) == len(items):
        return [_encode(result) for result in results]
    if inspect.iscoroutine(results):
        results.close()
    got = f"{len(results)} results" if is_list else f"a {type(results).__qualname__}"
    return ContractBreak(
        f"{target.name} returned {got} for a batch of {len(items)} items; it must return a list "
        f"of {len(items)}, one result per item in their order.",
        EACH_HINT,
    )
