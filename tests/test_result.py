"""Result, Ok and Err."""

from __future__ import annotations

import copy
import pickle
from typing import Any, get_type_hints

import pytest
import trio

from lexigram_actors import result as module
from lexigram_actors.errors import LexigramError, UnwrapError
from lexigram_actors.result import Err, Ok, Result

BOTH = [Ok(1), Err("no")]
RUNTIME: Any = module.Result  # the class, where a type checker sees the union


def by_pickle(thing: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


async def doubled(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value * 2


async def even(value: int) -> Result[int, str]:
    await trio.lowlevel.checkpoint()
    return Ok(value) if value % 2 == 0 else Err("odd")


async def length(error: str) -> Result[int, str]:
    await trio.lowlevel.checkpoint()
    return Ok(len(error))


def test_both_are_results_and_only_one_is_ok() -> None:
    assert isinstance(Ok(1), Result)
    assert isinstance(Err(1), Result)
    assert Ok(1).is_ok()
    assert not Ok(1).is_err()
    assert Err(1).is_err()
    assert not Err(1).is_ok()


def test_a_bare_result_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"Ok\(value\) or Err\(error\)"):
        RUNTIME()


def test_its_class_is_called_as_people_write_it() -> None:
    assert RUNTIME.__name__ == "Result"
    assert by_pickle(RUNTIME) is Result
    assert repr(RUNTIME[int, str]) == "lexigram_actors.result.Result[int, str]"


def test_an_annotation_with_it_can_be_resolved() -> None:
    def fn() -> Result[int, str]:
        return Ok(1)

    assert get_type_hints(fn)["return"] == RUNTIME[int, str]


def test_equality_is_by_variant_and_content() -> None:
    assert Ok(1) == Ok(1)
    assert Ok(1) != Ok(2)
    assert Ok(1) != Err(1)
    assert Err(1) == Err(1)
    assert Err(1) != Ok(1)
    assert Ok(1) != 1
    assert Err(1) != 1


def test_equal_results_hash_alike_and_variants_apart() -> None:
    assert hash(Ok("x")) == hash(Ok("x"))
    assert {Ok(1), Err(1), Ok(1)} == {Ok(1), Err(1)}


def test_a_result_of_something_unhashable_is_unhashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ok([]))


def test_repr_shows_variant_and_content() -> None:
    assert repr(Ok(1)) == "Ok(1)"
    assert repr(Err(ValueError("x"))) == "Err(ValueError('x'))"


@pytest.mark.parametrize("result", BOTH)
def test_a_result_cannot_be_changed(result: Any) -> None:
    name = "value" if result.is_ok() else "error"
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(result, name, 2)
    with pytest.raises(AttributeError, match="cannot be changed"):
        delattr(result, name)
    with pytest.raises(AttributeError, match="cannot be changed"):
        result.other = 2
    assert not hasattr(result, "__dict__")


@pytest.mark.parametrize("kind", [Ok, Err])
def test_a_result_made_once_is_not_made_again(kind: Any) -> None:
    result = kind(1)
    result.__init__(2)
    assert result == kind(1)
    for wrong in ((), (1, 2)):
        with pytest.raises(TypeError):
            kind(*wrong)


@pytest.mark.parametrize("result", BOTH)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_pickle(result: Any, protocol: int) -> None:
    assert by_pickle(result, protocol) == result


@pytest.mark.parametrize("kind", [Ok, Err])
def test_copy_is_itself_and_deepcopy_copies_the_content(kind: Any) -> None:
    result = kind([1])
    assert copy.copy(result) is result
    deep = copy.deepcopy(result)
    assert deep == result
    assert deep.match(id, id) != result.match(id, id)


def test_made_with_type_arguments_it_is_the_same() -> None:
    assert Ok[int](1) == Ok(1)
    assert Err[str]("x") == Err("x")


@pytest.mark.parametrize(("result", "expected"), [(Ok(3), 3), (Err("no"), "no"), (7, None)])
def test_match_takes_it_apart(result: object, expected: object) -> None:
    match result:
        case Ok(value):
            seen: object = value
        case Err(error):
            seen = error
        case _:
            seen = None
    assert seen == expected


