"""What of a results file stands when a job goes on."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.bulk import BulkCheckpoint
from lexigram_actors.cli.reconcile import Plan, Recorded, Whole, index_of, plan


def line(index: int, result: str = "null") -> bytes:
    return b'{"index":%d,"result":%b}\n' % (index, result.encode())


def recorded(batches: Iterable[int], batch_size: int = 1, items: int | None = None) -> Recorded:
    numbers = frozenset(batches)
    count = len(numbers) * batch_size if items is None else items
    return BulkCheckpoint("job", batch_size, numbers, count)


def applied(data: bytes, found: Plan) -> bytes:
    return data[: found.keep_bytes] + b"".join(data[start:end] for start, end in found.later)


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def test_nothing_written_and_nothing_recorded_is_clean() -> None:
    found = plan([], None)
    assert found.is_clean
    assert (found.kept, found.missing, found.broken_line) == (0, 0, None)


def test_all_recorded_is_kept_as_it_is() -> None:
    data = line(2) + line(0) + line(1)
    found = plan(lines_of(data), recorded(range(3)))
    assert found.is_clean
    assert (found.kept, found.keep_bytes, found.later) == (3, len(data), ())


def test_a_torn_end_is_cut_off() -> None:
    data = line(0) + line(1)[:-3]
    found = plan(lines_of(data), recorded([0]))
    assert found.torn
    assert not found.is_clean
    assert applied(data, found) == line(0)


@pytest.mark.parametrize("end", [b"{", b'{"ind', b'{"index":12,"result":{"a', b"\0" * 40])
def test_whatever_a_cut_off_write_leaves_is_a_torn_end(end: bytes) -> None:
    found = plan([line(0), end], recorded([0]))
    assert found.torn
    assert found.broken_line is None


def test_lines_of_unrecorded_batches_are_dropped_wherever_they_stand() -> None:
    data = line(5) + line(0) + line(4) + line(1) + line(2) + line(3)
    found = plan(lines_of(data), recorded([0, 1, 2, 3]))
    assert found.dropped == 2
    assert found.keep_bytes == 0
    assert applied(data, found) == line(0) + line(1) + line(2) + line(3)


def test_a_line_that_stands_twice_is_kept_once() -> None:
    data = line(0) + line(1) + line(0)
    found = plan(lines_of(data), recorded([0, 1]))
    assert applied(data, found) == line(0) + line(1)
    assert found.dropped == 1


def test_recorded_results_that_are_gone_are_counted() -> None:
    assert plan([line(0)], recorded(range(4))).missing == 3
    assert plan([line(0), line(1), line(2)], recorded([0, 1], 2, items=3)).missing == 0


@pytest.mark.parametrize(
    "foreign", [b"hello\n", b'{"index":1}\n', b'{"index":x,"result":1}\n', b"no line end", b"\n"]
)
def test_a_line_of_somebody_else_is_no_torn_end(foreign: bytes) -> None:
    assert plan([line(0), foreign], recorded([0])).broken_line == 2


def test_a_damaged_line_in_the_midst_is_named() -> None:
    assert plan([line(0), b"\0\0\0\n", line(1)], recorded([0, 1])).broken_line == 2


def test_a_complete_job_is_one_whose_every_item_is_there() -> None:
    lines = [line(2), line(0), line(1)]
    assert plan(lines, Whole(3)).missing == 0
    assert plan(lines[:2], Whole(3)).missing == 1
    assert plan([], Whole(0)).missing == 0


def test_an_index_beyond_all_bounds_costs_no_memory() -> None:
    assert plan([line(10**17)], recorded([0])).dropped == 1


def test_a_results_line_is_told_from_others() -> None:
    assert index_of(line(12, '{"a":"}"}')) == 12
    assert index_of(line(12)[:-1]) is None
    assert index_of(b'{"index":12,"error":1}\n') is None


@given(
    total=st.integers(0, 30),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    cut=st.integers(0, 60),
)
def test_whatever_was_cut_the_rest_is_each_recorded_item_once(
    total: int, batch_size: int, seed: int, cut: int
) -> None:
    dice = random.Random(seed)
    batches = list(range(-(-total // batch_size)))
    dice.shuffle(batches)
    written, done = b"", []
    for batch in batches:
        indexes = range(batch * batch_size, min(total, (batch + 1) * batch_size))
        chunk = b"".join(line(index, "[1]") for index in indexes)
        if dice.random() < 0.3:  # written, never recorded: killed in between, or items failed
            written += chunk
        elif dice.random() < 0.9:
            written += chunk
            done.append(batch)
    recorded_items = {
        index
        for batch in done
        for index in range(batch * batch_size, min(total, (batch + 1) * batch_size))
    }
    tail = line(total)[: max(0, len(line(total)) - 1 - cut)]
    data = written + tail
    found = plan(lines_of(data), recorded(done, batch_size, len(recorded_items)))
    kept = [index_of(one) for one in lines_of(applied(data, found))]
    assert sorted(kept, key=lambda index: index or 0) == sorted(recorded_items)
    assert found.kept == len(kept)
    assert found.missing == 0
    again = plan(lines_of(applied(data, found)), recorded(done, batch_size, len(recorded_items)))
    assert again.is_clean
