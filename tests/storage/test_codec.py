"""The codec: what it refuses and how it says so, and what registered types go through."""

from __future__ import annotations

import collections
import enum
import ipaddress
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from lexigram_actors.errors import ConfigurationError, NotStorableError, StoreCorruptedError
from lexigram_actors.storage import Codec


class Color(enum.Enum):
    RED = object()  # a value that has no stored form itself
    GREEN = 2
    VERT = 2  # noqa: PIE796 - another name of the same


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    _y: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    id: UUID
    at: datetime
    tags: set[str] = field(default_factory=set)


@attrs.frozen
class Checked:
    n: int = attrs.field(validator=attrs.validators.gt(0))


@dataclass
class Computed:
    x: int
    double: int = field(init=False)


class NamedPoint(NamedTuple):
    x: int


class Moody:
    def __str__(self) -> str:
        raise RuntimeError("no")


def round_trip(value: Any, codec: Codec | None = None) -> Any:
    codec = codec or Codec()
    found = codec.loads(codec.dumps(value))
    assert found == value
    assert type(found) is type(value)
    return found


def refusal(value: Any, codec: Codec | None = None) -> NotStorableError:
    with pytest.raises(NotStorableError) as caught:
        (codec or Codec()).dumps(value)
    return caught.value


# --- what is stored --------------------------------------------------------------------------


def test_plain_data_is_stored_as_plain_json() -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "b": {}}
    assert Codec().dumps(value) == '{"a":[1,2.5,null,true,"ü"],"b":{}}'.encode()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, 2), b'["$tuple",1,2]'),
        ({1: "one", "2": "two"}, b'["$dict",1,"one","2","two"]'),
        ({3, 1, 2}, b'["$set",1,2,3]'),
        (["$tuple", 1], b'["$list","$tuple",1]'),
        (["$"], b'["$list","$"]'),
        (b"\x00\x01", b'["$bytes","AAE="]'),
        (Decimal("1.10"), b'["$decimal","1.10"]'),
        (timedelta(-1, 2, 3), b'["$timedelta",-1,2,3]'),
        (date(2030, 1, 31), b'["$date","2030-01-31"]'),
        (datetime(2030, 1, 31, tzinfo=UTC), b'["$datetime","2030-01-31T00:00:00+00:00"]'),
    ],
    ids=repr,
)
def test_the_stored_form_of_a_value_stays_what_it_is(value: Any, stored: bytes) -> None:
    """What stores hold today must be readable for good: change nothing here, add."""
    assert Codec().dumps(value) == stored
    assert Codec().loads(stored) == value


def test_equal_sets_have_equal_bytes() -> None:
    words = [f"word{number}" for number in range(100)]
    backwards = list(reversed(words))
    assert Codec().dumps(set(words)) == Codec().dumps(set(backwards))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2030, 1, 2, 3, 4, 5, 678901),
        datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
        datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2029, 10, 28, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2029, 10, 28, 2, 30, fold=1),
        datetime.min,
        datetime.max,
        time(1, 2, 3, 4),
        time(1, 2, tzinfo=UTC, fold=1),
        time(1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        timedelta.max,
        Decimal("-0E+3"),
        Decimal("1e999999"),
    ],
    ids=repr,
)
def test_times_and_numbers_come_back_to_the_last_detail(value: Any) -> None:
    found = round_trip(value)
    assert repr(found) == repr(value)
    if isinstance(value, datetime | time):
        assert (found.fold, str(found.tzinfo)) == (value.fold, str(value.tzinfo))


def test_minus_zero_keeps_its_sign() -> None:
    assert repr(round_trip(-0.0)) == "-0.0"


