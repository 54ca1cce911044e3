"""Results and items as JSON text, and a clear refusal of what JSON cannot express."""

import math
from typing import Any


def to_json(value: Any) -> bytes:
    """Encode `value` as one line of JSON.

    Dataclasses, datetimes, UUIDs and enums are written as orjson writes them; integers of any
    size are written exactly.

    Raises:
        ValueError: JSON cannot express the value; the message names the type at fault.
    """
    import orjson

    try:
        encoded = orjson.dumps(value)
    except TypeError as problem:
        encoded = _encode_slowly(value, problem)
    # orjson writes NaN and infinities as null, which would change the value in silence.
    if b"null" in encoded:
        _refuse_non_finite(value)
    return encoded


def _encode_slowly(value: Any, problem: TypeError) -> bytes:
    """Encode what orjson refuses and JSON can express: large integers, lone surrogates, depth."""
    import json

    text = str(problem)
    if not any(reason in text for reason in ("64-bit", "surrogates", "ecursion limit")):
        raise ValueError(text) from problem
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError as refusal:
        raise ValueError("it is nested too deep, or holds itself") from refusal
    except (TypeError, ValueError) as refusal:
        raise ValueError(str(refusal)) from refusal


def _refuse_non_finite(value: Any) -> None:
    """Raise for a NaN or an infinity in `value`, looking no deeper than orjson writes."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, float) and not math.isfinite(current):
            raise ValueError(f"float {current} is not a JSON number")
        if isinstance(current, dict):
            pending.extend(current.values())
        elif isinstance(current, list | tuple):
            pending.extend(current)
        elif hasattr(current, "__dataclass_fields__") and not isinstance(current, type):
            pending.extend(getattr(current, name) for name in current.__dataclass_fields__)
