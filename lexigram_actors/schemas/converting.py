"""The converter behind `answers`: strict where `cattrs` and Python are generous. Pure.

People type text, programs send JSON, and a type's own constructor believes both: `bool("no")` is
True, `int(1.9)` is 1, `list("abc")` has three items. Here text is read for what it says, and
nothing is rounded, cut up or guessed. Classes are left to `cattrs`, with these hooks inside.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import (
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from dataclasses import is_dataclass
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs

from lexigram_actors.checks import given
from lexigram_actors.errors import MissingExtraError, text_of
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.schemas.findings import Problems, findings
from lexigram_actors.schemas.misfits import misfit, problem_of
from lexigram_actors.schemas.strict_json import MAX_DIGITS

if TYPE_CHECKING:
    from cattrs import Converter

Hook = Callable[[Any, Any], Any]
"""`(value, type) -> structured`; raises ValueError with a sentence where the value does not fit."""

WORDS = {"true": True, "yes": True, "false": False, "no": False}
WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
NAMES: Mapping[type, str] = {
    bool: "true, false, yes or no",
    int: "a whole number",
    float: "a number",
    str: "text",
    bytes: "bytes",
}


@cache
def strict_converter() -> Converter:
    """Return the converter with the rules above. One for all: it is never changed afterwards."""
    try:
        from cattrs import Converter
    except ImportError as error:
        raise MissingExtraError("cattrs", "schemas", cause=error) from error
    converter = Converter(forbid_extra_keys=True)
    for kind, read in {bool: _flag, int: _whole, float: _number, str: _same, bytes: _same}.items():
        converter.register_structure_hook(kind, _scalar(kind, read))
    converter.register_structure_hook_func(lambda kind: kind in (None, NoneType), _nothing)
    converter.register_structure_hook_func(_origin_in(Literal), _literal)
    converter.register_structure_hook_func(_is_enum, _member)
    for predicate, factory in _factories(converter).items():
        converter.register_structure_hook_factory(predicate, factory)
    return converter


def _factories(converter: Converter) -> dict[Callable[[Any], bool], Callable[[Any], Hook]]:
    """Return what makes the hooks of types with others inside, by which types those are."""
    from cattrs.cols import is_namedtuple

    def lists(kind: Any) -> Hook:
        return _of_array(_items_of(converter, *(get_args(kind) or (Any,))))

    def mappings(kind: Any) -> Hook:
        return _of_object(_entries_of(converter, *(get_args(kind) or (Any, Any))))

    def classes(kind: Any) -> Hook:
        return _unless_instance(_of_fields(converter.gen_structure_attrs_fromdict(kind)))

    def typed_dicts(kind: Any) -> Hook:
        return _of_fields(converter.gen_structure_typeddict(kind))

    def named_tuples(kind: Any) -> Hook:
        # By way of a tuple: cattrs reads no annotations that are text, nor refuses a string.
        hook = converter.get_structure_hook(tuple[tuple(get_type_hints(kind).values())])  # type: ignore[misc]
        return _unless_instance(lambda value, _: kind(*hook(value, tuple)))

    return {
        _origin_in(list, Sequence, MutableSequence): lists,
        _origin_in(dict, Mapping, MutableMapping): mappings,
        _origin_in(set, frozenset, tuple): _collections_of(converter),
        _origin_in(Union, UnionType): _unions_of(converter),
        _is_record: classes,
        is_namedtuple: named_tuples,
        is_typeddict: typed_dicts,
    }


# --- single values ---------------------------------------------------------------------------


def _scalar(kind: type, read: Callable[[Any], Any]) -> Hook:
    """Return a hook that reads a value, and makes it a subclass of `kind` where that is asked."""

    def hook(value: Any, wanted: Any) -> Any:
        if _is_enum(wanted):  # those that are numbers or text as well come here
            return _member(value, wanted)
        found = read(value)
        if not isinstance(found, kind):
            raise misfit(NAMES[kind], value)
        return found if isinstance(found, wanted) else wanted(found)

    return hook


def _same(value: Any) -> Any:
    return value


def _flag(value: Any) -> Any:
    return WORDS.get(value.strip().lower()) if isinstance(value, str) else value


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.strip()
        return int(digits) if len(digits) <= MAX_DIGITS and WHOLE.fullmatch(digits) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    number = value
    if isinstance(value, str):
        text = value.strip()
        fits = len(text) <= MAX_DIGITS and NUMBER.fullmatch(text)
        number = (_whole(text) if WHOLE.fullmatch(text) else float(text)) if fits else None
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    try:
        found = float(number)
    except OverflowError:
        return None
    if math.isfinite(found) and found != number:
        raise misfit("a number that a float does not round", value)
    return found if math.isfinite(found) else None


def _nothing(value: Any, _: Any) -> None:
    if value is not None:
        raise misfit("nothing (None)", value)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _member(value: Any, kind: type[Enum]) -> Enum:
    if isinstance(value, kind):
        return value
    by_value = [(member.value, member) for member in kind.__members__.values()]
    by_name = list(kind.__members__.items())
    return _chosen(value, [*by_value, *by_name])  # type: ignore[no-any-return]


def _literal(value: Any, kind: Any) -> Any:
    return _chosen(value, [(option, option) for option in get_args(kind)])


def _chosen(value: Any, options: list[tuple[Any, Any]]) -> Any:
    """Return the option that is the value, or reads like it; 1, True and 1.0 are different."""
    for option, meant in options:
        if type(option) is type(value) and option == value:
            return meant
    if isinstance(value, str):
        for option, meant in options:
            if option is not None and text_of(option) == value.strip():
                return meant
    raise misfit(f"one of {given([option for option, _ in options])}", value)


# --- values with others inside ---------------------------------------------------------------


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _origin_in(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: _origin(kind) in origins


def _is_record(kind: Any) -> bool:
    origin = _origin(kind)
    return isinstance(origin, type) and (attrs.has(origin) or is_dataclass(origin))


def _read_json(value: Any, expected: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return findings.get().json(value)
    except json.JSONDecodeError:
        raise misfit(expected, value) from None
    except ValueError as error:
        raise ValueError(f"{misfit(expected, value)}: {error}") from None


def _of_array(inner: Hook) -> Hook:
    expected = "a list (or a JSON array)"

    def hook(value: Any, kind: Any) -> Any:
        array = _read_json(value, expected)
        if not isinstance(array, list | tuple):
            raise misfit(expected, value)
        return inner(array, kind)

    return hook


def _of_object(inner: Hook) -> Hook:
    expected = "named fields (a JSON object)"

    def hook(value: Any, kind: Any) -> Any:
        mapping = _read_json(value, expected)
        if not isinstance(mapping, Mapping):
            raise misfit(expected, value)
        return inner(mapping, kind)

    return hook


def _of_fields(inner: Hook) -> Hook:
    made = _of_object(inner)

    def hook(value: Any, kind: Any) -> Any:
        found = findings.get()
        found.go_on()
        try:
            return made(value, kind)
        except ExceptionGroup as group:
            found.count(group.exceptions)
            raise

    return hook


def _items_of(converter: Converter, kind: Any) -> Hook:
    if kind is Any:
        return lambda value, _: list(value)
    hook = _late(converter, kind)

    def items(value: Any, _: Any) -> list[Any]:
        found = []
        problems = Problems()
        for index, item in enumerate(value):
            try:
                found.append(hook(item, kind))
            except Exception as error:  # noqa: BLE001 - a constructor may raise anything
                problems.add(error, index, kind)
        problems.check()
        return found

    return items


def _entries_of(converter: Converter, key_kind: Any, kind: Any) -> Hook:
    key_hook, hook = _late(converter, key_kind), _late(converter, kind)

    def entries(mapping: Any, _: Any) -> dict[Any, Any]:
        found = {}
        problems = Problems()
        for key, value in mapping.items():
            try:
                structured = hook(value, kind)
                found[key_hook(key, key_kind)] = structured
            except Exception as error:  # noqa: BLE001 - as above
                problems.add(error, key, kind)
        problems.check()
        return found

    return entries


def _late(converter: Converter, kind: Any) -> Hook:
    """Return the hook for a type; one that is being made right now is looked up when needed."""
    try:
        hook: Hook = converter.get_structure_hook(kind)
    except RecursionError:
        return converter.structure
    return hook


def _unless_instance(inner: Hook) -> Hook:
    def hook(value: Any, kind: Any) -> Any:
        return value if isinstance(value, _origin(kind)) else inner(value, kind)

    return hook


def _collections_of(converter: Converter) -> Callable[[Any], Hook]:
    """Return what makes hooks for sets and tuples, which go through a list."""

    def factory(kind: Any) -> Hook:
        origin, args = _origin(kind), get_args(kind)
        fixed = origin is tuple and bool(args) and args[-1] is not Ellipsis
        items: Any = list if fixed or not args else list[args[0]]  # type: ignore[valid-type]
        hook = converter.get_structure_hook(items)
        _check_kinds(converter, args if fixed else ())

        def collection(value: Any, _: Any) -> Any:
            if origin is not tuple and isinstance(value, set | frozenset):
                value = list(value)
            found = hook(value, items)
            return _each_of(converter, found, args) if fixed else origin(found)

        return collection

    return factory


def _check_kinds(converter: Converter, kinds: Iterable[Any]) -> None:
    """Refuse a type for which there is no hook now, and not when a person has answered."""
    for kind in kinds:
        _late(converter, kind)


def _each_of(converter: Converter, items: list[Any], kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(items) != len(kinds):
        raise ValueError(f"expected {len(kinds)} items, got {len(items)}")
    return tuple(map(converter.structure, items, kinds))


def _unions_of(converter: Converter) -> Callable[[Any], Hook]:
    """Return what makes hooks for unions."""

    def factory(kind: Any) -> Hook:
        kinds = _kinds_of(kind)
        _check_kinds(converter, kinds)

        def union(value: Any, wanted: Any) -> Any:
            if value is None and len(kinds) < len(get_args(kind)):
                return None
            if len(kinds) == 1:
                return converter.structure(value, kinds[0])
            # `int | float` equals `float | int` and gets the same hook, but the order counts.
            ordered = _kinds_of(wanted) or kinds
            return findings.get().once(
                value, ordered, lambda: _first_fit(converter, value, ordered)
            )

        return union

    return factory


def _kinds_of(kind: Any) -> list[Any]:
    """Return the types of a union but for None; none of anything else."""
    args = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return [each for each in args if each is not NoneType]


def _first_fit(converter: Converter, value: Any, kinds: list[Any]) -> Result[Any, str]:
    problems = []
    for kind in sorted(kinds, key=lambda each: each is not type(value)):
        try:
            return Ok(findings.get().apart(partial(converter.structure, value, kind)))
        except Exception as error:  # noqa: BLE001 - as above
            problems.append(problem_of(error))
    return Err(f"nothing that is allowed fits: {', or '.join(problems)}")