def test_a_value_is_read_as_a_fresh_copy_every_time() -> None:
    codec = Codec()
    data = codec.dumps({"a": [1]})
    assert codec.loads(data)["a"] is not codec.loads(data)["a"]


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (object(), "the type builtins.object is not known"),
        (1j, "the type builtins.complex is not known"),
        (float("nan"), "the float nan"),
        (float("-inf"), "the float -inf"),
        (Decimal("NaN"), "the Decimal NaN"),
        (Decimal("Infinity"), "the Decimal Infinity"),
        (2**63, "an int beyond 64 bits"),
        (-(2**63) - 1, "an int beyond 64 bits"),
        (10**5000, "an int beyond 64 bits"),
        ("a\0b", "NUL character"),
        ("\ud800", "lone surrogate"),
        ("x" * 100 + "\udfff", "lone surrogate"),
        ("x" * 100 + "\0", "NUL character"),
        (collections.OrderedDict(a=1), "or turn it into a plain dict"),
        (collections.Counter("aa"), "or turn it into a plain dict"),
        (Level.LOW, "or turn it into a plain int"),
        (Color.GREEN, "register it with Codec.register"),
        (NamedPoint(1), "or turn it into a plain tuple"),
        (type("Text", (str,), {})("a"), "or turn it into a plain str"),
        (bytearray(b"a"), "is not known"),
        (Point(1), "test_codec.Point is not known; register it"),
        (Moody(), "is not known"),
        (len, "is not known"),
        (int, "the type builtins.type is not known"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_has_no_stored_form_is_refused_with_its_path(part: Any, reason: str) -> None:
    error = refusal({"steps": [0, {"result": (1, part)}]})
    assert error.path == "$.steps[1].result[1]"
    assert reason in error.reason
    assert reason in str(error)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "$"),
        ({"a b": object()}, "$['a b']"),
        ({"": object()}, "$['']"),
        ({5: object()}, "$[5]"),
        ({"k" * 100: object()}, "$['" + "k" * 63 + "]"),
        ({object(): 1}, "$[a key of the type object]"),
        ({(1, object()): 1}, "$[a key of the type tuple][1]"),
        ({10**30: 1}, "$[a large int]"),
        ({"a\0": 1}, "$['a\\x00']"),
        ({"a": {1, 1j}}, "$.a{}"),
        ([frozenset({("x", 1j)})], "$[0]{}[1]"),
        ({"ü": {"for": object()}}, "$.ü.for"),
    ],
    ids=str,
)
def test_a_path_leads_through_keys_of_every_kind(value: Any, path: str) -> None:
    assert refusal(value).path == path


class Odd(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "odd"


@pytest.mark.parametrize(
    "zone", [Odd(), ZoneInfo.no_cache("Europe/Berlin")], ids=["own class", "not the machine's"]
)
def test_a_time_zone_that_would_not_come_back_is_refused(zone: tzinfo) -> None:
    for value in (datetime(2030, 1, 1, tzinfo=zone), time(1, tzinfo=zone)):
        assert "use datetime.timezone or zoneinfo.ZoneInfo" in refusal([value]).reason


# --- limits ----------------------------------------------------------------------------------


def test_the_limit_of_bytes_counts_the_encoded_value() -> None:
    codec = Codec(max_bytes=12)
    assert codec.dumps("x" * 10)
    assert "larger than 12 bytes" in refusal("x" * 11, codec).reason
    assert "larger than 12 bytes" in refusal("ü" * 6, codec).reason
    assert "larger than 12 bytes" in refusal(b"x" * 10, codec).reason
    assert "larger than 12 bytes" in refusal([1] * 7, codec).reason


def test_the_default_limit_is_4_mib() -> None:
    assert len(Codec().dumps("x" * (4 * 1024 * 1024 - 2))) == 4 * 1024 * 1024
    assert refusal("x" * (4 * 1024 * 1024 - 1)).path == "$"


def nested(depth: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {
            "list": [value],
            "dict": {"k": value},
            "tuple": (value,),
            "pairs": {1: value},
        }[kind]
    return value


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "pairs"])
def test_the_limit_of_depth_counts_containers(kind: str) -> None:
    for limit in (1, 128, 250):
        codec = Codec(max_depth=limit)
        round_trip(nested(limit, kind), codec)
        assert (
            f"nested deeper than {limit} levels" in refusal(nested(limit + 1, kind), codec).reason
        )


def test_a_registered_object_counts_twice_and_fits_to_the_last_level() -> None:
    codec = Codec(max_depth=250)
    codec.register(Point, name="point")
    value: Any = 1
    for _ in range(125):
        value = Point(value)
    round_trip(value, codec)
    assert "nested deeper" in refusal([value], codec).reason


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append([loop, loop])
    assert "contains itself" in refusal(loop).reason


def test_the_limit_of_items_counts_what_a_shared_part_expands_to() -> None:
    codec = Codec(max_items=10)
    assert codec.dumps([[1, 2, 3], [4, 5, 6], 7, 8])
    assert "more than 10 items" in refusal([[1, 2, 3], [4, 5, 6], 7, 8, 9], codec).reason
    laughs: Any = ["ha"] * 10
    for _ in range(30):
        laughs = [laughs] * 10
    assert "items in all" in refusal(laughs).reason


