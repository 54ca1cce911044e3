"""A saga that is recorded nowhere takes a quicker way; nobody can tell by what it does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import trio
import trio.testing
from attrs import evolve, field, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from lexigram_actors.errors import describe
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import MemorySagaStore, SagaContext, SagaStep
from tests.saga.making import Made

Deed = Literal[
    "value", "ok", "err", "raise", "group", "slow", "slow err", "overdue", "late", "deaf"
]


SECONDS: dict[Deed, float] = {"slow": 1, "slow err": 1, "overdue": 50, "late": 50, "deaf": 50}


@frozen
class Wanted:
    """A step as it is drawn: what its action, its undo and its probe do, attempt by attempt."""

    action: tuple[Deed, ...] = ("value",)
    undo: tuple[Deed, ...] | None = ("value",)
    probe: bool | None = None
    is_sync: bool = False
    delay: float = 0.0
    takes_context: bool = False
    options: dict[str, Any] = field(factory=dict)


@frozen
class Case:
    """A saga as it is drawn.

    Attributes:
        stages: Steps; those in a tuple of several are done side by side.
        cancel_at: Seconds after which it is cancelled.
        options: Of the saga.
        after: What is called when it has been executed.
    """

    stages: tuple[tuple[Wanted, ...], ...]
    cancel_at: float | None = None
    options: dict[str, Any] = field(factory=dict)
    after: tuple[str, ...] = ()


def now() -> float:
    """Return the time; a deadline that was recorded by the wall clock is met a little off."""
    return round(trio.current_time(), 2)


def doing(book: list[Any], what: str, deeds: tuple[Deed, ...], wanted: Wanted) -> Any:
    """Return a function that does one deed after the other, the last for good, and notes it."""
    left = list(deeds)

    def told(context: SagaContext | None) -> Deed:
        book.append((now(), what, context))
        return left.pop(0) if len(left) > 1 else left[0]

    def done(deed: Deed) -> Any:
        if deed in ("err", "slow err"):
            return Err(OSError("it says no"))
        if deed == "raise":
            raise KeyError(what)
        if deed == "group":
            raise ExceptionGroup("two", [KeyError(what), ExceptionGroup("one", [OSError(what)])])
        return Ok(what) if deed == "ok" else what

    async def slowly(deed: Deed) -> Any:
        seconds: float = {"slow": 1, "slow err": 1, "overdue": 50, "late": 50, "deaf": 50}.get(
            deed, 0
        )
        seconds += wanted.delay
        try:
            with trio.CancelScope(shield=deed == "late"):
                if seconds:
                    await trio.sleep(seconds)
        except trio.Cancelled:
            if deed == "deaf":
                raise OSError("it would not be cut off") from None
            book.append((now(), f"{what} cut off", None))
            raise
        return done(deed)

    def sync(context: SagaContext | None = None) -> Any:
        return done(told(context))

    async def plain() -> Any:
        return await slowly(told(None))

    async def with_context(context: SagaContext) -> Any:
        return await slowly(told(context))

    def sync_with_context(context: SagaContext) -> Any:
        return sync(context)

    if wanted.takes_context:
        return sync_with_context if wanted.is_sync else with_context
    return (lambda: sync()) if wanted.is_sync else plain


def step_for(book: list[Any], name: str, wanted: Wanted) -> SagaStep:
    def probe() -> bool | None:
        book.append((now(), f"?{name}", None))
        return wanted.probe

    undo = None if wanted.undo is None else doing(book, f"-{name}", wanted.undo, wanted)
    action = doing(book, name, wanted.action, wanted)
    asked = None if wanted.probe is None else probe
    return SagaStep(name, action, undo, probe=asked, **wanted.options)


async def lived(case: Case, store: Any) -> list[Any]:
    """Return everything that can be seen of it."""
    book: list[Any] = []
    names = iter("abcdefghijklmno")
    stages = [[step_for(book, next(names), each) for each in stage] for stage in case.stages]
    saga = Made(*(s if len(s) > 1 else s[0] for s in stages), store=store, **case.options)

    def look() -> None:
        errors = {step: describe(error) for step, error in saga.compensation_errors.items()}
        undone = [name for name in "abcdefghijklmno" if saga.was_compensated(name)]
        facts = (saga.state, saga.results, saga.completed, saga.uncompensated, undone, errors)
        book.append((now(), *facts))

    async def call(method: Callable[[], Any]) -> None:
        try:
            result = await method()
        except Exception as error:
            book.append((type(error), describe(error)))
        else:
            book.append(described(result))

    with trio.CancelScope() as scope:
        if case.cancel_at is not None:
            scope.deadline = trio.current_time() + case.cancel_at
        await call(saga.execute)
    book.append(scope.cancelled_caught)
    look()
    for method in case.after:
        await call(getattr(saga, method))
        look()
    return book


def described(result: Any) -> Any:
    if not isinstance(result, Err):
        return result
    error = result.error
    cause = error.cause
    return (type(error), describe(error), error.step_name, type(cause), describe(cause))


def both(case: Case) -> tuple[list[Any], list[Any]]:
    """Return what is seen without a store, and with one."""
    logging.getLogger("lexigram_actors").setLevel(logging.CRITICAL)
    try:
        quick, general = (
            trio.run(lived, case, store, clock=trio.testing.MockClock(autojump_threshold=0))
            for store in (None, MemorySagaStore())
        )
    finally:
        logging.getLogger("lexigram_actors").setLevel(logging.NOTSET)
    return quick, general


swift: tuple[Deed, ...] = ("value", "ok", "err", "raise", "group")
slow: tuple[Deed, ...] = (*swift, "slow", "slow err", "overdue")
anything: tuple[Deed, ...] = (*slow, "late", "deaf")


@st.composite
def steps(draw: st.DrawFn) -> Wanted:
    is_sync = draw(st.booleans())
    # An action that puts off its cancellation may be cut off at this checkpoint or that.
    does = st.sampled_from(swift if is_sync else slow)
    undoes = st.sampled_from(swift if is_sync else anything)
    well: st.SearchStrategy[tuple[Deed, ...]] = st.just(("value",))
    return Wanted(
        draw(well | st.lists(does, min_size=1, max_size=3).map(tuple)),
        draw(well | st.none() | st.lists(undoes, min_size=1, max_size=3).map(tuple)),
        draw(st.sampled_from([None, None, True, False])),
        is_sync,
        takes_context=draw(st.booleans()),
        options=draw(
            st.fixed_dictionaries(
                {"max_retries": st.integers(1, 3), "retry_delay": st.sampled_from([0, 0.25, 2.0])},
                optional={
                    "idempotent": st.booleans(),
                    "timeout": st.sampled_from([0.5, 5.0]),
                    "compensation_timeout": st.sampled_from([0.5, 5.0]),
                    "compensation_attempts": st.integers(1, 3),
                    "pivot": st.sampled_from([False, False, True]),
                },
            )
        ),
    )


@st.composite
def groups(draw: st.DrawFn) -> tuple[Wanted, ...]:
    """Draw steps of which no two end at once: which would be first, nobody could say."""
    drawn = draw(st.tuples(steps(), steps(), steps()))
    delays = (0.031, 0.043, 0.0571)  # no few of one are some of another
    return tuple(
        evolve(each, is_sync=False, delay=delay) for each, delay in zip(drawn, delays, strict=True)
    )


stages = st.lists(st.tuples(steps()) | st.tuples(steps()) | groups(), min_size=1, max_size=5)

cases = st.builds(
    Case,
    stages.map(tuple),
    st.sampled_from([None, None, 0.1, 1.6, 3.6, 7.1]),
    st.fixed_dictionaries(
        {},
        optional={
            "timeout": st.sampled_from([0.7, 2.7, 100.3]),
            "in_doubt": st.sampled_from(["auto", "probe"]),
        },
    ),
    st.lists(st.sampled_from(["execute", "compensate", "retry_compensation"]), max_size=3).map(
        tuple
    ),
)

failing = (Wanted(("err",), options={"max_retries": 1}),)


@given(cases)
@example(Case(((Wanted(undo=("slow",)),), (Wanted(undo=("late",)),), failing)))
@example(Case(((Wanted(),), (Wanted(undo=("overdue", "slow")),), failing), after=("execute",)))
def test_with_a_store_and_without_one_a_saga_does_the_same(case: Case) -> None:
    quick, general = both(case)
    if any(len(stage) > 1 for stage in case.stages):  # in which order they begin is up to Trio
        quick.sort(key=repr)
        general.sort(key=repr)
    assert quick == general
