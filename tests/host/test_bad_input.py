"""What makes no sense is refused with an error that says why, and nothing is lost by it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    NonDeterminismError,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
    StoreVersionError,
    WorkflowNotFoundError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.host.operator import Operator
from lexigram_actors.result import Ok
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.instances import InstanceStatus
from tests.host.hosts import Home

FAILED, WAITING = InstanceStatus.FAILED, InstanceStatus.WAITING
CANCELLED = InstanceStatus.CANCELLED

TOO_LARGE = "x" * 5_000_000
ODD_NAME = "a\nb'\"/#%\\\t;--\u2028é😀"


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(None if request.param == "memory" else tmp_path / "flows.db")


@workflow
async def echo(ctx: WorkflowContext, input: Any) -> Any:
    return [input, await ctx.wait_signal("go")]


@workflow
async def asking(ctx: WorkflowContext) -> Any:
    return await ctx.ask_human("how many?", schema=int)


async def count_of(host: WorkflowHost) -> int:
    return sum((await host.operator.count()).values())


# --- starting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "error"),
    [
        ("a\0b", NotStorableError),
        ("x" * 10_000, NotStorableError),
        ("", NotStorableError),
        ("\ud800", NotStorableError),
        (7, TypeError),
        (b"order", TypeError),
    ],
    ids=["NUL", "long", "empty", "surrogate", "number", "bytes"],
)
async def test_an_id_that_is_none_is_refused(home: Home, id: Any, error: type[Exception]) -> None:
    async with home.host(echo) as host:
        with pytest.raises(error) as caught:
            await host.start(echo, 1, id=id)
        assert "id" in str(caught.value)
        assert len(str(caught.value)) < 500
        assert await count_of(host) == 0


@pytest.mark.parametrize(
    ("input", "path"),
    [
        ({"a": [1, object()]}, "$.a[1]"),
        (float("nan"), "$"),
        (10**5000, "$"),
        ([{"k": "\ud800"}], "$[0].k"),
        (TOO_LARGE, "4194304 bytes"),
    ],
    ids=["unknown", "nan", "digits", "surrogate", "large"],
)
async def test_an_input_that_cannot_be_stored_is_refused_with_its_place(
    home: Home, input: Any, path: str
) -> None:
    async with home.host(echo) as host:
        with pytest.raises(NotStorableError) as caught:
            await host.start(echo, input, id="a")
        assert path in str(caught.value)
        assert await count_of(host) == 0
        handle = await host.start(echo, 1, id="a")
        await handle.signal("go", 2)
        assert await handle.result() == Ok([1, 2]), "the id is free"


async def test_what_is_not_registered_is_refused_and_named(home: Home) -> None:
    async with home.host(echo) as host:
        with pytest.raises(WorkflowNotFoundError, match=r"(?s)'nope'.*known are: echo"):
            await host.start("nope", id="a")
        with pytest.raises(WorkflowNotFoundError):
            await host.start(asking, id="a")
        for nonsense in (None, 7, lambda: None):
            with pytest.raises(TypeError, match="Runnable"):
                await host.start(nonsense, id="a")
        assert await count_of(host) == 0


@pytest.mark.parametrize("delay", [-1, float("nan"), "1"])
async def test_a_delay_that_is_no_time_is_refused(home: Home, delay: Any) -> None:
    async with home.host(echo) as host:
        with pytest.raises(ConfigurationError, match="delay"):
            await host.start(echo, 1, id="a", delay=delay)
        assert await count_of(host) == 0


async def test_another_version_is_refused_and_the_instance_left_as_it_is(
    home: Home, autojump_clock: MockClock
) -> None:
    @workflow(name="echo", version=2)
    async def newer(ctx: WorkflowContext, input: Any) -> Any:
        return "newer"

    async with home.host(echo) as host:
        handle = await host.start(echo, 1, id="a")
        await handle.status.wait_value(WAITING)
    async with home.host(newer) as host:
        before = await host.handle("a").describe()
        with pytest.raises(WorkflowVersionMismatchError) as caught:
            await host.start(newer, 1, id="a")
        assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
        with pytest.raises(WorkflowVersionMismatchError):
            await host.handle("a").result()
        assert await host.handle("a").describe() == before
    async with home.host(echo, newer) as host:
        await host.handle("a").signal("go", 2)
        assert await host.handle("a").result() == Ok([1, 2])


async def test_odd_names_are_names(home: Home, autojump_clock: MockClock) -> None:
    done = []

    @workflow(name=ODD_NAME)
    async def odd(ctx: WorkflowContext, input: str) -> Any:
        async def branch(ctx: WorkflowContext) -> str:
            return await ctx.step(done.append, ODD_NAME, name=ODD_NAME) or "done"

        async with ctx.parallel(name=ODD_NAME) as group:
            one = group.start(branch, name=ODD_NAME)
            two = group.start(branch, name=ODD_NAME)
        return [one.value, two.value, await ctx.wait_signal(ODD_NAME), input]

    async with home.host(odd) as host:
        handle = await host.start(ODD_NAME, ODD_NAME, id=ODD_NAME)
        await handle.status.wait_value(WAITING)
    async with home.host(odd) as host:
        handle = await host.find(ODD_NAME)
        [found] = await host.operator.select(name=ODD_NAME)
        assert found.id == ODD_NAME
        await handle.signal(ODD_NAME, ODD_NAME, key=ODD_NAME)
        assert await handle.result() == Ok(["done", "done", ODD_NAME, ODD_NAME])
        forked = await handle.fork(f"{ODD_NAME} again", step=(await handle.history())[0].path)
        await forked.signal(ODD_NAME, 1)
        assert (await forked.result()).unwrap()[2:] == [1, ODD_NAME]
    assert len(done) > 2


@pytest.mark.parametrize("path", ["a", "a#2", "a/b", "b", "a%2F", "a#"])
async def test_a_name_that_looks_like_a_path_meets_no_other(
    home: Home, path: str, autojump_clock: MockClock
) -> None:
    done: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        async def branch(ctx: WorkflowContext) -> Any:
            return await ctx.step(lambda: "inner", name="b")

        async with ctx.parallel(name="a") as group:
            inner = group.start(branch, name="b")
        values = [inner.value]
        for name in ("a", path, "a", path):
            values.append(await ctx.step(lambda n=name: done.append(n) or n, name=name))
        await ctx.wait_signal("go")
        return values

    async with home.host(flow) as host:
        handle = await host.start(flow, id="x")
        await handle.status.wait_value(WAITING)
    async with home.host(flow) as host:
        await host.handle("x").signal("go")
        assert await host.handle("x").result() == Ok(["inner", "a", path, "a", path])
    assert done == ["a", path, "a", path]


# --- acting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda handle: handle.signal("go", {"a": [object()]}), NotStorableError),
        (lambda handle: handle.signal("go", TOO_LARGE), NotStorableError),
        (lambda handle: handle.signal("g\0"), NotStorableError),
        (lambda handle: handle.signal("x" * 10_000), NotStorableError),
        (lambda handle: handle.signal(5), TypeError),
        (lambda handle: handle.signal("go", key=5), TypeError),
        (lambda handle: handle.cancel(grace=-1), ConfigurationError),
        (lambda handle: handle.cancel(grace=float("nan")), ConfigurationError),
        (lambda handle: handle.cancel("x" * 10_000, 0), NotStorableError),
        (lambda handle: handle.cancel(5), TypeError),
        (lambda handle: handle.answer(1), WorkflowStateError),
        (lambda handle: handle.retry(), WorkflowStateError),
        (lambda handle: handle.fork("a"), WorkflowStateError),
        (lambda handle: handle.fork("b", step="nope"), WorkflowStateError),
        (lambda handle: handle.query("nope"), WorkflowStateError),
    ],
)
async def test_a_refused_call_changes_nothing(
    home: Home,
    call: Callable[[Any], Awaitable[Any]],
    error: type[Exception],
    autojump_clock: MockClock,
) -> None:
    async with home.host(echo) as host:
        handle = await host.start(echo, 1, id="a")
        await handle.status.wait_value(WAITING)
        with pytest.raises(error):
            await call(handle)
        assert await count_of(host) == 1
        await handle.signal("go", 2)
        assert await handle.result() == Ok([1, 2])


@pytest.mark.parametrize("by_operator", [False, True])
async def test_an_instance_that_has_ended_takes_nothing(
    home: Home, by_operator: bool, autojump_clock: MockClock
) -> None:
    async with home.host(echo) as host:
        handle = await host.start(echo, 1, id="a")
        await handle.signal("go", 2)
        await handle.result()
        history = await handle.history()
        one: Any = host.operator if by_operator else handle
        about = ["a"] if by_operator else []
        for call in (
            lambda: one.signal(*about, "go", 3),
            lambda: one.answer(*about, 3),
            lambda: one.pause(*about),
            lambda: one.resume(*about),
            lambda: one.retry(*about),
        ):
            with pytest.raises(WorkflowStateError, match="completed"):
                await call()
        assert await handle.history() == history
        assert await handle.result() == Ok([1, 2])


async def test_what_there_is_not_is_not_found_by_any_call(home: Home) -> None:
    async with home.host(echo) as host:
        handle = host.handle("nobody")
        for call in (
            handle.result,
            handle.describe,
            handle.history,
            handle.questions,
            lambda: handle.signal("go"),
            lambda: handle.answer(1),
            handle.cancel,
            handle.pause,
            handle.retry,
            handle.fork,
            lambda: host.find("nobody"),
        ):
            with pytest.raises(WorkflowNotFoundError, match="nobody"):
                await call()


async def test_an_answer_that_does_not_fit_leaves_the_question_open(
    home: Home, autojump_clock: MockClock
) -> None:
    async with home.host(asking) as host:
        handle = await host.start(asking, id="a")
        await handle.status.wait_value(WAITING)
        for misfit in ("three", None, [3], 3.5, object()):
            with pytest.raises(AnswerInvalidError, match="whole number"):
                await handle.answer(misfit)
        with pytest.raises(WorkflowStateError, match="'ask'"):
            await handle.answer(3, question="nope")
        await handle.answer(3)
        assert await handle.result() == Ok(3)


async def test_an_answer_from_elsewhere_that_does_not_fit_is_recorded_as_refused(
    home: Home, autojump_clock: MockClock
) -> None:
    async with home.host(asking, poll=1) as host:
        handle = await host.start(asking, id="a")
        await handle.status.wait_value(WAITING)
        elsewhere = Operator(host.store)
        await elsewhere.answer("a", "three")
        await trio.sleep(10)
        assert [each.kind for each in await handle.history()].count("refused") == 1
        assert len(await elsewhere.questions("a")) == 1
        await elsewhere.answer("a", 3)
        assert await handle.result() == Ok(3)


# --- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"a": [1, object()]}, TOO_LARGE], ids=["unknown", "large"])
@pytest.mark.parametrize("where", ["step", "result"])
async def test_a_result_that_cannot_be_stored_fails_the_instance_and_keeps_the_rest(
    home: Home, value: Any, where: str, autojump_clock: MockClock
) -> None:
    done = []

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.step(done.append, "before", name="before")
        if len(done) == 1:
            if where == "result":
                return value
            return await ctx.step(lambda: value, name="bad")
        return "mended"

    async with home.host(flow) as host:
        handle = await host.start(flow, id="a")
        error = (await handle.result()).unwrap_err()
        assert "cannot be stored" in str(error)
        assert "$" in str(error)
        assert len(str(error)) < 1000
        assert (await handle.describe()).status is FAILED
        assert next(each.path for each in await handle.history()) == "before"
    assert done == ["before"]


async def test_a_step_that_swallows_its_cancellation_is_reported_and_the_cancel_ends_all_the_same(
    home: Home, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    swallowed = []

    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        except BaseException as error:  # noqa: ASYNC103 - what is tested
            swallowed.append(error)
        return "as if nothing had happened"

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        value = await ctx.step(stubborn)
        await ctx.step(swallowed.append, "next", name="next")
        return value

    async with home.host(flow) as host:
        handle = await host.start(flow, id="a")
        await trio.sleep(1)
        await handle.cancel("enough", grace=0)
        assert (await handle.describe()).status is CANCELLED
        assert "enough" in str((await handle.result()).unwrap_err())
    assert [type(each) for each in swallowed] == [trio.Cancelled], "nothing began after it"
    assert any("stubborn" in record.getMessage() for record in caplog.records)


async def test_an_instance_whose_code_has_changed_is_parked_and_goes_on_once_it_is_mended(
    home: Home, autojump_clock: MockClock
) -> None:
    done = []

    def version(first: str) -> Any:
        @workflow
        async def flow(ctx: WorkflowContext) -> Any:
            await ctx.step(done.append, first, name=first)
            await ctx.wait_signal("go")
            return await ctx.step(done.append, "last", name="last")

        return flow

    async with home.host(version("pay")) as host:
        handle = await host.start("flow", id="a")
        await handle.status.wait_value(WAITING)
    changed = version("charge")
    async with home.host(changed) as host:
        handle = await host.find("a")
        result = await handle.result()
        error = result.unwrap_err()
        assert isinstance(error, NonDeterminismError)
        assert "'charge'" in str(error), "what the code asks for"
        assert "'pay'" in str(error), "what is recorded"
        assert (await handle.describe()).status is FAILED
    assert done == ["pay"]
    async with home.host(version("pay")) as host:
        handle = host.handle("a")
        await handle.retry()
        await handle.signal("go")
        assert (await handle.result()).is_ok()
    assert done == ["pay", "last"]


# --- opening -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"grace": -1},
        {"grace": None},
        {"grace": "5"},
        {"max_restarts": -1},
        {"max_restarts": 1.5},
        {"max_restarts": True},
        {"period": -1},
        {"period": float("nan")},
        {"retention": 0},
        {"retention": -1},
        {"lease": 0},
        {"lease": "x"},
        {"poll": 0},
        {"poll": float("nan")},
        {"backoff": 3},
        {"backoff": None},
        {"name": ""},
        {"name": 5},
    ],
    ids=repr,
)
async def test_an_option_that_makes_no_sense_is_refused_before_the_store_is_touched(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        async with open_host(f"sqlite:///{tmp_path}/flows.db", **options):
            raise AssertionError("it opened")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("nonsense", [[5], [None], [lambda: None]])
async def test_what_cannot_be_run_is_refused_at_the_opening(home: Home, nonsense: Any) -> None:
    with pytest.raises(TypeError, match="Runnable"):
        async with home.host(*nonsense):
            raise AssertionError("it opened")
    async with home.host(echo) as host:
        assert await count_of(host) == 0


@pytest.mark.parametrize(
    "url", ["", "nope", "sqlite://x", "sqlite:///", "sqlite:///a?b=c", "postgresql://u:hush@h/d"]
)
async def test_a_url_of_no_store_is_refused_and_shows_the_forms(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///") as caught:
        async with open_host(url):
            raise AssertionError("it opened")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("store", [None, 5])
async def test_what_is_neither_a_store_nor_a_url_is_refused(store: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        async with open_host(store):
            raise AssertionError("it opened")


async def begun_store(folder: Path) -> Path:
    """Make a store with an instance that waits; return its file."""
    path = folder / "flows.db"
    async with open_host(f"sqlite:///{path}", register=[echo]) as host:
        await host.start(echo, 1, id="a")
    return path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scrambled(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[100:4096] = bytes(each ^ 0x5A for each in found[100:4096])
    path.write_bytes(found)


def no_database(path: Path) -> None:
    path.write_bytes(b"dear diary " * 1000)


def foreign(path: Path) -> None:
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.close()


def newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (truncated, StoreCorruptedError),
        (scrambled, StoreCorruptedError),
        (no_database, StoreError),
        (foreign, StoreVersionError),
        (newer, StoreVersionError),
    ],
)
async def test_a_file_that_is_no_sound_store_is_refused_and_untouched(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception]
) -> None:
    path = await begun_store(tmp_path)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        async with open_host(f"sqlite:///{path}", register=[echo]):
            raise AssertionError("it opened")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


async def test_a_second_host_on_one_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flows.db"
    async with open_host(url, register=[echo]) as host:
        handle = await host.start(echo, 1, id="a")
        with pytest.raises(StoreError, match=r"flows\.db"):
            async with open_host(url, register=[echo]):
                raise AssertionError("it opened")
        await handle.signal("go", 2)
        assert await handle.result() == Ok([1, 2])


FULL = """
import resource, sys, trio
from lexigram_actors import open_host
from lexigram_actors import workflow

