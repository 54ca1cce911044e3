"""The decisions of a supervisor, and the checks of its specs, as functions of values alone."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    ConfigurationError,
    DynamicSupervisor,
    Mailbox,
    MailboxStatistics,
    Overflow,
    Restart,
    Strategy,
    Supervisor,
)
from lexigram_actors.kernel.restarts import (
    must_restart,
    record_restart,
    restart_delay,
    restart_group,
    restarts_in_a_row,
    shuts_down,
)
from tests.kernel.behaviours import Echo, deaf

REASONS = ["normal", "failed", "stopped", "shutdown", "cancelled", "upgrade", ""]


@pytest.mark.parametrize("reason", REASONS)
def test_who_is_restarted_follows_otps_table(reason: str) -> None:
    assert must_restart(Restart.PERMANENT, reason)
    assert must_restart(Restart.TRANSIENT, reason) == (reason == "failed")
    assert not must_restart(Restart.TEMPORARY, reason)


times = st.lists(st.floats(0, 1_000, allow_nan=False), max_size=40).map(sorted)


@given(times, st.integers(0, 5), st.floats(0.1, 100))
def test_restarts_in_any_window_are_within_the_intensity_or_refused(
    instants: list[float], max_restarts: int, period: float
) -> None:
    earlier: list[float] = []
    granted: list[float] = []
    for now in instants:
        within, earlier = record_restart(earlier, now, max_restarts, period)
        in_window = [at for at in granted if now - at <= period]
        assert within == (len(in_window) < max_restarts)
        if not within:
            break
        granted.append(now)
        assert len(earlier) <= max_restarts
    for at in granted:
        assert len([other for other in granted if 0 <= other - at <= period]) <= max_restarts


@given(times, st.integers(0, 5), st.floats(0.1, 100))
def test_recording_a_restart_changes_nothing_given(
    instants: list[float], max_restarts: int, period: float
) -> None:
    before = list(instants)
    record_restart(instants, 1_000, max_restarts, period)
    assert instants == before


def test_a_restart_exactly_one_period_ago_still_counts() -> None:
    assert record_restart([0.0], 5.0, 1, 5.0) == (False, [0.0, 5.0])
    assert record_restart([0.0], 5.0001, 1, 5.0) == (True, [5.0001])


ids = st.lists(st.text(min_size=1), min_size=1, unique=True)


@given(ids, st.data(), st.sampled_from(list(Strategy)))
def test_a_group_holds_the_failed_child_in_start_order(
    order: list[str], data: st.DataObject, strategy: Strategy
) -> None:
    failed = data.draw(st.sampled_from(order))
    group = restart_group(strategy, order, failed)
    assert failed in group
    assert group == [id_ for id_ in order if id_ in group]
    if strategy is Strategy.ONE_FOR_ONE:
        assert group == [failed]
    elif strategy is Strategy.ONE_FOR_ALL:
        assert group == order
    else:
        assert group == order[order.index(failed) :]


@given(st.lists(st.text()))
def test_a_supervisor_shuts_down_with_any_or_the_last_significant_child(left: list[str]) -> None:
    assert not shuts_down(AutoShutdown.NEVER, left)
    assert shuts_down(AutoShutdown.ANY_SIGNIFICANT, left)
    assert shuts_down(AutoShutdown.ALL_SIGNIFICANT, left) == (not left)


backoffs = st.builds(
    Backoff,
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    maximum=st.floats(0, 1e9) | st.just(inf),
    jitter=st.floats(0, 10),
    reset_after=st.floats(0, 1e6) | st.just(inf),
)


@given(backoffs, st.integers(1, 10_000), st.floats(0, 1))
def test_a_delay_never_shrinks_and_stays_within_its_maximum_and_jitter(
    backoff: Backoff, restarts: int, chance: float
) -> None:
    delay = restart_delay(backoff, restarts, lambda: 0.0)
    assert 0 <= delay <= backoff.maximum
    assert delay <= restart_delay(backoff, restarts + 1, lambda: 0.0)
    jittered = restart_delay(backoff, restarts, lambda: chance)
    assert delay <= jittered <= delay * (1 + backoff.jitter) * (1 + 1e-9)


def test_without_backoff_there_is_no_delay_and_no_row() -> None:
    assert restart_delay(None, 7) == 0.0
    assert restarts_in_a_row(None, 7, 0.0) == 1


@given(backoffs, st.integers(0, 100), st.floats(0, 1e6))
def test_a_child_that_lived_long_enough_begins_anew(
    backoff: Backoff, so_far: int, lived: float
) -> None:
    row = restarts_in_a_row(backoff, so_far, lived)
    assert row == (1 if lived >= backoff.reset_after else so_far + 1)


# --- specs

ANYTHING: list[Any] = [-1, nan, "1", None, True, [], 1.5, inf]


@pytest.mark.parametrize("field", ["initial", "factor", "maximum", "jitter", "reset_after"])
@pytest.mark.parametrize("value", [-1, nan, "1", None, True])
def test_a_backoff_of_no_numbers_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Backoff(**{field: value})


def test_a_backoff_that_shrinks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="factor is at least 1"):
        Backoff(factor=0.5)


@pytest.mark.parametrize("bound", [-1, nan, "1", None, True, 1.5, -inf])
def test_a_bound_that_is_none_is_refused(bound: Any) -> None:
    with pytest.raises(ConfigurationError, match="bound"):
        Mailbox(bound)


@pytest.mark.parametrize(
    "wrong",
    [
        {"overflow": "block"},
        {"overflow": None},
        {"overflow": Overflow.COALESCE},
        {"overflow": Overflow.COALESCE, "key": "name"},
        {"overflow": Overflow.BLOCK, "key": len},
        {"bound": 0, "overflow": Overflow.DROP_OLDEST},
        {"bound": 0, "overflow": Overflow.COALESCE, "key": len},
    ],
    ids=str,
)
def test_a_mailbox_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Mailbox(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 5},
        {"behaviour": "Echo"},
        {"behaviour": None},
        {"restart": "permanent"},
        {"restart": None},
        {"shutdown": -1},
        {"shutdown": nan},
        {"shutdown": None},
        {"mailbox": -1},
        {"mailbox": "64"},
        {"significant": True},
        {"args": 5},
        {"kwargs": 5},
    ],
    ids=str,
)
def test_a_child_spec_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        ChildSpec(**{"id": "x", "behaviour": Echo, **wrong})


def test_a_significant_child_needs_a_supervisor_that_heeds_it() -> None:
    spec = ChildSpec("x", Echo, restart=Restart.TRANSIENT, significant=True)
    with pytest.raises(ValueError, match="significant"):
        Supervisor([spec])
    Supervisor([spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_restarts": -1},
        {"max_restarts": 1.5},
        {"max_restarts": True},
        {"period": 0},
        {"period": -1},
        {"period": nan},
        {"backoff": 1.0},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused_by_both_supervisors(
    wrong: dict[str, Any],
) -> None:
    for kind in (Supervisor, DynamicSupervisor):
        with pytest.raises(ConfigurationError):
            kind(**wrong)


@pytest.mark.parametrize("wrong", [-1, nan, "5", None, True])
def test_a_number_of_children_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_children"):
        DynamicSupervisor(max_children=wrong)


@pytest.mark.parametrize(
    "children",
    [
        [Echo],
        ["x"],
        [ChildSpec("x", Echo), ChildSpec("x", deaf)],
    ],
    ids=["a class", "a name", "an id twice"],
)
def test_children_that_are_no_specs_or_share_an_id_are_refused(children: list[Any]) -> None:
    with pytest.raises(ConfigurationError):
        Supervisor(children)
    with pytest.raises(ConfigurationError, match="Strategy"):
        Supervisor(strategy="one_for_one")  # type: ignore[arg-type]


def test_an_auto_shutdown_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="AutoShutdown"):
        Supervisor(auto_shutdown="never")  # type: ignore[arg-type]


def test_specs_are_values() -> None:
    assert ChildSpec("x", Echo, [1, 2]) == ChildSpec("x", Echo, (1, 2))
    assert Mailbox() == Mailbox(64)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ChildSpec("x", Echo).id = "y"  # type: ignore[misc]
    statistics = MailboxStatistics(5, 1, 2, 1, 1, 7)
    assert attrs.astuple(statistics) == (5, 1, 2, 1, 1, 7)
