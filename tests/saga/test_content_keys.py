"""What a key of content tells apart, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from lexigram_actors.errors import ConfigurationError, NotStorableError, StoreCorruptedError
from lexigram_actors.saga.content_keys import (
    ContentCheckpointEntry,
    ContentCheckpointKey,
    canonical_bytes,
    seal,
    unseal,
)
from lexigram_actors.storage import Codec

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@attrs.frozen
class Point:
    x: int
    y: Any = None


def key(
    stage: str = "resize",
    tenant: str | None = "acme",
    inputs: Any = None,
    version: str = "1",
    config: Any = None,
) -> ContentCheckpointKey:
    return ContentCheckpointKey.compute(stage, tenant, inputs or {}, version, config or {})


def entry(output: Any = "small", **facts: Any) -> ContentCheckpointEntry:
    usual: dict[str, Any] = {
        "completed_at": NOON,
        "stage_handler_version": "1",
        "output_size_bytes": 7,
    }
    return ContentCheckpointEntry(output, **{**usual, **facts})


# --- what is told apart ----------------------------------------------------------------------

DISTINCT: list[Any] = [
    1, 1.0, True, "1", None, "None", b"", "", b"1", 0, 0.0, -0.0, False, [], (), {}, set(),
    frozenset(), [1], (1,), {1}, frozenset({1}), ["$tuple", 1], ["$set", 1], ["$dict", 1, 2],
    {1: 2}, {"1": 2}, {True: 2}, {1.0: 2}, [[1], 2], [1, [2]], [1, 2], [2, 1],
    Decimal(1), Decimal("1.0"), UUID(int=1), str(UUID(int=1)), NOON, NOON.isoformat(),
    NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=1))),
    NOON.astimezone(ZoneInfo("Europe/Berlin")), NOON.date(), NOON.time(),
    timedelta(1), timedelta(0, 1),
]  # fmt: skip


def test_different_content_has_different_keys() -> None:
    for left, right in combinations(DISTINCT, 2):
        assert key(inputs={"x": left}) != key(inputs={"x": right}), (left, right)
        assert key(config={"x": left}) != key(config={"x": right}), (left, right)


def test_every_part_counts() -> None:
    keys = [
        key(),
        key(stage="crop"),
        key(tenant="other"),
        key(tenant=None),
        key(inputs={"x": 1}),
        key(version="2"),
        key(config={"x": 1}),
    ]
    assert len({each.as_str() for each in keys}) == len({each.digest() for each in keys}) == 7


def test_the_version_and_the_configuration_are_not_mixed_up() -> None:
    assert key(version="1", config={"version": "2"}) != key(version="2", config={"version": "1"})


ODD = ["a|b", "_global", "null", "None", "", '","', "\\", "ä", "a:b", " "]


@pytest.mark.parametrize("odd", ODD)
def test_no_name_stands_for_another(odd: str) -> None:
    pairs = [(odd or "x", None), ("a", odd or "x"), ("a", None), ("a|b", "c"), ("a", "b|c")]
    pairs += [(f"{odd}a", "b"), (f"{odd}", f"a{odd}b")] if odd else []
    texts = {pair: key(*pair).as_str() for pair in pairs}
    assert len(set(texts.values())) == len(texts)
    assert all(text.isascii() and text.isprintable() for text in texts.values())


# --- what is the same ------------------------------------------------------------------------


def test_the_order_of_dicts_and_sets_does_not_count() -> None:
    one = {"a": {1: "x", "k": {"b": 2, "a": 1}}, "s": {"x", "y", (1, 2)}}
    two = {"s": {(1, 2), "y", "x"}, "a": {"k": {"a": 1, "b": 2}, 1: "x"}}
    assert key(inputs=one) == key(inputs=two)
    assert key(inputs=one).digest() == key(inputs=two).digest()


@pytest.mark.parametrize("names", [(1, 2), ("x", "y")])
def test_the_order_inside_of_what_is_in_a_set_does_not_count(names: Any) -> None:
    @attrs.frozen
    class Tag:
        facts: Any = attrs.field(eq=False)
        name: str

    codec = Codec()
    codec.register(Tag, name="tag")
    low, high = names
    # As they are written, the first tag sorts before the other in one set, and behind in two.
    one = {Tag({low: 1, high: 2}, "p"), Tag({low: 2}, "q")}
    two = {Tag({low: 2}, "q"), Tag({high: 2, low: 1}, "p")}
    assert canonical_bytes(one, codec) == canonical_bytes(two, codec)


def test_a_key_is_the_same_in_every_process() -> None:
    code = (
        "from lexigram_actors.saga.content_keys import ContentCheckpointKey as Key\n"
        "inputs = {'s': {'a', 'b', 'c', 'd', (1, 'e')}, 'd': {('x', 1): b'1', None: 2.5}}\n"
        "print(Key.compute('a|b', None, inputs, '1', {'t': frozenset('xyz')}).digest())"
    )
    digests = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(done.stdout.strip())
    inputs = {"d": {None: 2.5, ("x", 1): b"1"}, "s": {(1, "e"), "d", "c", "b", "a"}}
    here = ContentCheckpointKey.compute("a|b", None, inputs, "1", {"t": frozenset("zyx")})
    assert digests == {here.digest()}


def test_a_key_stays_what_it_was() -> None:
    # Whoever changes this loses every checkpoint that was ever kept: change SCHEME on purpose.
    inputs = {"n": [1, 1.5, None], "when": NOON, "raw": b"\x00", "s": {"b", "a"}}
    assert key(inputs=inputs).digest() == GOLDEN


GOLDEN = "76eab70c3b23f6bc98682214340c536dec3cf6bfcede880616f5b4c1a07590c0"


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "config", "path"),
    [
        ({"a": [1, object()]}, {}, "$.inputs.a[1]"),
        ({}, {"model": print}, "$.config.config.model"),
        ({"a": float("nan")}, {}, "$.inputs.a"),
        ({"a": 2**64}, {}, "$.inputs.a"),
        ({"a": Point(1)}, {}, "$.inputs.a"),
    ],
)
def test_what_has_no_stable_form_has_no_key(inputs: Any, config: Any, path: str) -> None:
    with pytest.raises(NotStorableError) as caught:
        key(inputs=inputs, config=config)
    assert caught.value.path == path
    assert caught.value.hint


def test_a_registered_type_has_a_key() -> None:
    codec = Codec()
    codec.register(Point, name="point")
    keys = {
        ContentCheckpointKey.compute("s", None, {"at": point}, "1", {}, codec=codec)
        for point in (Point(1), Point(1), Point(2), {"x": 1, "y": None})
    }
    assert len(keys) == 3


def test_content_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotStorableError):
        key(inputs={"a": loop})


def test_where_the_stack_is_nearly_used_up_content_is_refused() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    said: set[str] = set()

    def down() -> None:
        try:
            canonical_bytes(value)
        except NotStorableError as error:
            said.add(error.reason)
        down()

    canonical_bytes(value)
    with pytest.raises(RecursionError):
        down()
    assert said == {"nested too deep for the place of this call"}


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", "\ud800", 3, None, b"a"])
def test_a_name_that_some_store_could_not_keep_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="stage_id must be"):
        key(stage=name)
    if name is not None:
        with pytest.raises(ConfigurationError, match="tenant_id must be"):
            key(tenant=name)


def test_hashes_are_bytes() -> None:
    with pytest.raises(ConfigurationError, match="input_hash must be bytes"):
        ContentCheckpointKey("a", None, "00", b"")  # type: ignore[arg-type]


# --- entries ---------------------------------------------------------------------------------


def test_an_entry_keeps_its_instant_as_utc() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    kept = entry(completed_at=datetime(2030, 7, 1, 14, tzinfo=berlin)).completed_at
    assert kept.isoformat() == "2030-07-01T12:00:00+00:00"


@pytest.mark.parametrize(
    "facts",
    [
        {"completed_at": NOON.replace(tzinfo=None)},
        {"completed_at": "2030-01-31"},
        {"output_size_bytes": -1},
        {"output_size_bytes": True},
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(facts: Any) -> None:
    with pytest.raises(ConfigurationError):
        entry(**facts)


def test_a_sealed_entry_comes_back() -> None:
    mine = entry({"at": (1, b"x", Decimal("1.10"))}, metadata={"saga": "s-1"})
    assert unseal(key(), seal(key(), mine, Codec()), Codec()) == mine


def test_an_entry_of_another_key_is_damage() -> None:
    sealed = seal(key(), entry(), Codec())
    with pytest.raises(StoreCorruptedError, match="checksum") as caught:
        unseal(key(tenant="other"), sealed, Codec())
    assert "evict" in str(caught.value)


def test_every_changed_character_is_noticed() -> None:
    sealed = seal(key(), entry("output"), Codec())
    for index in range(len(sealed)):
        changed = "x" if sealed[index] != "x" else "y"
        with pytest.raises(StoreCorruptedError):
            unseal(key(), sealed[:index] + changed + sealed[index + 1 :], Codec())
        with pytest.raises(StoreCorruptedError):
            unseal(key(), sealed[:index], Codec())


@pytest.mark.parametrize("junk", [None, b"bytes", 3, "", "\ud800", ["x"]])
def test_what_is_no_sealed_entry_is_damage(junk: Any) -> None:
    with pytest.raises(StoreCorruptedError):
        unseal(key(), junk, Codec())


def test_an_entry_with_a_type_that_is_not_registered_is_damage_that_says_so() -> None:
    codec = Codec()
    codec.register(Point, name="point")
    sealed = seal(key(), entry(Point(1)), codec)
    assert unseal(key(), sealed, codec).output == Point(1)
    with pytest.raises(StoreCorruptedError, match="register") as caught:
        unseal(key(), sealed, Codec())
    assert "point" in caught.value.message


def test_another_form_of_entry_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lexigram_actors.saga.content_keys.FIELDS", ("output",))
    sealed = seal(key(), entry(), Codec())
    with pytest.raises(StoreCorruptedError, match="no entry"):
        unseal(key(), sealed, Codec())
