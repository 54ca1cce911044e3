"""Cleanups: all are done, in their order, whatever becomes of the others."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.module.cleanups import Cleanups
from lexigram_actors.testing.cancelling import CancelAt, cancel_at_every_step


async def test_several_that_fail_are_told_together() -> None:
    cleanups = Cleanups(5)

    async def bad(word: str) -> None:
        raise OSError(word)

    cleanups.add(lambda: bad("one"))
    cleanups.add(lambda: bad("two"))
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="one"), pytest.RaisesExc(OSError, match="two")
    ):
        await cleanups.aclose()


async def test_the_grace_is_for_all_together(autojump_clock: MockClock) -> None:
    cleanups, diary = Cleanups(5), list[str]()

    async def slow(word: str) -> None:
        try:
            await trio.sleep(4)
            diary.append(word)
        finally:
            diary.append("end")

    for word in ("third", "second", "first"):
        cleanups.add(partial(slow, word))
    await cleanups.aclose()
    assert diary == ["first", "end", "end", "end"]
    assert trio.current_time() == pytest.approx(5)


def test_cancelled_anywhere_every_cleanup_is_done_to_its_end() -> None:
    diary: list[int] = []

    async def scenario() -> None:
        diary.clear()
        cleanups = Cleanups(5)

        async def cleanup(number: int) -> None:
            await trio.sleep(1)
            diary.append(number)

        for number in range(3):
            cleanups.add(partial(cleanup, number))
        await cleanups.aclose()
        await trio.lowlevel.checkpoint()

    def check(instrument: CancelAt) -> None:
        assert diary in ([], [2, 1, 0])

    assert cancel_at_every_step(scenario, check=check).delivered


def test_without_a_loop_what_does_not_wait_is_done() -> None:
    cleanups, diary = Cleanups(5), list[str]()

    async def cleanup() -> None:
        diary.append("done")

    cleanups.add(cleanup)
    with pytest.raises(StopIteration):
        cleanups.aclose().send(None)
    assert diary == ["done"]
