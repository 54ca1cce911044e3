"""Calling what users give, sync or async."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.result import Err, Ok


def add(first: int, second: int = 0) -> int:
    return first + second


async def add_later(first: int, second: int = 0) -> int:
    await trio.lowlevel.checkpoint()
    return first + second


class Adder:
    async def __call__(self, first: int, second: int = 0) -> int:
        return await add_later(first, second)

    def plainly(self, first: int, second: int = 0) -> int:
        return first + second


@pytest.mark.parametrize(
    "fn",
    [add, add_later, Adder(), Adder().plainly, partial(add_later), lambda *a, **k: add(*a, **k)],
)
async def test_sync_and_async_functions_are_called_alike(fn: Any) -> None:
    assert await invoke(fn, 1, second=2) == 3


async def test_a_plain_function_that_returns_something_to_await_is_awaited() -> None:
    assert await invoke(lambda: add_later(1, 2)) == 3


async def test_any_awaitable_will_do() -> None:
    class Later:
        def __await__(self) -> Generator[Any, Any, int]:
            return (yield from add_later(1, 2).__await__())

    assert await invoke(Later) == 3


async def test_a_keyword_may_have_the_name_of_the_parameter() -> None:
    assert await invoke(lambda fn: fn, fn="mine") == "mine"


async def test_what_the_function_raises_passes() -> None:
    error = ValueError("broken")

    def fail() -> None:
        raise error

    async def fail_later() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    for fn in (fail, fail_later):
        with pytest.raises(ValueError, match="broken") as caught:
            await invoke(fn)
        assert caught.value is error


async def test_a_plain_function_is_called_without_a_checkpoint() -> None:
    with trio.testing.assert_no_checkpoints():
        assert await invoke(add, 1) == 1


async def test_cancellation_passes_through() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(invoke, trio.sleep_forever)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


@pytest.mark.parametrize("result", [Ok(1), Err("no"), Ok(None)])
def test_a_result_stays_as_it_is(result: Any) -> None:
    assert as_result(result) is result


@pytest.mark.parametrize("value", [1, None, ValueError("a value like any other"), {"a": 1}])
def test_any_other_value_is_an_ok(value: Any) -> None:
    assert as_result(value) == Ok(value)
