"""`WorkflowRunner`: further attempts, and going on after a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    HumanInputRequiredError,
    NodeExecutionError,
    WorkflowStateError,
)
from lexigram_actors.graph.checkpoint import WorkflowCheckpoint
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.graph.runner import WorkflowRunner
from lexigram_actors.graph.state import WorkflowState
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage.opening import open_store
from tests.graph.graphs import (
    LONG,
    CustomError,
    Log,
    State,
    Step,
    Visit,
    concat,
    executed,
    graph,
    success,
)
from tests.leaks import no_task_left

OpenKeeper = Callable[[], Any]


@pytest.fixture(params=["checkpoint", "memory", "sqlite"])
def open_keeper(request: pytest.FixtureRequest, tmp_path: Path) -> OpenKeeper:
    """Opens what keeps checkpoints, each time a new view of the same."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/graph.db"

    @asynccontextmanager
    async def keeper() -> AsyncIterator[Any]:
        if request.param == "checkpoint":
            yield WorkflowCheckpoint()
        else:
            async with open_store(url) as store:
                yield store.cache

    return keeper


class Flaky(Step):
    """Fails the first `times` visits."""

    def __init__(self, update: Any = None, *, times: int = 1, **options: Any) -> None:
        super().__init__(update, **options)
        self.times = times

    async def work(self, state: State) -> None:
        await super().work(state)
        if len(self.log.of(self.label)) <= self.times:
            raise CustomError(f"visit {len(self.log.of(self.label))}")


def line(log: Log, times: int = 1, **options: Any) -> WorkflowEngine:
    nodes = {
        "a": Step({"trail": ["a"]}),
        "b": Step({"trail": ["b"]}),
        "c": Flaky({"trail": ["c"]}, times=times),
        "d": Step({"trail": ["d"]}),
    }
    return graph("a -> b -> c -> d", nodes, reducers={"trail": concat}, log=log, **options)


async def test_a_runner_runs_the_graph() -> None:
    log = Log()
    result = await WorkflowRunner(line(log, 0)).run("in")
    assert isinstance(result, Ok)
    assert result.value.final_state["trail"] == ["a", "b", "c", "d"]


async def test_the_state_given_may_be_a_dict_or_a_workflow_state() -> None:
    log = Log()
    runner = WorkflowRunner(graph("a", log=log))
    await runner.run("in", state={"x": 1})
    await runner.run("in", state=WorkflowState("other", initial={"x": 2}))
    assert [visit.state["x"] for visit in log.of("a")] == [1, 2]


async def test_without_retries_a_failure_is_returned(autojump_clock: MockClock) -> None:
    log = Log()
    result = await WorkflowRunner(line(log)).run("in")
    assert isinstance(result, Err)
    assert isinstance(result.error, NodeExecutionError)
    assert log.names() == ["a", "b", "c"]
    assert trio.current_time() == 0


async def test_max_retries_is_the_number_after_the_first_failure(autojump_clock: MockClock) -> None:
    log = Log()
    result = await WorkflowRunner(line(log, 99), max_retries=2, retry_delay=1).run("in")
    assert isinstance(result, Err)
    assert "visit 3" in str(result.error)
    assert len(log.of("c")) == 3


async def test_between_attempts_it_waits_as_long_as_it_was_told(autojump_clock: MockClock) -> None:
    log = Log()
    await WorkflowRunner(line(log, 2), max_retries=5, retry_delay=30).run("in")
    assert [visit.started for visit in log.of("c")] == [0, 30, 60]
    assert trio.current_time() == 60


