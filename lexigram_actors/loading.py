"""Making a config from names and values: a mapping, a table of a TOML file, the environment.

Unknown names are refused with the nearest known one, and every wrong setting is listed at once. A
loader that ignored a misspelt name would run with the default and say nothing. Which settings
there are, and what each may be, comes from the rules in the fields' metadata (`checks`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

from attrs import AttrsInstance, frozen

from lexigram_actors.checks import Rule, given, problems_of, rules_of
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.errors.base import text_of

C = TypeVar("C", bound="LoadableConfig")

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
NONE_WORDS = frozenset({"none", "null"})


@frozen
class LoadableConfig:
    """What the configs share: their loaders. Each setting's rule is in its field's metadata."""

    ENV_PREFIX: ClassVar[str]
    TOML_TABLE: ClassVar[tuple[str, ...]]
    OF_OTHERS: ClassVar[tuple[str, ...]] = ()
    """Names below this prefix or table that belong to another config."""

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Make the config from a mapping of setting names to values; the rest are defaults.

        A nested config may be a mapping as well.

        Raises:
            ConfigurationError: A name is unknown or a value is wrong; all are listed.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigurationError(
                f"{cls.__name__}.from_dict() takes a mapping of settings, "
                f"{given(mapping)} was given"
            )
        return build(cls, mapping, f"wrong {cls.__name__}", ".".join)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Make the config from its table of a TOML file, `[workflow]` or `[workflow.graph]`.

        Reads the file in the calling thread. A file with no table `[workflow]` at all is refused;
        where only `[workflow.graph]` is missing, everything there is default.

        Raises:
            ConfigurationError: The file cannot be read or is no TOML, a table is missing or none,
                a name is unknown or a value wrong. The message names the file.
        """
        place = os.fspath(path)
        table = find_table(read_toml(place), cls.TOML_TABLE, place)
        own = {name: value for name, value in table.items() if name not in cls.OF_OTHERS}
        return build(cls, own, f"{place}, table [{'.'.join(cls.TOML_TABLE)}]", ".".join)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make the config from variables such as `LEX_WORKFLOW__BATCH_SIZE`.

        Args:
            environ: The variables; None takes the process's own, as they are now.

        Names are upper case; a setting of a nested config follows two more underscores
        (`LEX_WORKFLOW__CIRCUIT_BREAKER_CONFIG__FAILURE_THRESHOLD`). An empty variable counts as
        not set. true/false, yes/no, on/off, 1/0 are flags, `none` is None where that is allowed.

        Raises:
            ConfigurationError: A variable under the prefix is unknown or its value is wrong; all
                are listed.
        """
        variables = os.environ if environ is None else environ
        tree, unknown = read_variables(cls, variables)

        def variable(path: Iterable[str]) -> str:
            return cls.ENV_PREFIX + "__".join(path).upper()

        return build(cls, tree, "wrong environment variables", variable, unknown)


# --- making a config from names and values -----------------------------------------------------


def build(
    kind: type[C],
    values: Mapping[str, Any],
    head: str,
    show: Callable[[tuple[str, ...]], str],
    problems: Iterable[str] = (),
) -> C:
    """Make a config of values by name; `show` names a setting as its source does."""
    settings, found = sift(kind, values, (), show)
    wrong = [*problems, *found]
    if wrong:
        raise ConfigurationError(head, problems=wrong)
    return kind(**settings)


def sift(
    kind: type[AttrsInstance],
    values: Mapping[str, Any],
    path: tuple[str, ...],
    show: Callable[[tuple[str, ...]], str],
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings to construct `kind` with, and a sentence for each that is wrong."""
    rules = rules_of(kind)
    problems = [
        f"{show((*path, name))}: {unknown_name(name, rules)}"
        for name in (text_of(key) for key in values if key not in rules)
    ]
    settings = {name: value for name, value in values.items() if name in rules}
    for name, value in settings.items():
        inner_kind = rules[name].nested
        if inner_kind is not None and isinstance(value, Mapping):
            inner, found = sift(inner_kind, value, (*path, name), show)
            problems += found
            settings[name] = None if found else inner_kind(**inner)
    wrong = problems_of(rules, settings)
    problems += [f"{show((*path, name))}: {said}" for name, said in wrong.items()]
    return settings, problems


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return a sentence that says so, with the nearest known name or all of them."""
    nearest = nearest_name(name, known)
    if nearest is not None:
        return f"there is no such setting; did you mean {nearest!r}?"
    return f"there is no such setting; there are {', '.join(sorted(known))}"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is probably a slip of, if any."""
    from difflib import get_close_matches  # only for a mistake: no cost for everybody

    close = get_close_matches(name.lower().replace("-", "_"), list(known), n=1)
    return close[0] if close else None