path, done = sys.argv[1], []

async def first():
    done.append("first")

async def second(fills):
    done.append("second")
    if fills:  # no page is written any more, from here on
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    return "x" * 10_000

async def third():
    done.append("third")

@workflow
async def flow(ctx):
    await ctx.step(first)
    await ctx.step(second, len(done) < 2)
    await ctx.step(third)
    return "well"

async def main():
    async with open_host(f"sqlite:///{path}", register=[flow]) as host:
        handle = await host.start(flow, id="a")
        while "second" not in done:
            await trio.sleep(0.01)
        await trio.sleep(0.5)
        assert not (await handle.describe()).status.has_ended
        assert "third" not in done, done
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        with trio.fail_after(20):
            print(await handle.result())
        print(*done)

trio.run(main)
"""


def test_a_full_disk_delays_an_instance_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "flows.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result, steps = done.stdout.splitlines()
    assert result == "Ok('well')"
    assert steps.split().count("first") == 1, "it was recorded before"
    assert steps.split().count("third") == 1


async def test_the_store_is_as_it_was_after_all_that_was_refused(tmp_path: Path) -> None:
    path = await begun_store(tmp_path)
    async with SQLiteStore(path) as store:
        operator = Operator(store)
        for call in (
            lambda: operator.signal("a", "go", object()),
            lambda: operator.signal("a", "go", TOO_LARGE),
            lambda: operator.signal("a\0", "go"),
            lambda: operator.cancel("a", grace=-1),
        ):
            with pytest.raises((NotStorableError, ConfigurationError)):
                await call()
        assert await operator.history("a") == []
        await operator.signal("a", "go", 2)
    async with open_host(f"sqlite:///{path}", register=[echo]) as host:
        assert await host.handle("a").result() == Ok([1, 2])
