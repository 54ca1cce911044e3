"""A store that dies before or after each call that a run makes of it, as the process would.

Whatever is called after the death is refused and counted. A new runner on the same store then ends
with the result of a run that nobody disturbed, and no node runs again whose record was acknowledged
before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from trio.testing import MockClock

from lexigram_actors import (
    HumanInputRequiredError,
    HumanNode,
    WorkflowEngine,
    WorkflowRunner,
    open_store,
)
from tests.graph.graphs import concat, counts, graph
from tests.graph.stepping import (
    MortalCache,
    SlowCache,
    Whole,
    World,
    outlived,
    refuse_reruns,
    whole,
)

MOST_REFUSED = 8
"""Each branch may try once more; none may go on trying."""

OpenCache = Callable[[], Any]
Shape = Callable[[World], WorkflowEngine]


@pytest.fixture(params=["memory", "sqlite"])
def open_cache(request: pytest.FixtureRequest, tmp_path: Path) -> OpenCache:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/graph.db"

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with open_store(url, synchronous="normal") as store:
            yield store.cache

    return opened


# --- the runs --------------------------------------------------------------------------------


def forked(world: World) -> WorkflowEngine:
    nodes = {name: world.work(name, {"log": [name]}) for name in "abcdef"}
    return graph("a -> b -> e, a -> c -> d -> e -> f", nodes, reducers={"log": concat})


def failing_once(world: World) -> WorkflowEngine:
    nodes = {name: world.work(name, {"log": [name]}) for name in "abcf"}
    nodes["d"] = world.work("d", {"log": ["d"]}, seconds=1, fails_once=True)
    return graph("a -> b -> f, a -> c -> f, a -> d -> f", nodes, reducers={"log": concat})


def circling(world: World) -> WorkflowEngine:
    nodes = {"a": world.work("a", counts("n")), "b": world.work("b"), "c": world.work("c")}
    when = {
        ("b", "a"): lambda state: state["n"] < 3,
        ("b", "c"): lambda state: state["n"] >= 3,
    }
    return graph("a -> b -> a, b -> c", nodes, when=when)


def asking(world: World) -> WorkflowEngine:
    nodes = {name: world.work(name) for name in ("a", "b", "later", "z")}
    ask = HumanNode("ask", output_key="verdict")
    return graph("a -> b -> z, a -> ask -> later -> z", {**nodes, "ask": ask})


def asking_twice(world: World) -> WorkflowEngine:
    nodes: dict[str, Any] = {name: world.work(name) for name in "abz"}
    nodes |= {name: HumanNode(name, output_key=name) for name in ("first", "second")}
    nodes["b"] = world.work("b", fails_once=True)
    return graph("a -> first -> b -> second -> z", nodes)


async def to_the_end(world: World, shape: Shape, cache: Any, run_id: str) -> Whole:
    """Run, with a runner and an engine of its own, and answer whatever is asked."""
    runner = WorkflowRunner(shape(world), max_retries=1, retry_delay=1, checkpoint=cache)
    try:
        return whole(await runner.run("in", run_id=run_id))
    except HumanInputRequiredError as asked:
        question = asked
    while True:
        try:
            return whole(await runner.resume("yes", state=question.state, node=question.node))
        except HumanInputRequiredError as asked:
            question = asked


SHAPES: list[Shape] = [forked, failing_once, circling, asking, asking_twice]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
async def test_a_run_whose_store_died_at_any_call_goes_on_to_the_same_result(
    shape: Shape,
    when: Literal["before", "after"],
    open_cache: OpenCache,
    autojump_clock: MockClock,
) -> None:
    async with open_cache() as store:
        undisturbed, whole_world = MortalCache(store), World()
        result = await to_the_end(whole_world, shape, undisturbed, "undisturbed")
        assert undisturbed.calls > len(whole_world.finished)
        for call in count(1):
            world, dying = World(), MortalCache(store, call, when)
            run_id = f"{call} {when}"
            if await outlived(to_the_end(world, shape, dying, run_id)):
                assert call > len(shape(World()).definition.nodes)
                break
            assert dying.refused <= MOST_REFUSED
            before = len(world.finished)
            assert await to_the_end(world, shape, store, run_id) == result
            refuse_reruns(world.finished[before:], whole_world.finished, dying.done)


def staggered(world: World) -> WorkflowEngine:
    nodes = {name: world.work(name) for name in "aejz"}
    nodes |= {name: world.work(name, seconds=place / 4) for place, name in enumerate("bcd", 2)}
    return graph("a -> b -> j, a -> c -> e -> j, a -> d -> j -> z", nodes)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_branches_that_end_while_others_are_being_recorded_are_recorded_too(
    when: Literal["before", "after"], open_cache: OpenCache, autojump_clock: MockClock
) -> None:
    async with open_cache() as store:
        undisturbed = World()
        result = await to_the_end(undisturbed, staggered, store, "undisturbed")
        for call in count(1):
            world, dying = World(), SlowCache(store, 0.6, call, when)
            if await outlived(to_the_end(world, staggered, dying, f"{call}")):
                assert call > 8
                break
            before = len(world.finished)
            assert await to_the_end(world, staggered, store, f"{call}") == result
            refuse_reruns(world.finished[before:], undisturbed.finished, dying.done)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_run_that_dies_again_and_again_gets_on_each_time(
    when: Literal["before", "after"], open_cache: OpenCache, autojump_clock: MockClock
) -> None:
    """Each process gets as far as one more record, or a few calls more."""
    async with open_cache() as store:
        undisturbed = World()
        await to_the_end(undisturbed, forked, store, "undisturbed")
        world, deaths = World(), 0
        while True:
            calls = 8 + deaths  # reading what is there takes as many as there are segments
            attempt = to_the_end(world, forked, MortalCache(store, calls, when), "r")
            if await outlived(attempt):
                break
            deaths += 1
            assert deaths < 20
        assert deaths > 0
        assert Counter(world.finished) >= Counter(undisturbed.finished)


async def test_a_run_that_is_over_leaves_no_key_in_the_store(
    open_cache: OpenCache, autojump_clock: MockClock
) -> None:
    async with open_cache() as store:
        for shape in SHAPES:
            mortal = MortalCache(store)
            await to_the_end(World(), shape, mortal, "r")
            assert mortal.keys
            for key in mortal.keys:
                assert not (await store.exists(key)).unwrap(), key


# --- a resume that is cut off ----------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_resume_that_is_cut_off_loses_nothing_that_ran_before_the_question(
    when: Literal["before", "after"], open_cache: OpenCache, autojump_clock: MockClock
) -> None:
    async with open_cache() as store:
        for call in count(1):
            world, run_id = World(), f"{call} {when}"
            with pytest.raises(HumanInputRequiredError) as caught:
                await WorkflowRunner(asking(world), checkpoint=store).run("in", run_id=run_id)
            dying = MortalCache(store, call, when)
            runner = WorkflowRunner(asking(world), checkpoint=dying)
            if await outlived(runner.resume("yes", state=caught.value.state)):
                assert call > 5
                break
            if not dying.is_over:
                await to_the_end(world, asking, store, run_id)
                assert world.finished.count("a") == world.finished.count("b") == 1


class DiesOnceBegun(MortalCache):
    """Dies when the header was written, and the answer with it."""

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
        answer = await super().set(key, value, ttl)
        if key.endswith("header"):
            self.die()
        return answer


async def test_an_answer_that_was_acknowledged_is_not_asked_for_again(
    open_cache: OpenCache, autojump_clock: MockClock
) -> None:
    async with open_cache() as store:
        world = World()
        with pytest.raises(HumanInputRequiredError) as caught:
            await WorkflowRunner(asking(world), checkpoint=store).run("in", run_id="r")
        dying = WorkflowRunner(asking(world), checkpoint=DiesOnceBegun(store))
        assert not await outlived(dying.resume("no, better not", state=caught.value.state))
        result = await WorkflowRunner(asking(world), checkpoint=store).run("in", run_id="r")
    assert result.unwrap().final_state["verdict"] == "no, better not"
    assert sorted(world.finished) == ["a", "b", "later", "z"]
