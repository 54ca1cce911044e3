"""Bytes to items, whatever the chunks; a broken line is named to the column."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.cli import jsonlines
from lexigram_actors.cli.errors import ItemsError
from lexigram_actors.cli.jsonlines import JSONLines

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def read(*chunks: bytes) -> list[Any]:
    lines = JSONLines("items.jsonl")
    return [item for chunk in chunks for item in lines.feed(chunk)] + lines.finish()


def problem(*chunks: bytes) -> ItemsError:
    with pytest.raises(ItemsError) as caught:
        read(*chunks)
    return caught.value


@given(st.lists(VALUES, max_size=8), st.lists(st.integers(1, 30), min_size=1), st.booleans())
def test_items_do_not_depend_on_how_the_bytes_arrive(
    items: list[Any], sizes: list[int], newline_at_end: bool
) -> None:
    text = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    data = text.encode() + b"\n" * newline_at_end
    chunks, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        chunks.append(data[at : at + size])
        at, turn = at + size, turn + 1
    assert read(*chunks) == items


def test_blank_lines_a_mark_and_carriage_returns_are_tolerated() -> None:
    assert read(b'\xef\xbb\xbf1\r\n\r\n  \n {"a": 2} \r\n3') == [1, {"a": 2}, 3]


def test_nothing_is_no_items() -> None:
    assert read() == read(b"") == read(b"\n\n") == []


def test_large_integers_stay_exact() -> None:
    assert read(b"123456789012345678901234567890\n") == [123456789012345678901234567890]


@pytest.mark.parametrize(
    ("data", "line", "column", "says"),
    [
        (b'1\n2\n{"a": 1,}\n', 3, 8, "trailing comma"),
        (b'1\n   {"a": tru}', 2, 10, "invalid literal"),
        ('{"é": "x"}\n{"é": \udcff}'.encode(errors="surrogateescape"), 2, 7, "0xff is not valid"),
        (b"1\n[1] 2\n", 2, 5, "unexpected content"),
        (b"NaN\n", 1, 1, "expected a JSON value"),
        (b'{"n": NaN, "m": 12345678901234567890}\n', 1, 1, "NaN is not a JSON value"),
        (b'{"m": 12345678901234567890,,}\n', 1, 28, "property name"),
        ("[1]".encode("utf-16"), 1, 1, "looks like UTF-16"),
    ],
)
def test_a_broken_line_is_named_with_its_column(
    data: bytes, line: int, column: int, says: str
) -> None:
    error = problem(data)
    assert error.details == {"path": "items.jsonl", "line": line, "column": column}
    assert f"items.jsonl, line {line}, column {column}" in error.message
    assert says in error.message


def test_what_stands_before_a_broken_line_is_handed_out_first() -> None:
    lines = JSONLines("items.jsonl")
    assert lines.feed(b"1\n2\nbroken\n4\n") == [1, 2]
    with pytest.raises(ItemsError, match="line 3"):
        lines.feed(b"5\n")
    with pytest.raises(ItemsError, match="line 3"):
        lines.finish()


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "MAX_LINE", 10)
    assert "line 2, column 1: the line is longer" in problem(b"1\n", b"[" * 11).message


def test_the_digest_tells_items_and_not_their_layout() -> None:
    first, second, other = JSONLines("a"), JSONLines("b"), JSONLines("c")
    first.feed(b"1\n2\n")
    second.feed(b"1\r\n\n 2")
    second.finish()
    other.feed(b"12\n")
    assert first.digest.digest() == second.digest.digest() != other.digest.digest()


def nested(depth: int, inner: str = "1") -> bytes:
    return ("[" * depth + inner + "]" * depth).encode()


LARGE = "12345678901234567890123"


@pytest.mark.parametrize("inner", ["1", LARGE])
def test_items_may_be_nested_and_not_without_end(inner: str) -> None:
    assert len(read(nested(200, inner), b"\n")) == 1
    wide = b"[" + b"[{}]," * 300 + b"[]]"
    assert len(read(wide)[0]) == 301
    for depth in (201, 254, 300, 1000):
        error = problem(b"1\n", nested(depth, inner), b"\n")
        assert error.details["line"] == 2
        assert "nested more than 200 deep" in error.message


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400 + ".0"])
@pytest.mark.parametrize("beside", ["1", LARGE])
def test_a_number_too_large_for_any_float_is_a_broken_line(number: str, beside: str) -> None:
    error = problem(b"1\n", f'{{"n":{number},"b":{beside}}}'.encode())
    assert error.details["line"] == 2
