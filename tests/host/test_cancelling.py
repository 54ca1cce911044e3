"""What goes on of a group."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from lexigram_actors.host.cancelling import passing


async def cancelled() -> trio.Cancelled:
    """Return a cancellation, of which Trio alone makes one."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            return error
    raise AssertionError


async def test_a_cancellation_goes_on_and_the_errors_beside_it_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cancellation = await cancelled()
    inner = BaseExceptionGroup("", [ValueError("rollback failed"), cancellation])
    assert passing(BaseExceptionGroup("", [inner]), "step 'a'") is cancellation
    assert "step 'a' failed while it was cancelled" in caplog.text
    assert "rollback failed" in caplog.text


async def test_of_several_cancellations_one_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    group = BaseExceptionGroup("", [await cancelled(), await cancelled()])
    assert isinstance(passing(group, "step 'a'"), trio.Cancelled)
    assert caplog.records == []


async def test_an_interrupt_goes_on_before_a_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupt = KeyboardInterrupt()
    group = BaseExceptionGroup("", [await cancelled(), interrupt, ValueError()])
    with caplog.at_level(logging.ERROR):
        assert passing(group, "step 'a'") is interrupt
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_what_is_no_group_goes_on_as_it_is(error: Any) -> None:
    assert passing(error, "step 'a'") is error


def test_errors_alone_go_on() -> None:
    error = ValueError()
    assert passing(ExceptionGroup("", [error]), "step 'a'") is error
    several = ExceptionGroup("", [error, KeyError()])
    assert passing(several, "step 'a'") is several
