"""`HumanNode`: asks, and takes the answer."""

from __future__ import annotations

from typing import Any

import pytest

from lexigram_actors.errors import AnswerInvalidError, ConfigurationError, HumanInputRequiredError
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes import HumanNode


async def question(node: HumanNode, state: dict[str, Any]) -> HumanInputRequiredError:
    with pytest.raises(HumanInputRequiredError) as caught:
        await node.execute(state)
    return caught.value


async def test_without_an_answer_it_asks() -> None:
    asked = await question(HumanNode("approve"), {"input": "x"})
    assert (asked.prompt, asked.node, asked.checkpoint_id) == (
        "Human input required.",
        "approve",
        "approve",
    )


async def test_with_an_answer_it_stores_it() -> None:
    node = HumanNode("approve")
    assert await node.execute({"human_response": "yes"}) == {"human_response": "yes"}
    node = HumanNode("approve", output_key="approval", resume_key="answer")
    assert await node.execute({"answer": "yes", "approval": "old"}) == {"approval": "yes"}


async def test_the_answer_is_looked_for_under_the_resume_key_alone() -> None:
    node = HumanNode("approve", output_key="approval", resume_key="answer")
    await question(node, {"approval": "yes", "human_response": "yes"})
    node = HumanNode("approve", output_key="approval")
    assert await node.execute({"approval": "yes"}) == {"approval": "yes"}


async def test_none_is_no_answer() -> None:
    await question(HumanNode("approve"), {"human_response": None})
    await question(HumanNode("approve", schema=int | None), {"human_response": None})


@pytest.mark.parametrize("answer", [False, 0, "", [], {}])
async def test_an_answer_may_be_empty_or_false(answer: Any) -> None:
    assert await HumanNode("ask").execute({"human_response": answer}) == {"human_response": answer}


async def test_the_prompt_shows_the_keys_it_names_and_no_others() -> None:
    node = HumanNode("ask", prompt="{input}? {unknown} {input.__class__} {a!r:>100000000} {{a}}")
    asked = await question(node, {"input": "{token}", "token": "canary", "a": 1})
    assert asked.prompt == "{token}? {unknown} {input.__class__} {a!r:>100000000} {1}"
    assert "canary" not in str(asked)
    assert "canary" not in repr(asked.to_dict())


async def test_the_answer_is_structured_to_the_schema() -> None:
    node = HumanNode("amount", schema=int, output_key="amount")
    assert await node.execute({"amount": " 12 "}) == {"amount": 12}
    with pytest.raises(AnswerInvalidError, match="the answer for 'amount' does not fit") as caught:
        await node.execute({"amount": "twelve"})
    assert isinstance(caught.value, ValueError)


def test_its_settings_can_be_read() -> None:
    node = HumanNode("ask", schema=int, expires_after=60, default_answer=5)
    assert (node.output_key, node.resume_key) == ("human_response", "human_response")
    assert (node.schema, node.expires_after, node.default_answer) == (int, 60, 5)
    assert node.node_type is NodeType.HUMAN
    bare = HumanNode("ask", output_key="a", resume_key="b")
    assert (bare.output_key, bare.resume_key) == ("a", "b")
    assert (bare.schema, bare.expires_after, bare.default_answer) == (None, None, None)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60", True])
def test_an_expiry_that_is_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="expires_after"):
        HumanNode("ask", expires_after=seconds)


def test_a_prompt_that_is_no_string_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        HumanNode("ask", prompt=None)  # type: ignore[arg-type]


def test_a_default_answer_that_does_not_fit_the_schema_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="default_answer: expected a whole number"):
        HumanNode("ask", schema=int, default_answer="none")
    assert HumanNode("ask", schema=int, default_answer="5").default_answer == "5"
