"""I4 where a saga is cancelled, or its host closes, at any step of any task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import trio

from lexigram_actors.host.opening import open_host
from lexigram_actors.host.operator import Operator
from lexigram_actors.result import Ok
from lexigram_actors.storage import MemoryStore
from lexigram_actors.testing import CancelAt, VirtualTime, at_every_step, no_task_left, run
from tests.saga.faults.bench import Trial, saga_of
from tests.saga.faults.cases import tried
from tests.saga.faults.checking import check_i4
from tests.saga.faults.dying import Life, PlainStore
from tests.saga.faults.hosted import ID, ended, runnable_of
from tests.saga.faults.living import executed
from tests.saga.faults.plans import Case
from tests.saga.faults.states import Event

WITHIN: Final = 1e6
MOST: Final = 20
"""Steps of a host that are tried, evenly spread."""

CASES: Final = {
    "completed": Case("mixed"),
    "err": Case("mixed", "err", "d"),
    "once": Case("all", "once", "c"),
    "stuck": Case("none", "raise", "d", "raise", "b"),
    "tried again": Case("all", "err", "d", "err", "b"),
    "late": Case("mixed", "late", "c", "late", "a"),
    "group": Case("group"),
    "group fails": Case("group", "err", "c", "raise", "b"),
    "pivot": Case("pivot", "err", "e"),
    "probes": Case("probes", "late", "c"),
}


# --- on its own ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_cancelled_at_any_step_it_has_undone_what_was_done(name: str) -> None:
    case = CASES[name]

    async def scenario(instrument: CancelAt) -> None:
        trial, kept = Trial(case), dict[str, tuple[str, str]]()
        saga = saga_of(trial, Life(), PlainStore(kept, Life()), ID)
        with no_task_left(), trio.fail_after(WITHIN):
            with instrument.scope:
                instrument.counts = True
                end = await executed(trial, saga)
            instrument.counts = False
        if instrument.scope.cancelled_caught:
            end = Event("end", "", "cancelled", frozenset(saga.uncompensated))
        trial.events.append(end)
        check_i4(trial.events, case, is_cut=True)
        await check_stored(trial, kept)

    tried(f"cancelled {name}", at_every_step(attempting(scenario)).delivered)


async def check_stored(trial: Trial, kept: dict[str, tuple[str, str]]) -> None:
    """What was recorded is the end, unless nothing had begun."""
    begun = [event for event in trial.events if event.what == "do"]
    if not begun or trial.case.variant == "pivot":
        return
    before = len(trial.events)
    again = saga_of(trial, Life(), PlainStore(kept, Life()), ID)
    result = await again.execute()
    assert len(trial.events) == before, f"it goes on: {trial.events[before:]}"
    assert frozenset(again.uncompensated) == trial.events[-1].stuck
    is_undone = any(event.what == "undo" for event in trial.events)
    assert result.is_err() or (result == Ok(None) and not is_undone)


def attempting(scenario: Callable[[CancelAt], Any]) -> Callable[[CancelAt], None]:
    def attempt(instrument: CancelAt) -> None:
        instrument.counts = False
        run(scenario, instrument, seed=0, instruments=[instrument])

    return attempt


# --- in a host -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_undone_because_a_host_is_cut_off_and_the_next_goes_on(name: str) -> None:
    case = CASES[name]

    async def scenario(instrument: CancelAt) -> None:
        trial, store = Trial(case), MemoryStore(clock=VirtualTime())
        trial.is_closing = lambda: instrument.scope.cancel_called
        with no_task_left(), trio.fail_after(WITHIN):
            with instrument.scope:
                instrument.counts = True
                await begin(trial, store)
            instrument.counts = False
            trial.is_closing = bool
            trial.events.append(Event("crash"))
            await go_on(trial, store)
        check_i4(trial.events, case)

    report = at_every_step(attempting(scenario), most=MOST)
    tried(f"host cut off {name}", report.delivered)


@pytest.mark.parametrize("name", CASES)
def test_cancelled_in_a_host_at_any_step_it_has_undone_what_was_done(name: str) -> None:
    case = CASES[name]

    async def scenario(instrument: CancelAt) -> None:
        trial, store = Trial(case), MemoryStore(clock=VirtualTime())
        runnable = runnable_of(trial, Life())
        with no_task_left(), trio.fail_after(WITHIN):
            async with open_host(store, register=[runnable]) as host:
                handle = await host.start(runnable, None, id=ID)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_when, instrument, trial, handle)
                    instrument.counts = True
                    await ended(trial, host, handle)
                    instrument.counts = False
                    nursery.cancel_scope.cancel()
        check_i4(trial.events, case, is_cut=True)

    tried(f"instance cancelled {name}", at_every_step(attempting(scenario), most=MOST).delivered)


async def cancel_when(instrument: CancelAt, trial: Trial, handle: Any) -> None:
    with instrument.scope:
        await trio.sleep_forever()
    trial.cancelled = True
    with trio.CancelScope(shield=True):
        await handle.cancel("enough", grace=0)


async def begin(trial: Trial, store: Any, **options: Any) -> None:
    runnable = runnable_of(trial, Life())
    async with open_host(store, register=[runnable], **options) as host:
        await (await host.start(runnable, None, id=ID)).result()


async def go_on(trial: Trial, store: Any) -> None:
    runnable = runnable_of(trial, Life())
    async with open_host(store, register=[runnable]) as host:
        await ended(trial, host, await host.start(runnable, None, id=ID))


# --- a host that closes ----------------------------------------------------------------------


async def closed_at(case: Case, place: int, grace: float, *, cancel: bool) -> bool:
    """Close a host when so many events were told, and let another go on; False: it had ended."""
    trial, store = Trial(case), MemoryStore(clock=VirtualTime())
    closes = trio.Event()
    trial.on_event = lambda event: closes.set() if len(trial.events) == place else None
    runnable = runnable_of(trial, Life())
    with trio.fail_after(WITHIN):
        async with open_host(store, register=[runnable], grace=grace) as host:
            handle = await host.start(runnable, None, id=ID)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_end, handle, nursery.cancel_scope)
                await closes.wait()
                nursery.cancel_scope.cancel()
            if not closes.is_set():
                return False
            trial.is_closing = lambda: True
        trial.is_closing = bool
        trial.events.append(Event("crash"))
        operator = Operator(store)
        had_ended = (await operator.find(ID)).status.has_ended
        if cancel and not had_ended:
            trial.cancelled = True
            await operator.cancel(ID, "enough", grace=0)
        await go_on(trial, store)
    check_i4(trial.events, case, is_cut=trial.cancelled)
    assert not trial.cancelled or trial.events[-1].how == "cancelled"
    return True


async def wait_end(handle: Any, scope: trio.CancelScope) -> None:
    await handle.result()
    scope.cancel()


async def closed_everywhere(case: Case, grace: float, *, cancel: bool) -> int:
    place = 1
    while await closed_at(case, place, grace, cancel=cancel):
        place += 1
    return place - 1


@pytest.mark.parametrize("grace", [0, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_undone_because_a_host_closes_and_the_next_goes_on(
    name: str, grace: float
) -> None:
    number = run(lambda: closed_everywhere(CASES[name], grace, cancel=False))
    assert number >= 10
    tried(f"host closes {name} {grace}", number)


@pytest.mark.parametrize("name", CASES)
def test_cancelled_while_no_host_is_there_it_is_undone_by_the_next(name: str) -> None:
    number = run(lambda: closed_everywhere(CASES[name], 0, cancel=True))
    assert number >= 10
    tried(f"cancelled meanwhile {name}", number)
