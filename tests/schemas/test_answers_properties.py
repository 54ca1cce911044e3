"""Answers structured to a type: what holds for every answer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import AnswerInvalidError
from lexigram_actors.schemas import structured


@dataclass
class Line:
    text: str
    count: int
    ratio: float | None = None


@dataclass
class Form:
    agreed: bool
    lines: list[Line]
    mode: Literal["fast", "safe"] = "safe"
    notes: dict[str, int] = field(default_factory=dict)


WHOLE = st.integers()
RATIOS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
LINES = st.builds(Line, text=st.text(), count=WHOLE, ratio=RATIOS)
FORMS = st.builds(
    Form,
    agreed=st.booleans(),
    lines=st.lists(LINES, max_size=3),
    mode=st.sampled_from(["fast", "safe"]),
    notes=st.dictionaries(st.text(), WHOLE, max_size=3),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
ANSWERS = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(FORMS)
def test_an_object_comes_back_from_its_dict_and_from_its_json(form: Form) -> None:
    assert structured("ask", Form, asdict(form)) == form
    if "\\ud" not in json.dumps(asdict(form)):
        assert structured("ask", Form, json.dumps(asdict(form))) == form


@given(ANSWERS)
@pytest.mark.parametrize("schema", [bool, int, float, str, bytes, list, dict, Line, Form])
def test_an_answer_becomes_a_value_of_the_type_or_is_refused(schema: Any, answer: Any) -> None:
    try:
        found = structured("ask", schema, answer)
    except AnswerInvalidError as error:
        assert error.problem
    else:
        assert type(found) is schema


@given(ANSWERS)
def test_what_is_of_the_type_already_keeps_its_value(answer: Any) -> None:
    usual = answer is not None and not (isinstance(answer, float) and not math.isfinite(answer))
    if usual and not isinstance(answer, list | dict):
        found = structured("ask", type(answer), answer)
        assert found == answer
        assert type(found) is type(answer)


@given(st.integers(), st.sampled_from(["", " ", "\n"]))
def test_a_typed_number_means_what_it_says(number: int, space: str) -> None:
    assert structured("ask", int, f"{space}{number}{space}") == number
    if float(number) == number:
        assert structured("ask", float, f"{space}{number}{space}") == number
    else:
        with pytest.raises(AnswerInvalidError, match="round"):
            structured("ask", float, f"{space}{number}{space}")


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_in_json_keep_their_value_and_their_type(whole: int, number: float) -> None:
    found = structured("ask", list, json.dumps([whole, number]))
    assert found == [whole, number]
    assert [type(each) for each in found] == [int, float]


@given(st.text(alphabet='[]{}",:0123456789.eE-+NaIfinty', max_size=200))
@pytest.mark.parametrize("schema", [list, dict, list[int] | dict[str, list[float]]])
def test_no_text_makes_anything_but_a_value_or_a_refusal(schema: Any, text: str) -> None:
    try:
        found = structured("ask", schema, text)
    except AnswerInvalidError as error:
        assert error.problem
    else:
        assert isinstance(found, list | dict)
