"""Filling in prompts: what holds for every template and state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.graph.templates import render

NAMES = st.from_regex(r"\A[a-z_][a-z0-9_]{0,5}\Z")
STATES = st.dictionaries(NAMES, st.text(alphabet="{}ab._!:[]0 "), max_size=5)
PIECES = st.one_of(st.text(alphabet='{}ab._!:[]0 "\n'), NAMES.map("{{{}}}".format), st.text())


@given(st.lists(PIECES).map("".join))
def test_with_an_empty_state_every_template_stays_as_it_is(template: str) -> None:
    assert render(template, {}) == template


@given(st.lists(st.one_of(st.text().filter(lambda t: not set("{}") & set(t)), NAMES)), STATES)
def test_each_placeholder_is_replaced_once_and_the_text_between_is_kept(
    pieces: list[str], state: dict[str, str]
) -> None:
    template = "".join(f"{piece}{{{name}}}" for piece in pieces for name in state)
    expected = "".join(f"{piece}{value}" for piece in pieces for value in state.values())
    assert render(template, state) == expected


@given(st.lists(PIECES).map("".join), STATES)
def test_values_are_never_read_as_templates(template: str, state: dict[str, str]) -> None:
    marked = {key: f"\x00{number}\x00" for number, key in enumerate(state)}
    filled = render(template, marked)
    for number, value in enumerate(state.values()):
        filled = filled.replace(f"\x00{number}\x00", value)
    if "\x00" not in template:
        assert render(template, state) == filled


@given(st.text(alphabet="{}ab._!:[]0r>"), STATES)
def test_nothing_raises(template: str, state: dict[str, str]) -> None:
    assert isinstance(render(template, state), str)
