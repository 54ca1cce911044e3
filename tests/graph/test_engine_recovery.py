"""What a runner finds again after a failure, an answer, a full checkpoint or a store that refuses.

Other ways to go on after a failure are in `test_runner.py`; stores that die in the middle of a call
are in `test_runner_crashes.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    AbstractWorkflowNode,
    Err,
    GraphConfig,
    GraphExecutionError,
    HumanInputRequiredError,
    HumanNode,
    Result,
    StateConflictError,
    StoreError,
    SubworkflowNode,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
    WorkflowStateError,
    open_store,
)
from tests.graph.graphs import State, graph
from tests.graph.stepping import MortalCache, World, whole

OpenKeeper = Callable[[], Any]


@pytest.fixture(params=["nothing", "checkpoint", "store"])
def open_keeper(request: pytest.FixtureRequest) -> OpenKeeper:
    """Opens what a runner is given to record its runs in; None is nothing."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        if request.param == "store":
            async with open_store("memory:") as store:
                yield store
        else:
            yield WorkflowCheckpoint() if request.param == "checkpoint" else None

    return opened


async def paused(runner: WorkflowRunner, **options: Any) -> State:
    """Run until a person is asked, and return what it takes to go on."""
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in", **options)
    return caught.value.state


# --- failures that are found again -----------------------------------------------------------


