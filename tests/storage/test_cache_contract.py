"""What every key-value store does, whatever it keeps its rows in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import trio
from trio.testing import assert_checkpoints

from lexigram_actors.errors import NotStorableError, StoreCorruptedError
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import CacheBackendProtocol, Codec
from tests.storage.conftest import FakeClock, OpenCacheBackend

VALUES = [
    None,
    True,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    -0.0,
    "",
    "text with ' and \" and ü and \U0001f980",
    b"\x00\xff",
    [],
    [1, [2, [3]]],
    (1, (2,), ()),
    {"a": {"b": [1, 2]}, "": 0},
    {1: "int", (2, 3): "tuple", None: "none", 1.5: "float"},
    {1, 2, 3},
    frozenset({"a", ("b", 1)}),
    datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    date(2030, 1, 2),
    timedelta(days=-1, microseconds=1),
    Decimal("1.10"),
    UUID(int=5),
    ["$tuple", 1],
    {"$type": ["x"]},
]

METHODS: dict[str, Callable[[CacheBackendProtocol, Any], Awaitable[Any]]] = {
    "get": lambda cache, key: cache.get(key),
    "set": lambda cache, key: cache.set(key, 1),
    "delete": lambda cache, key: cache.delete(key),
    "delete_many": lambda cache, key: cache.delete_many([key]),
    "delete_pattern": lambda cache, key: cache.delete_pattern(key),
    "exists": lambda cache, key: cache.exists(key),
}

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


async def keys_left(cache: CacheBackendProtocol, *keys: str) -> set[str]:
    return {key for key in keys if (await cache.exists(key)).unwrap()}


async def test_it_fits_the_protocol(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        assert isinstance(cache, CacheBackendProtocol)


async def test_an_absent_key_is_none_and_nothing_to_delete(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend() as cache:
        assert await cache.get("k") == Ok(None)
        assert await cache.exists("k") == Ok(False)
        assert await cache.delete("k") == Ok(False)
        assert await cache.delete_many(["k", "l"]) == Ok(0)
        assert await cache.delete_pattern("*") == Ok(0)


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_value_comes_back_equal_and_of_its_type(
    open_cache_backend: OpenCacheBackend, value: Any
) -> None:
    async with open_cache_backend() as cache:
        assert await cache.set("k", value) == Ok(None)
        found = (await cache.get("k")).unwrap()
        assert found == value
        assert repr(found) == repr(value)
        assert type(found) is type(value)


async def test_a_stored_none_is_there(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        await cache.set("k", None)
        assert await cache.get("k") == Ok(None)
        assert await cache.exists("k") == Ok(True)
        assert await cache.delete("k") == Ok(True)


async def test_what_is_handed_out_and_what_was_handed_in_are_copies(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend() as cache:
        given = {"list": [1]}
        await cache.set("k", given)
        given["list"].append(2)
        handed_out: Any = (await cache.get("k")).unwrap()
        handed_out["list"].append(3)
        assert await cache.get("k") == Ok({"list": [1]})


async def test_a_value_takes_the_place_of_another(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        await cache.set("k", "first")
        await cache.set("k", "second")
        assert await cache.get("k") == Ok("second")
        assert await cache.delete_pattern("*") == Ok(1)


async def test_keys_may_be_any_text(open_cache_backend: OpenCacheBackend) -> None:
    keys = ["", " ", "ü", "\U0001f980", "a'b\"c", "k" * 512, "%", "?", "; DROP TABLE cache", "\n"]
    async with open_cache_backend() as cache:
        for number, key in enumerate(keys):
            assert await cache.set(key, number) == Ok(None)
        for number, key in enumerate(keys):
            assert await cache.get(key) == Ok(number)


# --- deleting --------------------------------------------------------------------------------


async def test_delete_many_counts_what_was_there_once(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        for key in "abc":
            await cache.set(key, key)
        assert await cache.delete_many(["a", "a", "b", "absent"]) == Ok(2)
        assert await cache.delete_many([]) == Ok(0)
        assert await keys_left(cache, "a", "b", "c") == {"c"}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", {"a", "ab", "abc", "a?c", "a[b]c", "A", "b", "a%c", "a_c", ""}),
        ("a*", {"a", "ab", "abc", "a?c", "a[b]c", "a%c", "a_c"}),
        ("*c", {"abc", "a?c", "a[b]c", "a%c", "a_c"}),
        ("a*c", {"abc", "a?c", "a[b]c", "a%c", "a_c"}),
        ("*b*", {"ab", "abc", "a[b]c", "b"}),
        ("a**", {"a", "ab", "abc", "a?c", "a[b]c", "a%c", "a_c"}),
        ("ab*bc", set()),
        ("a*b*c", {"abc", "a[b]c"}),
        ("a?c", {"a?c"}),
        ("a[b]c", {"a[b]c"}),
        ("a[*", {"a[b]c"}),
        ("a%c", {"a%c"}),
        ("a_*", {"a_c"}),
        ("a", {"a"}),
        ("", {""}),
        ("x*", set()),
    ],
)
async def test_in_a_pattern_only_the_star_is_special(
    open_cache_backend: OpenCacheBackend, pattern: str, matches: set[str]
) -> None:
    keys = {"a", "ab", "abc", "a?c", "a[b]c", "A", "b", "a%c", "a_c", ""}
    async with open_cache_backend() as cache:
        for key in keys:
            await cache.set(key, 1)
        assert await cache.delete_pattern(pattern) == Ok(len(matches))
        assert await keys_left(cache, *keys) == keys - matches


@pytest.mark.parametrize("last", ["\x7f", "\ud7ff", "\ue000", "\uffff", "\U0010ffff"])
async def test_a_pattern_finds_keys_beside_the_edges_of_unicode(
    open_cache_backend: OpenCacheBackend, last: str
) -> None:
    async with open_cache_backend() as cache:
        others = ["a", "b", "a\x7e", "a\ue001", "a\U0010fffe"]
        matches = {f"a{last}", f"a{last}x", f"a{last}\U0010ffff", f"a{last}{last}"}
        for key in [*matches, *others]:
            await cache.set(key, 1)
        assert await cache.delete_pattern(f"a{last}*") == Ok(len(matches))
        assert await keys_left(cache, *others) == set(others)


async def test_a_pattern_of_the_last_character_alone(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        for key in ("\U0010ffff", "\U0010ffff\U0010ffff1", "x"):
            await cache.set(key, 1)
        assert await cache.delete_pattern("\U0010ffff*1") == Ok(1)
        assert await cache.delete_pattern("\U0010ffff*") == Ok(1)
        assert await keys_left(cache, "x") == {"x"}


async def test_a_pattern_of_many_stars_takes_no_longer(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend() as cache:
        await cache.set("a" * 512, 1)
        assert await cache.delete_pattern("*a" * 255 + "b") == Ok(0)
        assert await cache.delete_pattern("*a" * 255 + "*") == Ok(1)


# --- time to live ----------------------------------------------------------------------------


async def test_a_value_is_absent_once_its_time_is_over(
    open_cache_backend: OpenCacheBackend, clock: FakeClock
) -> None:
    async with open_cache_backend(clock=clock) as cache:
        await cache.set("k", "v", ttl=10)
        clock.advance(9.999)
        assert await cache.get("k") == Ok("v")
        assert await cache.exists("k") == Ok(True)
        clock.advance(0.001)
        assert await cache.get("k") == Ok(None)
        assert await cache.exists("k") == Ok(False)


async def test_what_has_expired_counts_as_absent_for_every_delete(
    open_cache_backend: OpenCacheBackend, clock: FakeClock
) -> None:
    async with open_cache_backend(clock=clock) as cache:
        for key in ("a1", "a2", "a3", "a4"):
            await cache.set(key, 1, ttl=5)
        await cache.set("a5", 1)
        clock.advance(5)
        assert await cache.delete("a1") == Ok(False)
        assert await cache.delete_many(["a2", "a5"]) == Ok(1)
        assert await cache.delete_pattern("a*") == Ok(0)
        assert await cache.delete_pattern("*3") == Ok(0)


async def test_a_new_value_brings_its_own_time_to_live(
    open_cache_backend: OpenCacheBackend, clock: FakeClock
) -> None:
    async with open_cache_backend(clock=clock) as cache:
        await cache.set("kept", 1, ttl=5)
        await cache.set("kept", 2)
        await cache.set("gone", 1)
        await cache.set("gone", 2, ttl=5)
        clock.advance(5)
        assert await cache.get("kept") == Ok(2)
        assert await cache.get("gone") == Ok(None)
        assert await cache.set("gone", 3) == Ok(None)
        assert await cache.get("gone") == Ok(3)


async def test_no_time_to_live_is_absent_at_once_and_a_huge_one_is_for_good(
    open_cache_backend: OpenCacheBackend, clock: FakeClock
) -> None:
    async with open_cache_backend(clock=clock) as cache:
        await cache.set("zero", 1)
        await cache.set("zero", 2, ttl=0)
        await cache.set("huge", 1, ttl=10**400)
        clock.advance(10**12)
        assert await cache.get("zero") == Ok(None)
        assert await cache.get("huge") == Ok(1)


async def test_expired_values_do_not_pile_up_nor_touch_the_living(
    open_cache_backend: OpenCacheBackend, clock: FakeClock
) -> None:
    async with open_cache_backend(clock=clock) as cache:
        await cache.set("living", 1, ttl=10**6)
        await cache.set("for good", 1)
        for number in range(1_000):
            assert await cache.set(f"k{number}", number, ttl=1) == Ok(None)
            clock.advance(1)
        assert await cache.get("k999") == Ok(None)
        assert await keys_left(cache, "living", "for good") == {"living", "for good"}


# --- what is refused -------------------------------------------------------------------------


@every_method
async def test_a_key_that_is_no_text_is_misuse(
    open_cache_backend: OpenCacheBackend, method: Any
) -> None:
    async with open_cache_backend() as cache:
        for key in (1, None, b"k", ("k",)):
            with pytest.raises(TypeError, match="must be a str"):
                await method(cache, key)


@every_method
@pytest.mark.parametrize("key", ["k" * 513, "a\0b", "a\ud800b"], ids=["long", "nul", "surrogate"])
async def test_a_key_that_cannot_be_kept_is_an_err(
    open_cache_backend: OpenCacheBackend, method: Any, key: str
) -> None:
    async with open_cache_backend() as cache:
        error = (await method(cache, key)).unwrap_err()
        assert isinstance(error, NotStorableError)
        assert error.path in ("key", "pattern")


@pytest.mark.parametrize("ttl", [True, 1.0, "1", timedelta(1)], ids=repr)
async def test_a_ttl_that_is_no_int_is_misuse(
    open_cache_backend: OpenCacheBackend, ttl: Any
) -> None:
    async with open_cache_backend() as cache:
        with pytest.raises(TypeError, match="ttl must be whole seconds"):
            await cache.set("k", 1, ttl)
        assert await cache.exists("k") == Ok(False)


async def test_a_negative_ttl_is_misuse(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        with pytest.raises(ValueError, match="must not be negative, and is -1"):
            await cache.set("k", 1, ttl=-1)


async def test_one_text_in_place_of_a_list_of_keys_is_misuse(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend() as cache:
        with pytest.raises(TypeError, match="takes a list of keys"):
            await cache.delete_many("abc")  # type: ignore[arg-type]


async def test_one_bad_key_among_many_deletes_none(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        await cache.set("a", 1)
        assert (await cache.delete_many(["a", "b" * 513])).is_err()
        with pytest.raises(TypeError):
            await cache.delete_many(["a", 7])  # type: ignore[list-item]
        assert await cache.exists("a") == Ok(True)


async def test_a_value_that_cannot_be_kept_leaves_the_old_one(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend(codec=Codec(max_bytes=100)) as cache:
        await cache.set("k", "old")
        for value in (object(), {"a": [1, float("nan")]}, "x" * 101, 2**64, "\0"):
            result = await cache.set("k", value)
            assert isinstance(result.unwrap_err(), NotStorableError)
        assert await cache.get("k") == Ok("old")


async def test_what_this_codec_cannot_read_names_the_key(
    open_cache_backend: OpenCacheBackend,
) -> None:
    codec = Codec()
    codec.register(complex, name="complex", dump=lambda z: [z.real, z.imag], load=lambda _: 1 / 0)
    async with open_cache_backend(codec=codec) as cache:
        await cache.set("k", 1 + 2j)
        error = (await cache.get("k")).unwrap_err()
        assert isinstance(error, StoreCorruptedError)
        assert "'k'" in error.message
        assert error.details == {"key": "k"}


# --- tasks -----------------------------------------------------------------------------------


@every_method
async def test_every_call_is_a_checkpoint(
    open_cache_backend: OpenCacheBackend, method: Any
) -> None:
    async with open_cache_backend() as cache:
        for key in ("k", "k" * 513):
            with assert_checkpoints():
                await method(cache, key)


@pytest.mark.parametrize("method", ["set", "delete", "delete_many", "delete_pattern"])
async def test_a_call_in_a_cancelled_scope_changes_nothing(
    open_cache_backend: OpenCacheBackend, method: str
) -> None:
    async with open_cache_backend() as cache:
        await cache.set("k", "old")
        with trio.CancelScope() as scope:
            scope.cancel()
            await METHODS[method](cache, "k")
        assert scope.cancelled_caught
        assert await cache.get("k") == Ok("old")


async def test_many_tasks_at_once_each_get_their_own_answer(
    open_cache_backend: OpenCacheBackend,
) -> None:
    async with open_cache_backend() as cache:

        async def work(number: int) -> None:
            for round_ in range(5):
                assert await cache.set(f"k{number}", (number, round_)) == Ok(None)
                assert await cache.get(f"k{number}") == Ok((number, round_))
            assert await cache.delete(f"k{number}") == Ok(True)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(work, number)
        assert await cache.delete_pattern("*") == Ok(0)


async def test_what_one_task_was_told_another_sees(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        send, receive = trio.open_memory_channel[int](0)

        async def write() -> None:
            async with send:
                for number in range(30):
                    (await cache.set("k", number)).unwrap()
                    await send.send(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            async for number in receive:
                found: Any = (await cache.get("k")).unwrap()
                assert found >= number


async def test_an_expected_failure_matches_as_err(open_cache_backend: OpenCacheBackend) -> None:
    async with open_cache_backend() as cache:
        match await cache.set("k", object()):
            case Err(error):
                assert "register it with Codec.register" in str(error)
            case _:
                pytest.fail("an object without a stored form was stored")
