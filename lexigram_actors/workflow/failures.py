"""Which failures of a durable function are outcomes, and which are bugs."""

from __future__ import annotations

from lexigram_actors.errors import (
    HumanInputRequiredError,
    LexigramError,
    NonDeterminismError,
    StoreCorruptedError,
    StoreError,
    WorkflowError,
    describe,
)
from lexigram_actors.errors.base import sole_error
from lexigram_actors.host.cancelling import leaves_of

RAISED_AS_THEY_ARE = (NonDeterminismError, HumanInputRequiredError)
"""Errors of ours that are no outcome of a function."""


def business_failure(error: Exception) -> LexigramError | None:
    """Return the failure that an exception stands for; None where it is a bug.

    An error of ours is an outcome: a step that failed, a time-out; but not that a store is out of
    order. So is a group of nothing else, as of several branches. Everything else a function raises
    is a mistake in it.
    """
    found = sole_error(error)
    if isinstance(found, StoreError) and not isinstance(found, StoreCorruptedError):
        return None  # it says nothing of the function, and the instance goes on when it is over
    if isinstance(found, LexigramError):
        return None if isinstance(found, RAISED_AS_THEY_ARE) else found
    if not isinstance(found, ExceptionGroup):
        return None
    leaves = [leaf for leaf in leaves_of(found) if isinstance(leaf, Exception)]
    if not all(business_failure(leaf) for leaf in leaves):
        return None
    said = "; ".join(describe(leaf) for leaf in leaves)
    return WorkflowError(f"{len(leaves)} failures: {said}", error=found, cause=found)


def failed_with(error: object) -> Exception:
    """Return what a result failed with as an exception."""
    if isinstance(error, Exception):
        return error
    return WorkflowError(describe(error), details={"error": error})
