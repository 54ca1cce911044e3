from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio

from lexigram_actors import (
    Err,
    NotStorableError,
    Ok,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
    open_store,
)
from lexigram_actors.host.seam import RunContext
from lexigram_actors.pipeline import ConditionalStep, ParallelStep, Pipeline, PipelineContext, step
from lexigram_actors.storage import MemoryStore
from tests.pipeline.helpers import Notes, reason, records


class Watched:
    """A store in memory that notes its calls and fails where it is told to."""

    def __init__(self) -> None:
        self.inner = MemoryStore().cache
        self.keys: dict[str, Any] = {}
        self.calls: list[str] = []
        self.sets = 0
        self.fail_set_at: int | None = None
        self.fail_with: Any = None
        self.delay = 0.0

    async def get(self, key: str) -> Any:
        self.calls.append("get")
        return await self.inner.get(key)

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
        self.calls.append("set")
        self.sets += 1
        await trio.sleep(self.delay)
        if self.sets == self.fail_set_at:
            if isinstance(self.fail_with, Exception):
                raise self.fail_with
            return self.fail_with
        self.keys[key] = value
        return await self.inner.set(key, value, ttl)

    async def delete(self, key: str) -> Any:
        self.calls.append("delete")
        self.keys.pop(key, None)
        return await self.inner.delete(key)

    async def delete_many(self, keys: list[str]) -> Any:
        return await self.inner.delete_many(keys)

    async def delete_pattern(self, pattern: str) -> Any:
        self.calls.append("delete_pattern")
        assert pattern.count("*") == 1
        self.keys = {key: v for key, v in self.keys.items() if not key.startswith(pattern[:-1])}
        return await self.inner.delete_pattern(pattern)

    async def exists(self, key: str) -> Any:
        return await self.inner.exists(key)


async def interrupted(pipeline: Pipeline, **options: Any) -> PipelineContext:
    """Run until the second second of the clock, then cancel."""
    context = PipelineContext("p")
    with trio.move_on_after(1.5) as scope:
        await pipeline.execute(context, **options)
    assert scope.cancelled_caught
    return context


async def test_a_run_goes_on_where_the_last_one_failed_and_clears_when_it_completes() -> None:
    store, notes = Watched(), Notes()
    broken = [True]

    def fragile(context: PipelineContext) -> Any:
        return Err(OSError()) if broken[0] else Ok(context.get_step_result("a"))

    pipeline = Pipeline("p", [notes.step("a"), step("b", fragile, ["a"]), notes.step("c")], store)
    assert (await pipeline.execute()).is_err()
    assert len(store.keys) == 2
    broken[0] = False
    context = (await pipeline.execute()).unwrap()
    assert notes == ["+a", "-a", "+c", "-c"]
    assert context.step_results == {"a": "A", "b": "A", "c": "C"}
    assert records(context) == {"a": "skipped", "b": "completed", "c": "completed"}
    assert reason(context, "a") == "resumed from checkpoint"
    assert context.metadata["step_results"][0].result == "A"
    assert store.keys == {}
    await pipeline.execute()
    assert notes.count("+a") == 2


async def test_a_cancelled_run_goes_on_too(autojump_clock: object) -> None:
    store, notes = Watched(), Notes()
    steps = [notes.step("a", sleep=1), notes.step("b", sleep=1)]
    pipeline = Pipeline("p", steps, store)
    assert records(await interrupted(pipeline)) == {"a": "completed", "b": "skipped"}
    context = (await pipeline.execute()).unwrap()
    assert context.duration == 1
    assert notes == ["+a", "-a", "+b", "!b", "+b", "-b"]


async def test_what_is_none_or_recovered_is_restored_as_well() -> None:
    store = Watched()
    calls: list[str] = []

    def none(context: PipelineContext) -> None:
        calls.append("none")

    broken = [step("none", none), step("bad", lambda _: Err(OSError()))]
    await Pipeline("p", broken, store).execute()
    await Pipeline("p", [step("none", none), step("bad", lambda _: 1)], store).execute()
    assert calls == ["none"]


