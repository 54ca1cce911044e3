"""Every command of a durable function: live, and replayed in another life."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    ConfigurationError,
    Err,
    NonDeterminismError,
    NotStorableError,
    Ok,
    RetryPolicy,
    RunContext,
    StepInfo,
    WorkflowContext,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowTimeoutError,
    current_step,
    workflow,
)
from lexigram_actors.events import WorkflowPublished
from lexigram_actors.host.surroundings import ContinueAsNew, Suspended
from tests.workflow.lives import BEGUN, Lives


class Desk:
    """Counts what steps do."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def work(self, what: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.done.append(what)
        return what

    def fail(self, *outcomes: Any) -> Callable[[], Any]:
        """Return a step that raises or returns these, one after another."""
        left = list(outcomes)

        def flaky() -> Any:
            self.done.append("flaky")
            outcome = left.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return flaky


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_recorded_step_returns_its_value_and_does_not_run_again(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext, item: str) -> list[Any]:
        return [await ctx.step(desk.work, item), await ctx.step(desk.work, [item])]

    lives = Lives(order, "book")
    assert await lives.run() == Ok(["book", ["book"]])
    assert lives.recorded() == [("work", "step"), ("work#2", "step")]
    assert await lives.run() == Ok(["book", ["book"]])
    assert desk.done == ["book", ["book"]]


async def test_a_replay_of_what_is_recorded_has_no_checkpoint() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> int:
        return await ctx.step(lambda: 1, name="a") + await ctx.step(lambda: 2, name="b")

    lives = Lives(order)
    await lives.run()
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await lives.run() == Ok(3)


async def test_a_step_may_be_sync_and_return_a_result_and_take_keywords(desk: Desk) -> None:
    def price(item: str, *, tax: int) -> Any:
        return Ok(f"{item}+{tax}")

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.step(price, "book", tax=3, name="price it")

    lives = Lives(order)
    assert await lives.run() == Ok("book+3")
    assert lives.recorded() == [("price it", "step")]


