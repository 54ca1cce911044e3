"""The codec over values and bytes that nobody thought of."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from lexigram_actors.errors import NotStorableError, StoreCorruptedError
from lexigram_actors.storage import Codec
from lexigram_actors.storage.decoding import DECODERS
from tests.storage.strategies import storable


def same(left: Any, right: Any) -> bool:
    """Say whether two values are equal in every type and order; sets have no order."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, dict):
        pairs = zip(left.items(), right.items(), strict=True)
        return all(same(a, b) for pair in pairs for a, b in zip(*pair, strict=True))
    if isinstance(left, list | tuple):
        return all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right)
    return True


@given(storable)
@example(["$list", ["$tuple"], ("$x",)])
@example({"$type": ["$type", "x", {}]})
def test_every_storable_value_comes_back_the_same(value: Any) -> None:
    codec = Codec()
    data = codec.dumps(value)
    assert same(codec.loads(data), value)
    assert codec.dumps(codec.loads(data)) == data


anything = st.recursive(
    st.one_of(
        st.none(),
        st.text(max_size=5),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.decimals(),
        st.binary(max_size=3),
        st.builds(object),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(anything)
def test_any_value_is_stored_losslessly_or_refused(value: Any) -> None:
    codec = Codec()
    try:
        data = codec.dumps(value)
    except NotStorableError as error:
        assert error.path.startswith("$")
    else:
        assert same(codec.loads(data), value)


tags = st.sampled_from(sorted(DECODERS))

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2030-01-01", "01:02:03", "Europe/Berlin", "AAE=", "1.5"])
    | tags,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(tags, inner),
        st.tuples(tags, inner, inner, inner),
        st.dictionaries(st.text(max_size=5), inner),
    ),
    max_leaves=20,
)


@given(json_like)
def test_any_json_is_read_or_a_typed_error(plain: Any) -> None:
    try:
        Codec().loads(json.dumps(plain).encode())
    except StoreCorruptedError as error:
        assert error.hint


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_a_typed_error(data: bytes) -> None:
    try:
        Codec().loads(data)
    except StoreCorruptedError as error:
        assert error.hint


@given(storable, st.data())
def test_mutated_bytes_are_read_or_a_typed_error(value: Any, draw: st.DataObject) -> None:
    data = bytearray(Codec().dumps(value))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        Codec().loads(bytes(data))
    except StoreCorruptedError as error:
        assert error.hint
