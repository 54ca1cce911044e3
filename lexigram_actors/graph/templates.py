"""Filling in prompts: `{name}` and nothing else. Pure.

A prompt is often written by somebody who may not see everything, and the state holds what models
and people typed. `str.format` would let `{user.__class__}` walk through objects and `{x:>9999999}`
fill the memory; and it fails on a prompt that shows JSON. So only a bare identifier is looked up,
once; what comes in through a value stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lexigram_actors.errors import text_of

# Possessive: what no brace closes is left behind at once, so hostile text costs no more than long.
PLACEHOLDER = re.compile(r"\{([^{}]++)\}")


def render(template: str, state: Mapping[str, Any]) -> str:
    """Return the template with each `{identifier}` whose key is in the state replaced.

    By `str` of the value; a value that has none is named by its class. Everything else stays as it
    is written: unknown keys, attributes, indices, conversions, format specs, JSON, `{{`. Values
    are not searched for further placeholders. Never raises.
    """

    def value_of(match: re.Match[str]) -> str:
        key = match[1]
        return text_of(state[key]) if key.isidentifier() and key in state else match[0]

    return PLACEHOLDER.sub(value_of, template)
