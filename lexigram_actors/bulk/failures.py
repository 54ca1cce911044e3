"""How a failure is told: in a result, and as the one exception inside a group. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from lexigram_actors.bulk.models import BulkItemError
from lexigram_actors.errors import BulkOperationError
from lexigram_actors.errors.base import text_of

LONGEST_TEXT = 2000


class WrongResults(BulkOperationError):
    """A processor gave something else than one result for each item: a bug, not tried again."""


def item_error(
    batch_id: int,
    error: BaseException,
    retries: int,
    at: float,
    item_index: int | None = None,
) -> BulkItemError:
    """Describe an exception as a `BulkItemError`."""
    text = text_of(error)
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… ({len(text):,} characters)"
    kind = BulkOperationError if isinstance(error, WrongResults) else type(error)
    return BulkItemError(batch_id, text, type_name(kind), retries, at, item_index)


def type_name(kind: type) -> str:
    """Return the name of a type with its module, built-in ones without."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )


def foremost(error: BaseException) -> BaseException:
    """Return the error of a group that matters most: an interrupt, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    members = [foremost(member) for member in error.exceptions]
    return next((each for each in members if not isinstance(each, Exception)), members[0])


def count_results(batch_id: int, items: int, results: object) -> list[object]:
    """Return the results of a batch as a list.

    Raises:
        WrongResults: They are no sequence, or not one for each item.
    """
    # A string is hardly meant, and a set or dict has no order that fits the items.
    odd = isinstance(results, str | bytes | dict | AbstractSet)
    length = None if odd else _length(results)
    if length is None:
        raise WrongResults(
            f"the processor returned {_kind(results)} for batch {batch_id}; "
            f"expected a list of {items} results, one for each item"
        )
    if length != items:
        raise WrongResults(
            f"the processor returned {length} results for the {items} items of batch {batch_id}; "
            "expected one for each item, in the same order"
        )
    return list(results)  # type: ignore[call-overload, no-any-return]


def _length(results: object) -> int | None:
    try:
        iter(results)  # type: ignore[call-overload]
        return len(results)  # type: ignore[arg-type]
    except TypeError:
        return None


def _kind(value: object) -> str:
    return "None" if value is None else f"one {type(value).__name__}"
