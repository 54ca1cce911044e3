"""Digests of items: equal for equal items in any process, different for different ones."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.bulk.fingerprint import DigestMap, digest_of, encode
from lexigram_actors.errors import BulkOperationError


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Order:
    number: int
    lines: list[str]


@attrs.define
class Customer:
    name: str
    tags: set[str]


KINDS: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    1.5,
    10**30,
    -(10**30),
    "",
    "ä",
    "\ud800",
    "\0",
    b"",
    b"\xff",
    [],
    [[]],
    [1, 2],
    [2, 1],
    {},
    {"a": 1},
    {"a": 2},
    {1: "a"},
    {(1, 2): "a"},
    {b"x": 10**30},
    {"b": 10**30, "a": 1},
    {"set": {3, 1, 2}},
    frozenset({("a", 1)}),
    Colour.RED,
    Point(1, 3),
    Order(1, ["a"]),
    Order(1, ["b"]),
    Order(10**30, ["b"]),
    [Colour.RED, 10**30],
    [date(2030, 1, 2), 10**30],
    Customer("ada", {"x", "y"}),
    Customer("ada", {"x"}),
    Decimal("1.10"),
    Decimal("1.1"),
    Fraction(1, 3),
    1 + 2j,
    PurePosixPath("/tmp/x"),
    datetime(2030, 1, 2, 3, tzinfo=UTC),
    date(2030, 1, 2),
    time(3),
    timedelta(days=1),
    UUID(int=7),
    range(3),
    MappingProxyType({"m": 10**30}),
]


@pytest.mark.parametrize("value", KINDS, ids=repr)
def test_equal_items_have_equal_digests(value: Any) -> None:
    assert digest_of([value], None, 0) == digest_of([value], None, 99)
    assert len(digest_of([value], None, 0)) == 16


def test_different_items_have_different_digests() -> None:
    digests = [digest_of([value], None, 0) for value in KINDS]
    same = {repr(KINDS[i]) for i, d in enumerate(digests) if digests.index(d) != i}
    assert same == set()


def test_the_order_of_keys_and_of_sets_does_not_matter() -> None:
    pairs = [("a", 1), ("b", 2), ("c", 10**30)]
    assert encode(dict(pairs)) == encode(dict(reversed(pairs)))
    assert encode(OrderedDict(pairs)) == encode(dict(pairs))
    assert encode({"ab", "cd", "ef"}) == encode({"ef", "cd", "ab"})


def test_a_digest_is_the_same_in_another_process() -> None:
    code = (
        "from lexigram_actors.bulk.fingerprint import digest_of\n"
        "print(digest_of([{'a': {'x', 'y', 'z'}, 'n': 10**30}, (1, b'2')], None, 0).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    mine = digest_of([{"a": {"x", "y", "z"}, "n": 10**30}, (1, b"2")], None, 0).hex()
    assert outputs == {f"{mine}\n"}


class Circle:
    pass


@pytest.mark.parametrize("value", [object(), Circle(), [Circle()], {"a": lambda: 1}, Circle])
def test_what_has_no_stable_form_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BulkOperationError, match="item 12, of the type"):
        digest_of([1, 2, value], None, 10)


def test_infinite_numbers_do_no_harm() -> None:
    assert encode([float("inf"), 10**30]) == encode([float("nan"), 10**30])


def test_an_item_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BulkOperationError, match="item 0"):
        digest_of([loop], None, 0)


@given(st.dictionaries(st.integers(0, 10**6), st.binary(min_size=16, max_size=16), max_size=50))
def test_a_digest_map_is_a_dict_of_digests(model: dict[int, bytes]) -> None:
    model = {number: digest for number, digest in model.items() if any(digest)}
    digests = DigestMap()
    for number, digest in model.items():
        digests.put(number, digest)
        digests.put(number, digest)
    assert len(digests) == len(model)
    assert digests.numbers() == frozenset(model)
    assert digests.highest() == max(model, default=-1)
    assert all(digests.get(number) == digest for number, digest in model.items())
    assert digests.get(10**7) is None
