"""How a function wants to be called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional

import pytest

from lexigram_actors.cli.shape import Shape, read_shape


def item_of_dict(item: dict[str, int]) -> None: ...
def item_of_text(path: str) -> None: ...
def item_of_anything(item: Any) -> None: ...
def batch_list(items: list[int]) -> None: ...
def batch_sequence(items: Sequence[str]) -> None: ...
def batch_iterable(items: Iterable[bytes]) -> None: ...
def batch_optional(items: Optional[list[int]]) -> None: ...  # noqa: UP045 - the old form too
def batch_union(items: list[int] | None) -> None: ...
def unannotated(items) -> None: ...  # type: ignore[no-untyped-def]
def only_checkers_know_batch(items: list[Unknown]) -> None: ...  # type: ignore[name-defined] # noqa: F821
def only_checkers_know_item(item: Unknown) -> None: ...  # type: ignore[name-defined] # noqa: F821
def variadic(*items: int) -> None: ...
def with_default(item: int, factor: int = 2) -> None: ...
async def awaited(item: int) -> None: ...


class Callable_:
    def __call__(self, items: list[int]) -> None: ...


class AsyncCallable:
    async def __call__(self, item: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [item_of_dict, item_of_text, item_of_anything, only_checkers_know_item, variadic, with_default],
)
def test_an_annotation_other_than_a_list_means_one_item(function: Callable[..., None]) -> None:
    assert read_shape(function) == Shape(is_async=False, each=True, guessed=False)


@pytest.mark.parametrize(
    "function",
    [
        batch_list,
        batch_sequence,
        batch_iterable,
        batch_optional,
        batch_union,
        only_checkers_know_batch,
        Callable_(),
    ],
)
def test_a_list_or_what_a_list_is_means_a_batch(function: Callable[..., None]) -> None:
    assert read_shape(function) == Shape(is_async=False, each=False, guessed=False)


def test_no_annotation_is_a_guess_at_a_batch() -> None:
    assert read_shape(unannotated) == Shape(is_async=False, each=False, guessed=True)


def test_a_builtin_without_a_signature_is_a_guess() -> None:
    assert read_shape(max).guessed


@pytest.mark.parametrize("function", [awaited, AsyncCallable(), functools.partial(awaited)])
def test_async_is_seen_through_objects_and_partials(function: Callable[..., None]) -> None:
    assert read_shape(function) == Shape(is_async=True, each=True, guessed=False)


def no_parameter() -> None: ...
def two_parameters(item: int, other: int) -> None: ...
def keyword(item: int, *, other: int) -> None: ...
def generator(items: list[int]) -> Iterable[int]:
    yield from items


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_parameter, "takes no positional parameter"),
        (two_parameters, "needs other besides"),
        (keyword, "needs other besides"),
        (generator, "is a generator function"),
    ],
)
def test_what_cannot_be_called_with_one_argument_is_refused(
    function: Callable[..., None], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        read_shape(function)
