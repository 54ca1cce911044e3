"""Sagas as instances: how they end, are cancelled, go on, and what an operator can do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import Operator, WorkflowContext, workflow
from lexigram_actors.errors import (
    LexigramError,
    SagaError,
    WorkflowCancelledError,
    WorkflowStateError,
)
from lexigram_actors.pipeline import Pipeline, step
from lexigram_actors.result import Ok
from lexigram_actors.saga import SagaContext, SagaRunnable, SagaStep
from lexigram_actors.storage.instances import InstanceStatus
from tests.host.hosts import Home
from tests.saga.making import Book, Made, Second, Switch, answering, forever, no, raising, sleeping

COMPLETED, FAILED = InstanceStatus.COMPLETED, InstanceStatus.FAILED
CANCELLED, STUCK = InstanceStatus.CANCELLED, InstanceStatus.COMPENSATION_STUCK
SHOWN = InstanceStatus.COMPENSATING


class Gate:
    """What a step waits at until it is let through, and that tells when it waits."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.reached = trio.Event()
        self.opened = trio.Event()

    async def __call__(self) -> Any:
        self.reached.set()
        await self.opened.wait()
        return self.value() if callable(self.value) else self.value


def saga_of(*steps: Any, name: str = "order", **options: Any) -> SagaRunnable:
    """Return a saga to host; its steps are made once, and serve every life."""
    return Made.as_runnable(lambda _: Made(*steps, **options), name=name)


async def status_of(host: Any, id: str = "one") -> InstanceStatus:
    found: InstanceStatus = (await host.operator.find(id)).status
    return found


# --- as a runnable -------------------------------------------------------------------------------


def test_a_saga_says_what_it_is_to_those_that_run_it() -> None:
    runnable = Made.as_runnable()
    assert (runnable.kind, runnable.name, runnable.version) == ("saga", "Made", 1)
    assert Made.as_runnable(name="order").name == "order"


@pytest.mark.parametrize("name", ["", 7, b"x", []])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        Made.as_runnable(name=name)


@pytest.mark.parametrize("make", [7, "Made", []])
def test_what_cannot_make_a_saga_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match="make"):
        Made.as_runnable(make)


async def test_what_makes_no_saga_fails_its_instance(autojump_clock: MockClock) -> None:
    wrong: Any = lambda _: "a saga"  # noqa: E731
    async with Home().host(Made.as_runnable(wrong, name="order"), max_restarts=0) as host:
        handle = await host.start("order", id="one")
        result = await handle.result()
        assert result.is_err()
        assert handle.status.value is FAILED


async def test_the_class_is_made_of_the_input_where_nothing_else_is_said(
    autojump_clock: MockClock,
) -> None:
    class Order(Made):
        def __init__(self, item: str) -> None:
            super().__init__(SagaStep("pack", answering(item)))

    runnable = Order.as_runnable()
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, "a lamp", id="one")
        assert await handle.result() == Ok({"pack": "a lamp"})
        assert handle.status.value is COMPLETED


# --- how it ends -------------------------------------------------------------------------------


