"""Calls of TARGET become outcomes, whatever the function does."""

from __future__ import annotations

import dataclasses
import datetime
import math
import pickle
from typing import Any

import pytest

from lexigram_actors.cli.calling import (
    ContractBreak,
    Failure,
    Outcomes,
    RemoteCall,
    call,
    call_async,
)
from lexigram_actors.cli.encode import to_json
from lexigram_actors.cli.shape import Shape, read_shape
from lexigram_actors.cli.target import Target, TargetName
from tests.cli.conftest import Workshop

NAME = TargetName("tasks", "function", False, "/")


def target(function: Any) -> Target:
    return Target(NAME, function, read_shape(function))


def run(function: Any, *items: Any) -> Outcomes:
    return call(target(function), list(items))


def only(outcomes: Outcomes) -> Any:
    assert isinstance(outcomes, list)
    [outcome] = outcomes
    return outcome


# --- results as JSON -------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        ({"a": [None, 1.5]}, b'{"a":[null,1.5]}'),
        (Point(1.0), b'{"x":1.0}'),
        (datetime.date(2024, 2, 29), b'"2024-02-29"'),
        (2**70, b"1180591620717411303424"),
        ({"n": -(2**70), "s": "é"}, b'{"n":-1180591620717411303424,"s":"\\u00e9"}'),
        ("\udcff", b'"\\udcff"'),
    ],
)
def test_what_json_can_express_is_written_exactly(value: object, text: bytes) -> None:
    assert to_json(value) == text


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({1, 2}, "set"),
        (b"x", "bytes"),
        ({"a": object()}, "object"),
        ({1: 2}, "key"),
        (math.nan, "nan"),
        ({"a": [1, math.inf]}, "inf"),
        (Point(math.nan), "nan"),
        ((1, -math.inf), "-inf"),
        ({"a": 2**70, "b": math.nan}, "float"),
        ({"a": 2**70, "b": {1}}, "set"),
    ],
)
def test_what_json_cannot_express_is_refused_by_name(value: object, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        to_json(value)


# --- one item a call -------------------------------------------------------------------------


def test_each_item_has_its_own_outcome() -> None:
    def inverse(item: int) -> float:
        return 1 / item

    good, bad, other = run(inverse, 1, 0, 2)  # type: ignore[misc]
    assert (good, other) == (b"1.0", b"0.5")
    assert isinstance(bad, Failure)
    assert (bad.error, bad.error_type) == ("division by zero", "ZeroDivisionError")
    assert "test_calling.py" in bad.where
    assert bad.where.endswith("in inverse")
    assert not bad.permanent


def test_the_place_of_an_error_is_in_the_code_of_the_user() -> None:
    def load(item: bytes) -> str:
        return item.decode("utf-16")

    failure = only(run(load, b"x"))
    assert failure.error_type == "UnicodeDecodeError"
    assert failure.where.endswith("in load")


def test_a_result_that_json_cannot_express_is_a_permanent_failure_naming_the_type() -> None:
    def numbers(item: int) -> set[int]:
        return {item}

    failure = only(run(numbers, 1))
    assert failure.permanent
    assert failure.error_type == "NotJSONError"
    assert "set" in failure.error


def test_exit_in_a_function_fails_its_item_only() -> None:
    def leave(item: int) -> None:
        raise SystemExit(item)

    assert only(run(leave, 3)).error_type == "SystemExit"


def test_an_error_that_cannot_be_shown_is_shown_all_the_same() -> None:
    class Unshown(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(item: int) -> None:
        raise Unshown

    assert "cannot be shown" in only(run(fail, 1)).error


def test_a_coroutine_that_nobody_awaits_says_what_is_missing() -> None:
    async def inner() -> None: ...

    def forgot(item: int) -> Any:
        return inner()

    failure = only(run(forgot, 1))
    assert "async def" in failure.error
    assert failure.permanent


async def test_an_async_function_is_awaited_item_by_item() -> None:
    async def inverse(item: int) -> float:
        return 1 / item

    good, bad = await call_async(target(inverse), [2, 0])  # type: ignore[misc]
    assert good == b"0.5"
    assert isinstance(bad, Failure)


async def test_a_function_made_for_asyncio_is_told_of_trio() -> None:
    import asyncio

    async def sleep(item: int) -> None:
        await asyncio.sleep(0.01)

    assert "made for asyncio" in only(await call_async(target(sleep), [1])).error


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_gives_one_outcome_per_item() -> None:
    def doubled(items: list[int]) -> tuple[int, ...]:
        return tuple(item * 2 for item in items)

    assert run(doubled, 1, 2) == [b"2", b"4"]


def test_a_function_may_do_to_its_list_what_it_likes() -> None:
    def emptied(items: list[int]) -> list[int]:
        return [items.pop(0) for _ in range(len(items))]

    given = [1, 2]
    assert call(target(emptied), given) == [b"1", b"2"]
    assert given == [1, 2]


def test_a_batch_that_raises_fails_all_its_items() -> None:
    def fail(items: list[int]) -> None:
        raise KeyError("x")

    outcomes = run(fail, 1, 2)
    assert isinstance(outcomes, list)
    assert [type(outcome) for outcome in outcomes] == [Failure, Failure]


async def test_an_async_batch_works_alike() -> None:
    async def doubled(items: list[int]) -> list[int]:
        return [item * 2 for item in items]

    async def fail(items: list[int]) -> None:
        raise KeyError("x")

    assert await call_async(target(doubled), [1, 2]) == [b"2", b"4"]
    assert isinstance(only(await call_async(target(fail), [1])), Failure)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ([1], "returned 1 results for a batch of 2"),
        ("ab", "returned a str"),
        (None, "returned a NoneType"),
        ({1: 1, 2: 2}, "returned a dict"),
    ],
)
def test_a_wrong_number_of_results_breaks_the_contract(returned: object, says: str) -> None:
    def wrong(items: list[int]) -> Any:
        return returned

    outcome = run(wrong, 1, 2)
    assert isinstance(outcome, ContractBreak)
    assert says in outcome.problem
    assert "--each" in outcome.hint