async def test_a_retry_goes_on_from_the_failed_node(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    log = Log()
    async with open_keeper() as keeper:
        runner = WorkflowRunner(line(log, 2), max_retries=3, checkpoint=keeper)
        result = await runner.run("in", run_id="r")
    assert log.names() == ["a", "b", "c", "c", "c", "d"]
    assert result.unwrap().final_state["trail"] == ["a", "b", "c", "d"]
    assert [name for name in executed(result.unwrap()) if name != "c"] == ["a", "b", "d"]
    assert result.unwrap().succeeded


async def test_a_retry_without_a_run_id_goes_on_too(autojump_clock: MockClock) -> None:
    log = Log()
    runner = WorkflowRunner(line(log, 1), max_retries=1, checkpoint=WorkflowCheckpoint())
    result = await runner.run("in")
    assert result.is_ok()
    assert log.names() == ["a", "b", "c", "c", "d"]


async def test_finished_branches_never_run_again(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    log = Log()
    nodes = {
        "b": Step({"b": 1}, delay=1),
        "c": Flaky({"c": 1}, delay=5),
        "e": Step({"e": 1}, delay=50),
    }
    async with open_keeper() as keeper:
        engine = graph("a -> b -> j, a -> c -> j, a -> e -> j", nodes, log=log)
        runner = WorkflowRunner(engine, max_retries=1, checkpoint=keeper)
        result = await runner.run("in", run_id="r")
    assert sorted(log.names()) == ["a", "b", "c", "c", "e", "e", "j"]
    assert {"b", "c", "e"} <= set(log.saw("j"))
    assert executed(result.unwrap()) == ["a", "b", "c", "e", "j"]


async def test_the_input_and_the_state_hold_in_the_retry(autojump_clock: MockClock) -> None:
    log = Log()
    runner = WorkflowRunner(line(log), max_retries=1, checkpoint=WorkflowCheckpoint())
    await runner.run("given", state={"x": 1}, run_id="r")
    assert (log.saw("d")["input"], log.saw("d")["x"]) == ("given", 1)


async def test_a_failed_run_keeps_its_checkpoint_for_a_new_runner(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    log = Log()
    engine = line(log)
    async with open_keeper() as keeper:
        assert (await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")).is_err()
        result = await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")
    assert log.names() == ["a", "b", "c", "c", "d"]
    assert result.unwrap().final_state["trail"] == ["a", "b", "c", "d"]


async def test_a_run_goes_on_when_the_store_was_opened_anew(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    log = Log()
    engine = line(log)
    outcomes = []
    for _ in range(2):
        async with open_store(f"sqlite:///{tmp_path}/graph.db") as store:
            runner = WorkflowRunner(engine, checkpoint=store.cache)
            outcomes.append(await runner.run("in", run_id="r"))
    assert [result.is_ok() for result in outcomes] == [False, True]
    assert log.names() == ["a", "b", "c", "c", "d"]


async def test_a_cancelled_run_goes_on_from_what_was_finished(open_keeper: OpenKeeper) -> None:
    log = Log()
    scopes = [trio.CancelScope()]

    async def stop_once(state: State) -> State:
        log.visits.append(Visit("c", state, 0))
        if scopes:
            scopes.pop().cancel()
            await trio.sleep_forever()
        return {}

    engine = graph("a -> b -> c", {"b": Step({"b": 1}), "c": stop_once}, log=log)
    async with open_keeper() as keeper:
        with scopes[0] as scope, no_task_left():
            await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")
        assert scope.cancelled_caught
        result = await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")
    assert result.is_ok()
    assert log.names() == ["a", "b", "c", "c"]


class SlowCache:
    """A cache whose writes take a while, as those of a disk do."""

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def set(self, *arguments: Any, **options: Any) -> Any:
        await trio.sleep(self.seconds)
        return await self.inner.set(*arguments, **options)


@pytest.mark.parametrize("seconds", [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 60])
async def test_a_failure_while_something_is_being_kept_loses_nothing(
    seconds: float, autojump_clock: MockClock
) -> None:
    log = Log()
    nodes = {
        "b": Step({"b": 1}, delay=1),
        "c": Flaky({"c": 1}, delay=5),
        "d": Step({"d": 1}, delay=4),
        "e": Step({"e": 1}, delay=50),
    }
    engine = graph("a -> b -> d -> j, a -> c -> j, a -> e -> j", nodes, log=log)
    async with open_store("memory:") as store:
        slow = SlowCache(store.cache, seconds)
        runner = WorkflowRunner(engine, max_retries=1, checkpoint=slow)
        with trio.fail_after(LONG):
            result = await runner.run("in", run_id="r")
    assert executed(result.unwrap()) == ["a", "b", "c", "e", "d", "j"]
    assert {"b", "c", "d", "e"} <= set(log.the("j").state)
    assert len(log.of("a")) == 1


async def test_a_finished_run_clears_its_checkpoint(open_keeper: OpenKeeper) -> None:
    log = Log()
    async with open_keeper() as keeper:
        runner = WorkflowRunner(line(log, 0), checkpoint=keeper)
        for _ in range(2):
            assert (await runner.run("in", run_id="r")).is_ok()
    assert log.names() == [*"abcd"] * 2


async def test_nothing_is_left_in_the_store_after_a_success() -> None:
    async with open_store("memory:") as store:
        await WorkflowRunner(line(Log(), 0), checkpoint=store.cache).run("in", run_id="r")
        assert (await store.cache.delete_pattern("*")).unwrap() == 0


async def test_runs_with_other_ids_do_not_meet(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    log = Log()
    engine = line(log)
    async with open_keeper() as keeper:
        runner = WorkflowRunner(engine, checkpoint=keeper)
        assert (await runner.run("in", run_id="one")).is_err()
        assert (await runner.run("in", run_id="two")).is_ok()
    assert log.names() == ["a", "b", "c", "a", "b", "c", "d"]


async def test_graphs_of_other_names_do_not_meet(
    open_keeper: OpenKeeper, autojump_clock: MockClock
) -> None:
    first, second = Log(), Log()
    async with open_keeper() as keeper:
        await WorkflowRunner(line(first, name="first"), checkpoint=keeper).run("in", run_id="r")
        other = WorkflowRunner(line(second, 0, name="second"), checkpoint=keeper)
        try:
            assert (await other.run("in", run_id="r")).is_ok()
        except WorkflowStateError as error:
            assert "'first'" in str(error)  # the id is taken
            assert second.names() == []
        else:
            assert second.names() == ["a", "b", "c", "d"]


async def test_a_loop_is_not_begun_again_by_a_retry(autojump_clock: MockClock) -> None:
    log = Log()
    nodes = {
        "a": Step(lambda s: {"n": s.get("n", 0) + 1}),
        "b": Flaky(times=1),
    }
    when = {("b", "a"): lambda s: s["n"] < 3, ("b", "end"): lambda s: s["n"] >= 3}
    engine = graph("a -> b -> a, b -> end", nodes, when=when, log=log)
    runner = WorkflowRunner(engine, max_retries=1, checkpoint=WorkflowCheckpoint())
    assert (await runner.run("in", run_id="r")).is_ok()
    assert log.names() == ["a", "b", "b", "a", "b", "a", "b", "end"]


async def test_a_retry_has_the_outcome_of_a_run_that_never_failed(
    autojump_clock: MockClock,
) -> None:
    def build(flaky: bool) -> WorkflowEngine:
        def node(name: str) -> Step:
            update = {"trail": [name], "last": name}
            return Flaky(update, delay=1) if flaky and name in "cef" else Step(update)

        nodes = {name: node(name) for name in "abcdefg"}
        shape = "a -> b -> d -> g, a -> c -> d, a -> e -> f -> g"
        return graph(shape, nodes, reducers={"trail": concat}, log=Log())

    plain = await success(build(flaky=False))
    runner = WorkflowRunner(build(flaky=True), max_retries=5, checkpoint=WorkflowCheckpoint())
    result = (await runner.run("in", run_id="r")).unwrap()
    assert result.final_state == plain.final_state
    assert executed(result) == executed(plain)
    assert result.terminated_at == plain.terminated_at


async def test_a_pause_is_no_failure_and_not_retried(autojump_clock: MockClock) -> None:
    log = Log()
    engine = graph("a -> ask -> b", {"ask": HumanNode("ask")}, log=log)
    runner = WorkflowRunner(engine, max_retries=3, checkpoint=WorkflowCheckpoint())
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in", run_id="r")
    assert caught.value.checkpoint_id == "r/ask"
    assert log.names() == ["a"]


async def test_resume_carries_the_answer_to_the_paused_node() -> None:
    log = Log()
    engine = graph("a -> ask -> b", {"ask": HumanNode("ask", output_key="said")}, log=log)
    runner = WorkflowRunner(engine)
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in")
    result = await runner.resume("yes", state=caught.value.state)
    assert result.unwrap().final_state["said"] == "yes"
    assert log.names() == ["a", "b"]


async def test_the_response_key_carries_the_answer_to_the_paused_node() -> None:
    log = Log()
    node = HumanNode("ask", output_key="said", resume_key="mine")
    runner = WorkflowRunner(graph("ask -> b", {"ask": node}, log=log))
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in")
    result = await runner.resume("yes", state=caught.value.state, response_key="mine")
    assert result.unwrap().final_state["said"] == "yes"
    assert "mine" not in log.saw("b")


async def test_resume_says_which_question_is_meant() -> None:
    nodes = {name: HumanNode(name, output_key=name) for name in ("one", "two")}
    runner = WorkflowRunner(graph("a -> one, a -> two", nodes))
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in")
    with pytest.raises(HumanInputRequiredError) as again:
        await runner.resume("2", state=caught.value.state, node="two")
    result = await runner.resume("1", state=again.value.state)
    assert (result.unwrap().final_state["one"], result.unwrap().final_state["two"]) == ("1", "2")


async def test_what_fails_behind_an_answer_is_retried_from_there(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    nodes = {"ask": HumanNode("ask", output_key="said"), "b": Flaky(times=1)}
    runner = WorkflowRunner(
        graph("a -> ask -> b", nodes, log=log), max_retries=1, checkpoint=WorkflowCheckpoint()
    )
    with pytest.raises(HumanInputRequiredError) as caught:
        await runner.run("in", run_id="r")
    result = await runner.resume("yes", state=caught.value.state)
    assert result.unwrap().final_state["said"] == "yes"
    assert log.names() == ["a", "b", "b"]


async def test_a_run_that_paused_asks_again_in_a_new_runner(
    open_keeper: OpenKeeper,
) -> None:
    log = Log()
    engine = graph("a -> ask -> b", {"ask": HumanNode("ask")}, log=log)
    async with open_keeper() as keeper:
        for _ in range(2):
            with pytest.raises(HumanInputRequiredError) as caught:
                await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")
            assert caught.value.node == "ask"
        result = await WorkflowRunner(engine, checkpoint=keeper).resume(
            "yes", state=caught.value.state
        )
    assert result.is_ok()
    assert log.names() == ["a", "b"]


async def test_a_failure_by_a_broken_condition_goes_on_behind_the_finished_node(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    fails = [True]

    def moody(state: State) -> bool:
        if fails:
            fails.pop()
            raise CustomError
        return True

    engine = graph("a -> b", when={("a", "b"): moody}, log=log)
    runner = WorkflowRunner(engine, max_retries=1, checkpoint=WorkflowCheckpoint())
    assert (await runner.run("in", run_id="r")).is_ok()
    assert log.names() in (["a", "b"], ["a", "a", "b"])


async def test_the_limit_of_executions_counts_those_before_the_failure(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = line(log, config=GraphConfig(max_iterations=3))
    runner = WorkflowRunner(engine, checkpoint=WorkflowCheckpoint())
    await runner.run("in", run_id="r")
    result = await runner.run("in", run_id="r")
    assert isinstance(result, Err)
    assert "d" not in log.names()


async def test_cancelling_between_attempts_leaves_nothing(autojump_clock: MockClock) -> None:
    log = Log()
    runner = WorkflowRunner(line(log, 9), max_retries=5, retry_delay=10)
    with trio.move_on_after(15) as scope, no_task_left():
        await runner.run("in")
    assert scope.cancelled_caught
    assert len(log.of("c")) == 2


@pytest.mark.parametrize(
    "options", [{"max_retries": -1}, {"retry_delay": -1}, {"max_retries": 1.5}], ids=repr
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        WorkflowRunner(graph("a"), **options)


async def test_checkpoints_enabled_by_the_configuration_let_a_retry_go_on(
    autojump_clock: MockClock,
) -> None:
    log = Log()
    engine = line(log, config=GraphConfig(checkpoint_enabled=True))
    assert (await WorkflowRunner(engine, max_retries=1).run("in", run_id="r")).is_ok()
    assert log.names() == ["a", "b", "c", "c", "d"]


async def test_a_store_keeps_runs_as_its_cache_does(autojump_clock: MockClock) -> None:
    log = Log()
    async with open_store("memory:") as store:
        runner = WorkflowRunner(line(log), max_retries=1, checkpoint=store)
        assert (await runner.run("in", run_id="r")).is_ok()
    assert log.names() == ["a", "b", "c", "c", "d"]


async def test_two_runs_with_one_id_at_once_do_not_meet(
    open_keeper: OpenKeeper,
) -> None:
    log = Log()
    refused: list[Exception] = []

    async def other(state: State) -> State:
        try:
            await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")
        except WorkflowStateError as error:
            refused.append(error)
        return {}

    engine = graph("a -> b", {"b": other}, log=log)
    async with open_keeper() as keeper:
        assert (await WorkflowRunner(engine, checkpoint=keeper).run("in", run_id="r")).is_ok()
    assert len(refused) == 1
    assert "'r'" in str(refused[0])
    assert log.names() == ["a"]


def test_what_keeps_no_runs_is_refused() -> None:
    with pytest.raises(TypeError):
        WorkflowRunner(graph("a"), checkpoint=object())
