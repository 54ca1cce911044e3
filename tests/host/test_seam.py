"""What can be run, and what a run is given."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.result import Ok, Result


class Echo:
    kind = "echo"
    name = "echo"
    version = 1

    async def run(self, context: RunContext, /) -> Result[Any, Exception]:
        return Ok(context.input)


class Voiceless:
    kind = "echo"
    name = "echo"
    version = 1


def test_a_context_is_empty_unless_told() -> None:
    context = RunContext()
    assert (context.input, context.run_id, context.state) == (None, None, {})
    assert context.state is not RunContext().state


def test_a_context_is_made_by_name_only() -> None:
    with pytest.raises(TypeError):
        RunContext("input")  # type: ignore[call-arg]


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RunContext().run_id = "other"  # type: ignore[misc]


def test_a_run_inside_another_has_a_place_in_its_id() -> None:
    outer = RunContext(run_id="order-42")
    inner = RunContext(run_id=outer.below("review"))
    assert outer.below("review") == "order-42/review"
    assert inner.below("legal") == "order-42/review/legal"


def test_a_run_inside_one_without_an_id_has_none() -> None:
    assert RunContext().below("review") is None


def test_places_with_slashes_in_their_names_do_not_read_alike() -> None:
    assert RunContext(run_id="a").below("b/c") == "a/b%2Fc"
    assert RunContext(run_id="a").below("b%2Fc") == "a/b%252Fc"
    assert RunContext(run_id="a/b").below("c") == "a/b/c"


def test_an_empty_id_is_an_id() -> None:
    assert RunContext(run_id="").below("review") == "/review"


def test_whatever_has_the_parts_is_a_runnable() -> None:
    assert isinstance(Echo(), Runnable)
    assert not isinstance(Voiceless(), Runnable)
    assert not isinstance(len, Runnable)


async def test_a_runnable_gets_its_context_and_answers_with_a_result() -> None:
    runnable: Runnable = Echo()
    assert await runnable.run(RunContext(input=5)) == Ok(5)