def test_one_long_text_a_million_times_is_refused_before_it_is_written_out() -> None:
    assert "larger than" in refusal(["x" * 1_000_000] * 1_000_000).reason


def test_near_the_end_of_the_stack_a_value_is_refused_not_half_done() -> None:
    def dig(levels: int) -> Any:
        return dig(levels - 1) if levels else Codec().dumps(nested(100, "list"))

    with pytest.raises(NotStorableError, match="nested too deep for the place of this call"):
        dig(sys.getrecursionlimit() - 200)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9", None], ids=repr)
@pytest.mark.parametrize("name", ["max_bytes", "max_depth", "max_items"])
def test_a_limit_that_is_none_is_refused(name: str, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Codec(**{name: limit})


def test_a_depth_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="1 to 250"):
        Codec(max_depth=251)


# --- registered types --------------------------------------------------------------------------


def test_registered_types_come_back_as_they_were() -> None:
    codec = Codec()
    for kind in (Color, Level, Rights, Point, Order):
        codec.register(kind, name=kind.__name__.lower())
    value = {
        "colors": [Color.RED, Color.VERT],
        "level": Level.LOW,
        "rights": Rights.READ | Rights.WRITE,
        "none": Rights(0),
        "point": Point(1, Point(2, {"deep": (1,)})),
        "orders": {Order(UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC)).id: "kept"},
        "order": Order(UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC), {"a"}),
    }
    found = round_trip(value, codec)
    assert found["colors"][0] is Color.RED
    assert found["level"] is Level.LOW


def test_a_registered_value_is_stored_under_its_name() -> None:
    codec = Codec()
    codec.register(Point, name="geo.point")
    assert codec.dumps(Point(1, 2)) == b'["$type","geo.point",{"x":1,"y":2}]'


def test_any_type_can_be_registered_with_functions_of_its_own() -> None:
    codec = Codec()
    codec.register(PurePosixPath, name="path", dump=str, load=PurePosixPath)
    codec.register(
        Fraction,
        name="fraction",
        dump=lambda f: (f.numerator, f.denominator),
        load=lambda parts: Fraction(*parts),
    )
    codec.register(ipaddress.IPv4Address, name="ip", dump=int, load=ipaddress.IPv4Address)
    round_trip([PurePosixPath("/a"), Fraction(1, 3), ipaddress.IPv4Address("1.2.3.4")], codec)


def test_a_subclass_of_a_registered_type_is_not_registered() -> None:
    codec = Codec()
    codec.register(Order, name="order")

    class Special(Order):
        pass

    special = Special(UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC))
    assert "Special is not known" in refusal(special, codec).reason


def test_a_dump_that_fails_is_a_refusal_that_keeps_the_cause() -> None:
    codec = Codec()
    codec.register(complex, name="z", dump=lambda z: 1 / 0, load=complex)
    error = refusal({"z": [1j]}, codec)
    assert error.path == "$.z[0]"
    assert "the dump of the registered type 'z' failed: ZeroDivisionError" in error.reason
    assert isinstance(error.cause, ZeroDivisionError)


def test_what_a_dump_gives_is_checked_like_any_value() -> None:
    codec = Codec()
    codec.register(complex, name="z", dump=lambda z: z, load=complex)
    assert "nested deeper" in refusal(1j, codec).reason


def test_registering_the_same_again_is_fine() -> None:
    codec = Codec()
    codec.register(Point, name="point")
    codec.register(Point, name="point")
    round_trip(Point(1), codec)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Order, {"name": "point"}, "Point is registered as 'point'"),
        (Point, {"name": "other"}, "Point is registered as 'point'"),
        (Point(1), {"name": "x"}, "takes a class"),
        (Order, {"name": ""}, "printable text"),
        (Order, {"name": "a\nb"}, "printable text"),
        (Order, {"name": "n" * 201}, "printable text"),
        (Order, {"name": None}, "printable text"),
        (dict, {"name": "dict", "dump": dict, "load": dict}, "is stored as it is"),
        (complex, {"name": "z"}, "is no enum, attrs class or dataclass"),
        (complex, {"name": "z", "dump": str}, "both dump= and load="),
        (complex, {"name": "z", "load": str}, "both dump= and load="),
        (Computed, {"name": "c"}, "does not take double"),
    ],
    ids=str,
)
def test_a_registration_that_would_lose_something_is_refused(
    kind: Any, arguments: dict[str, Any], message: str
) -> None:
    codec = Codec()
    codec.register(Point, name="point")
    with pytest.raises(ConfigurationError, match=message):
        codec.register(kind, **arguments)