async def test_a_hosted_saga_that_fails_is_undone(autojump_clock: MockClock) -> None:
    book = Book()
    runnable = saga_of(book.step("a"), book.step("b"), book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("c", [])
        assert handle.status.value is FAILED
    assert book.log == ["a", "b", "c", "-b", "-a"]


async def test_what_could_not_be_undone_is_stuck_and_says_so(autojump_clock: MockClock) -> None:
    book = Book()
    runnable = saga_of(book.step("a", undo=no), book.step("b"), book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("c", ["a"])
        assert "no" in str(error.compensation_errors["a"])
        assert handle.status.value is STUCK
        assert "a" in (await handle.describe()).note
        [found] = await host.operator.select(status=[STUCK])
        assert found.id == "one"
        stored = await host.operator.outcome("one")
        assert stored is not None
        again = stored.unwrap_err()
        assert isinstance(again, SagaError)
        assert (again.uncompensated, list(again.compensation_errors)) == (["a"], ["a"])


async def test_while_it_undoes_the_status_says_so(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a", undo=gate), book.step("b", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        assert handle.status.value is SHOWN
        assert await status_of(host) is SHOWN
        gate.opened.set()
        await handle.result()
        assert handle.status.value is FAILED


async def test_its_own_store_is_not_used(autojump_clock: MockClock) -> None:
    class Refusing:
        save = load = delete = raising(AssertionError("it is used"))

    runnable = saga_of(Book().step("a"), store=Refusing())
    async with Home().host(runnable) as host:
        assert (await (await host.start(runnable, id="one")).result()).is_ok()


NAMES = ["a/b", "a%2Fb", "#saga", "a#b", "Ärger ☃", "x" * 256, "/", "%", "%23", "a b", "*"]


async def test_names_may_hold_any_character(autojump_clock: MockClock) -> None:
    book, home = Book(), Home()
    runnable = saga_of(*[book.step(name) for name in NAMES], book.step("end", no))
    async with home.host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("end", [])
    assert book.log == [*NAMES, "end", *[f"-{name}" for name in reversed(NAMES)]]


@pytest.mark.parametrize("how", ["skip", "force"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_stuck_step_of_any_name_can_be_settled(
    name: str, how: str, autojump_clock: MockClock
) -> None:
    runnable = saga_of(Book().step(name, undo=no), Book().step("end", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert error.uncompensated == [name]
        await getattr(handle, how)(name)
        await handle.result()
        assert handle.status.value is FAILED


async def test_what_cannot_be_stored_is_undone_with_the_rest(autojump_clock: MockClock) -> None:
    book = Book()
    unstorable = book.step("b", answering({"lock": trio.Lock()}))
    runnable = saga_of(book.step("a"), unstorable, book.step("c"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert error.step_name == "b"
        assert "$.value.lock" in str(error)
        assert handle.status.value is FAILED
    assert book.log == ["a", "b", "-b", "-a"]


async def test_a_group_is_hosted(autojump_clock: MockClock) -> None:
    book = Book()
    failing = book.step("d", sleeping(2, no))
    group = [book.step("b"), book.step("c", sleeping(3)), failing]
    runnable = saga_of(book.step("a"), group, book.step("e"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        assert (await handle.result()).is_err()
        assert handle.status.value is FAILED
    assert book.log[-3:] == ["-c", "-b", "-a"]
    assert sorted(book.log[1:4]) == ["b", "c", "d"]


async def test_the_time_of_a_hosted_saga_ends(autojump_clock: MockClock) -> None:
    book = Book()
    runnable = saga_of(book.step("a"), book.step("b", forever, idempotent=True), timeout=60)
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert "time was over" in str(error)
        assert handle.status.value is FAILED
    assert book.log == ["a", "b", "-b", "-a"]
    assert trio.current_time() == pytest.approx(60, abs=1)


# --- cancelled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("idempotent", [False, True])
async def test_cancelled_in_a_step_that_does_not_end_it_undoes_what_is_done(
    idempotent: bool, autojump_clock: MockClock
) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a"), book.step("b", gate, idempotent=idempotent), book.step("c"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.cancel("enough", grace=2)
        assert handle.status.value is (CANCELLED if idempotent else STUCK)
        error: Any = (await handle.result()).unwrap_err()
        assert "enough" in str(error)
        remains = error.uncompensated if isinstance(error, SagaError) else error.details.get(
            "uncompensated", []
        )  # fmt: skip
        assert remains == ([] if idempotent else ["b"])
    assert book.log == ["a", "b", *(["-b"] if idempotent else []), "-a"]


async def test_a_step_that_ends_within_the_grace_is_done_and_undone(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    runnable = saga_of(
        book.step("a"), book.step("b", sleeping(3)), book.step("c")
    )  # fmt: skip
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await trio.sleep(1)
        await handle.cancel(grace=60)
        assert handle.status.value is CANCELLED
        assert isinstance((await handle.result()).unwrap_err(), WorkflowCancelledError)
    assert book.log == ["a", "b", "-b", "-a"]
    assert trio.current_time() == pytest.approx(3, abs=0.5)


async def test_a_cancellation_while_the_last_step_ends_undoes_it(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    runnable = saga_of(book.step("a"), book.step("b", sleeping(3)))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await trio.sleep(1)
        await handle.cancel(grace=60)
        assert handle.status.value is CANCELLED
    assert book.log == ["a", "b", "-b", "-a"]


async def test_a_cancellation_after_the_end_changes_nothing(autojump_clock: MockClock) -> None:
    book = Book()
    runnable = saga_of(book.step("a"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.result()
        await handle.cancel()
        assert handle.status.value is COMPLETED
    assert book.log == ["a"]


async def test_cancelled_while_it_waits_for_another_attempt(autojump_clock: MockClock) -> None:
    book = Book()
    runnable = saga_of(book.step("a"), book.step("b", no, max_retries=5, retry_delay=1000))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await trio.sleep(10)
        await handle.cancel(grace=1)
        assert handle.status.value is CANCELLED
    assert book.log == ["a", "b", "-a"]


async def test_cancelled_while_it_undoes_it_undoes_the_rest(autojump_clock: MockClock) -> None:
    book = Book()
    slow = book.step("b", undo=sleeping(10))
    runnable = saga_of(book.step("a"), slow, book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await trio.sleep(5)
        await handle.cancel(grace=1)
        assert handle.status.value in (CANCELLED, FAILED)
    assert book.log == ["a", "b", "c", "-b", "-a"]


async def test_cancelled_before_a_host_has_begun_it_nothing_happens(
    autojump_clock: MockClock,
) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a", gate), book.step("b"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.cancel(grace=0)
        assert handle.status.value in (CANCELLED, STUCK)
        if handle.status.value is CANCELLED:
            assert "b" not in book.log


async def test_past_the_pivot_a_cancellation_undoes_nothing(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a"), book.step("p", pivot=True), book.step("b", gate))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.cancel(grace=1)
        assert handle.status.value in (CANCELLED, STUCK)
    assert book.log == ["a", "p", "b"]


# --- paused --------------------------------------------------------------------------------------


async def test_paused_no_step_begins_and_the_one_under_way_ends(
    autojump_clock: MockClock,
) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a", gate), book.step("b"))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.pause()
        gate.opened.set()
        await trio.sleep(100)
        assert book.log == ["a"]
        await handle.resume()
        assert (await handle.result()).is_ok()
    assert book.log == ["a", "b"]


async def test_paused_no_undo_begins(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a"), book.step("b", undo=gate), book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.pause()
        gate.opened.set()
        await trio.sleep(100)
        assert book.log == ["a", "b", "c", "-b"]
        await handle.resume()
        await handle.result()
        assert handle.status.value is FAILED
    assert book.log == ["a", "b", "c", "-b", "-a"]


async def test_paused_no_further_attempt_begins(autojump_clock: MockClock) -> None:
    book = Book()
    step = book.step("a", Switch(no, answering(1)), max_retries=3, retry_delay=10)
    async with Home().host(saga_of(step)) as host:
        handle = await host.start("order", id="one")
        await trio.sleep(5)
        await handle.pause()
        await trio.sleep(100)
        assert book.log == ["a"]
        await handle.resume()
        assert (await handle.result()).is_ok()
    assert book.log == ["a", "a"]


@pytest.mark.parametrize("where", ["step", "retry", "undo"])
async def test_a_paused_one_can_be_cancelled(where: str, autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    b = {
        "step": book.step("b", gate, idempotent=True),
        "retry": book.step("b", no, max_retries=9, retry_delay=1000),
        "undo": book.step("b", undo=gate),
    }[where]
    runnable = saga_of(book.step("a"), b, book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await trio.sleep(5)
        await handle.pause()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def let_go_of_the_undo() -> None:
                await trio.sleep(20)
                if where == "undo":
                    gate.opened.set()

            await handle.cancel(grace=1)
        await handle.result()
        assert handle.status.value in (CANCELLED, FAILED)
    assert book.log[-1] == "-a"


# --- hosts that end ------------------------------------------------------------------------------


async def test_a_host_that_closes_in_a_step_leaves_it_to_the_next(
    autojump_clock: MockClock,
) -> None:
    book, home = Book(), Home()
    contexts: list[SagaContext] = []

    async def act(context: SagaContext) -> None:
        contexts.append(context)
        if len(contexts) == 1:
            await trio.sleep_forever()

    runnable = saga_of(book.step("a"), SagaStep("b", act, max_retries=1), book.step("c"))
    async with home.host(runnable, grace=1) as host:
        await host.start(runnable, id="one")
        await trio.sleep(5)
    assert book.log == ["a"]
    async with home.host(runnable) as host:
        await trio.sleep(5)
        assert await status_of(host) is COMPLETED
    assert book.log == ["a", "c"]
    first, second = contexts
    assert first.idempotency_key == second.idempotency_key
    assert second.epoch > first.epoch


async def test_a_host_that_closes_in_a_wait_leaves_it_to_the_next(
    autojump_clock: MockClock,
) -> None:
    book, home = Book(), Home()
    action = Switch(no, answering(1))
    runnable = saga_of(book.step("a"), book.step("b", action, max_retries=3, retry_delay=50))
    async with home.host(runnable, grace=1) as host:
        await host.start(runnable, id="one")
        await trio.sleep(5)
    async with home.host(runnable) as host:
        await trio.sleep(200)
        assert await status_of(host) is COMPLETED
    assert book.log == ["a", "b", "b"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_host_that_closes_in_an_undo_waits_for_it_or_leaves_it(
    idempotent: bool, autojump_clock: MockClock
) -> None:
    book, home = Book(), Home()
    undo = Switch(sleeping(20), answering(None))
    runnable = saga_of(
        book.step("a"), book.step("b", undo=undo, idempotent=idempotent), book.step("c", no)
    )
    async with home.host(runnable, grace=1) as host:
        await host.start(runnable, id="one")
        await trio.sleep(5)
    async with home.host(runnable) as host:
        await trio.sleep(200)
        assert await status_of(host) in ((FAILED,) if idempotent else (FAILED, STUCK))
    assert book.log.count("-a") == 1
    if not idempotent:
        assert book.log.count("-b") == 1


@pytest.mark.parametrize("where", ["step", "undo"])
async def test_a_host_that_closes_while_one_is_paused_leaves_it_paused(
    where: str, autojump_clock: MockClock
) -> None:
    book, home, gate = Book(), Home(), Gate()
    ending = book.step("c", no if where == "undo" else None)
    b = book.step("b", gate) if where == "step" else book.step("b", undo=gate)
    runnable = saga_of(book.step("a"), b, ending)
    async with home.host(runnable, grace=1) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.pause()
        gate.opened.set()
        await trio.sleep(5)
    log = list(book.log)
    async with home.host(runnable) as host:
        await trio.sleep(100)
        assert book.log == log
        await host.operator.resume("one")
        await trio.sleep(100)
        assert await status_of(host) is (FAILED if where == "undo" else COMPLETED)
    assert book.log == [*log, "-a" if where == "undo" else "c"]


# --- what an operator decides ------------------------------------------------------------------


class Stuck:
    """An instance of which b could not be undone."""

    def __init__(self, undo: Callable[[], Any] | None = None) -> None:
        self.book = Book()
        self.home = Home()
        undo = undo or Switch(no, answering(None))
        self.runnable = saga_of(
            self.book.step("a"), self.book.step("b", undo=undo), self.book.step("c", no)
        )

    async def begin(self, host: Any) -> Any:
        handle = await host.start(self.runnable, id="one")
        await handle.result()
        assert handle.status.value is STUCK
        self.book.log.clear()
        return handle


async def test_an_operator_can_have_it_tried_again(autojump_clock: MockClock) -> None:
    stuck = Stuck()
    async with stuck.home.host(stuck.runnable) as host:
        handle = await stuck.begin(host)
        await handle.retry()
        error = (await handle.result()).unwrap_err()
        assert handle.status.value is FAILED
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("c", [])
    assert stuck.book.log == ["-b"]


async def test_what_fails_again_is_stuck_again(autojump_clock: MockClock) -> None:
    stuck = Stuck(Switch(no, no, answering(None)))
    async with stuck.home.host(stuck.runnable) as host:
        handle = await stuck.begin(host)
        await handle.retry()
        await handle.result()
        assert handle.status.value is STUCK
        await handle.retry()
        await handle.result()
        assert handle.status.value is FAILED
    assert stuck.book.log == ["-b", "-b"]


@pytest.mark.parametrize("how", ["skip", "force"])
@pytest.mark.parametrize("through", ["handle", "operator"])
async def test_an_operator_can_settle_a_step(
    how: str, through: str, autojump_clock: MockClock
) -> None:
    stuck = Stuck()
    async with stuck.home.host(stuck.runnable) as host:
        handle = await stuck.begin(host)
        if through == "handle":
            await getattr(handle, how)("b")
        else:
            await getattr(host.operator, how)("one", "b")
            await trio.sleep(1)
        error = (await handle.result()).unwrap_err()
        assert await status_of(host) is FAILED
        assert isinstance(error, SagaError)
        assert error.uncompensated == []
        assert "undo" in (await handle.history())[-1].kind or any(
            row.path == "b" for row in await handle.history()
        )
    assert stuck.book.log == []


@pytest.mark.parametrize("how", ["skip", "force"])
@pytest.mark.parametrize("name", ["a", "c", "d", "", "B", "b/c", "#saga"])
async def test_no_other_step_can_be_settled(how: str, name: str, autojump_clock: MockClock) -> None:
    stuck = Stuck()
    async with stuck.home.host(stuck.runnable) as host:
        handle = await stuck.begin(host)
        with pytest.raises(WorkflowStateError) as caught:
            await getattr(handle, how)(name)
        assert caught.value.details["stuck"] == ["b"]
        assert "b" in str(caught.value.hint)
        assert await status_of(host) is STUCK
        assert handle.status.value is STUCK


@pytest.mark.parametrize("how", ["skip", "force"])
@pytest.mark.parametrize("second", ["skip", "force"])
async def test_a_step_is_settled_once(how: str, second: str, autojump_clock: MockClock) -> None:
    stuck = Stuck()
    async with stuck.home.host(stuck.runnable) as host:
        handle = await stuck.begin(host)
        await getattr(handle, how)("b")
        with pytest.raises(WorkflowStateError):
            await getattr(handle, second)("b")
        await handle.result()
        with pytest.raises(WorkflowStateError):
            await getattr(handle, second)("b")
        assert await status_of(host) is FAILED


@pytest.mark.parametrize("how", ["skip", "force"])
@pytest.mark.parametrize("end", ["completed", "failed", "running"])
async def test_where_nothing_is_stuck_nothing_can_be_settled(
    how: str, end: str, autojump_clock: MockClock
) -> None:
    book, gate = Book(), Gate()
    last = {"completed": None, "failed": no, "running": gate}[end]
    runnable = saga_of(book.step("a"), book.step("b", last))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await (gate.reached.wait() if end == "running" else handle.result())
        before = handle.status.value
        with pytest.raises(WorkflowStateError):
            await getattr(handle, how)("a")
        assert await status_of(host) is before
        gate.opened.set()
        await handle.result()


@pytest.mark.parametrize("how", ["skip", "force"])
async def test_an_instance_that_is_not_there_cannot_be_settled(
    how: str, autojump_clock: MockClock
) -> None:
    async with Home().host() as host:
        with pytest.raises(LexigramError, match="nobody"):
            await getattr(host.operator, how)("nobody", "a")


async def test_of_several_one_is_settled_and_the_others_stay(autojump_clock: MockClock) -> None:
    book = Book()
    steps = [book.step(name, undo=no) for name in "abc"]
    runnable = saga_of(*steps, book.step("d", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.result()
        await handle.skip("b")
        await handle.result()
        assert handle.status.value is STUCK
        await handle.force("a")
        error = (await handle.result()).unwrap_err()
        assert handle.status.value is STUCK
        assert isinstance(error, SagaError)
        assert (error.uncompensated, list(error.compensation_errors)) == (["c"], ["c"])
        await handle.skip("c")
        await handle.result()
        assert handle.status.value is FAILED
    assert book.log[-3:] == ["-c", "-b", "-a"]


async def test_a_cancelled_one_that_is_settled_is_cancelled(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a", undo=no), book.step("b", gate, idempotent=True))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        await handle.cancel("enough", grace=0)
        assert handle.status.value is STUCK
        await handle.force("a")
        await handle.result()
        assert handle.status.value is CANCELLED


async def test_a_decision_is_durable_before_a_host_has_seen_it(
    autojump_clock: MockClock,
) -> None:
    stuck = Stuck()
    async with stuck.home.host(stuck.runnable) as host:
        await stuck.begin(host)
    async with stuck.home.store() as store:
        await Operator(store).force("one", "b")
    async with stuck.home.host(stuck.runnable) as host:
        await trio.sleep(5)
        assert await status_of(host) is FAILED
    assert stuck.book.log == []


def in_pipeline(book: Book, name: str) -> Callable[[Any], Any]:
    async def act(context: Any) -> Any:
        book.log.append(name)
        return Ok(name)

    return act


# --- inside of something -------------------------------------------------------------------------


class Nested:
    """Two sagas in one instance, both with a step b that cannot be undone."""

    def __init__(self) -> None:
        self.book = Book()

        def inner(name: str) -> SagaRunnable:
            return saga_of(
                self.book.step("b", undo=no), self.book.step("c", no), name=name
            )  # fmt: skip

        @workflow
        async def both(ctx: WorkflowContext) -> str:
            for name in ("one", "two"):
                with suppress(LexigramError):
                    await ctx.run(inner(name), name=name)
            return "fine"

        self.workflow = both


@pytest.mark.parametrize("how", ["skip", "force"])
async def test_steps_of_nested_sagas_are_settled_by_their_paths(
    how: str, autojump_clock: MockClock
) -> None:
    nested = Nested()
    async with Home().host(nested.workflow) as host:
        handle = await host.start(nested.workflow, id="one")
        result = await handle.result()
        assert handle.status.value is STUCK, result
        with pytest.raises(WorkflowStateError, match="2 steps 'b'") as caught:
            await getattr(handle, how)("b")
        paths = caught.value.details["stuck"]
        assert len(paths) == 2
        await getattr(handle, how)(paths[0])
        await handle.result()
        assert handle.status.value is STUCK
        await getattr(handle, how)("b")  # there is only one left
        assert (await handle.result()) == Ok("fine")
        assert handle.status.value is COMPLETED


async def test_retry_has_the_undos_of_nested_sagas_tried_again(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    inner = saga_of(
        book.step("b", undo=Switch(no, answering(None))), book.step("c", no), name="inner"
    )

    @workflow
    async def outer(ctx: WorkflowContext) -> Any:
        return await ctx.run(inner)

    async with Home().host(outer) as host:
        handle = await host.start(outer, id="one")
        assert (await handle.result()).is_err()
        assert handle.status.value is STUCK
        await handle.retry()
        await handle.result()
        assert handle.status.value is FAILED
    assert book.log.count("-b") == 2


async def test_a_saga_in_a_durable_function(autojump_clock: MockClock) -> None:
    book = Book()

    @workflow
    async def outer(ctx: WorkflowContext) -> Any:
        return await ctx.run(saga_of(book.step("a"), book.step("b")))

    async with Home().host(outer) as host:
        handle = await host.start(outer, id="one")
        assert await handle.result() == Ok({"a": "a!", "b": "b!"})
    assert book.log == ["a", "b"]


async def test_a_saga_in_a_pipeline_is_undone_and_fails_its_step(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    pipeline = Pipeline(
        "outer",
        [step("first", in_pipeline(book, "first")),
         step("saga", saga_of(book.step("a"), book.step("b", no)))],
    )  # fmt: skip
    async with Home().host(pipeline) as host:
        handle = await host.start(pipeline, {}, id="one")
        assert "saga step 'b' failed" in str((await handle.result()).unwrap_err())
        assert handle.status.value is FAILED
    assert book.log == ["first", "a", "b", "-a"]


async def test_a_cancelled_pipeline_undoes_the_saga_in_it(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    inner = saga_of(book.step("a"), book.step("b", gate, idempotent=True))
    pipeline = Pipeline("outer", [step("saga", inner)])
    async with Home().host(pipeline) as host:
        handle = await host.start(pipeline, {}, id="one")
        await gate.reached.wait()
        await handle.cancel(grace=1)
        assert handle.status.value is CANCELLED
    assert book.log == ["a", "b", "-b", "-a"]


async def test_runnables_are_actions_of_hosted_sagas(autojump_clock: MockClock) -> None:
    book = Book()

    @workflow
    async def durable(ctx: WorkflowContext, input: Any) -> Any:
        return await ctx.step(book.noting("durable", None, "d"), name="inner")

    pipeline = Pipeline("etl", [step("load", in_pipeline(book, "load"))])
    runnable = saga_of(
        book.step("a"),
        SagaStep("pipeline", pipeline, book.noting("-pipeline", None, None), max_retries=1),
        SagaStep("durable", durable, book.noting("-durable", None, None), max_retries=1),
        SagaStep(
            "saga",
            saga_of(book.step("x"), book.step("y")),
            book.noting("-saga", None, None),
            max_retries=1,
        ),
        book.step("end", Switch(no)),
    )
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("end", [])
        assert handle.status.value is FAILED
    forward = ["a", "load", "durable", "x", "y", "end"]
    assert book.log == [*forward, "-saga", "-durable", "-pipeline", "-a"]


# --- the rest of an operator's list --------------------------------------------------------------


async def test_what_has_not_ended_is_not_deleted(autojump_clock: MockClock) -> None:
    book, gate = Book(), Gate()
    runnable = saga_of(book.step("a", undo=gate), book.step("b", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await gate.reached.wait()
        with pytest.raises(WorkflowStateError):
            await host.operator.delete("one")
        gate.opened.set()
        await handle.result()
        await host.operator.delete("one")


async def test_retention_never_removes_what_is_stuck(autojump_clock: MockClock) -> None:
    book = Book()
    stuck = saga_of(book.step("a", undo=no), book.step("b", no), name="stuck")
    fine = saga_of(book.step("x"), name="fine")
    async with Home().host(stuck, fine, retention=60, poll=10) as host:
        one = await host.start(stuck, id="one")
        two = await host.start(fine, id="two")
        await one.result()
        await two.result()
        await trio.sleep(50_000)
        assert await status_of(host) is STUCK
        with pytest.raises(LexigramError):
            await host.operator.find("two")


async def test_one_that_ends_where_its_saga_is_not_known_is_left_to_a_person(
    autojump_clock: MockClock,
) -> None:
    book, home, gate = Book(), Home(), Gate()
    runnable = saga_of(book.step("a"), book.step("b", gate, idempotent=True))
    async with home.host(runnable, grace=0) as host:
        await host.start(runnable, id="one")
        await gate.reached.wait()
    async with home.host() as host:
        await host.handle("one").cancel("enough", grace=0)
        assert await status_of(host) is STUCK
        with pytest.raises(WorkflowStateError):
            await host.operator.skip("one", "a")
    assert "-a" not in book.log
    async with home.host(runnable) as host:  # it is known again
        await host.operator.retry("one")
        await trio.sleep(100)
        assert await status_of(host) in (CANCELLED, FAILED)
    assert book.log[-1] == "-a"


async def test_a_fork_begins_anew_and_touches_nothing_of_the_other(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    runnable = saga_of(book.step("a"), book.step("b", undo=no), book.step("c", no))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.result()
        book.log.clear()
        fork = await handle.fork("two")
        await fork.result()
        assert book.log == ["a", "b", "c", "-b", "-a"]
        assert handle.status.value is STUCK
        assert fork.status.value is STUCK


async def test_a_fork_at_a_step_keeps_what_was_done_before(autojump_clock: MockClock) -> None:
    book = Book()
    last = Switch(no, answering(3))
    runnable = saga_of(book.step("a"), book.step("b"), book.step("c", last))
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.result()
        book.log.clear()
        fork = await handle.fork("two", step="b")
        assert (await fork.result()).is_ok()
    assert book.log == ["b", "c"]


async def test_another_version_of_a_hosted_saga_is_not_begun(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    book, home, gate = Book(), Home(), Gate()
    steps = (book.step("a"), book.step("b", gate))
    first = Made.as_runnable(lambda _: Made(*steps), name="order")
    second = Second.as_runnable(lambda _: Second(*steps), name="order")
    async with home.host(first, grace=0) as host:
        await host.start(first, id="one")
        await gate.reached.wait()
    log = list(book.log)
    with caplog.at_level(logging.CRITICAL):
        async with home.host(second) as host:
            await trio.sleep(100)
            assert not (await host.operator.find("one")).status.has_ended
    assert book.log == log
    gate.opened.set()
    async with home.host(first) as host:
        await trio.sleep(100)
        assert await status_of(host) is COMPLETED


async def test_an_instance_with_an_end_past_its_pivot_goes_on_by_retry(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    last = book.step("b", Switch(no, answering(2)))
    runnable = saga_of(book.step("a"), book.step("p", pivot=True), last)
    async with Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        assert (await handle.result()).is_err()
        assert handle.status.value is FAILED
        await handle.retry()
        assert (await handle.result()).is_ok()
        assert handle.status.value is COMPLETED
    assert book.log == ["a", "p", "b", "b"]


# --- what comes together at one moment -----------------------------------------------------------


@pytest.mark.parametrize("last", [False, True])
async def test_an_instance_that_a_step_of_its_own_cancels_undoes_that_step(
    last: bool, autojump_clock: MockClock
) -> None:
    """The cancellation is there when the step is recorded: if it is the last one, too."""
    book = Book()
    ended = trio.Event()

    async def cancel_it() -> None:
        await handle.cancel("from within", grace=60)
        ended.set()

    async def act() -> None:
        nursery.start_soon(cancel_it)
        await trio.testing.wait_all_tasks_blocked()

    steps = [book.step("a"), book.step("b", act)]
    runnable = saga_of(*steps, *([] if last else [book.step("c")]))
    async with trio.open_nursery() as nursery, Home().host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await ended.wait()
        assert handle.status.value is CANCELLED
        assert "from within" in str((await handle.result()).unwrap_err())
    assert book.log == ["a", "b", "-b", "-a"]


async def test_a_cancellation_is_there_when_the_last_step_has_just_been_recorded(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """At whatever checkpoint it arrives, all is undone or all stands."""
    ends: set[InstanceStatus] = set()
    for ticks in range(30):
        book = Book()
        runnable = saga_of(book.step("a"), book.step("b", trio.lowlevel.checkpoint))
        async with Home().host(runnable) as host:
            handle = await host.start(runnable, id="one")
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            await handle.cancel(grace=60)
            end = handle.status.value
            ends.add(end)
            if end is COMPLETED:
                assert book.log == ["a", "b"]
            else:
                assert end is CANCELLED
                done = [name for name in book.log if name[0] != "-"]
                assert book.log[len(done) :] == [f"-{name}" for name in reversed(done)]
    assert ends == {COMPLETED, CANCELLED}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_saga_comes_to_the_same_end_on_every_store(
    kind: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    book = Book()
    home = Home(tmp_path / "flows.db" if kind == "sqlite" else None)
    runnable = saga_of(
        book.step("a", answering({"seats": [1, 2]})),
        [book.step("b/c", sleeping(1)), book.step("d", sleeping(2), undo=no)],
        book.step("e", no),
    )
    async with home.host(runnable) as host:
        handle = await host.start(runnable, id="one")
        await handle.result()
    async with home.host(runnable) as host:
        stored = await host.operator.outcome("one")
        assert stored is not None
        error = stored.unwrap_err()
        assert isinstance(error, SagaError)
        assert (error.step_name, error.uncompensated) == ("e", ["d"])
        await host.handle("one").force("d")
        await trio.sleep(5)
        assert await status_of(host) is FAILED
    assert book.log[-3:] == ["-d", "-b/c", "-a"]


def test_two_hosts_live_in_two_runs_one_after_the_other(tmp_path: Path) -> None:
    book = Book()
    home = Home(tmp_path / "flows.db")
    runnable = saga_of(book.step("a", undo=no), book.step("b", no))

    async def begin() -> None:
        async with home.host(runnable) as host:
            await (await host.start(runnable, id="one")).result()

    async def settle() -> None:
        async with home.host(runnable) as host:
            await host.handle("one").skip("a")
            await host.handle("one").result()
            assert await status_of(host) is FAILED

    trio.run(begin, clock=MockClock(autojump_threshold=0))
    trio.run(settle, clock=MockClock(autojump_threshold=0))
    assert book.log == ["a", "b", "-a"]


async def test_a_nested_saga_that_a_crash_cut_off_goes_on_where_it_was(
    autojump_clock: MockClock,
) -> None:
    book, home = Book(), Home()
    inner = saga_of(
        book.step("x"), book.step("y", Switch(forever, answering(1))), name="inner"
    )  # fmt: skip
    outer = saga_of(
        book.step("a"), SagaStep("saga", inner, max_retries=1), book.step("z"), name="outer"
    )  # fmt: skip
    async with home.host(outer, grace=0) as host:
        await host.start(outer, id="one")
        await trio.sleep(5)
    async with home.host(outer) as host:
        await trio.sleep(5)
        assert await status_of(host) is COMPLETED
    assert book.log == ["a", "x", "y", "y", "z"]


async def test_a_nested_saga_that_is_cancelled_undoes_all_from_the_inside_out(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    inner = saga_of(book.step("x"), book.step("y", forever, idempotent=True), name="inner")
    undo = book.noting("-saga", None, None)
    outer = saga_of(
        book.step("a"), SagaStep("saga", inner, undo, max_retries=1, idempotent=True), name="outer"
    )
    async with Home().host(outer) as host:
        handle = await host.start(outer, id="one")
        await trio.sleep(5)
        await handle.cancel(grace=0)
        assert handle.status.value is CANCELLED
    assert book.log == ["a", "x", "y", "-y", "-x", "-saga", "-a"]


async def test_an_instance_whose_host_closes_before_the_cancellation_is_done_ends_cancelled(
    autojump_clock: MockClock,
) -> None:
    book, home = Book(), Home()
    runnable = saga_of(book.step("a", undo=sleeping(20)), book.step("b", sleeping(10)))
    async with home.host(runnable, grace=0) as host:
        await host.start(runnable, id="one")
        await trio.sleep(1)
        await host.operator.cancel("one", grace=60)
        await trio.sleep(1)
    async with home.host(runnable) as host:
        await trio.sleep(1000)
        assert await status_of(host) in (CANCELLED, STUCK)
    undone = [entry for entry in book.log if entry[0] == "-"]
    assert undone.count("-a") == 1