@pytest.mark.parametrize("outcome", [ValueError("no stock"), Err(ValueError("no stock"))])
async def test_a_failed_step_is_the_same_error_live_and_replayed(outcome: Any, desk: Desk) -> None:
    seen: list[WorkflowStepError] = []
    flaky = desk.fail(outcome)

    @workflow
    async def order(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(flaky)
        except WorkflowStepError as error:
            seen.append(error)
        return "sorry"

    lives = Lives(order)
    assert await lives.run() == Ok("sorry")
    assert await lives.run() == Ok("sorry")
    live, replayed = seen
    for error in seen:
        assert (error.step_name, error.reason) == ("flaky", "ValueError: no stock")
        assert (error.path, error.error_type) == ("flaky", "ValueError")
    assert live.to_dict()["message"] == replayed.to_dict()["message"]
    assert live.details == replayed.details
    assert isinstance(live.cause, ValueError)
    assert replayed.cause is None
    assert desk.done == ["flaky"]


async def test_a_failure_that_nobody_handles_is_the_outcome(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(desk.fail(Err("no stock")))

    result = await Lives(order).run()
    assert isinstance(result, Err)
    assert isinstance(result.error, WorkflowStepError)
    assert result.error.reason == "no stock"


async def test_another_exception_of_the_function_passes_as_a_bug(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Lives(order).run()


async def test_attempts_and_waits_survive_a_crash(desk: Desk, autojump_clock: MockClock) -> None:
    infos: list[StepInfo] = []
    flaky = desk.fail(*[OSError("down")] * 3, "up")

    def noted() -> Any:
        infos.append(current_step())
        return flaky()

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.step(noted, retry=RetryPolicy(retries=3, delay=100, factor=1))

    lives = Lives(order)
    await lives.die_at(150)
    assert lives.recorded() == [("noted", "attempt")] * 2
    lives.skew = -30.0  # as if the wait had begun later
    begun = trio.current_time()
    assert await lives.run() == Ok("up")
    assert trio.current_time() - begun == pytest.approx(180, abs=1)
    assert [info.attempt for info in infos] == [1, 2, 3, 4]
    assert {info.idempotency_key for info in infos} == {"order-42/noted"}
    assert {(info.instance_id, info.path, info.epoch) for info in infos} == {
        ("order-42", "noted", 1)
    }


async def test_an_attempt_that_takes_too_long_has_failed(autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(trio.sleep, 100, timeout=3, retry=1)

    lives = Lives(order)
    result = await lives.run()
    assert isinstance(result, Err)
    assert result.error.error_type == "WorkflowTimeoutError"  # type: ignore[attr-defined]
    assert isinstance(result.error.__cause__, WorkflowTimeoutError)
    assert lives.recorded() == [("sleep", "attempt"), ("sleep", "step")]
    assert trio.current_time() == pytest.approx(7, abs=0.1)


async def test_a_result_that_cannot_be_stored_is_a_failure_that_says_where() -> None:
    class FakeStore:
        def __init__(self) -> None:
            self.refuses = True

        async def append(self, id: str, epoch: int, entries: Any) -> None:
            if isinstance(entries[-1].value.get("value"), object) and "value" in entries[-1].value:
                raise NotStorableError("an object", path="$.value")

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(object, name="make", retry=3)

    lives = Lives(order)
    journal = lives.begin()
    journal._store = FakeStore()  # type: ignore[assignment]
    result = await lives.runnable.run(RunContext(run_id="order-42", journal=journal))
    assert isinstance(result, Err)
    assert isinstance(result.error, WorkflowStepError)
    assert isinstance(result.error.cause, NotStorableError)
    assert [entry.kind for entry in journal.entries] == ["step"]


async def test_current_step_is_known_in_steps_only() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        current_step()

    result = await Lives(order).run()
    assert isinstance(result.unwrap_err(), WorkflowStateError)


async def test_a_step_that_goes_on_after_the_cancellation_is_recorded_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lives: Lives

    async def stubborn() -> str:
        assert lives.journal is not None
        lives.journal.suspend()
        return "done"

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(stubborn)
        await ctx.step(lambda: None, name="never")

    lives = Lives(order)
    with caplog.at_level(logging.WARNING), pytest.raises(Suspended):
        await lives.run()
    assert "step 'stubborn' went on after it was cancelled" in caplog.text
    assert lives.recorded() == [("stubborn", "step")]


# --- time ------------------------------------------------------------------------------------


async def test_a_sleep_ends_when_it_was_to_end_first(autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.sleep(100)

    lives = Lives(order)
    await lives.die_at(40)
    assert lives.recorded() == [("sleep", "sleep")]
    lives.skew = 50
    begun = trio.current_time()
    await lives.run()
    assert trio.current_time() - begun == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_a_sleep_with_something_behind_it_is_over_whatever_the_clock_says(
    jump: float, desk: Desk, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        await ctx.sleep_until(ctx.now() + timedelta(seconds=50))
        await ctx.step(desk.work, 1)
        return ctx.now()

    lives = Lives(order)
    result = await lives.run()
    lives.skew = jump
    begun = trio.current_time()
    assert await lives.run() == result
    assert trio.current_time() == begun


async def test_times_without_a_zone_and_negative_times_are_refused() -> None:
    @workflow
    async def order(ctx: WorkflowContext, how: str) -> None:
        if how == "naive":
            await ctx.sleep_until(datetime(2030, 1, 1))
        await ctx.sleep(-1)

    for how in ("naive", "negative"):
        assert isinstance((await Lives(order, how).run()).unwrap_err(), ConfigurationError)


async def test_now_is_when_the_last_thing_was_recorded(autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> list[float]:
        times = [ctx.now()]
        await ctx.step(trio.sleep, 5)
        times.append(ctx.now())
        await ctx.sleep(20)
        times.append(ctx.now())
        return [(each - datetime.fromtimestamp(BEGUN, UTC)).total_seconds() for each in times]

    lives = Lives(order)
    assert await lives.run() == Ok([0, 5, 25])
    lives.skew = 1000
    assert await lives.run() == Ok([0, 5, 25])


# --- from outside ----------------------------------------------------------------------------


async def test_signals_are_taken_in_order_and_once_across_crashes(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> list[Any]:
        got = [await ctx.wait_signal("paid")]
        await ctx.step(desk.work, got[0])
        got.append(await ctx.wait_signal("paid"))
        got.append(await ctx.wait_signal("other"))
        return got

    lives = Lives(order)
    lives.signal("paid", 1)
    lives.signal("paid", 2)
    await lives.die_when_idle()
    assert lives.recorded() == [("paid", "signal"), ("work", "step"), ("paid#2", "signal")]
    lives.signal("other", 3)
    assert await lives.run() == Ok([1, 2, 3])


async def test_a_signal_that_does_not_come_in_time_is_late_for_good(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> str:
        try:
            await ctx.wait_signal("paid", timeout=60)
        except WorkflowTimeoutError as error:
            return str(error)
        return "paid"

    lives = Lives(order)
    await lives.die_at(20)
    result = await lives.run()
    assert trio.current_time() == pytest.approx(60, abs=0.1)
    lives.signal("paid")
    assert await lives.run() == result == Ok("signal 'paid' did not come in time")


@frozen
class Approval:
    approved: bool


async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> bool:
        approval = await ctx.ask_human("Ship it?", name="ship", schema=Approval)
        assert isinstance(approval, Approval)
        return approval.approved

    lives = Lives(order)
    lives.signal("ship", {"approved": "perhaps"}, kind="answer")
    await lives.die_when_idle()
    assert lives.journal is not None
    assert lives.journal.questions == {}
    assert lives.recorded() == [("ship", "asked"), ("ship", "refused")]
    lives.signal("ship", {"approved": True}, kind="answer")
    assert await lives.run() == Ok(True)
    assert await lives.run() == Ok(True)
    assert lives.recorded()[-1] == ("ship", "answered")


async def test_a_question_is_open_while_it_is_asked() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.ask_human("Ship it?")

    lives = Lives(order)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lives.run)
        await wait_all_tasks_blocked()
        assert lives.journal is not None
        assert lives.journal.questions["ask"].question.prompt == "Ship it?"
        lives.signal("ask", "yes", kind="answer")
    assert lives.journal.questions == {}


@pytest.mark.parametrize("default", ["later", None])
async def test_a_question_expires(default: str | None, autojump_clock: MockClock) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.ask_human("Ship it?", expires_after=60, default=default)

    lives = Lives(order)
    await lives.die_at(20)
    for _ in range(2):
        result = await lives.run()
        assert trio.current_time() == pytest.approx(60, abs=0.1)
        if default is None:
            assert isinstance(result.unwrap_err(), WorkflowTimeoutError)
        else:
            assert result == Ok("later")


async def test_without_a_host_nobody_can_be_waited_for() -> None:
    @workflow
    async def order(ctx: WorkflowContext, what: str) -> None:
        if what == "signal":
            await ctx.wait_signal("paid")
        elif what == "human":
            await ctx.ask_human("?")
        else:
            await ctx.start_child("other")

    for what in ("signal", "human", "child"):
        result = await order.__runnable__.run(RunContext(input=what))  # type: ignore[attr-defined]
        assert isinstance(result.unwrap_err(), WorkflowStateError)


# --- parts and children ----------------------------------------------------------------------


async def test_a_function_inside_another_goes_on_where_it_was(desk: Desk) -> None:
    bugs = [True]

    @workflow
    async def inner(ctx: WorkflowContext, item: str) -> str:
        await ctx.step(desk.work, item)
        if bugs:
            bugs.clear()
            raise ZeroDivisionError
        await ctx.step(desk.work, f"{item} again")
        return item.upper()

    @workflow
    async def outer(ctx: WorkflowContext) -> Any:
        return [await ctx.run(inner, "book"), await ctx.step(inner, "pen")]

    lives = Lives(outer)
    with pytest.raises(ZeroDivisionError):
        await lives.run()
    assert lives.recorded() == [("inner/work", "step")]
    assert await lives.run() == Ok(["BOOK", "PEN"])
    assert await lives.run() == Ok(["BOOK", "PEN"])
    assert desk.done == ["book", "book again", "pen", "pen again"]
    assert ("inner#2", "step") in lives.recorded()


async def test_a_part_that_fails_is_a_failed_step(desk: Desk) -> None:
    @workflow
    async def inner(ctx: WorkflowContext) -> None:
        await ctx.step(desk.fail(ValueError("no")), name="charge")

    @workflow
    async def outer(ctx: WorkflowContext) -> str:
        try:
            await ctx.run(inner, name="pay")
        except WorkflowStepError as error:
            return f"{error.path}: {error.reason}"
        return ""

    lives = Lives(outer)
    expected = Ok("pay: step 'charge' failed: ValueError: no")
    assert await lives.run() == expected
    assert await lives.run() == expected


class FakeHandle:
    def __init__(self, id: str, outcome: Any) -> None:
        self.id = id
        self.outcome = outcome

    async def result(self) -> Any:
        return self.outcome


class FakeHost:
    def __init__(self) -> None:
        self.started: list[Any] = []
        self.published: list[object] = []
        self.outcome: Any = Ok("sent")

    async def start(self, runnable: Any, input: Any = None, **facts: Any) -> FakeHandle:
        self.started.append((runnable, input, facts))
        return self.handle(facts["id"])

    def handle(self, id: str) -> FakeHandle:
        return FakeHandle(id, self.outcome)

    def publish(self, event: object) -> None:
        self.published.append(event)


async def test_a_child_is_begun_once_and_its_result_recorded() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        child = await ctx.start_child("shipping", {"item": 1}, delay=5)
        return [child.id, await ctx.child_result(child)]

    lives = Lives(order)
    host = FakeHost()
    lives.host = host  # type: ignore[assignment]
    expected = Ok(["order-42/shipping", "sent"])
    assert await lives.run() == expected
    host.outcome = Ok("something else")
    assert await lives.run() == expected
    facts = {"id": "order-42/shipping", "delay": 5, "parent": "order-42"}
    assert host.started == [("shipping", {"item": 1}, facts)]


async def test_a_child_that_fails_is_a_failed_step() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        await ctx.child_result(await ctx.start_child("shipping", id="ship-1"))

    lives = Lives(order)
    host = FakeHost()
    host.outcome = Err(ValueError("sunk"))
    lives.host = host  # type: ignore[assignment]
    for _ in range(2):
        error = (await lives.run()).unwrap_err()
        assert isinstance(error, WorkflowStepError)
        assert error.reason == "ValueError: sunk"


async def test_what_was_told_is_not_told_again(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        ctx.publish(1)
        await ctx.step(desk.work, 1)
        ctx.publish(2, name="half")

    lives = Lives(order)
    host = FakeHost()
    lives.host = host  # type: ignore[assignment]
    await lives.run()
    assert host.published == [
        WorkflowPublished("order-42", "progress", 1),
        WorkflowPublished("order-42", "half", 2),
    ]
    await lives.run()
    assert host.published[2:] == [WorkflowPublished("order-42", "half", 2)]


async def test_queries_are_answered_by_functions_of_the_run() -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        state = {"n": 1}
        ctx.query("plain", lambda: state["n"])

        @ctx.query("decorated")
        def decorated() -> int:
            return state["n"] + 1

    lives = Lives(order)
    await lives.run()
    assert lives.journal is not None
    assert {name: fn() for name, fn in lives.journal.queries.items()} == {
        "plain": 1,
        "decorated": 2,
    }


# --- the same in every replay ----------------------------------------------------------------


async def test_draws_come_out_the_same_and_one_more_changes_no_other(desk: Desk) -> None:
    more = False

    @workflow
    async def order(ctx: WorkflowContext) -> list[Any]:
        first = [str(ctx.uuid()), str(ctx.uuid()), ctx.random().random()]
        if more:
            ctx.uuid()
        await ctx.step(desk.work, 1)
        return [*first, str(ctx.uuid()), ctx.random().random()]

    drawn = (await Lives(order).run()).unwrap()
    assert len(set(drawn)) == 5
    more = True
    assert (await Lives(order).run()).unwrap() == drawn
    assert (await Lives(order, seed="other").run()).unwrap()[0] != drawn[0]
    assert (await Lives(order, run=1).run()).unwrap()[0] != drawn[0]


async def test_a_fork_draws_what_its_origin_drew_and_goes_its_own_way_then(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> list[str]:
        before = str(ctx.uuid())
        await ctx.step(desk.work, 1)
        return [before, str(ctx.uuid())]

    lives = Lives(order)
    original = (await lives.run()).unwrap()
    fork = Lives(order, copied=1)
    fork.entries = [entry._replace(epoch=0) for entry in lives.entries]
    forked = (await fork.run()).unwrap()
    assert forked[0] == original[0]
    assert forked[1] != original[1]


async def test_a_patch_is_taken_by_new_runs_and_not_by_those_that_had_come_past(
    desk: Desk,
) -> None:
    @workflow(name="order")
    async def old(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, "old")
        await ctx.step(desk.work, "end")

    @workflow(name="order")
    async def new(ctx: WorkflowContext) -> str:
        way = "new" if ctx.patched("way/2") else "old"
        await ctx.step(desk.work, way)
        await ctx.step(desk.work, "end")
        return way

    @workflow(name="order")
    async def newest(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, "new")
        await ctx.step(desk.work, "end")

    earlier = Lives(old)
    await earlier.run()
    started_later = Lives(new)
    assert await started_later.run() == Ok("new")
    for cut in (1, 2):
        life = Lives(new)
        assert await life.run(earlier.entries[:cut]) == Ok("old")
    for cut in range(4):
        assert await Lives(new).run(started_later.entries[:cut]) == Ok("new")
    assert (await Lives(newest).run(started_later.entries)).is_ok()


async def test_continue_as_new_passes_with_the_input(desk: Desk) -> None:
    @workflow
    async def counter(ctx: WorkflowContext, n: int) -> None:
        await ctx.step(desk.work, n)
        try:
            ctx.continue_as_new(n + 1)
        except Exception:  # pragma: no cover
            raise AssertionError("it is no exception of a step") from None

    with pytest.raises(ContinueAsNew) as caught:
        await Lives(counter, 5).run()
    assert caught.value.input == 6


async def test_without_a_host_it_begins_again_by_itself() -> None:
    @workflow
    async def counter(ctx: WorkflowContext, n: int) -> int:
        if n < 3:
            ctx.continue_as_new(n + 1)
        return n

    result = await counter.__runnable__.run(RunContext(input=0))  # type: ignore[attr-defined]
    assert result == Ok(3)


async def test_a_part_cannot_begin_the_whole_again() -> None:
    @workflow
    async def inner(ctx: WorkflowContext) -> None:
        ctx.continue_as_new(1)

    @workflow
    async def outer(ctx: WorkflowContext) -> None:
        await ctx.run(inner)

    error = (await Lives(outer).run()).unwrap_err()
    assert isinstance(error, WorkflowStepError)
    assert error.error_type == "WorkflowStateError"


async def test_what_follows_a_cancel_request_is_replayed(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        rounds = 0
        while not ctx.cancel_requested:
            rounds += 1
            await ctx.step(desk.work, rounds)
            if rounds == 2 and ctx.instance_id not in asked:
                asked.add(ctx.instance_id)
                assert lives.journal is not None
                lives.journal.cancel("enough", 60)
        await ctx.step(desk.work, ctx.cancel_reason, name="save")
        await ctx.step(desk.work, "and more", name="save")
        return rounds

    asked: set[str] = set()
    lives = Lives(order)
    assert await lives.run() == Ok(2)
    entries = lives.entries
    assert [entry.path for entry in entries] == ["work", "work#2", "#cancel", "save", "save#2"]
    for cut in range(2, 6):
        desk.done.clear()
        life = Lives(order)
        journal = life.begin(entries[:cut])
        journal.cancel("enough", 60)
        context = RunContext(run_id="order-42", journal=journal)
        with journal.scope:
            assert await life.runnable.run(context) == Ok(2)
        assert desk.done == ["enough", "and more"][max(0, cut - 3) :]


async def test_a_branch_can_wait_for_the_cancel_request() -> None:
    async def watch(ctx: WorkflowContext) -> str:
        return await ctx.wait_cancel_requested()

    @workflow
    async def order(ctx: WorkflowContext) -> str:
        async with ctx.parallel() as group:
            watching = group.start(watch)
        return watching.value

    lives = Lives(order)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run() -> None:
            assert await lives.run() == Ok("enough")

        await wait_all_tasks_blocked()
        assert lives.journal is not None
        lives.journal.cancel("enough", 5)


# --- what cannot be replayed -----------------------------------------------------------------


def programs(desk: Desk) -> dict[str, Any]:
    """Return programs that begin alike and go on differently."""

    async def ab(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 1, name="reserve")
        await ctx.step(desk.work, 2, name="charge")

    async def ba(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 2, name="charge")
        await ctx.step(desk.work, 1, name="reserve")

    async def b(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 2, name="charge")

    async def a(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 1, name="reserve")

    async def signal(ctx: WorkflowContext) -> None:
        await ctx.wait_signal("reserve")

    async def scope(ctx: WorkflowContext) -> None:
        async with ctx.parallel(name="reserve"):
            pass

    async def nested(ctx: WorkflowContext) -> None:
        async with ctx.move_on_after(5, name="reserve"):
            await ctx.step(desk.work, 1)

    async def in_branches(ctx: WorkflowContext) -> None:
        async with ctx.parallel(name="both") as group:
            group.start(ab, name="one")
            group.start(a, name="two")

    async def turned(ctx: WorkflowContext) -> None:
        async with ctx.parallel(name="both") as group:
            group.start(ba, name="one")
            group.start(a, name="two")

    async def longer(ctx: WorkflowContext) -> None:
        async with ctx.parallel(name="both") as group:
            group.start(ab, name="one")
            group.start(ab, name="two")
        await ctx.step(desk.work, 3, name="end")

    async def ended(ctx: WorkflowContext) -> None:
        await in_branches(ctx)
        await ctx.step(desk.work, 3, name="end")

    functions = (ab, ba, b, a, signal, scope, nested, in_branches, turned, longer, ended)
    return {fn.__name__: workflow(name="p")(fn) for fn in functions}


@pytest.mark.parametrize(
    ("before", "after", "recorded", "found"),
    [
        ("ab", "ba", "step 'reserve'", "step 'charge'"),
        ("ab", "b", "step 'reserve'", "step 'charge'"),
        ("ab", "a", "step 'charge'", "the end of the scope"),
        ("a", "signal", "step 'reserve'", "signal 'reserve'"),
        ("a", "scope", "step 'reserve'", "parallel scope 'reserve'"),
        ("nested", "a", "time limit 'reserve'", "step 'reserve'"),
        ("in_branches", "turned", "step 'reserve'", "step 'charge'"),
        ("ended", "longer", "the end of the scope", "step 'charge'"),
        ("ended", "in_branches", "step 'end'", "the end of the scope"),
    ],
)
async def test_a_replay_of_something_else_shows_both_sides(
    before: str, after: str, recorded: str, found: str, desk: Desk
) -> None:
    lives = Lives(programs(desk)[before])
    await lives.run()
    done = len(desk.done)
    with pytest.raises(NonDeterminismError) as caught:
        await Lives(programs(desk)[after]).run(lives.entries)
    assert (caught.value.recorded, caught.value.found) == (recorded, found)
    assert len(desk.done) == done


async def test_a_command_cut_off_by_a_scope_of_trio_is_named_in_the_replay(
    desk: Desk, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        with trio.move_on_after(5):
            await ctx.step(trio.sleep, 100)
        await ctx.step(desk.work, 1)

    lives = Lives(order)
    await lives.run()
    assert lives.recorded() == [("sleep", "cut"), ("work", "step")]
    with pytest.raises(NonDeterminismError, match="cut off by a cancel scope") as caught:
        await lives.run()
    assert "ctx.move_on_after" in (caught.value.hint or "")


async def test_a_sleep_or_a_scope_cut_off_by_a_scope_of_trio_is_named_too(
    desk: Desk, autojump_clock: MockClock
) -> None:
    async def branch(ctx: WorkflowContext, item: int) -> None:
        await ctx.sleep(100)

    @workflow
    async def order(ctx: WorkflowContext, what: str) -> None:
        with trio.move_on_after(5):
            if what == "sleep":
                await ctx.sleep(100)
            elif what == "parallel":
                await ctx.map(branch, [1])
            else:
                async with ctx.move_on_after(50):
                    await ctx.sleep(100)
        await ctx.step(desk.work, 1)

    for what in ("sleep", "parallel", "limit"):
        lives = Lives(order, what)
        await lives.run()
        assert "cut" in [entry.kind for entry in lives.entries]
        with pytest.raises(NonDeterminismError, match="cut off by a cancel scope"):
            await lives.run()


async def test_what_was_cut_off_by_the_end_of_the_instance_waits_for_it_again(
    desk: Desk, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        try:
            await ctx.step(trio.sleep, 100)
        finally:
            with trio.CancelScope(shield=True):
                await ctx.step(desk.work, "undo", name="undo")
                await ctx.step(trio.sleep, 5, name="slow undo")

    lives = Lives(order)
    for _ in range(2):
        journal = lives.begin()
        written = list(lives.entries)
        journal.on_entry = written.append
        journal.cancel("enough", 1)
        with journal.scope:
            await lives.runnable.run(RunContext(run_id="order-42", journal=journal))
        assert journal.scope.cancelled_caught
        assert [(e.path, e.kind) for e in written] == [
            ("sleep", "cut"),
            ("undo", "step"),
            ("slow undo", "step"),
        ]
        lives.entries = written[:2]
    assert desk.done == ["undo"]


async def test_commands_of_one_context_at_once_are_refused_with_the_right_way(
    autojump_clock: MockClock,
) -> None:
    @workflow
    async def two_tasks(ctx: WorkflowContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.sleep, 1)
            await ctx.sleep(1)

    @workflow
    async def inside_a_step(ctx: WorkflowContext) -> None:
        async def body() -> None:
            await ctx.sleep(1)

        await ctx.step(body)

    for function in (two_tasks, inside_a_step):
        error = (await Lives(function).run()).unwrap_err()
        assert "ctx.parallel()" in str(error) or "ctx.parallel()" in str(error.__cause__)


HOSTILE = ["a/b", "a%2Fb", "a#2", "#patch x", "\0", "\ud800", '"];evil[', "</script>", "ä\n" * 100]


async def test_hostile_names_stay_apart_and_can_be_stored(desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> list[Any]:
        ctx.patched("\0/#")
        return [await ctx.step(desk.work, n, name=name) for n, name in enumerate(HOSTILE)]

    lives = Lives(order)
    expected = Ok(list(range(len(HOSTILE))))
    assert await lives.run() == expected
    assert await lives.run() == expected
    paths = [entry.path for entry in lives.entries]
    assert len(set(paths)) == len(paths)
    assert not any("/" in path or "\0" in path for path in paths)
    "".join(paths).encode()


@pytest.mark.parametrize("name", ["", "x" * 257, 5])
async def test_names_that_are_none_are_refused(name: Any, desk: Desk) -> None:
    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.step(desk.work, 1, name=name)

    assert isinstance((await Lives(order).run()).unwrap_err(), ConfigurationError)