async def test_steps_inside_steps_are_restored_one_by_one(autojump_clock: object) -> None:
    store, notes = Watched(), Notes()
    inner = [notes.step("fast", sleep=1), notes.step("slow", sleep=2)]
    choice = ConditionalStep("c", lambda _: True, notes.step("yes"))
    pipeline = Pipeline("p", [choice, ParallelStep("par", inner), notes.step("end")], store)
    await interrupted(pipeline)
    context = (await pipeline.execute()).unwrap()
    assert notes.count("+fast") == notes.count("+yes") == 1
    assert notes.count("+slow") == 2
    assert context.get_step_result("par") == ["FAST", "SLOW"]
    assert context.get_step_result("yes") == "YES"
    assert records(context) == {
        "c": "skipped",
        "yes": "skipped",
        "par": "completed",
        "fast": "skipped",
        "slow": "completed",
        "end": "completed",
    }


async def test_a_branch_is_not_restored_from_the_other_of_the_same_name() -> None:
    store = Watched()
    answer = [True]
    left, right = step("send", lambda _: "left"), step("send", lambda _: "right")

    inner = ParallelStep("par", [ConditionalStep("c", lambda _: answer[0], left, right)])
    bad = [True]
    end = step("end", lambda _: Err(OSError()) if bad[0] else 1)
    await Pipeline("p", [inner, end], store).execute()
    # As if the crash had come after the branch was recorded, and before what it is inside of.
    for key, value in list(store.keys.items()):
        if value.get("step") in ("par", "c"):
            await store.delete(key)
    answer[0] = bad[0] = False
    context = (await Pipeline("p", [inner, end], store).execute()).unwrap()
    assert context.get_step_result("c") == "right"


async def test_a_step_costs_one_write_of_its_own_result() -> None:
    store = Watched()
    steps = [step(f"s{n}", lambda _: "x" * 100) for n in range(20)]
    steps.append(step("bad", lambda _: Err(OSError())))
    await Pipeline("p", steps, store).execute()
    assert store.calls.count("set") == 1 + 20
    assert store.calls.count("get") == 1
    assert max(len(str(value)) for value in store.keys.values()) < 150


async def test_runs_of_other_ids_names_and_versions_never_meet() -> None:
    store = Watched()
    hostile = ["*", "a:b", "a", "a:*", "", "x" * 1000, "\0", "\ud800", "default", '["a"]']
    ran: list[str] = []

    def pipeline(name: str, version: int, broken: bool) -> Pipeline:
        steps = [step("a", lambda _: ran.append(name))]
        if broken:
            steps.append(step("bad", lambda _: Err(OSError())))
        return Pipeline(name, steps, store, version=version)

    for run_id in hostile:
        for name in hostile[:6]:
            for version in (1, 2):
                ran.clear()
                await pipeline(name, version, True).execute(run_id=run_id)
                assert ran == [name]
    for run_id in hostile:
        for name in hostile[:6]:
            before = len(store.keys)
            ran.clear()
            assert (await pipeline(name, 1, False).execute(run_id=run_id)).is_ok()
            assert ran == []
            assert len(store.keys) == before - 2


