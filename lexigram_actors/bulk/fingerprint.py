"""A stable digest of the items of a batch, so that a resume over other items is noticed.

It must come out the same in the next process, years later, so it is made of what the items hold
and never of their `repr` or `hash`. Items that are JSON take orjson's fast path; what orjson does
not know is turned into plain data by `plain`, and what that does not know is refused: better no
checkpoint than one that refuses, or worse accepts, by accident. Lists and tuples are not told
apart, nor are NaN and None.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import attrs

from lexigram_actors.bulk.failures import type_name
from lexigram_actors.errors import BulkOperationError

DIGEST_SIZE: Final = 16


def digest_of(items: list[Any], fingerprint: Callable[[Any], Any] | None, first: int) -> bytes:
    """Return the digest of the items of a batch, the first of which stands at `first`.

    Raises:
        BulkOperationError: An item has no stable form and there is no `fingerprint`, or that
            failed; the message names the item.
    """
    try:
        data = encode(items if fingerprint is None else [fingerprint(item) for item in items])
    except Exception as error:
        raise _refusal(items, fingerprint, first) from error
    return blake2b(data, digest_size=DIGEST_SIZE).digest()


def encode(value: Any) -> bytes:
    """Return bytes that are equal for equal values, whatever the process.

    Raises:
        TypeError: Some part has no stable form.
    """
    import orjson

    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=plain, option=options)
    except (TypeError, ValueError, RecursionError):
        # Ints beyond 64 bits, lone surrogates, odd keys: all that orjson refuses by itself.
        return orjson.dumps(plain_all(value))


def plain(value: Any) -> Any:
    """Return an equivalent of one value in types that orjson knows, its parts as they are."""
    if isinstance(value, bytes | bytearray | memoryview):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, AbstractSet):
        return ["set", *sorted(encode(item).decode() for item in value)]
    if isinstance(value, tuple | range):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal | Fraction | PurePath | complex):
        return [type(value).__name__, str(value)]
    if isinstance(value, timedelta):
        return ["timedelta", value.days, value.seconds, value.microseconds]
    if attrs.has(type(value)) or (is_dataclass(value) and not isinstance(value, type)):
        names = (field.name for field in fields_of(type(value)))
        return [type_name(type(value)), {name: getattr(value, name) for name in names}]
    raise TypeError(f"{type_name(type(value))} has no stable form")


def fields_of(kind: type) -> tuple[Any, ...]:
    """Return the fields of an attrs class or a dataclass."""
    return attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)


def plain_all(value: Any) -> Any:
    """Return an equivalent of a value and all its parts; slower, and for any size of number."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, enum.Enum):
        return plain_all(value.value)
    if isinstance(value, int):
        return ["int", f"{value:x}"]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime | date | time | UUID):
        return str(value)
    if isinstance(value, list):
        return [plain_all(item) for item in value]
    if isinstance(value, dict):
        pairs = [[plain_all(key), plain_all(item)] for key, item in value.items()]
        return ["dict", *sorted(encode(pair).decode() for pair in pairs)]
    return plain_all(plain(value))


def _refusal(
    items: list[Any], fingerprint: Callable[[Any], Any] | None, first: int
) -> BulkOperationError:
    position, item = next(
        (pair for pair in enumerate(items, first) if not _has_digest(pair[1], fingerprint)),
        (first, items[0]),
    )
    if fingerprint is not None:
        problem = f"fingerprint({type_name(type(item))}) gave no stable value for item {position}"
    else:
        problem = f"item {position}, of the type {type_name(type(item))}, has no stable fingerprint"
    return BulkOperationError(
        f"{problem}, which a checkpoint needs to recognise the items on a resume",
        hint="BulkOperation(..., fingerprint=lambda item: item.id) says what identifies an item",
    )


def _has_digest(item: Any, fingerprint: Callable[[Any], Any] | None) -> bool:
    try:
        encode(item if fingerprint is None else fingerprint(item))
    except Exception:  # noqa: BLE001 - the question is whether, not why
        return False
    return True


class DigestMap:
    """Digests by batch number: 16 bytes each, since a resume holds one for every recorded batch.

    Kept in blocks of 256, so that a damaged number costs 4 kB and not the memory up to it.
    """

    __slots__ = ("_blocks", "_count")

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, number: int) -> bytes | None:
        """Return the digest of a batch, None where there is none."""
        block = self._blocks.get(number >> 8)
        if block is None:
            return None
        start = (number & 255) * DIGEST_SIZE
        digest = bytes(block[start : start + DIGEST_SIZE])
        return digest if any(digest) else None

    def put(self, number: int, digest: bytes) -> None:
        """Set the digest of a batch."""
        self._count += self.get(number) is None
        block = self._blocks.setdefault(number >> 8, bytearray(256 * DIGEST_SIZE))
        start = (number & 255) * DIGEST_SIZE
        block[start : start + DIGEST_SIZE] = digest

    def highest(self) -> int:
        """Return the highest number that has a digest, -1 where there is none."""
        last = max(self._blocks, default=-1)
        found = (last << 8 | low for low in range(255, -1, -1))
        return next((number for number in found if self.get(number) is not None), -1)

    def numbers(self) -> frozenset[int]:
        """Return the numbers of all batches that have one."""
        candidates = (key << 8 | low for key in self._blocks for low in range(256))
        return frozenset(number for number in candidates if self.get(number) is not None)
