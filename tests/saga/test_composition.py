"""Sagas made of other things, and other things made of sagas; without a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import LexigramError, SagaError
from lexigram_actors.graph import SubworkflowNode, WorkflowBuilder
from lexigram_actors.host.seam import RunContext, Runnable
from lexigram_actors.pipeline import Pipeline, step
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import MemorySagaStore, SagaRunnable, SagaState, SagaStep
from tests.saga.making import Book, Made, forever, no, raising, sleeping


def saga_of(*steps: Any, name: str = "order", **options: Any) -> SagaRunnable:
    return Made.as_runnable(lambda _: Made(*steps, **options), name=name)


def in_pipeline(book: Book, name: str, call: Callable[[], Any] | None = None) -> Any:
    async def act(context: Any) -> Any:
        book.log.append(name)
        value = None if call is None else call()
        return Ok(f"{name}!") if value is None else await value

    return act


@pytest.fixture(params=[False, True], ids=["unrecorded", "stored"])
def store(request: pytest.FixtureRequest) -> MemorySagaStore | None:
    return MemorySagaStore() if request.param else None


class Runs:
    """A thing to run that says what it was given."""

    kind = "thing"
    name = "thing"
    version = 1

    def __init__(self, result: Any = None, *, seconds: float = 0) -> None:
        self.result = Ok("ran") if result is None else result
        self.seconds = seconds
        self.contexts: list[RunContext] = []

    async def run(self, context: RunContext, /) -> Any:
        self.contexts.append(context)
        await trio.sleep(self.seconds)
        return self.result


def test_a_saga_runnable_is_a_runnable() -> None:
    assert isinstance(saga_of(), Runnable)


async def test_a_runnable_is_run_with_the_results_so_far(store: Any) -> None:
    runs = Runs()
    assert isinstance(runs, Runnable)
    book = Book()
    saga = Made(book.step("a"), SagaStep("b", runs), store=store)
    assert await saga.execute() == Ok(None)
    assert saga.results == {"a": "a!", "b": "ran"}
    [context] = runs.contexts
    assert context.input == {"a": "a!"}


async def test_a_runnable_that_fails_is_tried_again_and_fails_its_step(
    store: Any, autojump_clock: MockClock
) -> None:
    book, error = Book(), OSError("no")
    runs = Runs(Err(error))
    saga = Made(book.step("a"), SagaStep("b", runs, max_retries=3), store=store)
    found = (await saga.execute()).unwrap_err()
    assert (found.step_name, found.cause) == ("b", error)
    assert len(runs.contexts) == 3
    assert book.log == ["a", "-a"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_runnable_that_is_late_is_in_doubt(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    undo = book.noting("-b", None, None)
    runs = SagaStep("b", Runs(seconds=9), undo, max_retries=1, timeout=3, idempotent=idempotent)
    error = (await Made(book.step("a"), runs, store=store).execute()).unwrap_err()
    assert book.log == (["a", "-b", "-a"] if idempotent else ["a", "-a"])
    assert error.uncompensated == ([] if idempotent else ["b"])


async def test_pipelines_durable_functions_and_sagas_are_actions(store: Any) -> None:
    book = Book()

    @workflow
    async def durable(ctx: WorkflowContext, input: Any) -> Any:
        return await ctx.step(book.noting("durable", None, "d"), name="inner")

    saga = Made(
        book.step("a"),
        SagaStep("pipeline", Pipeline("etl", [step("load", in_pipeline(book, "load"))])),
        SagaStep("durable", durable),
        SagaStep("saga", saga_of(book.step("x"), book.step("y")), book.noting("-saga", None, None)),
        book.step("end", no),
        store=store,
    )
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("end", [])
    assert book.log == ["a", "load", "durable", "x", "y", "end", "-saga", "-a"]
    assert saga.results["durable"] == "d"
    assert saga.results["saga"] == {"x": "x!", "y": "y!"}


async def test_a_saga_that_fails_inside_of_one_undoes_itself_first(store: Any) -> None:
    book = Book()
    inner = saga_of(book.step("x"), book.step("y", no))
    step = SagaStep("saga", inner, book.noting("-saga", None, None), max_retries=1)
    error = (await Made(book.step("a"), step, store=store).execute()).unwrap_err()
    assert book.log == ["a", "x", "y", "-x", "-a"]
    assert error.step_name == "saga"
    assert isinstance(error.cause, SagaError)
    assert error.cause.step_name == "y"


async def test_a_saga_inside_of_one_that_is_cancelled_undoes_itself_first(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    inner = saga_of(book.step("x", undo=sleeping(1)), book.step("y", forever, idempotent=True))
    undo = book.noting("-saga", None, None)
    saga = Made(
        book.step("a"), SagaStep("saga", inner, undo, max_retries=1, idempotent=True), store=store
    )
    with trio.move_on_after(5) as limit:
        await saga.execute()
    assert limit.cancelled_caught
    assert book.log == ["a", "x", "y", "-y", "-x", "-saga", "-a"]
    assert saga.uncompensated == []


# --- sagas in other things -----------------------------------------------------------------------


async def test_a_saga_is_a_step_of_a_pipeline() -> None:
    book = Book()
    pipeline = Pipeline(
        "outer",
        [step("first", in_pipeline(book, "first")), step("saga", saga_of(book.step("a")))],
    )
    context = (await pipeline.execute()).unwrap()
    assert book.log == ["first", "a"]
    assert context.step_results["saga"] == {"a": "a!"}


async def test_a_saga_that_fails_fails_the_pipeline() -> None:
    book = Book()
    pipeline = Pipeline(
        "outer",
        [
            step("saga", saga_of(book.step("a"), book.step("b", no))),
            step("after", in_pipeline(book, "after")),
        ],
    )
    error: Any = (await pipeline.execute()).unwrap_err()
    assert error.step_name == "saga"
    assert isinstance(error.error, SagaError)
    assert book.log == ["a", "b", "-a"]


async def test_a_pipeline_that_is_cancelled_has_its_saga_undone(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    inner = saga_of(book.step("a", undo=sleeping(3)), book.step("b", forever, idempotent=True))
    with trio.move_on_after(5) as limit:
        await Pipeline("outer", [step("saga", inner)]).execute()
    assert limit.cancelled_caught
    assert book.log == ["a", "b", "-b", "-a"]
    assert trio.current_time() == 8


async def test_a_saga_is_a_node_of_a_graph() -> None:
    book = Book()

    def engine(*steps: Any) -> Any:
        node = SubworkflowNode(
            "saga", workflow=saga_of(*steps), output_key="inside", on_error="raise"
        )
        builder = WorkflowBuilder("graph")
        builder.add_node("saga", node=node)
        return builder.set_entry("saga").set_terminal("saga").build()

    result = (await engine(book.step("a")).execute("go")).unwrap()
    assert result.final_state["inside"] == {"a": "a!"}
    error = (await engine(book.step("x"), book.step("y", no)).execute("go")).unwrap_err()
    assert isinstance(error, LexigramError)
    assert book.log == ["a", "x", "y", "-x"]


async def test_a_saga_in_a_durable_function() -> None:
    book = Book()

    @workflow
    async def outer(ctx: WorkflowContext) -> Any:
        first = await ctx.run(saga_of(book.step("a"), name="one"))
        try:
            await ctx.run(saga_of(book.step("x"), book.step("y", no), name="two"))
        except LexigramError as error:
            return first, str(error)

    runnable: Any = outer.__runnable__  # type: ignore[attr-defined]
    first, told = (await runnable.run(RunContext(run_id="one"))).unwrap()
    assert first == {"a": "a!"}
    assert "y" in told
    assert book.log == ["a", "x", "y", "-x"]


async def test_a_runnable_makes_a_new_saga_for_each_run() -> None:
    book = Book()
    runnable = saga_of(book.step("a"))
    for _ in range(2):
        assert (await runnable.run(RunContext(run_id="one"))) == Ok({"a": "a!"})
    assert book.log == ["a", "a"]


async def test_what_makes_no_saga_is_an_error_of_its_type() -> None:
    wrong: Any = lambda _: "a saga"  # noqa: E731
    runnable = Made.as_runnable(wrong, name="order")
    with pytest.raises(TypeError, match="order"):
        await runnable.run(RunContext(run_id="one"))


async def test_a_subclass_may_use_what_it_has_done() -> None:
    class Order(Made):
        def __init__(self) -> None:
            super().__init__()
            self.seats: list[int] = []
            self.add_step(SagaStep("reserve", self.reserve, self.release))
            self.add_step(SagaStep("pay", raising(OSError("no money")), max_retries=1))

        async def reserve(self) -> int:
            self.seats.append(7)
            return 7

        async def release(self) -> None:
            self.seats.remove(self.results["reserve"])

    order = Order()
    (await order.execute()).unwrap_err()
    assert order.seats == []
    assert order.state is SagaState.FAILED
