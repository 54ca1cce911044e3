"""Whatever a password is made of, what is said of a failure does not hold it.

These need Hypothesis. They stand apart, so that the rest of the suite also runs without it.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.module.discretion import LONGEST, reason

MARK = "Zq7x"
passwords = st.text(string.ascii_letters + string.digits + "!#$%*+-.:=@/?_", max_size=20).map(
    lambda rest: f"{MARK}{rest}{MARK}"
)
words = st.text(string.ascii_lowercase + " \n\t.,", max_size=300)


@given(words, passwords, words)
def test_the_password_of_a_url_is_left_out(before: str, password: str, after: str) -> None:
    said = reason(OSError(f"{before} postgresql://app:{password}@db.internal/flows {after}"))
    assert MARK not in said
    assert len(said) <= LONGEST


@pytest.mark.parametrize(
    "form", ["password={} x", "'password': '{}'", 'PGPASSWORD="{}"', "pwd: {}"]
)
@given(passwords)
def test_a_password_that_is_assigned_is_left_out(form: str, password: str) -> None:
    assert MARK not in reason(OSError(f"connect failed: {form.format(password)}"))


@given(st.text(max_size=5_000))
def test_any_text_becomes_one_short_line(text: str) -> None:
    said = reason(OSError(text))
    assert len(said) <= LONGEST
    assert len(said.splitlines()) <= 1
