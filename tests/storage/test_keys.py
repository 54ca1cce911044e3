"""Patterns over keys, against the plain meaning of `*`."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.storage.keys import KeyPattern

few = st.text("ab*?[", max_size=8)


@given(few, few)
def test_a_pattern_matches_what_the_same_regular_expression_does(pattern: str, key: str) -> None:
    plain = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert KeyPattern.parse(pattern).matches(key) == bool(re.fullmatch(plain, key, re.DOTALL))


@given(few, few)
def test_a_pattern_of_a_prefix_alone_knows_it(pattern: str, key: str) -> None:
    parsed = KeyPattern.parse(pattern)
    if parsed.is_prefix:
        assert parsed.matches(parsed.prefix + key)
