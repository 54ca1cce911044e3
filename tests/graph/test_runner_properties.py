"""However often a run is broken off, and however slow its store is, it ends as if it had not been.

The graphs and the nodes are those of `test_engine_properties`. A run is cancelled at some moments
and fails at some nodes; it is begun anew under the same id each time, until it ends.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any
from zlib import crc32

import trio
import trio.testing
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import HumanInputRequiredError
from lexigram_actors.graph.checkpoint import WorkflowCheckpoint
from lexigram_actors.graph.runner import WorkflowRunner
from lexigram_actors.storage.opening import open_store
from tests.graph.graphs import CustomError, State
from tests.graph.test_engine_properties import (
    MANY,
    Seen,
    Shape,
    Watcher,
    build,
    label_of,
    settled,
    shapes,
    with_answers,
)


class SlowCache:
    """A cache whose calls take a while, each its own."""

    def __init__(self, inner: Any, luck: random.Random) -> None:
        self.inner = inner
        self.luck = luck

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            await trio.sleep(self.luck.choice([0, 0, 0.1, 0.9, 1.1, 4.1]))
            result = await method(*arguments, **options)
            await trio.sleep(self.luck.choice([0, 0, 0, 0.3]))
            return result

        return call


class Failing(Watcher):
    """Fails at the first visit, for one in four of what it may see; notes what it finished."""

    def __init__(self, shape: Shape, node: int, seen: list[Seen], seed: int) -> None:
        super().__init__(shape, node, seen, seed)
        self.failed: set[str] = set()
        self.finished: Counter[str] = Counter()

    async def execute(self, state: State) -> Any:
        update = await super().execute(state)
        label = label_of(self.name, state.get("trail", ()), state.get("item", 0))
        if crc32(f"{self.seed} {label}".encode()) % 4 == 0 and label not in self.failed:
            self.failed.add(label)
            raise CustomError
        self.finished[label] += 1
        return update


async def broken_off(shape: Shape, seed: int, keeper: Any, luck: random.Random) -> Any:
    """Run until it ends; return the result, and how often each execution finished."""
    seen: list[Seen] = []
    nodes: list[Failing] = []

    def make(*arguments: Any) -> Failing:
        nodes.append(Failing(*arguments))
        return nodes[-1]

    limit = 60 if shape.asking else MANY
    engine = build(shape, seen, seed, make, GraphConfig(max_iterations=limit, node_timeout=0))
    pause: HumanInputRequiredError | None = None
    for number in range(1000):
        runner = WorkflowRunner(
            engine, max_retries=luck.randint(0, 3), retry_delay=luck.random(), checkpoint=keeper
        )
        patience = luck.choice([0.05, 0.5, 1, 2, 5, 9.5, 30]) if number < 20 else 1_000_000
        with trio.move_on_after(patience):
            try:
                if pause is None or luck.random() < 0.3:
                    result = await runner.run("in", run_id="r")
                else:
                    asked, pause = pause, None
                    result = await answer_one(runner, asked, luck)
            except HumanInputRequiredError as error:
                pause = error
                continue
            if result.is_ok():
                return result.unwrap(), sum((node.finished for node in nodes), Counter())
    raise AssertionError("it never ends")


async def answer_one(
    runner: WorkflowRunner, pause: HumanInputRequiredError, luck: random.Random
) -> Any:
    name = luck.choice([question.node for question in pause.pending])
    state = json.loads(json.dumps(pause.state))
    return await runner.resume(f"answer of {name}", state=state, node=name)


def same(result: Any, plain: Any) -> None:
    assert result.final_state == plain.final_state
    assert [(node.node_name, node.output) for node in result.node_results] == [
        (node.node_name, node.output) for node in plain.node_results
    ]
    assert result.iterations == plain.iterations
    assert result.terminated_at == plain.terminated_at


@given(shapes(fanning=True), st.integers(0, 1000), st.integers(0, 1000))
def test_a_run_broken_off_ends_as_if_it_had_not_been(shape: Shape, seed: int, luck: int) -> None:
    async def main() -> Any:
        return await broken_off(shape, seed, WorkflowCheckpoint(0), random.Random(luck))

    plain = settled(shape, seed).result
    result, finished = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    same(result, plain)
    assert set(finished.values()) == {1}, "a finished node ran again"


@given(shapes(fanning=True), st.integers(0, 1000), st.integers(0, 1000))
def test_a_run_broken_off_with_a_slow_store_ends_as_if_it_had_not_been(
    shape: Shape, seed: int, luck: int
) -> None:
    async def main() -> Any:
        chance = random.Random(luck)
        async with open_store("memory:") as store:
            return await broken_off(shape, seed, SlowCache(store.cache, chance), chance)

    plain = settled(shape, seed).result
    result, _ = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    same(result, plain)


@settings(max_examples=60)
@given(shapes(asking=True, fanning=True), st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_a_run_broken_off_between_answers_ends_as_if_it_had_not_been(
    shape: Shape, seed: int, luck: int, slow: bool
) -> None:
    async def main() -> Any:
        chance = random.Random(luck)
        if not slow:
            return await broken_off(shape, seed, WorkflowCheckpoint(0), chance)
        async with open_store("memory:") as store:
            return await broken_off(shape, seed, SlowCache(store.cache, chance), chance)

    clock = trio.testing.MockClock(autojump_threshold=0)
    plain = trio.run(with_answers, shape, seed, None, clock=clock)
    assume(plain is not None)
    result, finished = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    same(result, plain.result)
    if not slow:
        assert finished == Counter(one.label for one in plain.seen)