async def test_the_same_run_cannot_be_under_way_twice(autojump_clock: object) -> None:
    store, notes = Watched(), Notes()

    def pipeline() -> Pipeline:
        return Pipeline("p", [notes.step("a", sleep=1)], store)

    first = pipeline()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.execute)
        await trio.sleep(0.5)
        for other in (first, pipeline()):
            with pytest.raises(WorkflowStateError, match="'default'"):
                await other.execute()
        assert (await first.execute(run_id="other")).is_ok()
    assert (await first.execute()).is_ok()
    unrecorded = Pipeline("p", [notes.step("a", sleep=1)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unrecorded.execute)
        nursery.start_soon(unrecorded.execute)


@pytest.mark.parametrize(
    "failure", [Err(OSError("disk")), OSError("disk"), Err(StoreError("disk"))]
)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("limit", [1, 2])
async def test_a_store_that_cannot_record_stops_the_run_before_the_next_step(
    failure: Any, inside: bool, limit: int, autojump_clock: object
) -> None:
    store, notes = Watched(), Notes()
    store.fail_set_at, store.fail_with = 3, failure
    steps: list[Any] = [
        notes.step("a", cleanup=True),
        notes.step("b", "a", cleanup=True, error_handler=lambda *_: "not called"),
        notes.step("c", "b"),
    ]
    steps = [ParallelStep("par", steps, fail_fast=False)] if inside else steps
    pipeline = Pipeline("p", steps, store, max_concurrency=limit)
    context = PipelineContext("p")
    with pytest.raises(StoreError, match="disk"):
        await pipeline.execute(context)
    assert notes == ["+a", "-a", "~a", "+b", "-b", "~b"]
    assert context.step_results == {"a": "A", "b": "B"}
    notes.clear()
    assert (await pipeline.execute()).is_ok()
    assert notes == ["+b", "-b", "~b", "+c", "-c"]


async def test_a_step_that_cannot_be_recorded_is_named() -> None:
    store = Watched()
    store.fail_set_at, store.fail_with = 2, OSError("disk")
    said = "the result of step 'a' in the record of pipeline 'p', run 'r', cannot be written: OSE"
    with pytest.raises(StoreError, match=said):
        await Pipeline("p", [step("a", lambda _: 1)], store).execute(run_id="r")


async def test_a_failed_record_cancels_the_steps_beside_it(autojump_clock: object) -> None:
    store, notes = Watched(), Notes()
    store.fail_set_at, store.fail_with = 2, OSError("disk")
    steps = [notes.step("long", sleep=9, cleanup=True), notes.step("a", sleep=1)]
    context = PipelineContext("p")
    with pytest.raises(StoreError):
        await Pipeline("p", steps, store, max_concurrency=2).execute(context)
    assert reason(context, "long") == "cancelled: the checkpoint cannot be written"
    assert notes[-1] == "~long"


async def test_a_result_without_a_stored_form_is_refused_and_named() -> None:
    store, notes = Watched(), Notes()
    bad = [object(), 1]
    steps = [
        notes.step("a"),
        step("b", lambda _: {"x": [bad.pop(0)]}),
        notes.step("c"),
    ]
    pipeline = Pipeline("p", steps, store)
    context = PipelineContext("p")
    with pytest.raises(NotStorableError, match="step 'b'") as caught:
        await pipeline.execute(context)
    assert caught.value.path == "$.x[0]"
    assert notes == ["+a", "-a"]
    assert context.get_step_result("b") is not None
    assert (await pipeline.execute()).is_ok()
    assert notes == ["+a", "-a", "+c", "-c"]


async def test_a_store_that_cannot_be_read_or_begun_stops_the_run_before_any_step() -> None:
    class Unreadable(Watched):
        async def get(self, key: str) -> Any:
            return Err(OSError("gone"))

    notes = Notes()
    with pytest.raises(StoreError, match="gone"):
        await Pipeline("p", [notes.step("a")], Unreadable()).execute()
    store = Watched()
    store.fail_set_at, store.fail_with = 1, Err(OSError("full"))
    with pytest.raises(StoreError, match="full"):
        await Pipeline("p", [notes.step("a")], store).execute()
    assert notes == []


@pytest.mark.parametrize("garbage", [{"format": 99, "token": "t"}, "text", {"format": 1}])
async def test_a_record_of_another_form_is_refused_and_left_untouched(garbage: Any) -> None:
    store = Watched()
    pipeline = Pipeline("p", [step("a", lambda _: 1), step("b", lambda _: Err(OSError()))], store)
    await pipeline.execute()
    for key in list(store.keys):
        await store.set(key, garbage)
    before = dict(store.keys)
    with pytest.raises(StoreCorruptedError):
        await pipeline.execute()
    assert store.keys == before


class Stuck(Watched):
    """Removes single keys only."""

    async def delete_pattern(self, pattern: str) -> Any:
        raise OSError("gone")


async def test_a_run_whose_record_is_not_removed_completes_and_says_so_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Stuck()
    assert (await Pipeline("p", [step("a", lambda _: 1)], store).execute(run_id="r")).is_ok()
    assert len(store.keys) == 1
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "OSError: gone" in caplog.text
    assert "'r'" in caplog.text


async def test_what_was_not_removed_is_no_record_of_a_later_run() -> None:
    store, notes = Stuck(), Notes()
    closed = [False, True, False]
    gate = step("gate", lambda _: Err(OSError()) if closed.pop(0) else None)
    pipeline = Pipeline("p", [gate, notes.step("a")], store)
    assert (await pipeline.execute()).is_ok()
    assert (await pipeline.execute()).is_err()
    assert (await pipeline.execute()).is_ok()
    assert notes.count("+a") == 2


async def test_a_header_that_cannot_be_removed_fails_the_run_and_is_gone_on_from() -> None:
    class Fixed(Watched):
        broken = True

        async def delete(self, key: str) -> Any:
            return Err(OSError("locked")) if self.broken else await super().delete(key)

    store, notes = Fixed(), Notes()
    pipeline = Pipeline("p", [notes.step("a")], store)
    with pytest.raises(StoreError, match="cleared"):
        await pipeline.execute()
    store.broken = False
    assert records((await pipeline.execute()).unwrap()) == {"a": "skipped"}
    assert notes == ["+a", "-a"]


async def test_a_store_is_taken_as_well_as_its_cache() -> None:
    store, notes = MemoryStore(), Notes()
    broken = [True]
    fragile = step("b", lambda _: Err(OSError()) if broken[0] else 1)
    assert (await Pipeline("p", [notes.step("a"), fragile], store).execute()).is_err()
    broken[0] = False
    assert (await Pipeline("p", [notes.step("a"), fragile], store.cache).execute()).is_ok()
    assert notes == ["+a", "-a"]


async def test_runs_without_an_id_are_not_recorded_and_do_not_meet(autojump_clock: object) -> None:
    store, notes = Watched(), Notes()
    pipeline = Pipeline("p", [notes.step("a", sleep=1)], store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run, RunContext())
        nursery.start_soon(pipeline.run, RunContext())
    assert notes == ["+a", "+a", "-a", "-a"]
    assert store.calls == []


async def test_a_pipeline_inside_one_that_is_not_recorded_is_not_recorded_either() -> None:
    store = Watched()
    seen: list[Any] = []
    inner = Pipeline("inner", [step("x", lambda c: seen.append(c.get_metadata("run_id")))], store)
    assert (await Pipeline("outer", [inner]).run(RunContext())).is_ok()
    assert seen == [None]
    assert store.calls == []


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_step_that_ended_is_recorded_though_the_run_is_cancelled_meanwhile(
    limit: int, autojump_clock: object
) -> None:
    store, notes = Watched(), Notes()
    pipeline = Pipeline(
        "p", [notes.step("a", sleep=1), notes.step("b", "a", sleep=1)], store, max_concurrency=limit
    )
    store.delay = 0.4
    context = PipelineContext("p")
    with trio.move_on_after(1.5) as scope:  # a is being recorded
        await pipeline.execute(context)
    assert scope.cancelled_caught
    assert records(context) == {"a": "completed"}
    await pipeline.execute()
    assert notes == ["+a", "-a", "+b", "-b"]


async def test_a_store_that_hangs_does_not_hold_a_cancelled_run_up_for_ever(
    autojump_clock: object,
) -> None:
    store, notes = Watched(), Notes()
    pipeline = Pipeline("p", [step("slow", lambda _: setattr(store, "delay", 1e6))], store)
    pipeline.cleanup_timeout = 3
    with trio.move_on_after(1):
        await pipeline.execute()
    assert trio.current_time() == pytest.approx(4, abs=0.1)
    assert notes == []


PROGRAM = """
    import os, sys, trio
    from lexigram_actors import open_store
    from lexigram_actors.pipeline import ParallelStep, Pipeline, step

    path, crash = sys.argv[1], sys.argv[2] == "crash"

    def note(name):
        def work(context):
            print("ran", name, flush=True)
            return {name, 1}
        return work

    async def dies(context):
        await trio.sleep(0.05)
        if crash:
            os._exit(137)
        return "end"

    async def main():
        async with open_store(f"sqlite:///{path}") as store:
            inner = ParallelStep("par", [step("b", note("b")), step("dies", dies)])
            pipeline = Pipeline("p", [step("a", note("a")), inner], store.cache)
            context = (await pipeline.execute(run_id="r")).unwrap()
            print(sorted(context.step_results), context.step_results["a"] == {"a", 1})

    trio.run(main)
"""


def test_after_the_process_died_another_goes_on(tmp_path: Path) -> None:
    def run(mode: str) -> tuple[int, list[str]]:
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "f.db"), mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.splitlines()

    assert run("crash") == (137, ["ran a", "ran b"])
    assert run("crash") == (137, [])
    assert run("fine") == (0, ["['a', 'b', 'dies', 'par'] True"])
    assert run("fine")[1][:2] == ["ran a", "ran b"]


