"""Filling in prompts: bare identifiers, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from lexigram_actors.graph.templates import render


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("secret")


@pytest.mark.parametrize(
    ("template", "state", "filled"),
    [
        ("{input}", {"input": "hello"}, "hello"),
        ("{a} and {b}, {a}", {"a": 1, "b": None}, "1 and None, 1"),
        ("{größe}", {"größe": 5}, "5"),
        ("{e\u0301}", {"e\u0301": "accent"}, "accent"),
        ("{_private}", {"_private": [1]}, "[1]"),
        ("{{input}}", {"input": "x"}, "{x}"),
        ("", {"input": "x"}, ""),
        ("no braces", {}, "no braces"),
    ],
)
def test_a_key_of_the_state_is_replaced_by_its_text(
    template: str, state: dict[str, Any], filled: str
) -> None:
    assert render(template, state) == filled


@pytest.mark.parametrize(
    "template",
    [
        "{unknown}",
        "{input.__class__}",
        "{input.__class__.__mro__[1].__subclasses__}",
        "{input[0]}",
        "{input!r}",
        "{input!r:>100000000}",
        "{input:>100000000}",
        "{0}",
        "{}",
        "{ input }",
        "{input",
        "input}",
        "{{",
        "}}",
        '{"name": "value", "list": [1, 2]}',
        "{input\n}",
        "%(input)s ${input:x} {input }",
    ],
)
def test_everything_else_stays_as_it_is_written(template: str) -> None:
    assert render(template, {"input": "VALUE", "0": "VALUE", "": "VALUE", "x y": "V"}) == template


def test_a_value_with_braces_stays_text() -> None:
    state = {"input": "{secret} {input} {a.__class__}", "secret": "hidden"}
    assert render("{input}", state) == state["input"]


def test_a_value_that_cannot_be_shown_is_named_by_its_class() -> None:
    filled = render("<{thing}> <{number}>", {"thing": Unshowable(), "number": 10**5000})
    assert filled == "<<Unshowable that cannot be shown>> <<int that cannot be shown>>"


class CountingState(dict[str, Any]):
    """Counts the characters of the keys that are looked up: the work done."""

    looked_up = 0

    def __contains__(self, key: object) -> bool:
        self.looked_up += len(str(key))
        return super().__contains__(key)


@pytest.mark.parametrize(
    "hostile",
    ["{" * 1_000_000, "{a" * 500_000, "{" + "a" * 1_000_000, "{a}" * 333_333, "}{" * 500_000],
)
def test_a_hostile_megabyte_comes_back_as_it_was_in_linear_work(hostile: str) -> None:
    state = CountingState()
    assert render(hostile, state) == hostile
    assert state.looked_up <= len(hostile)
