"""Pipelines, graphs and bulk operations as instances: cut at every write, they come to the same."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import count, pairwise
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import Ok, RunContext, Runnable
from lexigram_actors.bulk import BulkOperation
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import (
    AnswerInvalidError,
    BulkOperationError,
    HumanInputRequiredError,
    PipelineExecutionError,
    WorkflowStateError,
)
from lexigram_actors.graph import (
    HumanNode,
    SubworkflowNode,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
)
from lexigram_actors.host.asking import run_asking
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import Resumable
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.pipeline import ConditionalStep, FunctionStep, ParallelStep, Pipeline, step
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import Definition, Entry, NewInstance

INPUT = {"order": 7}
THING = Definition("thing", "thing", 1)


class Crash(BaseException):
    """The process is gone."""


class Broken(BaseException):
    """Nothing that a kind would handle."""


class Mortal:
    """The instances of a store, as a process sees them that dies at the n-th append."""

    def __init__(self, inner: Any, at: int | None = None, *, after: bool = False) -> None:
        self.inner = inner
        self.codec = inner.codec
        self.at = at
        self.after = after
        self.writes = 0
        self.is_dead = False

    async def append(self, *args: Any, **kwargs: Any) -> None:
        if self.is_dead:
            raise Crash
        self.writes += 1
        self.is_dead = self.writes == self.at
        if not self.is_dead or self.after:
            await self.inner.append(*args, **kwargs)
        if self.is_dead:
            raise Crash

    async def journal(self, *args: Any) -> list[Entry]:
        entries: list[Entry] = await self.inner.journal(*args)
        return entries


class World:
    """What outlives a process: a store, and what was done."""

    def __init__(self) -> None:
        self.instances = MemoryStore().instances
        self.done: list[str] = []
        self.writes = 0
        self.now = 1_000.0

    def doing(self, name: str, value: Any = None) -> Callable[[Any], Any]:
        """Return a step, or a node, that notes that it was done."""

        async def work(_: Any) -> Any:
            self.done.append(name)
            await trio.lowlevel.checkpoint()
            return name.upper() if value is None else value

        return work

    def node(self, name: str) -> Callable[[Any], Any]:
        return self.doing(name, {name: f"did {name}"})

    async def life(
        self,
        runnable: Runnable,
        at: int | None = None,
        *,
        after: bool = False,
        suspended: bool = False,
        input: Any = None,
        id: str = "i",
    ) -> Any:
        """Run the instance in a process of its own.

        Args:
            at: The write at which it dies, before or after it; None: it lives.
            suspended: The host stops there instead.

        Returns:
            The outcome; None where it has none.
        """
        await self.instances.enter("host", 1e9)
        await self.instances.create(NewInstance(id=id, definition=THING))
        await self.instances.claim("host", [THING], ids=[id])
        loaded = await self.instances.load(id)
        assert loaded is not None
        mortal: Any = Mortal(self.instances, None if suspended else at, after=after)
        journal = Journal(loaded, mortal, lambda: self.now)
        if suspended:
            journal.on_entry = lambda _: journal.suspend() if mortal.writes == at else None
        context = RunContext(input=INPUT if input is None else input, run_id=id, journal=journal)
        try:
            with journal.scope:
                outcome = await run_asking(runnable, context)
        except (Crash, Suspended, BaseExceptionGroup):
            if not (mortal.is_dead or journal.stopping):
                raise
            return None
        finally:
            self.writes = mortal.writes
        return None if journal.stopping else outcome

    async def answer(self, question: str, value: Any) -> None:
        """Put an answer into the mail, where it waits for the question."""
        await self.instances.create(NewInstance(id="i", definition=THING))
        await self.instances.post("i", "answer", question, value)


def line(name: str, **nodes: Any) -> WorkflowEngine:
    """Return a graph whose nodes, functions or others, follow each other."""
    builder = WorkflowBuilder(name)
    for each, node in nodes.items():
        builder.add_node(each, node=node)
    for source, target in pairwise(nodes):
        builder.add_edge(source, target)
    names = list(nodes)
    return builder.set_entry(names[0]).set_terminal(names[-1]).build()


def sub(workflow: Any) -> SubworkflowNode:
    return SubworkflowNode("sub", workflow=workflow, output_key="inside", on_error="raise")


# --- the definitions --------------------------------------------------------------------------


def a_pipeline(world: World) -> Runnable:
    return Pipeline(
        "etl",
        [
            step("load", world.doing("load")),
            ConditionalStep("which", lambda _: True, step("yes", world.doing("yes"))),
            step("store", world.doing("store")),
        ],
    )


def pipelines_in_a_pipeline(world: World) -> Runnable:
    inner = Pipeline("inner", [step(name, world.doing(name)) for name in ("x", "y")])
    return Pipeline("outer", [step("a", world.doing("a")), inner, step("b", world.doing("b"))])


def a_graph(world: World) -> Runnable:
    return line("line", **{name: world.node(name) for name in ("one", "two", "three")})


def a_graph_in_a_pipeline(world: World) -> Runnable:
    return Pipeline("outer", [step("a", world.doing("a")), step("g", a_graph(world))])


def a_runner_that_tries_again(world: World) -> Runnable:
    failed: list[str] = []

    def breaks_once(_: Any) -> dict[str, Any]:
        if not failed:
            failed.append("once")
            raise ValueError("not yet")
        world.done.append("breaks")
        return {"breaks": False}

    engine = line("line", one=world.node("one"), breaks=breaks_once, two=world.node("two"))
    return WorkflowRunner(engine, max_retries=1, retry_delay=0).as_runnable()


def all_in_a_graph(world: World) -> Runnable:
    inner = line("inner", x=world.node("x"), y=sub(a_graph(world)))
    return line(
        "outer",
        a=world.node("a"),
        inner=sub(inner),
        pipe=sub(a_pipeline(world)),
        bulk=sub(a_bulk_operation(world)),
    )


def a_bulk_operation(world: World) -> Runnable:
    async def process(items: list[int]) -> list[int]:
        world.done.append(f"batch {items[0]}")
        await trio.lowlevel.checkpoint()
        return [item * 2 for item in items]

    config = BulkOperationConfig(batch_size=2, max_concurrency=1, retry_attempts=0)
    return BulkOperation(config, process).as_runnable("double", lambda _: range(7))


def a_bulk_operation_in_a_pipeline(world: World) -> Runnable:
    return Pipeline("outer", [step("a", world.doing("a")), step("bulk", a_bulk_operation(world))])


def a_graph_that_asks(world: World) -> Runnable:
    return line(
        "line",
        one=world.node("one"),
        ask=HumanNode("ask", output_key="answer", schema=int),
        two=world.node("two"),
        again=HumanNode("again", output_key="second"),
        three=world.node("three"),
    )


def a_pipeline_that_asks(world: World) -> Runnable:
    engine = a_graph_that_asks(world)
    return Pipeline("outer", [step("a", world.doing("a")), step("g", engine), *later(world)])


def later(world: World) -> list[Any]:
    return [step("b", world.doing("b"))]


def a_graph_that_asks_inside(world: World) -> Runnable:
    return line("outer", a=world.node("a"), inner=sub(a_graph_that_asks(world)), b=world.node("b"))


def a_graph_that_asks_in_a_pipeline_inside(world: World) -> Runnable:
    return line("outer", z=world.node("z"), inner=sub(a_pipeline_that_asks(world)))


def a_runner_that_asks_inside(world: World) -> Runnable:
    inner = WorkflowRunner(a_graph_that_asks(world), max_retries=1, retry_delay=0).as_runnable()
    return line("outer", a=world.node("a"), inner=sub(inner), b=world.node("b"))


def a_graph_that_asks_side_by_side(world: World) -> Runnable:
    builder = WorkflowBuilder("fork").add_node("a", node=world.node("a"))
    builder.add_node("end", node=world.node("end"))
    for name in ("x", "y"):
        builder.add_node(name, node=HumanNode(name, output_key=name))
        builder.add_edge("a", name).add_edge(name, "end")
    return builder.set_entry("a").set_terminal("end").build()


ONE_AT_A_TIME: dict[Any, list[str]] = {
    a_pipeline: [],
    pipelines_in_a_pipeline: [],
    a_graph: [],
    a_graph_in_a_pipeline: [],
    a_runner_that_tries_again: [],
    all_in_a_graph: [],
    a_bulk_operation: [],
    a_bulk_operation_in_a_pipeline: [],
    a_graph_that_asks: ["ask", "again"],
    a_pipeline_that_asks: ["g/ask", "g/again"],
    a_graph_that_asks_inside: ["inner/ask", "inner/again"],
    a_runner_that_asks_inside: ["inner/again", "inner/ask"],
    a_graph_that_asks_side_by_side: ["y", "x"],
    a_graph_that_asks_in_a_pipeline_inside: ["inner@2.0/g/ask", "inner@2.0/g/again"],
}
"""Definitions, with the questions they ask."""


BULK = (a_bulk_operation, a_bulk_operation_in_a_pipeline, all_in_a_graph)


async def world_with(questions: list[str]) -> World:
    world = World()
    for question in questions:
        await world.answer(question, 42)
    return world


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("define", ONE_AT_A_TIME, ids=lambda define: define.__name__)
async def test_cut_at_any_write_it_goes_on_and_nothing_recorded_is_done_again(
    define: Callable[[World], Runnable], after: bool
) -> None:
    questions = ONE_AT_A_TIME[define]
    clean = await world_with(questions)
    wanted = await clean.life(define(clean))
    assert isinstance(wanted, Ok)
    assert max(Counter(clean.done).values()) == 1
    for at in range(1, clean.writes + 1):
        world = await world_with(questions)
        assert await world.life(define(world), at, after=after) is None
        assert await world.life(define(world)) == wanted, at
        assert list(dict.fromkeys(world.done)) == clean.done
        again = len(world.done) - len(clean.done)
        # A batch of a bulk operation is processed while the one before is handed over.
        assert again <= (2 if define in BULK else 0 if after else 1), (at, world.done)


@pytest.mark.parametrize("define", ONE_AT_A_TIME, ids=lambda define: define.__name__)
async def test_a_host_that_stops_at_any_write_leaves_it_to_go_on(
    define: Callable[[World], Runnable], caplog: pytest.LogCaptureFixture
) -> None:
    questions = ONE_AT_A_TIME[define]
    clean = await world_with(questions)
    wanted = await clean.life(define(clean))
    for at in range(1, clean.writes + 1):
        world = await world_with(questions)
        assert await world.life(define(world), at, suspended=True) is None
        assert world.writes == at
        assert await world.life(define(world)) == wanted, at
        again = len(world.done) - len(clean.done)
        assert again <= (2 if define in BULK else 0), (at, world.done)
    assert not caplog.records


@pytest.mark.parametrize("define", ONE_AT_A_TIME, ids=lambda define: define.__name__)
async def test_cut_at_every_write_in_turn_it_gets_on(define: Callable[[World], Runnable]) -> None:
    questions = ONE_AT_A_TIME[define]
    clean, world = await world_with(questions), await world_with(questions)
    wanted = await clean.life(define(clean))
    lives = 0
    while (outcome := await world.life(define(world), 1, after=True)) is None:
        lives += 1
        assert lives < 10 * clean.writes
    assert outcome == wanted
    if define not in BULK:
        assert world.done == clean.done


@pytest.mark.parametrize("define", ONE_AT_A_TIME, ids=lambda define: define.__name__)
async def test_one_that_had_ended_comes_to_the_same_without_doing_anything(
    define: Callable[[World], Runnable],
) -> None:
    world = await world_with(ONE_AT_A_TIME[define])
    wanted = await world.life(define(world))
    done = list(world.done)
    assert await world.life(define(world)) == wanted
    assert world.done == done


@pytest.mark.parametrize("define", ONE_AT_A_TIME, ids=lambda define: define.__name__)
async def test_a_copy_goes_on_with_what_was_recorded(define: Callable[[World], Runnable]) -> None:
    world = await world_with(ONE_AT_A_TIME[define])
    wanted = await world.life(define(world))
    done = list(world.done)
    last = (await world.instances.journal("i"))[-1].position
    await world.instances.fork("i", "copy", last + 1, "")
    assert await world.life(define(world), id="copy") == wanted
    assert world.done == done


# --- side by side -----------------------------------------------------------------------------


def a_parallel_pipeline(world: World) -> Runnable:
    steps = [step(name, world.doing(name)) for name in ("p", "q")]
    wide = [ParallelStep("par", steps), step("a", world.doing("a")), step("g", a_graph(world))]
    return Pipeline("wide", wide, max_concurrency=3)


def a_forked_graph(world: World) -> Runnable:
    builder = WorkflowBuilder("fork").add_node("a", node=world.node("a"))
    builder.add_node("end", node=world.node("end"))
    for name in ("x", "y"):
        builder.add_node(name, node=sub(line(name, **{name: world.node(name)})))
        builder.add_edge("a", name).add_edge(name, "end")
    return builder.set_entry("a").set_terminal("end").build()


def a_wide_bulk_operation(world: World) -> Runnable:
    async def process(items: list[int]) -> list[int]:
        world.done.append(f"batch {items[0]}")
        await trio.sleep(10 - items[0])
        return items

    config = BulkOperationConfig(batch_size=1, max_concurrency=3, retry_attempts=0)
    return BulkOperation(config, process).as_runnable("wide")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("define", [a_parallel_pipeline, a_forked_graph, a_wide_bulk_operation])
async def test_side_by_side_only_what_was_under_way_is_done_again(
    define: Callable[[World], Runnable], after: bool, autojump_clock: MockClock
) -> None:
    clean = World()
    items = list(range(6))
    wanted = await clean.life(define(clean), input=items)
    assert isinstance(wanted, Ok)
    for at in count(1):  # how many writes there are differs: what comes meanwhile goes together
        world = World()
        if await world.life(define(world), at, after=after, input=items) is not None:
            assert at > 5
            break
        assert await world.life(define(world), input=items) == wanted, at
        again = Counter(world.done) - Counter(clean.done)
        # A bulk operation may have ended more batches than were handed over.
        assert sum(again.values()) <= (6 if define is a_wide_bulk_operation else 4), again
        assert max(Counter(world.done).values()) <= 2


# --- what a host keeps ------------------------------------------------------------------------


async def test_a_pipelines_own_store_is_not_touched_in_a_host() -> None:
    world, store = World(), MemoryStore()
    pipeline = Pipeline("p", [step("a", world.doing("a"))], store)
    assert await world.life(pipeline) == Ok({"a": "A"})
    assert await store.cache.delete_pattern("*") == Ok(0)
    assert [entry.kind for entry in await world.instances.journal("i")] == ["record"] * 2


async def test_a_runners_checkpoint_is_not_touched_in_a_host() -> None:
    world, kept = World(), WorkflowCheckpoint()
    runner = WorkflowRunner(line("g", one=world.node("one")), checkpoint=kept)
    assert (await world.life(runner.as_runnable())).is_ok()
    assert len(kept) == 0
    assert len(await world.instances.journal("i")) == 2


async def test_a_failed_run_goes_on_at_the_step_that_failed() -> None:
    world = World()
    broken = [True]

    def fails(_: Any) -> str:
        if broken:
            raise ValueError(broken.pop())
        return "fine"

    inner = Pipeline("inner", [step("x", world.doing("x")), step("fails", fails)])
    pipeline = Pipeline("outer", [step("a", world.doing("a")), inner])
    assert (await world.life(pipeline)).is_err()
    outcome = await world.life(pipeline)
    assert outcome == Ok({"a": "A", "inner": {"x": "X", "fails": "fine"}})
    assert world.done == ["a", "x"]


async def test_a_recorded_result_is_what_it_was_when_it_was_recorded() -> None:
    """Also where a later step changed the list, and the first run of the inner one failed."""
    world, seen = World(), []

    def changes(context: Any) -> None:
        seen.append(list(context.step_results["list"]))
        context.step_results["list"].append("changed")
        if len(seen) == 1:
            raise ValueError("once")

    class Twice:
        async def execute(self, call: Any, context: Any) -> Any:
            with contextlib.suppress(ValueError, PipelineExecutionError):
                return await call(context)
            return await call(context)

    inner = Pipeline("inner", [step("list", world.doing("list", ["new"])), step("c", changes)])
    outcome = await world.life(Pipeline("outer", [FunctionStep("i", inner, resilience=Twice())]))
    assert outcome.is_ok()
    assert seen == [["new"], ["new"]]
    assert world.done == ["list"]


async def test_what_runs_inside_is_told_its_place_and_its_run_id() -> None:
    world, seen = World(), []

    class Inner:
        kind, name, version = "inner", "inner", 1

        async def run(self, context: RunContext, /) -> Ok[None]:
            seen.append((context.place, context.run_id, context.input, context.journal is None))
            return Ok(None)

    engine = line("g", a=world.node("a"), s=sub(Inner()))
    await world.life(Pipeline("outer", [step("x/y", Inner()), step("g", engine)]))
    assert seen == [
        ("x%2Fy", "i/x%2Fy", INPUT, False),
        ("g/s@2.0", "i/g/s@2.0", INPUT, False),
    ]


async def test_no_state_that_is_recorded_or_handed_on_has_the_journal() -> None:
    world = World()
    await world.life(a_graph_in_a_pipeline(world))
    await world.life(all_in_a_graph(world), id="j")
    for id in ("i", "j"):
        assert "_hosted" not in repr(await world.instances.journal(id))


async def test_a_part_whose_surroundings_have_grown_goes_on_all_the_same() -> None:
    """Beside it a step ended, so that after the crash the graph is given more than at first."""
    world = World()

    async def waits(_: Any) -> dict[str, Any]:
        world.done.append("waits")
        if world.done.count("waits") == 1:
            await beside.wait()
            await wait_all_tasks_blocked()
            raise Broken
        return {}

    def ends(_: Any) -> None:
        beside.set()

    beside = trio.Event()
    engine = line("g", one=world.node("one"), waits=waits)
    pipeline = Pipeline("p", [step("g", engine), step("ends", ends)], max_concurrency=2)
    with pytest.raises(Broken):
        await world.life(pipeline)
    assert (await world.life(pipeline)).is_ok()
    assert world.done == ["one", "waits", "waits"]


# --- questions --------------------------------------------------------------------------------


async def paused(runnable: Runnable, context: RunContext) -> HumanInputRequiredError:
    with pytest.raises(HumanInputRequiredError) as caught:
        await runnable.run(context)
    return caught.value


@pytest.mark.parametrize(
    "through", [lambda engine: engine, lambda e: WorkflowRunner(e).as_runnable()]
)
async def test_without_a_host_a_graph_goes_on_from_its_pause(through: Any) -> None:
    world = World()
    runnable: Resumable = through(a_graph_that_asks(world))
    assert isinstance(runnable, Resumable)
    pause = await paused(runnable, RunContext(input=1))
    assert runnable.check_answer(pause.state, "ask", "7") == 7
    with pytest.raises(AnswerInvalidError, match="whole number"):
        runnable.check_answer(pause.state, "ask", "seven")
    with pytest.raises(WorkflowStateError, match="asks nothing"):
        runnable.check_answer(pause.state, "other", "7")
    with pytest.raises(HumanInputRequiredError) as caught:
        await runnable.go_on(RunContext(input=1), pause.state, "7", node="ask")
    outcome = await runnable.go_on(RunContext(input=1), caught.value.state, "x", node=None)
    assert outcome.unwrap()["answer"] == 7
    assert outcome.unwrap()["second"] == "x"
    assert world.done == ["one", "two", "three"]


async def test_an_answer_that_was_accepted_counts_however_late_the_run_goes_on(
    autojump_clock: MockClock,
) -> None:
    human = HumanNode("ask", output_key="output", expires_after=10, default_answer="nobody")
    inner = line("inner", ask=human)
    lates = 0
    for engine, question in ((inner, "ask"), (line("outer", s=sub(inner)), "s/ask")):
        clean = await world_with([question])
        await clean.life(engine)
        for at in range(1, clean.writes + 1):
            world = await world_with([question])
            await world.life(engine, at)
            entries = await world.instances.journal("i")
            if not any(entry.kind == "answered" for entry in entries):
                continue
            lates += 1
            await trio.sleep(1000)
            world.now += 1000
            assert 42 in (await world.life(engine)).unwrap().values()
    assert lates > 5


@pytest.mark.parametrize("default", ["nobody", None])
async def test_a_question_inside_whose_time_is_over_moves_on(
    default: Any, autojump_clock: MockClock
) -> None:
    human = HumanNode("ask", output_key="output", expires_after=10, default_answer=default)
    engine = line("outer", s=sub(line("inner", ask=human)))
    pause = await paused(engine, RunContext(input=1))
    assert [each.seconds_left for each in pause.pending] == [10]
    await trio.sleep(4)
    assert [each.seconds_left for each in engine.pending(pause.state)] == [6]
    with pytest.raises(HumanInputRequiredError):
        await engine.resume(pause.state, None)
    await trio.sleep(6)
    outcome = await engine.resume(pause.state, None)
    if default is None:
        assert "within 10 s" in str(outcome.unwrap_err())
    else:
        assert outcome.unwrap().final_state["inside"] == "nobody"


async def test_in_a_host_a_question_inside_whose_time_is_over_moves_on(
    autojump_clock: MockClock,
) -> None:
    human = HumanNode("ask", output_key="output", expires_after=10, default_answer="nobody")
    world = World()
    engine = line("outer", a=world.node("a"), s=sub(line("inner", x=world.node("x"), ask=human)))
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_clock, world, nursery.cancel_scope)
        outcome = await world.life(engine)
        nursery.cancel_scope.cancel()
    assert outcome.unwrap()["inside"] == "nobody"
    assert 10 <= trio.current_time() - start < 12
    assert world.done == ["a", "x"]


async def follow_clock(world: World, scope: trio.CancelScope) -> None:
    begun = trio.current_time() - world.now
    while True:
        await trio.sleep(0.1)
        world.now = trio.current_time() - begun


async def test_a_question_has_the_time_it_has_left() -> None:
    engine = line("g", ask=HumanNode("ask"), end=lambda _: {})
    pause = await paused(engine, RunContext())
    assert pause.pending[0].seconds_left == inf


# --- bulk operations --------------------------------------------------------------------------


async def triple(items: list[int]) -> list[int]:
    if 3 in items:
        raise ValueError("three")
    return [item * 3 for item in items]


async def test_a_bulk_operation_tells_what_came_of_its_items() -> None:
    config = BulkOperationConfig(batch_size=2, retry_attempts=0)
    runnable = BulkOperation(config, triple).as_runnable("triple")
    assert (runnable.kind, runnable.name, runnable.version) == ("bulk", "triple", 1)
    assert await runnable.run(RunContext(input=[0, 1, 2, 3, 4])) == Ok(
        {
            "results": [0, 3, 12],
            "errors": [
                {
                    "batch_id": 1,
                    "error": "three",
                    "error_type": "ValueError",
                    "retry_count": 0,
                    "item_index": None,
                }
            ],
            "metrics": {
                "total_items": 5,
                "successful_items": 3,
                "failed_items": 2,
                "total_batches": 3,
                "failed_batches": 1,
            },
        }
    )


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.parametrize("items", [range(4), lambda _: range(4), numbers])
async def test_the_items_of_a_bulk_operation_come_from_anywhere(items: Any) -> None:
    runnable = BulkOperation(None, same).as_runnable("same", items)
    outcome = await runnable.run(RunContext(input=4))
    assert outcome.unwrap()["results"] == [0, 1, 2, 3]


async def same(items: list[int]) -> list[int]:
    return items


def broken(_: Any) -> Any:
    raise OSError("no such file")


@pytest.mark.parametrize(
    ("items", "said"), [(None, "must be a list of items"), (broken, "no such file")]
)
async def test_a_bulk_operation_without_items_fails(items: Any, said: str) -> None:
    outcome = await BulkOperation(None, same).as_runnable("same", items).run(RunContext(input="x"))
    assert isinstance(outcome.unwrap_err(), BulkOperationError)
    assert said in str(outcome.unwrap_err())


async def test_a_bulk_operation_that_fails_as_a_whole_is_an_err() -> None:
    config = BulkOperationConfig(batch_size=1, retry_attempts=0, failure_limit=0)
    runnable = BulkOperation(config, triple).as_runnable("triple")
    assert "failure limit" in str((await runnable.run(RunContext(input=[3]))).unwrap_err())


def test_a_bulk_operation_without_a_processor_cannot_be_run() -> None:
    with pytest.raises(BulkOperationError, match="no processor"):
        BulkOperation().as_runnable("nothing")


async def test_several_runs_of_a_bulk_operation_may_go_on_at_once(
    autojump_clock: MockClock,
) -> None:
    operation: BulkOperation[int, int] = BulkOperation(None, slowly)
    runnable = operation.as_runnable("slow")
    outcomes = []

    async def run() -> None:
        outcomes.append(await runnable.run(RunContext(input=[1])))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
        async with operation.execute([1]) as execution:
            assert [result.results async for result in execution] == [[1]]
    assert [outcome.unwrap()["results"] for outcome in outcomes] == [[1]] * 3
    assert operation.metrics.processed_items == 1


async def slowly(items: list[int]) -> list[int]:
    await trio.sleep(1)
    return items


async def test_a_failed_batch_is_tried_again_after_a_crash_and_no_other() -> None:
    world = World()

    async def fails_at_first(items: list[int]) -> list[int]:
        world.done.append(f"batch {items[0]}")
        if world.done == ["batch 0"]:
            raise ValueError("at first")
        return items

    config = BulkOperationConfig(batch_size=1, max_concurrency=1, retry_attempts=0)
    runnable = BulkOperation(config, fails_at_first).as_runnable("once")
    assert (await world.life(runnable, input=[0, 1, 2])).unwrap()["results"] == [1, 2]
    assert (await world.life(runnable, input=[0, 1, 2])).unwrap()["results"] == [0, 1, 2]
    assert world.done == ["batch 0", "batch 1", "batch 2", "batch 0"]


# --- what people read -------------------------------------------------------------------------


async def test_a_step_is_recorded_at_its_place() -> None:
    world = World()
    inner = Pipeline("inner", [step("x/y", world.doing("x"))])
    await world.life(Pipeline("outer", [step("a", world.doing("a")), step("q", inner)]))
    entries = await world.instances.journal("i")
    assert [entry.path for entry in entries] == [
        "%pipeline:outer:1",
        "a",
        "q/%pipeline:inner:1",
        "q/x%2Fy",
        "q",
    ]


async def test_a_copy_from_a_step_on_runs_that_and_what_follows() -> None:
    world = World()
    await world.life(pipelines_in_a_pipeline(world))
    entries = await world.instances.journal("i")
    (cut,) = [entry.position for entry in entries if entry.path == "inner/y"]
    await world.instances.fork("i", "copy", cut, "")
    world.done.clear()
    assert (await world.life(pipelines_in_a_pipeline(world), id="copy")).is_ok()
    assert world.done == ["y", "b"]


async def test_a_part_of_another_version_begins_anew() -> None:
    world = World()
    await world.life(Pipeline("p", [step("a", world.doing("a"))]), 2, after=True)
    changed = Pipeline("p", [step("b", world.doing("b")), step("a", world.doing("a"))], version=2)
    assert await world.life(changed, 2, after=True) is None
    assert (await world.life(changed)).unwrap() == {"b": "B", "a": "A"}
    assert world.done == ["a", "b", "a"]