async def test_a_nested_pipeline_with_a_store_goes_on_by_itself(tmp_path: Path) -> None:
    notes = Notes()
    broken = [True]
    async with open_store(f"sqlite:///{tmp_path / 'f.db'}") as store:
        nested = Pipeline(
            "nested",
            [notes.step("x"), step("y", lambda _: Err(OSError()) if broken[0] else 1)],
            store.cache,
        )
        outer = Pipeline("outer", [notes.step("a"), nested], store.cache)
        assert (await outer.execute(run_id="r")).is_err()
        broken[0] = False
        context = (await outer.execute(run_id="r")).unwrap()
    assert notes == ["+a", "-a", "+x", "-x"]
    assert context.get_step_result("nested") == {"x": "X", "y": 1}


class Shield:
    """Calls what it is given once, and lets no cancellation in."""

    async def execute(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        with trio.CancelScope(shield=True):
            return await func(*args, **kwargs)


@pytest.mark.parametrize("layers", [1, 2])
async def test_after_a_failed_write_no_step_begins_inside_a_shield_either(layers: int) -> None:
    store, notes = Watched(), Notes()
    store.fail_set_at, store.fail_with = 2, OSError("disk full")
    steps: list[Any] = [notes.step("a"), notes.step("b", "a"), notes.step("c", "b")]
    for layer in range(layers):
        steps = [ParallelStep(f"par{layer}", steps, resilience=Shield())]
    context = PipelineContext("p")
    pipeline = Pipeline("p", [*steps, notes.step("z")], store)
    with pytest.raises(StoreError, match="disk full"):
        await pipeline.execute(context)
    assert notes == ["+a", "-a"]
    assert reason(context, "b") == "cancelled: the checkpoint cannot be written"
    assert reason(context, f"par{layers - 1}") == "cancelled: the checkpoint cannot be written"
    assert store.sets == 2


def mail(store: Any, seen: list[Any], broken: list[bool]) -> Pipeline:
    """Return a pipeline that fails at its second step as long as it is broken."""

    def load(context: PipelineContext) -> Any:
        seen.append(context.get_metadata("input"))
        return seen[-1]

    return Pipeline(
        "mail",
        [step("load", load), step("send", lambda _: Err(OSError()) if broken[0] else 1, ["load"])],
        store,
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("orders", "mail", "r"), ("invoices", "mail", "r")),
        (("p", "c", "a/b"), ("p", "b/c", "a")),
        (("p", "c", "a/b"), ("b/p", "c", "a")),
        (("p", "b/c", "a"), ("p/b", "c", "a")),
        (("p", "b/c", "a"), ("p", "b%2Fc", "a")),
    ],
)
async def test_what_one_pipeline_recorded_of_another_inside_is_not_taken_by_a_third(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    store, seen, broken = Watched(), [], [True]
    nested = mail(store, seen, broken)
    for name, step_name, run_id in (first, second):
        # Whatever the context is called: it is the pipeline's name that counts.
        context = PipelineContext("context", metadata={"input": name + step_name + run_id})
        outer = Pipeline(name, [nested.as_step(step_name)])
        outcome = await outer.execute(context, run_id=run_id)
        assert outcome.is_err() is broken[0]
        broken[0] = False
    assert seen == ["".join(first), "".join(second)]


async def test_different_pipelines_run_another_inside_side_by_side(autojump_clock: object) -> None:
    nested = Pipeline("mail", [Notes().step("w", sleep=1)], Watched())
    outcomes: list[Any] = []

    async def execute(name: str) -> None:
        outcomes.append(await Pipeline(name, [nested]).execute())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute, "orders")
        nursery.start_soon(execute, "invoices")
    assert [each.is_ok() for each in outcomes] == [True, True]