# --- damage ------------------------------------------------------------------------------------

DAMAGED = [
    b"",
    b"{",
    b"nul",
    b"\xff",
    b'"\xed\xa0\x80"',
    b"NaN",
    b'["$nothing"]',
    b'["$"]',
    b'["$tuple' + b"[" * 300,
    b"[" * 300 + b"]" * 300,
    b"[" * 2000 + b"]" * 2000,
    b'{"a":' * 300 + b"1" + b"}" * 300,
    b'["$set",1,1]',
    b'["$set",[]]',
    b'["$frozenset",1,true]',
    b'["$dict",1]',
    b'["$dict",1,2,1,3]',
    b'["$dict",[],2]',
    b'["$bytes"]',
    b'["$bytes",5]',
    b'["$bytes","?"]',
    b'["$bytes","\\u00fc"]',
    b'["$datetime"]',
    b'["$datetime","yesterday"]',
    b'["$datetime","2030-01-01T00:00:00","Europe/Berlin"]',
    b'["$datetime","2030-01-01T00:00:00","Europe/Berlin",2]',
    b'["$datetime","2030-01-01T00:00:00","../../etc/passwd",0]',
    b'["$datetime","2030-01-01T00:00:00","tzdata/os",0]',
    b'["$datetime","2030-01-01T00:00:00",[],0]',
    b'["$date","2030-02-30"]',
    b'["$date",5]',
    b'["$time","25:00:00"]',
    b'["$timedelta",1e300,0,0]',
    b'["$timedelta","1",0,0]',
    b'["$decimal","one"]',
    b'["$decimal",[0,[1],0]]',
    b'["$decimal","NaN"]',
    b'["$decimal","1e99999999999999999999"]',
    b'["$uuid","12"]',
    b'["$uuid",{}]',
    b'["$type","os.system","true"]',
    b'["$type",[],1]',
    b'["$type","checked",{"n":-1}]',
    b'["$type","checked",{"m":1}]',
    b'["$type","checked",[1]]',
    b'["$type","checked",{}]',
    b'["$type","color","BLUE"]',
    b'["$type","color",[]]',
    b'["$type","rights","x"]',
    b'["$type","checked"]',
]


@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: repr(data[:40]))
def test_damaged_or_hostile_bytes_are_a_typed_error(data: bytes) -> None:
    codec = Codec()
    codec.register(Checked, name="checked")
    codec.register(Color, name="color")
    codec.register(Rights, name="rights")
    for whole in (data, b'{"a":[' + (data or b"]") + b"]}"):
        with pytest.raises(StoreCorruptedError, match="a stored value cannot be read"):
            codec.loads(whole)


def test_a_type_that_is_not_registered_here_is_named() -> None:
    codec = Codec()
    codec.register(Point, name="geo.point")
    with pytest.raises(StoreCorruptedError, match=r"'geo\.point' is not registered") as caught:
        Codec().loads(codec.dumps(Point(1)))
    assert "register it with the codec" in (caught.value.hint or "")


def test_a_lack_of_memory_is_not_taken_for_damage() -> None:
    codec = Codec()

    def exhausted(_: Any) -> Any:
        raise MemoryError

    codec.register(complex, name="z", dump=str, load=exhausted)
    with pytest.raises(MemoryError):
        codec.loads(codec.dumps(1j))


def test_a_long_list_of_one_kind_is_no_exception() -> None:
    """Long lists are looked at as a whole first; what that cannot say is said by the walk."""
    for part, reason in (
        (2**63, "an int beyond 64 bits"),
        (-(2**63) - 1, "an int beyond 64 bits"),
        (float("inf"), "the float inf"),
        ("\0", "NUL"),
        ("\ud800", "surrogate"),
    ):
        error = refusal({"a": [type(part)(1)] * 20 + [part]})
        assert error.path == "$.a[20]"
        assert reason in error.reason
    for items in (
        [1] * 20,
        [1.5] * 20,
        ["a"] * 20,
        ["ü"] * 20,
        [True] * 20,
        [None] * 20,
        [b"a"] * 9,
    ):
        round_trip(items)
        round_trip(tuple(items))
    round_trip(["$tuple"] * 20)
    round_trip(["a", "$tuple"] * 20)
    round_trip([1, "a", None, (1,)] * 5)


def test_text_in_a_long_list_is_counted_once() -> None:
    round_trip(["ü" * 200_000] * 9)
    round_trip(["x" * 400_000] * 9)
    assert "larger than" in refusal(["x" * 500_000] * 9).reason
