"""Random programs, ended anywhere and begun again: what is recorded is never done again."""

from __future__ import annotations

from typing import Any

import trio
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lexigram_actors import (
    LexigramError,
    Result,
    WorkflowContext,
    WorkflowStepError,
    current_step,
    workflow,
)
from lexigram_actors.host.history import fork_position
from lexigram_actors.host.journal import standing
from lexigram_actors.host.seam import RunContext
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.storage.instances import Entry
from tests.workflow.lives import Lives

LONG = 1e7
"""Seconds after which a program hangs."""

SECONDS = st.integers(0, 6).map(float)
STEP = st.tuples(st.just("step"), SECONDS, st.sampled_from(["ok", "ok", "ok", "fail", "retried"]))
SLEEP = st.tuples(st.just("sleep"), SECONDS)
DRAW = st.tuples(st.just("draw"))
PATCH = st.tuples(st.just("patch"), st.sampled_from("ab"))


def blocks(commands: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(commands, max_size=4)


def programs(timed: bool) -> st.SearchStrategy[Any]:
    """Return programs; where time does not matter, what happens depends on the program alone."""

    def extended(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        many = st.lists(blocks(inner), max_size=3)
        fail_fast = st.booleans() if timed else st.just(False)
        options = [
            st.tuples(st.just("try"), blocks(inner)),
            st.tuples(st.just("run"), blocks(inner)),
            st.tuples(st.just("parallel"), fail_fast, many, blocks(inner)),
        ]
        if timed:
            options.append(st.tuples(st.just("limit"), SECONDS, blocks(inner)))
            options.append(st.tuples(st.just("guard"), blocks(inner), blocks(inner)))
        return st.one_of(options)

    return blocks(st.recursive(st.one_of(STEP, SLEEP, DRAW, PATCH), extended, max_leaves=12))


class Interpreter:
    """Runs a program as a durable function, and knows which steps began."""

    def __init__(self, program: Any, retries: int = 0) -> None:
        self.began: list[str] = []

        @workflow(retries=retries)
        async def whole(ctx: WorkflowContext) -> Any:
            return await self.block(ctx, program)

        self.function = whole

    async def block(self, ctx: WorkflowContext, commands: Any) -> list[Any]:
        return [await getattr(self, command[0])(ctx, *command[1:]) for command in commands]

    async def step(self, ctx: WorkflowContext, seconds: float, outcome: str) -> Any:
        async def body() -> str:
            info = current_step()
            self.began.append(info.path)
            await trio.sleep(seconds)
            if outcome == "fail" or (outcome == "retried" and info.attempt == 1):
                raise ValueError(outcome)
            return info.path

        return await ctx.step(body, retry=2 if outcome == "retried" else None)

    async def sleep(self, ctx: WorkflowContext, seconds: float) -> None:
        await ctx.sleep(seconds)

    async def draw(self, ctx: WorkflowContext) -> str:
        return str(ctx.uuid())

    async def patch(self, ctx: WorkflowContext, id: str) -> bool:
        return ctx.patched(id)

    async def run(self, ctx: WorkflowContext, commands: Any) -> Any:
        @workflow
        async def part(inner: WorkflowContext) -> Any:
            return await self.block(inner, commands)

        return await ctx.run(part)

    async def limit(self, ctx: WorkflowContext, seconds: float, commands: Any) -> Any:
        done = None
        async with ctx.move_on_after(seconds) as limit:
            done = await self.block(ctx, commands)
        return limit.fired or done

    async def guard(self, ctx: WorkflowContext, commands: Any, clean_up: Any) -> Any:
        done = None
        try:
            done = await self.block(ctx, commands)
        finally:
            with trio.CancelScope(shield=True):
                cleaned = await self.block(ctx, clean_up)
        return [done, cleaned]

    async def parallel(
        self, ctx: WorkflowContext, fail_fast: bool, branches: Any, body: Any
    ) -> Any:
        async with ctx.parallel(fail_fast=fail_fast) as group:
            started = [group.start(self.block, commands, name="b") for commands in branches]
            own = await self.block(ctx, body)
        return [own, *(branch.value for branch in started)]

    async def tried(self, ctx: WorkflowContext, commands: Any) -> Any:
        try:
            return await self.block(ctx, commands)
        except (LexigramError, ExceptionGroup) as error:
            # Of a group the order is that of the branches; of an error everything is recorded.
            return [str(error), getattr(error, "path", "")]


setattr(Interpreter, "try", Interpreter.tried)


def shown(result: Result[Any, Exception]) -> str:
    """Return a result as the same text for the same outcome."""
    error = result.unwrap_err() if result.is_err() else None
    return f"{type(error).__name__}: {error}" if error is not None else repr(result)


async def continued(
    interpreter: Interpreter, entries: list[Entry]
) -> tuple[str, list[Entry], float]:
    """Go on from entries; return the outcome, the journal, and how long it took."""
    interpreter.began.clear()
    life = Lives(interpreter.function)
    life.go_back(entries)
    begun = trio.current_time()
    with trio.fail_after(LONG):
        result = await life.run(entries)
    recorded = {entry.path for entry in entries if entry.kind == "step"}
    again = recorded & set(interpreter.began)
    assert not again, again
    return shown(result), life.entries, trio.current_time() - begun


async def check(program: Any, cuts: list[float], timed: bool) -> None:
    interpreter = Interpreter(program)
    expected, entries, _ = await continued(interpreter, [])
    for cut in cuts:
        outcome, entries, _ = await continued(interpreter, entries[: int(cut * len(entries))])
        if not timed:
            assert outcome == expected
        expected = outcome
    outcome, again, seconds = await continued(interpreter, entries)
    assert (outcome, len(again)) == (expected, len(entries))
    assert interpreter.began == []
    del seconds


CUTS = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3)


@settings(max_examples=150)
@given(programs(timed=False), CUTS)
def test_the_outcome_does_not_depend_on_where_it_was_ended(program: Any, cuts: list[float]) -> None:
    trio.run(check, program, cuts, False, clock=MockClock(autojump_threshold=0))


@settings(max_examples=250)
@given(programs(timed=True), CUTS)
@example([("limit", 2.0, [("step", 1.0, "ok"), ("parallel", False, [], [("sleep", 1.0)])])], [0.0])
def test_what_is_recorded_stands_whatever_was_cut_off(program: Any, cuts: list[float]) -> None:
    trio.run(check, program, cuts, True, clock=MockClock(autojump_threshold=0))


async def ended_at(interpreter: Interpreter, moment: float) -> list[Entry]:
    """Live until the host ends it at that moment; return what is recorded then."""
    life = Lives(interpreter.function)
    journal = life.begin()
    written: list[Entry] = []
    journal.on_entry = written.append

    async def end() -> None:
        await trio.sleep_until(moment)
        journal.suspend()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        try:
            with journal.scope:
                await life.runnable.run(RunContext(run_id="order-42", journal=journal))
        except Suspended:
            assert trio.current_time() >= moment
        nursery.cancel_scope.cancel()
    return written


@settings(max_examples=100)
@given(programs(timed=True), st.lists(st.floats(0.01, 20), min_size=1, max_size=4))
def test_ended_by_its_host_at_any_moment_it_goes_on(program: Any, moments: list[float]) -> None:
    async def main() -> None:
        interpreter = Interpreter(program)
        for moment in moments:
            entries = await ended_at(interpreter, trio.current_time() + moment)
            outcome, complete, _ = await continued(interpreter, entries)
            assert (await continued(interpreter, complete))[0] == outcome

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def forked_at(interpreter: Interpreter, entries: list[Entry], path: str) -> None:
    """Fork at a path, long after: nothing before it is done again, and a replay is one."""
    before = fork_position(entries, path)
    given_to_it = [e._replace(epoch=0) for e in entries if e.position < before]
    fork = Lives(interpreter.function, copied=len(given_to_it))
    fork.instance = evolve(fork.instance, id="fork")
    fork.skew = 1e6
    interpreter.began.clear()
    with trio.fail_after(LONG):
        outcome = shown(await fork.run(given_to_it))
    recorded = {entry.path for entry in standing(given_to_it) if entry.kind == "step"}
    assert not recorded & set(interpreter.began)
    interpreter.began.clear()
    assert shown(await fork.run()) == outcome
    assert interpreter.began == []


@settings(max_examples=60)
@given(programs(timed=True), st.integers(0, 1))
def test_forked_at_anything_recorded_it_goes_on(program: Any, retries: int) -> None:
    async def main() -> None:
        interpreter = Interpreter(program, retries)
        _, entries, _ = await continued(interpreter, [])
        for path in dict.fromkeys(entry.path for entry in standing(entries)):
            await forked_at(interpreter, entries, path)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_interpreter_fails_a_step_where_it_should() -> None:
    async def main() -> None:
        interpreter = Interpreter([("step", 0.0, "fail")])
        result = await Lives(interpreter.function).run()
        assert isinstance(result.unwrap_err(), WorkflowStepError)
        assert interpreter.began == ["body"]

    trio.run(main)