def test_unwrap_and_expect_give_the_value() -> None:
    assert Ok(1).unwrap() == 1
    assert Ok(1).expect("a number") == 1
    assert Err("no").unwrap_err() == "no"


def test_unwrapping_an_err_chains_an_exception_in_it() -> None:
    error = KeyError("total")
    with pytest.raises(UnwrapError, match="unwrap") as caught:
        Err(error).unwrap()
    assert caught.value.result == Err(error)
    assert caught.value.__cause__ is error
    assert caught.value.cause is error
    assert isinstance(caught.value, LexigramError)


def test_unwrapping_an_err_of_a_plain_value_shows_it() -> None:
    with pytest.raises(UnwrapError, match=r"Err\('no stock'\)") as caught:
        Err("no stock").unwrap()
    assert caught.value.__cause__ is None


def test_expect_begins_with_what_was_expected() -> None:
    with pytest.raises(UnwrapError, match=r"^an order: Err\(3\)"):
        Err(3).expect("an order")


def test_unwrap_err_of_an_ok_raises() -> None:
    with pytest.raises(UnwrapError, match=r"Ok\(1\)") as caught:
        Ok(1).unwrap_err()
    assert caught.value.result == Ok(1)
    assert caught.value.cause is None


def test_defaults_stand_in_for_an_error_only() -> None:
    assert Ok(1).unwrap_or(2) == 1
    assert Err("no").unwrap_or(2) == 2
    assert Ok(1).ok_or(2) == 1
    assert Err("no").ok_or(2) == 2
    assert Ok(1).unwrap_or_else(len) == 1
    assert Err("no").unwrap_or_else(len) == 2
    assert Ok(1).to_optional() == 1
    assert Err("no").to_optional() is None


def test_match_method_calls_the_one_that_fits() -> None:
    assert Ok(1).match(str, repr) == "1"
    assert Err("no").match(str, repr) == "'no'"


def test_map_and_map_err_change_one_side_and_leave_the_other() -> None:
    ok, err = Ok(1), Err("no")
    assert ok.map_sync(str) == Ok("1")
    assert err.map_sync(str) is err
    assert ok.map_err(len) is ok
    assert err.map_err(len) == Err(2)


def test_and_then_and_or_else_take_functions_that_return_results() -> None:
    ok, err = Ok(1), Err("no")
    assert ok.and_then_sync(lambda v: Err(v)) == Err(1)
    assert err.and_then_sync(lambda v: Ok(v)) is err
    assert ok.or_else_sync(lambda e: Err(e)) is ok
    assert err.or_else_sync(lambda e: Ok(len(e))) == Ok(2)


async def test_the_async_forms_await_the_function() -> None:
    ok, err = Ok(2), Err("no")
    assert await ok.map(doubled) == Ok(4)
    assert await err.map(doubled) is err
    assert await ok.and_then(even) == Ok(2)
    assert await Ok(3).and_then(even) == Err("odd")
    assert await err.and_then(even) is err
    assert await ok.or_else(length) is ok
    assert await err.or_else(length) == Ok(2)


def test_flatten_takes_one_layer_off() -> None:
    assert Ok(Ok(1)).flatten() == Ok(1)
    assert Ok(Err("no")).flatten() == Err("no")
    assert Ok(Ok(Ok(1))).flatten() == Ok(Ok(1))
    assert Err("no").flatten() == Err("no")
    assert Ok(1).flatten() == Ok(1)


def test_filter_refuses_a_value_and_never_an_error() -> None:
    assert Ok(2).filter(lambda v: v > 1, "small") == Ok(2)
    assert Ok(1).filter(lambda v: v > 1, "small") == Err("small")
    assert Err("no").filter(lambda _: False, "small") == Err("no")


def test_inspect_looks_at_one_side_and_returns_the_result_itself() -> None:
    seen: list[object] = []
    ok, err = Ok(1), Err("no")
    assert ok.inspect(seen.append) is ok
    assert err.inspect(seen.append) is err
    assert ok.inspect_err(seen.append) is ok
    assert err.inspect_err(seen.append) is err
    assert seen == [1, "no"]


def test_from_exception_is_an_err() -> None:
    error = ValueError("x")
    assert RUNTIME.from_exception(error) == Err(error)


def test_what_a_function_raises_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Ok(0).map_sync(lambda v: 1 // v)