def test_a_coroutine_in_place_of_a_list_breaks_the_contract() -> None:
    async def inner() -> None: ...

    def forgot(items: list[int]) -> Any:
        return inner()

    outcome = run(forgot, 1)
    assert isinstance(outcome, ContractBreak)
    assert "a coroutine" in outcome.problem


@pytest.mark.parametrize(("error", "suspect"), [(TypeError, True), (ValueError, False)])
def test_a_guessed_batch_whose_type_is_refused_is_suspect(
    error: type[Exception], suspect: bool
) -> None:
    def refuse(item):  # type: ignore[no-untyped-def]
        raise error("x")

    assert only(run(refuse, 1)).suspect is suspect


# --- in another process ----------------------------------------------------------------------


def travelled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_a_remote_call_loads_its_function_once_from_its_name(workshop: Workshop) -> None:
    workshop.write(
        "counted.py",
        """
        with open("loads", "a") as loads: loads.write("x")
        def double(item: int): return item * 2
        """,
    )
    name = TargetName(str(workshop.folder / "counted.py"), "double", True, str(workshop.folder))
    remote = RemoteCall(name, Shape(is_async=False, each=True, guessed=False))
    for items in ([1, 2], [3]):
        assert travelled(remote)(items) == [b"%d" % (2 * n) for n in items]
    assert (workshop.folder / "loads").read_text() == "x"


def test_outcomes_survive_the_way_between_processes() -> None:
    failure = Failure("e", "T", "w", permanent=True)
    assert travelled([b"1", failure]) == [b"1", failure]
    broken = ContractBreak("p", "h")
    assert travelled(broken) == broken
