"""The transform pipe: steps, taps, conditions, and the handler for what fails."""

from __future__ import annotations

import functools

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.pipeline.transform import TransformPipe
from tests.pipeline.helpers import Later


def double(value):
    return value * 2


async def add_one(value):
    await trio.lowlevel.checkpoint()
    return value + 1


def fail(value):
    raise ValueError(f"no {value}")


async def fail_at_once(value):
    raise ValueError(f"no {value}")


async def fail_later(value):
    await trio.lowlevel.checkpoint()
    raise ValueError(f"no {value}")


def is_large(value):
    return value > 9


# --- steps ---------------------------------------------------------------------------------------


async def test_each_step_gets_what_the_one_before_returned():
    pipe = TransformPipe().pipe(double).pipe(add_one).pipe(str)
    assert await pipe.execute(3) == "7"


async def test_a_pipe_without_steps_returns_the_value_itself():
    value = object()
    assert await TransformPipe().execute(value) is value


async def test_calling_a_pipe_executes_it():
    assert await TransformPipe([double])(4) == 8


async def test_a_pipe_is_a_step_of_another_pipe():
    inner = TransformPipe().pipe(double).catch(lambda error, value: 0)
    assert await TransformPipe([add_one]).pipe(inner).execute(1) == 4


async def test_what_a_step_raises_passes_and_no_later_step_runs():
    reached = []
    pipe = TransformPipe().pipe(double).pipe(fail).tap(reached.append)
    with pytest.raises(ValueError, match=r"^no 2$"):
        await pipe.execute(1)
    assert reached == []


async def test_a_step_may_return_none_or_a_callable():
    assert await TransformPipe([lambda value: None, lambda value: double]).execute(1) is double


async def test_whatever_can_be_awaited_is_awaited():
    pipe = TransformPipe().pipe(Later).pipe(add_one).pipe(lambda value: Later([value]))
    assert await pipe.execute(1) == [2]


async def test_every_method_returns_a_new_pipe_and_leaves_the_old_one_as_it_was():
    base = TransformPipe().pipe(double)
    others = [
        base.pipe(add_one),
        base.tap(fail),
        base.pipe_if(is_large, fail),
        base.catch(lambda error, value: None),
    ]
    assert len({id(pipe) for pipe in (base, *others)}) == 5
    assert [len(pipe) for pipe in (base, *others)] == [1, 2, 2, 2, 1]
    assert await base.execute(5) == 10
    with pytest.raises(TypeError):
        await base.execute(None)


async def test_a_list_that_grows_later_does_not_change_the_pipe():
    steps = [double]
    pipe = TransformPipe(steps)
    steps.append(fail)
    assert await pipe.execute(1) == 2
    assert len(pipe) == 1


async def test_one_pipe_runs_many_values_at_once():
    pipe = TransformPipe().pipe(add_one).pipe(add_one)
    results = {}

    async def run(value):
        results[value] = await pipe(value)

    async with trio.open_nursery() as nursery:
        for value in range(20):
            nursery.start_soon(run, value)
    assert results == {value: value + 2 for value in range(20)}


async def test_a_pipe_of_plain_steps_is_no_checkpoint():
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await TransformPipe([double]).execute(1) == 2
    assert not scope.cancelled_caught


async def test_a_long_pipe_does_not_recurse():
    pipe = TransformPipe([lambda value: value + 1] * 20_000)
    assert await pipe.execute(0) == 20_000


# --- keywords ------------------------------------------------------------------------------------


async def test_keywords_reach_every_step_and_tap():
    seen = []

    def scale(value, *, factor):
        return value * factor

    async def scale_later(value, **keywords):
        return value * keywords["factor"]

    pipe = (
        TransformPipe()
        .pipe(scale)
        .tap(lambda value, factor: seen.append((value, factor)))
        .pipe_if(lambda value: True, scale)
        .pipe(TransformPipe().pipe(scale_later))
    )
    assert await pipe(1, factor=3) == 27
    assert seen == [(3, 3)]


async def test_a_keyword_that_a_step_does_not_take_is_an_error():
    with pytest.raises(TypeError, match="factr"):
        await TransformPipe([double]).execute(1, factr=3)


async def test_handlers_and_predicates_get_no_keywords():
    pipe = (
        TransformPipe()
        .pipe_if(lambda value: value > 1, lambda value, **_: fail(value))
        .catch(lambda error, value: (str(error), value))
    )
    assert await pipe(2, factor=3) == ("no 2", 2)
    assert await pipe(1, factor=3) == 1


# --- taps and conditions -------------------------------------------------------------------------


async def test_a_tap_sees_the_value_and_what_it_returns_is_dropped():
    seen = []

    async def look(value):
        await trio.lowlevel.checkpoint()
        seen.append(value)
        return "dropped"

    pipe = TransformPipe().pipe(double).tap(look).tap(seen.append).pipe(double)
    assert await pipe.execute(1) == 4
    assert seen == [2, 2]


@pytest.mark.parametrize("side_effect", [fail, fail_later])
async def test_a_tap_that_raises_fails_the_pipe(side_effect):
    with pytest.raises(ValueError, match=r"^no 1$"):
        await TransformPipe().tap(side_effect).execute(1)


@pytest.mark.parametrize("step", [double, add_one])
async def test_a_condition_decides_whether_its_step_is_applied(step):
    pipe = TransformPipe().pipe_if(is_large, step)
    assert await pipe.execute(9) == 9
    assert await pipe.execute(10) in (20, 11)


async def test_a_condition_may_be_async():
    async def never(value):
        await trio.lowlevel.checkpoint()
        return False

    assert await TransformPipe().pipe_if(never, fail).execute(1) == 1


