"""Cancelling a run before every task step it has, one after the other.

A scenario is run once to count its task steps, then once for each step with the scope around it
cancelled there. Afterwards no task is left and no node goes on. The run has its whole result, or
its cancellation was absorbed by the scope; it was never made an `Err` of; and the same can be run
again. Where a runner records the run, it goes on to the same result, and no node runs again that
had finished.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from lexigram_actors import (
    GraphConfig,
    HumanInputRequiredError,
    HumanNode,
    RunFinished,
    SubworkflowNode,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
    open_store,
)
from lexigram_actors.testing import CancelAt
from tests.graph.graphs import concat, counts, graph
from tests.graph.stepping import (
    MANNERS,
    Manner,
    MortalCache,
    Whole,
    World,
    refuse_reruns,
    whole,
)
from tests.leaks import descendants, no_task_left

FLOOR = 300
SHORT = GraphConfig(node_timeout=100, total_timeout=1000)


@define
class Stage(World):
    """A world with what keeps its runs."""

    checkpoint: WorkflowCheckpoint = field(factory=WorkflowCheckpoint)
    cache: MortalCache | None = None
    was_cancelled: bool = False


Scenario = Callable[[Stage], Awaitable[Whole]]

# --- the graphs ------------------------------------------------------------------------------


def forked(stage: Stage, **options: Any) -> WorkflowEngine:
    nodes = {name: stage.work(name, {"log": [name]}) for name in "acde"}
    nodes["b"] = stage.work("b", {"log": ["b"]}, seconds=1, **options)
    shape = "a -> b -> e, a -> c -> d -> e"
    return graph(shape, nodes, reducers={"log": concat}, config=SHORT)


def asking(stage: Stage) -> WorkflowEngine:
    nodes = {name: stage.work(name) for name in "abz"}
    ask = HumanNode("ask", output_key="verdict")
    return graph("a -> ask -> z, a -> b -> z", {**nodes, "ask": ask}, config=SHORT)


def nested(stage: Stage) -> WorkflowEngine:
    inside = SubworkflowNode("sub", workflow=asking(stage))
    nodes = {name: stage.work(name) for name in ("first", "beside", "last")}
    shape = "first -> sub -> last, first -> beside -> last"
    return graph(shape, {**nodes, "sub": inside}, config=SHORT, name="outer")


# --- the scenarios ---------------------------------------------------------------------------


async def a_line(stage: Stage) -> Whole:
    nodes = {name: stage.work(name) for name in "abc"}
    return whole(await graph("a -> b -> c", nodes, config=SHORT).execute("in"))


async def a_fork_and_a_join(stage: Stage) -> Whole:
    return whole(await forked(stage).execute("in"))


async def a_fork_with_a_limit(stage: Stage) -> Whole:
    config = GraphConfig(max_parallel_branches=2)
    nodes = {name: stage.work(name) for name in "abcdj"}
    shape = "a -> b -> j, a -> c -> j, a -> d -> j"
    return whole(await graph(shape, nodes, config=config).execute("in"))


async def a_loop(stage: Stage) -> Whole:
    nodes = {"a": stage.work("a", counts("n")), "b": stage.work("b"), "c": stage.work("c")}
    when = {
        ("b", "a"): lambda state: state["n"] < 3,
        ("b", "c"): lambda state: state["n"] >= 3,
    }
    return whole(await graph("a -> b -> a, b -> c", nodes, when=when, config=SHORT).execute("in"))


async def a_question_and_its_answer(stage: Stage) -> Whole:
    return await answered(asking(stage))


async def a_graph_in_a_graph(stage: Stage) -> Whole:
    return await answered(nested(stage))


async def answered(engine: WorkflowEngine) -> Whole:
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute("in")
    return whole(await engine.resume(caught.value.state, "yes"))


async def a_watched_run_in_a_block(stage: Stage) -> Whole:
    async with forked(stage).astream("in") as events:
        found = [event async for event in events]
    return finished(found)


async def a_watched_run_in_a_loop(stage: Stage) -> Whole:
    return finished([event async for event in forked(stage).astream("in")])


async def a_watched_run_that_is_closed(stage: Stage) -> Whole:
    found, stream = [], forked(stage).astream("in")
    try:
        async for event in stream:
            found.append(event)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
    return finished(found)


def finished(events: list[Any]) -> Whole:
    last = events[-1]
    assert isinstance(last, RunFinished)
    return whole(last.result)


async def a_recorded_run_in_memory(stage: Stage) -> Whole:
    return await recorded(forked(stage, fails_once=True), stage.checkpoint)


async def a_recorded_run_in_a_store(stage: Stage) -> Whole:
    return await recorded(forked(stage, fails_once=True), stage.cache)


async def a_recorded_question_in_memory(stage: Stage) -> Whole:
    return await recorded(asking(stage), stage.checkpoint)


async def a_recorded_question_in_a_store(stage: Stage) -> Whole:
    return await recorded(asking(stage), stage.cache)


async def recorded(engine: WorkflowEngine, keeper: Any) -> Whole:
    runner = WorkflowRunner(engine, max_retries=1, retry_delay=0.5, checkpoint=keeper)
    try:
        return whole(await runner.run("in", run_id="r"))
    except HumanInputRequiredError as asked:
        state = asked.state
    return whole(await runner.resume("yes", state=state))


SCENARIOS: list[Scenario] = [
    a_line,
    a_fork_and_a_join,
    a_fork_with_a_limit,
    a_loop,
    a_question_and_its_answer,
    a_graph_in_a_graph,
    a_watched_run_in_a_block,
    a_watched_run_in_a_loop,
    a_watched_run_that_is_closed,
    a_recorded_run_in_memory,
    a_recorded_run_in_a_store,
    a_recorded_question_in_memory,
    a_recorded_question_in_a_store,
]

# --- what must hold --------------------------------------------------------------------------


@define
class Undisturbed:
    """What a scenario does when nobody interferes."""

    result: Whole
    ran: list[str]
    steps: int


def is_recorded(stage: Stage) -> bool:
    """Whether a runner has begun to record the run, and not been told to forget it."""
    assert stage.cache is not None
    return "r" in stage.checkpoint or bool(stage.cache.keys and not stage.cache.is_over)


def undisturbed(scenario: Scenario, manner: Manner) -> Undisturbed:
    """Run a scenario to the end."""
    stage = Stage(manner)
    found, steps = run(scenario, stage, 0, None)
    return Undisturbed(found[0], stage.finished, steps)


def run(
    scenario: Scenario, stage: Stage, step: int, known: Undisturbed | None
) -> tuple[list[Whole], int]:
    """Run a scenario, cancelled before that step (0: never), and then once more.

    Return what it resulted in, if it did, and how many steps it had.
    """
    instrument = CancelAt(step, counts=False)
    found: list[Whole] = []

    async def main() -> None:
        async with open_store("memory:") as store:
            stage.cache = MortalCache(store.cache)
            with no_task_left():
                await interrupted()
                if known is not None:
                    await once_more(known)

    async def interrupted() -> None:
        with instrument.scope:
            instrument.counts = True
            found.append(await scenario(stage))
        instrument.counts = False
        me = trio.lowlevel.current_task()
        assert not set(descendants(me, leave_out=me)), "a task is left"
        await trio.sleep(10)  # a stream that was dropped ends a few steps later
        assert stage.finished_at <= instrument.cancelled_at, "it went on after it was cancelled"
        stage.was_cancelled = instrument.scope.cancelled_caught
        assert bool(found) != stage.was_cancelled
        assert known is None or found in ([], [known.result])

    async def once_more(known: Undisturbed) -> None:
        before = stage.finished.copy()
        done = before if is_recorded(stage) else []
        assert await scenario(stage) == known.result
        refuse_reruns(stage.finished[len(before) :], known.ran, done)

    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    return found, instrument.steps


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_run_cancelled_before_any_step_leaves_nothing_and_can_be_run_again(
    scenario: Scenario, manner: Manner
) -> None:
    known = undisturbed(scenario, manner)
    cancelled = 0
    for step in range(1, known.steps + 1):
        stage = Stage(manner)
        run(scenario, stage, step, known)
        cancelled += stage.was_cancelled
    assert cancelled > known.steps / 2


def test_there_are_many_steps_to_be_cancelled_at() -> None:
    steps = [undisturbed(scenario, manner).steps for scenario in SCENARIOS for manner in MANNERS]
    print(f"{sum(steps)} steps of {len(steps)} scenarios")  # noqa: T201 - shown with -s
    assert min(steps) >= 5
    assert sum(steps) >= FLOOR
