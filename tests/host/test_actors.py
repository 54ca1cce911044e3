"""A run as an actor: in the tree, stopped with its parent, started again by a supervisor."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lexigram_actors import (
    ActorContext,
    ActorFailed,
    ActorStopped,
    ChildSpec,
    Err,
    HumanInputRequiredError,
    Ok,
    Pipeline,
    Restart,
    Supervisor,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
    open_system,
    step,
)
from lexigram_actors.host.actors import run_actor, run_supervised


def graph(node: Any) -> WorkflowEngine:
    return WorkflowBuilder("g").add_node("n", node=node).set_entry("n").set_terminal("n").build()


async def test_a_run_under_a_system_returns_its_result() -> None:
    async with open_system() as system:
        result = await run_supervised(system, graph(lambda state: {"seen": state["input"]}), "in")
    assert result.unwrap()["seen"] == "in"


async def test_a_pipeline_runs_as_an_actor_too() -> None:
    pipeline = Pipeline("p", [step("one", lambda context: context.get_metadata("input") + 1)])
    async with open_system() as system:
        assert await run_supervised(system, pipeline, 1) == Ok({"one": 2})


async def test_a_run_that_fails_as_expected_is_an_err_and_no_crash() -> None:
    def broken(state: Any) -> None:
        raise KeyError("total")

    async with open_system() as system:
        result = await run_supervised(system, graph(broken))
    assert isinstance(result, Err)
    assert isinstance(result.error.cause, KeyError)


async def test_the_run_stands_in_the_tree_while_it_works(autojump_clock: Any) -> None:
    async def slow(state: Any) -> dict[str, Any]:
        await trio.sleep(1)
        return {}

    async with open_system() as system, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_supervised(system, graph(slow), name="review"))
        await trio.testing.wait_all_tasks_blocked()
        assert "review" in [node.name for node in system.tree().children]


async def test_a_caller_that_is_cancelled_leaves_no_run_behind(autojump_clock: Any) -> None:
    ended = []

    async def endless(state: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("node")

    async with open_system() as system:
        with trio.move_on_after(1) as scope:
            await run_supervised(system, graph(endless), name="review")
        assert scope.cancelled_caught
        assert ended == ["node"]
        assert system.whereis("review") is None


async def test_a_run_that_is_stopped_is_no_result(autojump_clock: Any) -> None:
    async def endless(state: Any) -> None:
        await trio.sleep_forever()

    async with open_system() as system, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(ActorStopped):
                await run_supervised(system, graph(endless), name="review", shutdown=0.1)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        review = system.whereis("review")
        assert review is not None
        await review.stop()


async def test_a_question_comes_to_the_caller() -> None:
    builder = WorkflowBuilder("g").add_node("ask", human_prompt="Really?")
    engine = builder.set_entry("ask").set_terminal("ask").build()
    async with open_system() as system:
        with pytest.raises(HumanInputRequiredError) as caught:
            await run_supervised(system, engine, "in")
    assert (await engine.resume(caught.value.state, "yes")).unwrap().output == "yes"


async def test_a_question_ends_the_actor_and_does_not_crash_it(autojump_clock: Any) -> None:
    builder = WorkflowBuilder("g").add_node("ask", human_prompt="Really?")
    engine = builder.set_entry("ask").set_terminal("ask").build()
    pauses: list[HumanInputRequiredError] = []
    spec = ChildSpec(
        "run",
        run_actor,
        args=(engine, "in"),
        kwargs={"on_pause": pauses.append},
        restart=Restart.TRANSIENT,
    )
    async with open_system() as system:
        await system.spawn(Supervisor([spec]), name="runs")
        await trio.sleep(1)
        assert [pause.prompt for pause in pauses] == ["Really?"]
        assert system.whereis("runs") is not None


async def test_what_cannot_be_run_is_refused_at_once() -> None:
    async with open_system() as system:
        for candidate in ("engine", WorkflowRunner(graph(lambda state: {})), Pipeline):
            with pytest.raises(TypeError, match="expected a Runnable"):
                await run_supervised(system, candidate)  # type: ignore[arg-type]


async def test_a_runner_runs_inside_something_else_and_goes_on_from_its_record() -> None:
    calls = []

    def flaky(state: Any) -> dict[str, Any]:
        calls.append(state["input"])
        if len(calls) == 1:
            raise OSError("down")
        return {"output": "done"}

    runner = WorkflowRunner(graph(flaky), checkpoint=WorkflowCheckpoint())
    async with open_system() as system:
        failed = await run_supervised(system, runner.as_runnable(), "in", run_id="r")
        assert failed.is_err()
        result = await run_supervised(system, runner.as_runnable(), "in", run_id="r")
    assert result.unwrap()["output"] == "done"
    assert calls == ["in", "in"]


async def test_a_question_of_a_runner_inside_a_graph_is_answered_from_outside() -> None:
    inner = WorkflowBuilder("inner").add_node("ask", human_prompt="Really?")
    runner = WorkflowRunner(inner.set_entry("ask").set_terminal("ask").build())
    outer = WorkflowBuilder("outer").add_node("sub", subworkflow=runner.as_runnable())
    engine = outer.set_entry("sub").set_terminal("sub").build()
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute("in")
    assert caught.value.node == "sub/ask"
    assert (await engine.resume(caught.value.state, "yes")).unwrap().output == "yes"


class Buggy:
    """A runnable that raises, which a run should not, a few times."""

    kind, name, version = "test", "buggy", 1

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def run(self, context: Any) -> Any:
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("bug")
        return Ok(context.input)


async def test_a_bug_fails_the_actor() -> None:
    async with open_system() as system:
        with pytest.raises(ActorFailed) as caught:
            await run_supervised(system, Buggy(1))
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_a_supervisor_starts_a_run_again_that_crashed(autojump_clock: Any) -> None:
    results: list[Any] = []
    spec = ChildSpec(
        "run",
        run_actor,
        args=(Buggy(2), "in"),
        kwargs={"on_end": results.append},
        restart=Restart.TRANSIENT,
    )
    async with open_system() as system:
        await system.spawn(Supervisor([spec], max_restarts=3), name="runs")
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert results == [Ok("in")]


async def test_an_actor_has_runs_as_children(autojump_clock: Any) -> None:
    async def parent(context: ActorContext[Any]) -> None:
        async for message in context.messages():
            result = await run_supervised(
                context, graph(lambda state: {"k": state["input"]}), message
            )
            context.reply(result.unwrap()["k"])

    async with open_system() as system:
        ref = await system.spawn(parent)
        assert await ref.ask("a") == "a"
        assert await ref.ask("b") == "b"