# --- catching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [fail, fail_later])
async def test_the_handler_gets_the_exception_and_the_value_that_the_failing_step_was_given(step):
    given = []

    def handle(error, value):
        given.append((repr(error), value))
        return "mended"

    pipe = TransformPipe().pipe(double).pipe(step).pipe(fail).catch(handle)
    assert await pipe.execute(2) == "mended"
    assert given == [("ValueError('no 4')", 4)]


async def test_a_handler_may_be_async_and_is_only_asked_when_something_fails():
    async def handle(error, value):
        await trio.lowlevel.checkpoint()
        return value

    assert await TransformPipe([fail], handle).execute(7) == 7
    assert await TransformPipe([double], handle).execute(7) == 14


async def test_a_handler_holds_for_steps_that_are_added_later():
    pipe = TransformPipe().catch(lambda error, value: "mended").pipe(double).pipe(fail)
    assert await pipe.execute(1) == "mended"
    assert await pipe.tap(fail).pipe_if(is_large, fail).execute(1) == "mended"


async def test_a_second_handler_replaces_the_first():
    pipe = TransformPipe([fail]).catch(lambda error, value: 1).catch(lambda error, value: 2)
    assert await pipe.execute(0) == 2


@pytest.mark.parametrize(
    "pipe",
    [TransformPipe().tap(fail), TransformPipe().pipe_if(fail, double)],
    ids=["tap", "predicate"],
)
async def test_what_a_tap_or_a_predicate_raises_is_caught_too(pipe):
    assert await pipe.catch(lambda error, value: value).execute(3) == 3


async def test_what_the_handler_raises_passes_with_the_first_exception_as_its_context():
    def handle(error, value):
        raise RuntimeError("handler")

    with pytest.raises(RuntimeError, match=r"^handler$") as caught:
        await TransformPipe([fail]).catch(handle).execute(1)
    assert repr(caught.value.__context__) == "ValueError('no 1')"


@pytest.mark.parametrize("number", [1, 2])
async def test_a_group_of_plain_exceptions_is_caught_and_of_one_its_error(number):
    async def fail_in_a_nursery(value):
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(fail_at_once, value)

    pipe = TransformPipe([fail_in_a_nursery]).catch(lambda error, value: error)
    error = await pipe.execute(1)
    failures = [error] if number == 1 else error.exceptions
    assert [repr(each) for each in failures] == ["ValueError('no 1')"] * number


async def test_a_step_may_have_a_keyword_of_any_name():
    def add(number, *, value, self=0):
        return number + value + self

    pipe = TransformPipe([add]).tap(add).pipe_if(lambda number: True, add)
    assert await pipe.execute(1, value=2, self=10) == 25
    assert await pipe(1, value=2) == 5


async def test_the_value_is_given_by_position_or_by_name():
    assert await TransformPipe([str]).execute(value=1) == "1"
    with pytest.raises(TypeError, match="value"):
        await TransformPipe([str]).execute()


async def sleep(value):
    await trio.sleep_forever()


async def never_asked(error, value):
    raise AssertionError("the handler was asked")


async def test_a_cancelled_step_is_never_caught():
    pipe = TransformPipe([sleep]).catch(never_asked)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipe.execute, 1)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_cancellation_passes_a_handler_that_waits():
    async def wait(error, value):
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(TransformPipe([fail], wait).execute, 1)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(),
        BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()]),
    ],
    ids=["interrupt", "exit", "group"],
)
async def test_an_interrupt_or_a_group_that_holds_one_is_never_caught(error):
    def interrupt(value):
        raise error

    with pytest.raises(type(error)) as caught:
        await TransformPipe([interrupt]).catch(never_asked).execute(1)
    assert caught.value is error


async def test_a_group_that_holds_a_cancellation_is_never_caught():
    async def fail_beside_a_cancelled_task(value):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_while_cancelled)
            await trio.sleep_forever()

    async def fail_while_cancelled():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    async def run():
        with pytest.raises(BaseExceptionGroup) as caught:
            await TransformPipe([fail_beside_a_cancelled_task]).catch(never_asked).execute(1)
        assert caught.value.subgroup(trio.Cancelled) is not None
        raise caught.value

    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformPipe([double, "step"]), "step: 'step' was given"),
        (lambda: TransformPipe(double), "steps: <function double .* was given"),
        (lambda: TransformPipe([], 3), "error_handler: 3 was given"),
        (lambda: TransformPipe().pipe(None), "step: None was given"),
        (lambda: TransformPipe().tap([]), r"side_effect: \[\] was given"),
        (lambda: TransformPipe().pipe_if(True, double), "predicate: True was given"),
        (lambda: TransformPipe().pipe_if(is_large, 1), "step: 1 was given"),
        (lambda: TransformPipe().catch(None), "handler: None was given"),
    ],
)
def test_what_cannot_be_called_is_refused_at_once(make, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make()


# --- looks ---------------------------------------------------------------------------------------


def test_len_counts_steps_and_an_empty_pipe_is_still_true():
    assert len(TransformPipe()) == 0
    assert TransformPipe()
    assert len(TransformPipe([double]).tap(fail).pipe_if(is_large, double)) == 3


def test_the_repr_names_the_steps():
    pipe = TransformPipe([double]).tap(fail).pipe_if(is_large, add_one).catch(never_asked)
    assert repr(pipe) == (
        "TransformPipe([double, tap(fail), pipe_if(is_large, add_one)], error_handler=never_asked)"
    )
    assert repr(TransformPipe([functools.partial(int, base=2)])) == (
        "TransformPipe([functools.partial(<class 'int'>, base=2)])"
    )
