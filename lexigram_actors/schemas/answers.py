"""What a person answered, made into the type that the question asks for. Pure; needs `cattrs`.

| schema | takes |
| --- | --- |
| `bool` | True, False; true, false, yes, no in any case |
| `int` | an int; digits, with or without a sign, 640 at most. No bool, no `1.0` |
| `float` | an int or float; a number in text. No bool, no NaN or inf, no int that is rounded |
| `str`, `bytes` | the same |
| `Literal`, enums | one of the values, of the same type or as text; of enums the name as well |
| unions, `Optional` | a value of just one of the types as it is, else the first type that fits |
| `list`, `set`, tuples | a list or tuple; a JSON array in text |
| `dict` | a dict; a JSON object in text |
| attrs classes, dataclasses, `TypedDict` | as `dict`, with no key too many or too few |

An instance of a class is taken as it is. A schema of None takes anything.

JSON is read exactly: ints of any size stay ints, a decimal becomes the float next to it; NaN,
infinities, numbers of more than 640 characters, and a key twice in one object are refused. So is
an answer with more than 64 levels. Where a value stands twice in an answer, what it becomes under
a union may be one object for both.
"""

from __future__ import annotations

from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.errors import AnswerInvalidError, ConfigurationError, describe
from lexigram_actors.schemas.converting import Hook, strict_converter
from lexigram_actors.schemas.findings import Findings, findings
from lexigram_actors.schemas.misfits import problem_of
from lexigram_actors.schemas.strict_json import check_depth


def structured(asker: str, schema: Any, response: Any) -> Any:
    """Return the answer as a value of the type `schema`; as it is where the schema is None.

    Args:
        asker: What asked, a node or a question, by the name that the error gives it.
        schema: The type.
        response: The answer.

    Raises:
        AnswerInvalidError: It does not fit, or is nested too deeply; the message says where and
            why, for the first problems.
        ConfigurationError: The schema is no type that answers can be structured to.
        MissingExtraError: There is a schema, and `cattrs` is not installed.
    """
    if schema is None:
        return response
    hook = _hook_for(asker, schema)
    token = findings.set(Findings())
    try:
        check_depth(response)
        return hook(response, schema)
    except Exception as error:
        raise AnswerInvalidError(asker, problem_of(error), cause=error) from error
    finally:
        findings.reset(token)


def check_schema(asker: str, schema: Any) -> None:
    """Refuse a schema that no answer could be structured to, before anybody is asked.

    Raises:
        ConfigurationError: It is no type that answers can be structured to.
        MissingExtraError: `cattrs` is not installed.
    """
    if schema is not None:
        _hook_for(asker, schema)


def _hook_for(asker: str, schema: Any) -> Hook:
    converter = strict_converter()
    try:
        hook: Hook = converter.get_structure_hook(schema)
    except Exception as error:
        raise ConfigurationError(
            f"answers for {asker!r} cannot be structured to {given(schema)}: {describe(error)}",
            cause=error,
        ) from error
    return hook