# --- TOML ----------------------------------------------------------------------------------------


def read_toml(place: str) -> dict[str, Any]:
    """Return a TOML file's content, or raise `ConfigurationError` that names the file."""
    import tomllib  # only where a file is read

    try:
        with open(place, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigurationError(f"cannot read {place!r}: {why}", cause=error) from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigurationError(f"{place!r} is not valid TOML: {error}", cause=error) from error
    except RecursionError:  # a cause would only add a thousand lines to the traceback
        raise ConfigurationError(f"{place!r} cannot be read: it is nested too deeply") from None


def find_table(document: Mapping[str, Any], names: tuple[str, ...], place: str) -> dict[str, Any]:
    """Return the table of that name, an empty one where only the inner of two is missing."""
    table: Any = document
    for depth, name in enumerate(names):
        title = ".".join(names[: depth + 1])
        if name not in table:
            nearest = next((key for key in table if nearest_name(key, [name])), None)
            if depth and nearest is None:
                return {}
            said = "" if nearest is None else f"; did you mean it by {nearest!r}?"
            raise ConfigurationError(f"{place!r} has no table [{title}]{said}")
        table = table[name]
        if not isinstance(table, dict):
            raise ConfigurationError(f"{place!r}: [{title}] must be a table, it is {given(table)}")
    return cast("dict[str, Any]", table)


# --- environment ---------------------------------------------------------------------------------


def read_variables(
    kind: type[LoadableConfig], variables: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings in the variables as a tree of values, and what is wrong with names."""
    known = dict(variables_of(kind))
    tree: dict[str, Any] = {}
    problems: list[str] = []
    # The longest first: `..._CONFIG=none` switches off what `..._CONFIG__NAME=x` has set up.
    for variable in sorted(variables, key=lambda each: (-len(each), each)):
        rest = variable.removeprefix(kind.ENV_PREFIX)
        if rest == variable or rest.lower().startswith(tuple(f"{o}__" for o in kind.OF_OTHERS)):
            continue
        if rest not in known:
            problems.append(unknown_variable(variable, kind.ENV_PREFIX, known))
        elif (content := variables[variable].strip()) != "":
            path, rule = known[rest]
            plant(tree, path, parse(rule, content))
    return tree, sorted(problems)


def variables_of(
    kind: type[AttrsInstance], path: tuple[str, ...] = ()
) -> Iterable[tuple[str, tuple[tuple[str, ...], Rule]]]:
    """Yield each setting's variable without the prefix, and its path and rule."""
    for name, rule in rules_of(kind).items():
        here = (*path, name)
        yield "__".join(here).upper(), (here, rule)
        if rule.nested is not None:
            yield from variables_of(rule.nested, here)


def unknown_variable(variable: str, prefix: str, known: Iterable[str]) -> str:
    """Return a sentence about a variable under the prefix that means nothing."""
    slips = {name.lower(): prefix + name for name in known}
    nearest = nearest_name(variable.removeprefix(prefix), slips)
    said = f"; did you mean {slips[nearest]}?" if nearest is not None else ""
    return f"{variable}: there is no such setting{said}"


def plant(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Put a value into a tree of dicts."""
    *branches, leaf = path
    for branch in branches:
        tree = tree.setdefault(branch, {})
    tree[leaf] = value


def parse(rule: Rule, content: str) -> object:
    """Return the value that the text of a variable stands for, or the text if it fits nothing."""
    word = content.lower()
    if rule.optional and word in NONE_WORDS:
        return None
    if rule.kind == "flag":
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else content
    readers: dict[str, tuple[Callable[[str], float], ...]] = {
        "whole": (int,),
        "number": (float,),
        "amount": (int, float),
    }
    for reader in readers.get(rule.kind, ()):
        try:
            value = reader(content)
        except ValueError:
            continue
        # So many digits that float() made "no limit" of them: said is something else.
        return content if value in (math.inf, -math.inf) and "inf" not in word else value
    return content
