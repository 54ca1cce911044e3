"""Keys over content that nobody thought of."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.saga.content_keys import ContentCheckpointKey, canonical_bytes
from lexigram_actors.storage import Codec
from tests.storage.strategies import storable, texts

names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
) | st.sampled_from(["a", "a|b", "_global", "null", '"', "\\"])


def canonical(value: Any) -> Any:
    """Return the content as nested tuples that are equal where it is: the model to compare with."""
    kind = type(value).__name__
    if isinstance(value, dict):
        pairs = [(canonical(key), canonical(item)) for key, item in value.items()]
        return kind, frozenset(pairs)
    if isinstance(value, list | tuple):
        return kind, tuple(map(canonical, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(canonical, value))
    return kind, Codec().dumps(value)


def turned_round(value: Any) -> Any:
    """Return the same content, with its dicts and sets filled the other way round."""
    if isinstance(value, dict):
        return {key: turned_round(item) for key, item in reversed(value.items())}
    if isinstance(value, list | tuple):
        return type(value)(map(turned_round, value))
    if isinstance(value, set | frozenset):
        return type(value)(list(value)[::-1])
    return value


@given(storable)
def test_the_order_things_were_put_in_does_not_count(value: Any) -> None:
    assert canonical_bytes(value) == canonical_bytes(turned_round(value))


@given(storable, storable)
def test_bytes_are_equal_exactly_where_the_content_is(one: Any, other: Any) -> None:
    assert (canonical_bytes(one) == canonical_bytes(other)) == (canonical(one) == canonical(other))


@given(storable)
def test_what_was_stored_and_read_has_the_same_bytes(value: Any) -> None:
    codec = Codec()
    assert canonical_bytes(codec.loads(codec.dumps(value))) == canonical_bytes(value)


parts = st.tuples(names, st.none() | names, st.dictionaries(texts, st.integers(0, 1), max_size=2))
versions = st.tuples(st.sampled_from(["", "1", "2"]), st.dictionaries(texts, texts, max_size=1))


@given(parts, versions, parts, versions)
def test_keys_are_equal_exactly_where_all_parts_are(one: Any, v1: Any, two: Any, v2: Any) -> None:
    left = ContentCheckpointKey.compute(*one, *v1)
    right = ContentCheckpointKey.compute(*two, *v2)
    same = (*one, *v1) == (*two, *v2)
    assert (left == right) == same
    assert (left.as_str() == right.as_str()) == same
    assert (left.digest() == right.digest()) == same
