"""Answers structured to a type: kind to people who type, strict about what they mean."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypedDict,
    TypeVar,
)

import attrs
import pytest

from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    LexigramError,
    MissingExtraError,
)
from lexigram_actors.schemas import findings, strict_json, structured
from lexigram_actors.schemas.converting import strict_converter

T = TypeVar("T")
OrderId = NewType("OrderId", int)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "ja"


class Email(str):
    __slots__ = ()


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict):
    depth: int


@dataclass
class Point:
    x: int
    y: float = 0.0


@attrs.frozen
class Order:
    amount: int = attrs.field(validator=attrs.validators.gt(0))
    point: Point
    tags: list[str] = attrs.Factory(list)
    note: str | None = None
    mode: Literal["fast", "safe"] = "safe"


@attrs.frozen
class Page(Generic[T]):
    item: T


@attrs.frozen
class Tree:
    value: int
    left: Tree | None = None
    others: list[Tree] = attrs.Factory(list)


@dataclass
class Moody:
    value: int

    def __post_init__(self) -> None:
        raise RuntimeError("not today")


def refusal(schema: Any, answer: Any) -> str:
    with pytest.raises(AnswerInvalidError) as caught:
        structured("ask", schema, answer)
    assert caught.value.node == "ask"
    return caught.value.problem


@pytest.mark.parametrize("answer", [None, 0, "text", {"a": [1]}, object()])
def test_without_a_schema_every_answer_is_taken_as_it_is(answer: Any) -> None:
    assert structured("ask", None, answer) is answer


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        (bool, True, True),
        (bool, False, False),
        (bool, "no", False),
        (bool, " YES\n", True),
        (bool, "False", False),
        (int, 5, 5),
        (int, "5", 5),
        (int, " -12 ", -12),
        (int, "+7", 7),
        (float, 3, 3.0),
        (float, 1.5, 1.5),
        (float, "1.5", 1.5),
        (float, ".5", 0.5),
        (float, "1e3", 1000.0),
        (float, 2**53, 2.0**53),
        (float, str(2**60), 2.0**60),
        (float, "0.1", 0.1),
        (str, " as it is ", " as it is "),
        (bytes, b"raw", b"raw"),
        (Email, "a@b.example", Email("a@b.example")),
        (OrderId, "5", 5),
        (Annotated[int, "amount"], "5", 5),
        (Any, [1, "a"], [1, "a"]),
    ],
)
def test_single_values_are_read_for_what_they_say(schema: Any, answer: Any, expected: Any) -> None:
    found = structured("ask", schema, answer)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        (bool, 1, "expected true, false, yes or no, got 1"),
        (bool, 0, "got 0"),
        (bool, "maybe", "got 'maybe'"),
        (bool, "", "got ''"),
        (bool, None, "got None"),
        (int, 1.9, "expected a whole number, got 1.9"),
        (int, 1.0, "got 1.0"),
        (int, "1.5", "got '1.5'"),
        (int, True, "got True"),
        (int, "1_000", "got '1_000'"),
        (int, "9" * 5000, "5002 characters"),
        (int, [1], r"got \[1\]"),
        (float, True, "expected a number, got True"),
        (float, math.nan, "got nan"),
        (float, math.inf, "got inf"),
        (float, "nan", "got 'nan'"),
        (float, "inf", "got 'inf'"),
        (float, "1e999", "got '1e999'"),
        (float, 10**400, "expected a number, got 1000"),
        (float, "9" * 100_000 + "x", "100003 characters"),
        (float, 2**53 + 1, "expected a number that a float does not round, got 9007199254740993"),
        (float, str(2**53 + 1), "does not round, got '9007199254740993'"),
        (float, "0." + "1" * 1000, "1004 characters"),
        (int, "9" * 641, "643 characters"),
        (str, 5, "expected text, got 5"),
        (str, None, "got None"),
        (bytes, 5, "expected bytes, got 5"),
        (bytes, "text", "got 'text'"),
        (type(None), 0, "expected nothing"),
    ],
)
def test_nothing_is_rounded_or_guessed(schema: Any, answer: Any, said: str) -> None:
    with pytest.raises(AnswerInvalidError, match=said):
        structured("ask", schema, answer)


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        (Literal["fast", "safe"], "fast", "fast"),
        (Literal["fast", "safe"], " safe ", "safe"),
        (Literal["a", 1], "1", 1),
        (Literal[True], True, True),
        (Color, "red", Color.RED),
        (Color, "BLUE", Color.BLUE),
        (Color, Color.RED, Color.RED),
        (Level, 2, Level.HIGH),
        (Level, "2", Level.HIGH),
        (Level, "LOW", Level.LOW),
        (Word, "ja", Word.YES),
        (Word, "YES", Word.YES),
    ],
)
def test_a_choice_is_found_by_its_value_or_as_text(schema: Any, answer: Any, expected: Any) -> None:
    found = structured("ask", schema, answer)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (Literal["fast"], "FAST"),
        (Literal[1], True),
        (Literal[1], 1.0),
        (Literal[1], [1]),
        (Literal[True], 1),
        (Color, "green"),
        (Color, None),
        (Color, {"a": 1}),
        (Level, True),
        (Level, 1.0),
        (Level, 3),
    ],
)
def test_what_is_no_choice_is_refused_with_the_choices(schema: Any, answer: Any) -> None:
    assert refusal(schema, answer).startswith("expected one of [")


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        (int | None, None, None),
        (int | None, "5", 5),
        (int | str, "5", "5"),
        (str | int, 5, 5),
        (int | bool, True, True),
        (bool | int, 1, 1),
        (float | None, 5, 5.0),
        (int | list[int], "[1]", [1]),
        (Point | Order, {"x": 1}, Point(1)),
        (Order | Point, {"x": 1}, Point(1)),
    ],
)
def test_of_a_union_the_exact_type_wins_and_then_the_first_that_fits(
    schema: Any, answer: Any, expected: Any
) -> None:
    found = structured("ask", schema, answer)
    assert found == expected
    assert type(found) is type(expected)


def test_the_order_in_a_union_counts_whichever_was_used_first() -> None:
    for schema, kind in [(int | float, int), (float | int, float), (int | float, int)]:
        assert type(structured("ask", schema, "5")) is kind


def test_what_fits_nothing_in_a_union_is_refused_with_each_reason() -> None:
    assert refusal(int | None, "x") == "expected a whole number, got 'x'"
    problem = refusal(int | bool, "x")
    assert "a whole number" in problem
    assert "yes or no" in problem
    assert "got None" in refusal(int | bool, None)


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        (list[int], [1, "2"], [1, 2]),
        (list[int], (1, 2), [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (list[list[int]], "[[1], []]", [[1], []]),
        (list, [1, "a"], [1, "a"]),
        (list[Any], "[null]", [None]),
        (Sequence[str], ["abc"], ["abc"]),
        (set[int], [1, "1", 2], {1, 2}),
        (frozenset[str], {"a"}, frozenset({"a"})),
        (tuple[int, ...], ["1", 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple, [1], (1,)),
        (Pair, [1, "a"], Pair(1, "a")),
        (Pair, Pair(1, "a"), Pair(1, "a")),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (dict[int, str], '{"1": "a"}', {1: "a"}),
        (dict, {"a": 1}, {"a": 1}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Options, {"depth": "3"}, {"depth": 3}),
    ],
)
def test_collections_are_structured_item_by_item(schema: Any, answer: Any, expected: Any) -> None:
    found = structured("ask", schema, answer)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        (list[str], "abc", "expected a list"),
        (list[str], {"a": 1}, "expected a list"),
        (list[int], 5, "expected a list"),
        (list[int], '{"a": 1}', "expected a list"),
        (Sequence[str], "abc", "expected a list"),
        (set[str], "abc", "expected a list"),
        (tuple[str, ...], "abc", "expected a list"),
        (Pair, "ab", "expected a list"),
        (tuple[int, str], [1], "expected 2 items, got 1"),
        (set[list[int]], [[1]], "unhashable"),
        (dict[str, int], [("a", 1)], "expected named fields"),
        (dict[str, int], "a=1", "expected named fields"),
        (dict[str, int], "[]", "expected named fields"),
        (Options, {"depth": 1, "more": 2}, "no such field: more"),
    ],
)
def test_a_text_is_never_cut_up_into_items(schema: Any, answer: Any, said: str) -> None:
    assert said in refusal(schema, answer)


def test_an_object_is_made_from_a_dict_or_from_json() -> None:
    expected = Order(2, Point(1, 2.5), ["a"], None, "fast")
    answer = {"amount": "2", "point": {"x": 1, "y": "2.5"}, "tags": ["a"], "mode": "fast"}
    assert structured("ask", Order, answer) == expected
    text = '{"amount": 2, "point": {"x": 1, "y": 2.5}, "tags": ["a"], "mode": "fast"}'
    assert structured("ask", Order, text) == expected
    assert structured("ask", Point, {"x": 1}) == Point(1, 0.0)
    assert structured("ask", Page[int], {"item": "1"}) == Page(1)


def test_an_instance_is_taken_as_it_is_also_inside() -> None:
    point = Point(1)
    assert structured("ask", Point, point) is point
    assert structured("ask", Order, {"amount": 1, "point": point}).point is point
    assert structured("ask", list[Point], [point])[0] is point


def test_a_class_may_hold_itself() -> None:
    answer = {"value": 1, "left": {"value": "2"}, "others": [{"value": 3}]}
    assert structured("ask", Tree, answer) == Tree(1, Tree(2), [Tree(3)])


def test_every_problem_is_named_with_its_place() -> None:
    answer = {"amount": 1.5, "point": {"x": "a", "z": 1}, "tags": ["a", 1], "mode": "slow"}
    problem = refusal(Order, answer)
    for said in (
        "expected a whole number, got 1.5 @ answer.amount",
        "expected a whole number, got 'a' @ answer.point.x",
        "no such field: z @ answer.point",
        "expected text, got 1 @ answer.tags[1]",
        "expected one of ['fast', 'safe'], got 'slow' @ answer.mode",
    ):
        assert said in problem


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        (Point, {}, "this field is missing @ answer.x"),
        (Point, {"x": 1, "z": 2}, "no such field: z"),
        (Point, {"x": 1, 5: 2}, "no such field: 5"),
        (Point, "hm", "expected named fields (a JSON object), got 'hm'"),
        (Point, '["x"]', "expected named fields"),
        (Point, "\ud800", "expected named fields"),
        (Point, None, "got None"),
        (Point, Color.RED, "expected named fields"),
        (Order, {"amount": 0, "point": {"x": 1}}, "'amount' must be > 0: 0"),
        (Moody, {"value": 1}, "not today"),
    ],
)
def test_an_object_that_does_not_fit_is_refused(schema: Any, answer: Any, said: str) -> None:
    assert said in refusal(schema, answer)


def test_the_problem_stays_short_however_large_the_answer() -> None:
    problem = refusal(list[int], ["x" * 10_000] * 1000)
    assert problem.endswith("@ answer[9]; and more")
    assert len(problem) < 6000
    assert len(refusal(Point, {"x": 1, "y" * 100_000: 1})) < 1000


def test_ints_in_json_stay_the_ints_they_are() -> None:
    large = 123456789012345678901234567890
    assert structured("ask", dict, f'{{"id": {large}}}') == {"id": large}
    assert structured("ask", list[int], f"[{large}, -{large}]") == [large, -large]
    assert type(structured("ask", list, "[18446744073709551617]")[0]) is int
    assert structured("ask", list[float], "[1e3, 0.1]") == [1000.0, 0.1]
    assert "does not round" in refusal(list[float], f"[{large + 1}]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e400]", "the number 1e400 is too large"),
        (f"[{'9' * 5000}]", "a number has 5000 characters, 640 at most are possible"),
        (f"[0.{'9' * 5000}]", "a number has 5002 characters"),
        ('[{"a": 1, "b": 2, "a": 3}]', "the key 'a' is there twice"),
        ("[" * 65 + "]" * 65, "nested too deeply, more than 64 levels"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply, more than 64 levels"),
        ('[{"a":' * 50_000, "nested too deeply, more than 64 levels"),
        ("[1,]", "expected a list (or a JSON array), got '[1,]'"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_cannot_be_read_exactly_is_refused(text: str, said: str) -> None:
    problem = refusal(list, text)
    assert said in problem
    assert "expected a list (or a JSON array)" in problem
    assert len(problem) < 600


def test_json_within_json_is_refused_for_the_same_reasons() -> None:
    assert "the key 'a' is there twice @ answer[0]" in refusal(
        list[dict[str, int]], ['{"a": 1, "a": 2}']
    )


@pytest.mark.parametrize("schema", [list, dict, Any, list[Any], Tree])
def test_an_answer_has_a_limited_depth_and_may_not_hold_itself(schema: Any) -> None:
    answer: list[Any] = []
    answer.append({"answer": (answer,)})
    assert "nested too deeply, more than 64 levels" in refusal(schema, answer)


def test_an_answer_may_have_as_many_levels_as_are_allowed() -> None:
    answer: dict[str, Any] = {"value": 0}
    for value in range(1, 64):
        answer = {"value": value, "left": answer}
    assert structured("ask", Tree, answer).value == 63
    assert structured("ask", list, "[" * 64 + "]" * 64)


@dataclass
class Counted:
    value: int
    tried: ClassVar[list[int]] = []

    def __post_init__(self) -> None:
        self.tried.append(self.value)
        if self.value < 0:
            raise ValueError("below 0")


@pytest.fixture
def tried() -> Iterator[list[int]]:
    Counted.tried.clear()
    yield Counted.tried
    Counted.tried.clear()


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (list[Counted], [{"value": -1}] * 1000),
        (list[list[Counted]], [[{"value": -1}] * 5] * 1000),
        (tuple[Counted, ...], [{"value": -1}] * 1000),
        (dict[str, Counted], {str(number): {"value": -1} for number in range(1000)}),
    ],
    ids=["list", "lists in a list", "tuple", "dict"],
)
def test_after_the_problems_that_are_shown_no_item_is_tried(
    schema: Any, answer: Any, tried: list[int]
) -> None:
    problem = refusal(schema, answer)
    assert problem.count("below 0") == 10
    assert problem.endswith("; and more")
    assert len(tried) <= 15


@dataclass
class Fork:
    value: Counted
    left: Fork | None = None
    right: Fork | int | None = None


def forks(levels: int) -> dict[str, Any]:
    inner = {"left": forks(levels - 1), "right": forks(levels - 1)} if levels else {}
    return {"value": {"value": -1}, **inner}


def test_after_the_problems_that_are_shown_no_field_is_tried(tried: list[int]) -> None:
    problem = refusal(Fork, forks(12))
    assert problem.count(" @ answer") == 10
    assert "not looked at" not in problem
    assert problem.endswith("; and more")
    assert len(tried) < 1000  # of 8191


def test_ten_problems_are_all_there_is_where_all_are_shown(tried: list[int]) -> None:
    problem = refusal(list[Counted], [{"value": -1}] * 10 + [{"value": 1}] * 10)
    assert problem.endswith("@ answer[9]")
    assert len(tried) == 20


@dataclass
class Both:
    left: Rule
    right: Counted


@dataclass
class Either:
    left: Rule
    right: str


Rule = Both | Either | Counted


def nested_rule(innermost: Any, right: Any, depth: int) -> Any:
    for _ in range(depth):
        innermost = {"left": innermost, "right": right}
    return innermost


@pytest.mark.parametrize("encode", [lambda answer: answer, json.dumps], ids=["values", "json"])
@pytest.mark.parametrize("value", [1, -1], ids=["fits", "fits nothing"])
def test_a_value_is_tried_once_for_each_type_of_a_union_however_deep_it_stands(
    value: int, encode: Any, tried: list[int]
) -> None:
    # At each level `Both` takes the left side and fails on the right, so `Either` takes it again.
    answer = encode(nested_rule({"value": value}, "text", 20))
    if value < 0:
        assert "nothing that is allowed fits" in refusal(Rule, answer)
    else:
        assert isinstance(structured("ask", Rule, answer), Either)
    assert tried == [value]


def test_json_within_json_is_read_once_however_often_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, tried: list[int]
) -> None:
    read = []
    monkeypatch.setattr(
        findings, "read_json", lambda text: read.append(text) or strict_json.read_json(text)
    )
    answer = '{"value": 1}'
    for _ in range(8):
        answer = json.dumps({"left": answer, "right": "text"})
    assert isinstance(structured("ask", Rule, answer), Either)
    assert len([text for text in read if text[:1] == "{"]) == 9
    assert tried == [1]


def test_what_was_found_out_about_one_answer_says_nothing_about_the_next() -> None:
    answer = {"left": {"value": "x"}, "right": "text"}
    refusal(Rule, answer)
    answer["left"]["value"] = 5  # type: ignore[index]
    assert structured("ask", Rule, answer) == Either(Counted(5), "text")


def test_an_answer_may_be_structured_while_another_one_is() -> None:
    @attrs.frozen
    class Outer:
        inner: Any = attrs.field(converter=lambda text: structured("inner", int | list[int], text))
        last: Rule

    assert structured("ask", Outer, {"inner": "[1]", "last": {"value": 1}}) == Outer(
        "[1]", Counted(1)
    )


def test_an_answer_nested_too_deeply_is_refused() -> None:
    answer: dict[str, Any] = {"value": 1}
    for _ in range(5000):
        answer = {"value": 1, "left": answer}
    assert "nested too deeply" in refusal(Tree, answer)
    refusal(list, "[" * 100_000)


@pytest.mark.parametrize(
    "schema", [object, complex, 5, list[object], Point | complex, tuple[int, complex], "Point"]
)
def test_a_schema_that_is_no_such_type_is_a_wrong_configuration(schema: Any) -> None:
    with pytest.raises(ConfigurationError, match="answers for 'ask' cannot be structured to"):
        structured("ask", schema, 5)


def test_a_refusal_is_a_value_error_that_survives_pickle_and_copy() -> None:
    with pytest.raises(ValueError) as caught:
        structured("ask", Order, {"amount": "x"})
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert isinstance(twin, AnswerInvalidError)
        assert twin.problem == caught.value.problem


def test_cattrs_is_imported_when_it_is_first_needed() -> None:
    program = (
        "import sys; from lexigram_actors.graph.nodes import HumanNode; HumanNode('a');"
        "sys.exit('cattrs' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture
def no_cattrs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cattrs", None)
    strict_converter.cache_clear()
    yield
    strict_converter.cache_clear()


def test_without_cattrs_the_error_names_the_extra(no_cattrs: None) -> None:
    with pytest.raises(MissingExtraError) as caught:
        structured("ask", int, "5")
    assert caught.value.extra == "schemas"
    assert isinstance(caught.value, LexigramError)
    assert structured("ask", None, "5") == "5"
