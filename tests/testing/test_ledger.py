"""What `check_steps` lets pass, and what not."""

from __future__ import annotations

import pytest

from lexigram_actors.testing import Effect, check_steps


def ledger(names: str) -> list[Effect]:
    return [Effect(name) for name in names]


@pytest.mark.parametrize(("names", "crashes"), [("abc", 0), ("aabc", 1), ("aabbc", 2), ("", 0)])
def test_a_step_that_was_under_way_at_a_crash_may_start_again(names: str, crashes: int) -> None:
    check_steps(ledger(names), crashes)


@pytest.mark.parametrize("names", ["aba", "abcb", "abca"])
def test_a_step_may_not_start_again_after_a_later_one(names: str) -> None:
    with pytest.raises(AssertionError, match="started again"):
        check_steps(ledger(names), 5)


@pytest.mark.parametrize(("names", "crashes"), [("aab", 0), ("aaab", 1), ("aabb", 1)])
def test_no_more_starts_are_excused_than_there_were_crashes(names: str, crashes: int) -> None:
    with pytest.raises(AssertionError, match="starts too many"):
        check_steps(ledger(names), crashes)


def test_as_many_as_may_be_under_way_are_excused_by_each_crash() -> None:
    after = {"j": "abc"}
    check_steps(ledger("abcbacj"), 1, after=after, at_once=3)
    with pytest.raises(AssertionError, match="starts too many"):
        check_steps(ledger("abcabcj"), 1, after=after, at_once=2)


def test_what_an_undisturbed_run_repeats_is_no_extra_start() -> None:
    check_steps(ledger("aaab"), 1, undisturbed=ledger("aab"))
    with pytest.raises(AssertionError, match="starts too many"):
        check_steps(ledger("aaaab"), 1, undisturbed=ledger("aab"))


def test_what_comes_before_is_followed_at_any_distance() -> None:
    after = {"b": "a", "c": "b", "x": ""}
    check_steps(ledger("abxcx"), 1, after=after)
    with pytest.raises(AssertionError, match="'a' started again in life 1, after 'c'"):
        check_steps(ledger("aca"), 1, after=after)