async def test_branches_that_conflict_where_they_meet_do_so_in_every_run_and_never_raise(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    world = World()
    nodes = {name: world.work(name, {"key": name}) for name in "bc"}
    config = GraphConfig(on_conflict="error")
    engine = graph("a -> b -> j, a -> c -> j", nodes, config=config)
    async with open_keeper() as keeper:
        for _ in range(3):
            runner = WorkflowRunner(engine, checkpoint=keeper, max_retries=1, retry_delay=0)
            result = await runner.run("in", run_id="r")
            assert isinstance(result, Err)
            assert isinstance(result.error, StateConflictError)
            assert result.error.node == "j"
    assert len(world.finished) == (6 if keeper is None else 2)


async def test_a_reducer_that_fails_where_branches_meet_is_an_err_in_every_attempt(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    def never(earlier: Any, later: Any) -> Any:
        raise ValueError("no way to combine them")

    world = World()
    nodes = {name: world.work(name, {"key": name}) for name in "bc"}
    engine = graph("a -> b -> j, a -> c -> j", nodes, reducers={"key": never})
    async with open_keeper() as keeper:
        for _ in range(2):
            runner = WorkflowRunner(engine, checkpoint=keeper, max_retries=2, retry_delay=0)
            result = await runner.run("in", run_id="r")
            assert isinstance(result, Err)
            assert type(result.error) is GraphExecutionError
            assert "no way to combine them" in str(result.error)
    assert len(world.finished) == (12 if keeper is None else 2)


async def test_a_run_that_others_pushed_out_of_the_checkpoint_is_retried_all_the_same(
    autojump_clock: MockClock,
) -> None:
    world, checkpoint = World(), WorkflowCheckpoint(max_size=1)
    nodes = {"a": world.work("a"), "b": world.work("b", seconds=2, fails_once=True)}
    flaky = graph("a -> b", nodes, name="flaky")
    other = graph("a", {"a": World().work("a", seconds=50)}, name="other")
    results: list[Result[Any, Any]] = []

    async def run() -> None:
        runner = WorkflowRunner(flaky, checkpoint=checkpoint, max_retries=1, retry_delay=1)
        results.append(await runner.run("in", run_id="flaky"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(1)
        nursery.start_soon(WorkflowRunner(other, checkpoint=checkpoint).run, "in")
        await trio.sleep(0.25)
        assert "flaky" not in checkpoint
    assert results[0].is_ok()
    assert world.finished == ["a", "b"]


# --- retries after an answer -----------------------------------------------------------------


class AskingNode(AbstractWorkflowNode):
    """Asks by itself, and fails once although it was answered."""

    def __init__(self) -> None:
        super().__init__("asking")
        self.seen: list[Any] = []

    async def execute(self, state: State) -> State:
        self.seen.append(state.get("human_response"))
        if self.seen[-1] is None:
            raise HumanInputRequiredError("Which?", node=self.name, checkpoint_id=self.name)
        if len(self.seen) == 2:
            raise OSError("once")
        return {"answer": state["human_response"]}


async def test_a_retry_of_a_node_that_was_answered_has_the_answer_still(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    node = AskingNode()
    async with open_keeper() as keeper:
        runner = WorkflowRunner(graph("asking", {"asking": node}), checkpoint=keeper, max_retries=2)
        state = await paused(runner, run_id="r")
        result = await runner.resume("the left one", state=state)
    assert node.seen == [None, "the left one", "the left one"]
    assert result.unwrap().final_state["answer"] == "the left one"


async def test_an_answer_under_a_key_of_ones_own_is_there_in_every_attempt(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    seen: list[Any] = []

    class Reading(AskingNode):
        async def execute(self, state: State) -> State:
            seen.append(state.get("verdict"))
            return await super().execute(state)

    async with open_keeper() as keeper:
        engine = graph("asking", {"asking": Reading()})
        runner = WorkflowRunner(engine, checkpoint=keeper, max_retries=2)
        state = await paused(runner, run_id="r")
        await runner.resume("yes", state=state, response_key="verdict")
    assert seen == [None, "yes", "yes"]


def asking_inside_and_outside(world: World) -> WorkflowEngine:
    inner = graph("before -> inner", {"before": world.work("before"), "inner": HumanNode("inner")})
    nodes = {
        "sub": SubworkflowNode("sub", workflow=inner),
        "ask": HumanNode("ask"),
        "flaky": world.work("flaky", fails_once=True),
    }
    return graph("a -> sub, a -> ask -> flaky", nodes, name="outer")


async def test_a_retry_keeps_what_had_finished_inside_a_graph_that_still_asks(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    world = World()
    async with open_keeper() as keeper:
        engine = asking_inside_and_outside(world)
        runner = WorkflowRunner(engine, checkpoint=keeper, max_retries=1)
        state = await paused(runner, run_id="r")
        with pytest.raises(HumanInputRequiredError) as caught:
            await runner.resume("yes", state=state, node="ask")
        assert caught.value.node == "sub/inner"
        assert (await runner.resume("also", state=caught.value.state)).is_ok()
    assert world.finished == ["before", "flaky"]


async def test_a_retry_does_not_give_an_open_question_more_time(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    world = World()
    nodes = {
        "hurry": HumanNode("hurry", output_key="hurry", expires_after=50, default_answer="late"),
        "ask": HumanNode("ask"),
        "flaky": world.work("flaky", fails_once=True),
    }
    async with open_keeper() as keeper:
        engine = graph("a -> hurry, a -> ask -> flaky", nodes)
        runner = WorkflowRunner(engine, checkpoint=keeper, max_retries=1)
        state = await paused(runner, run_id="r")
        await trio.sleep(30)
        with pytest.raises(HumanInputRequiredError) as caught:
            await runner.resume("yes", state=state, node="ask")
        assert caught.value.node == "hurry"
        await trio.sleep(50 - trio.current_time())
        result = await runner.resume(None, state=caught.value.state)
    assert result.unwrap().final_state["hurry"] == "late"


# --- what is left in the store ---------------------------------------------------------------


def fail(state: State) -> None:
    raise OSError("always")


async def test_a_run_without_a_run_id_leaves_nothing_however_it_ends() -> None:
    ending = {
        "well": graph("a"),
        "badly": graph("a -> b", {"b": fail}),
        "with a question": graph("a -> ask", {"ask": HumanNode("ask")}),
    }
    async with open_store("memory:") as store:
        for how, engine in ending.items():
            cache, checkpoint = MortalCache(store.cache), WorkflowCheckpoint()
            for keeper in (cache, checkpoint):
                runner = WorkflowRunner(engine, checkpoint=keeper)
                if how == "with a question":
                    await runner.resume("yes", state=await paused(runner))
                    await paused(runner)
                else:
                    await runner.run("in")
            assert cache.keys
            left = [key for key in cache.keys if (await cache.exists(key)).unwrap()]
            assert left == [], how
            assert len(checkpoint) == 0, how


class Messy(MortalCache):
    """Removes single keys, and no more than that."""

    async def delete_pattern(self, pattern: str) -> Any:
        return Err(StoreError("busy"))


async def test_a_run_that_is_over_is_a_success_though_its_record_cannot_be_removed() -> None:
    world = World()
    engine = graph("a -> b", {name: world.work(name, seconds=0) for name in "ab"})
    async with open_store("memory:") as store:
        messy = Messy(store.cache)
        first = await WorkflowRunner(engine, checkpoint=messy).run("in", run_id="r")
        second = await WorkflowRunner(engine, checkpoint=messy).run("other", run_id="r")
    assert whole(first)[1] == ["a", "b"]
    assert second.unwrap().final_state["input"] == "other"
    assert world.finished == ["a", "b", "a", "b"]


async def test_a_store_and_its_cache_are_one_place_for_a_run_id(autojump_clock: MockClock) -> None:
    world = World()
    engine = graph("a", {"a": world.work("a", seconds=5)})
    async with open_store("memory:") as store, trio.open_nursery() as nursery:

        async def run() -> None:
            assert (await WorkflowRunner(engine, checkpoint=store).run("in", run_id="r")).is_ok()

        nursery.start_soon(run)
        await trio.sleep(1)
        with pytest.raises(WorkflowStateError, match="under way"):
            await WorkflowRunner(engine, checkpoint=store.cache).run("in", run_id="r")
    assert world.finished == ["a"]


class Wrapping(MortalCache):
    """Keeps the cache that it passes calls on to under the name a store has for its own."""

    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        self.cache = cache


async def test_a_cache_that_wraps_another_is_used_itself() -> None:
    async with open_store("memory:") as store:
        wrapping = Wrapping(store.cache)
        assert (await WorkflowRunner(graph("a"), checkpoint=wrapping).run("in")).is_ok()
    assert wrapping.calls > 0
    assert wrapping.keys
