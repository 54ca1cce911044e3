"""Read by type checkers, never run: what builders, engines and nodes look like to users."""

from __future__ import annotations

from typing import Any, assert_type

from lexigram_actors import (
    AbstractWorkflowNode,
    AgentExecutorProtocol,
    ChatMessage,
    Command,
    Err,
    ExecutionHistory,
    FunctionNode,
    GateNode,
    GraphConfig,
    GraphExecutionError,
    GraphResult,
    GraphStream,
    HumanInputRequiredError,
    HumanNode,
    LLMClientProtocol,
    LLMNode,
    NodeFinished,
    NodeResult,
    NodeStarted,
    NodeType,
    Ok,
    PendingQuestion,
    Result,
    RunContext,
    RunFinished,
    Runnable,
    Send,
    StateUpdated,
    SubworkflowNode,
    TimelineEntry,
    TokenEmitted,
    ToolNode,
    ToolProtocol,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowEdge,
    WorkflowEngine,
    WorkflowRunner,
    WorkflowState,
    emit_token,
    open_store,
)
from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.node import NestingNode


class Count(AbstractWorkflowNode):
    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"count": state.get("count", 0) + 1}


class Route(AbstractWorkflowNode):
    async def execute(self, state: dict[str, Any]) -> Command:
        return Command({"seen": True}, goto=["count", "end"], send=[Send("count", {"part": 1})])


def plain(state: dict[str, Any]) -> dict[str, Any]:
    return {"output": state["input"]}


async def later(state: dict[str, Any]) -> Command | None:
    return Command(goto="end", send=Send("count"))


def is_done(state: dict[str, Any]) -> bool:
    return bool(state["done"])


def concat(earlier: list[str], later: list[str]) -> list[str]:
    return [*earlier, *later]


def builders(pipeline: Runnable) -> WorkflowEngine:
    builder = WorkflowBuilder("g", GraphConfig(), 2)
    assert_type(builder.add_node("count", node=Count("count")), WorkflowBuilder)
    assert_type(builder.add_gate("gate", {"end": is_done}), WorkflowBuilder)
    assert_type(builder.add_edge("count", "gate", condition=is_done), WorkflowBuilder)
    assert_type(builder.set_terminal("end", stop="run"), WorkflowBuilder)
    assert_type(builder.to_dot(), str)
    engine = (
        builder.add_node("route", node=Route("route"), join="any")
        .add_node("plain", node=plain)
        .add_node("later", node=later)
        .add_node("lambda", node=lambda state: {"output": state["input"]})
        .add_node("pipeline", node=pipeline)
        .add_node("gate 2", node=GateNode("gate 2", routes={"end": is_done}))
        .add_node("ask", human_prompt="Sure?")
        .add_goto("route", "count", "end")
        .add_reducer("notes", concat)
        .set_entry("count")
        .configure(GraphConfig())
        .build()
    )
    assert_type(engine, WorkflowEngine)
    return engine


def mistakes(builder: WorkflowBuilder) -> None:
    builder.add_node("a", node=5)  # type: ignore[arg-type]
    builder.add_node("a", node=plain, join="some")  # type: ignore[arg-type]
    builder.add_node("a", tool=plain, on_error="ignore")  # type: ignore[arg-type]
    builder.add_node("a", Count("a"))  # type: ignore[call-arg]
    builder.set_terminal("a", stop="all")  # type: ignore[arg-type]
    builder.add_edge("a", "b", condition=True)  # type: ignore[arg-type]


async def runs(engine: WorkflowEngine) -> None:
    result = await engine.execute("hello", state={"tone": "calm"}, run_id="run-1")
    assert_type(result, Result[GraphResult, GraphExecutionError])
    match result:
        case Ok(value):
            assert_type(value, GraphResult)
            assert_type(value.output, Any)
            assert_type(value.node_results, list[NodeResult])
            assert_type(value.terminated_at, str | None)
        case Err(error):
            assert_type(error, GraphExecutionError)
    resumed = await engine.resume({}, {"verdict": "yes"}, node="ask")
    assert_type(resumed, Result[GraphResult, GraphExecutionError])
    assert_type(engine.name, str)
    assert_type(engine.version, int)
    assert_type(engine.config, GraphConfig)
    assert_type(engine.definition, GraphDefinition)
    assert_type(engine.to_mermaid(result.unwrap()), str)


async def watched(engine: WorkflowEngine) -> None:
    async with engine.astream("hello") as events:
        async for event in events:
            match event:
                case NodeStarted(node=node, depth=depth):
                    assert_type(node, str)
                    assert_type(depth, int)
                case NodeFinished(result=node_result):
                    assert_type(node_result, NodeResult)
                case StateUpdated(update=update):
                    assert_type(update, dict[str, Any])
                case TokenEmitted(text=text):
                    assert_type(text, str)
                case RunFinished(result=result):
                    assert_type(result, Result[GraphResult, GraphExecutionError])


def an_engine_by_hand_is_a_runnable(name: str) -> Runnable:
    edges = [WorkflowEdge("count", "end", is_done)]
    nodes: dict[str, AbstractWorkflowNode] = {
        "count": Count("count"),
        "end": FunctionNode("end", plain),
    }
    return WorkflowEngine(name, nodes, edges, "count", {"end": None}, joins={"end": "any"})


async def a_runnable_gives_a_result(runnable: Runnable) -> None:
    assert_type(await runnable.run(RunContext(input=1)), Result[Any, Exception])


def nodes(engine: WorkflowEngine) -> NestingNode:
    human = HumanNode("ask", schema=bool)
    assert_type(human.resume_key, str)
    assert_type(human.expires_after, float | None)
    return SubworkflowNode("inner", workflow=engine)


def values(state: WorkflowState, question: PendingQuestion) -> None:
    assert_type(state["anything"], Any)
    assert_type(state.history, list[tuple[str, dict[str, Any]]])
    assert_type(question.node, str)
    assert_type(Command(send=Send("a")).send, tuple[Send, ...])


# --- runners ---------------------------------------------------------------------------------


async def runners(engine: WorkflowEngine) -> None:
    runner = WorkflowRunner(engine, max_retries=2, checkpoint=WorkflowCheckpoint())
    first = await runner.run({"any": "input"}, state=WorkflowState("x"), run_id="r")
    assert_type(first, Result[GraphResult, GraphExecutionError])
    try:
        await runner.run("in", state={"x": 1})
    except HumanInputRequiredError as asked:
        assert_type(asked.state, dict[str, Any])
        answered = await runner.resume("yes", state=asked.state, node=asked.node)
        assert_type(answered, Result[GraphResult, GraphExecutionError])
    async with open_store("memory:") as store:
        WorkflowRunner(engine, checkpoint=store)
        WorkflowRunner(engine, checkpoint=store.cache)
    WorkflowRunner(engine, 2)  # type: ignore[call-arg]
    WorkflowRunner(engine, max_retries="2")  # type: ignore[arg-type]


def checkpoints(checkpoint: WorkflowCheckpoint) -> None:
    checkpoint.save("id", WorkflowState("in"))
    assert_type(checkpoint.load("id"), dict[str, object] | None)
    assert_type(checkpoint.delete("id"), bool)
    checkpoint.save("id", {"input": "in"})  # type: ignore[arg-type]


def streams(engine: WorkflowEngine) -> None:
    assert_type(engine.astream("in"), GraphStream)
    assert_type(engine.astream_resume({}, "yes", node="ask"), GraphStream)
    assert_type(engine.pending({}), list[PendingQuestion])


def histories(result: GraphResult) -> None:
    history = ExecutionHistory(result)
    assert_type(history.as_dict(), dict[str, Any])
    assert_type(history.as_text(), str)
    assert_type(history.timeline(), list[TimelineEntry])
    assert_type(history.failed_nodes(), list[NodeResult])
    assert_type(history.total_node_time_ms(), float)


# --- models and tools ------------------------------------------------------------------------


class Model:
    async def complete(self, messages: Any, **options: Any) -> Result[Any, Exception]:
        emit_token("piece")
        assert_type(ChatMessage("user", "hello").content, str)
        return Ok("text")


class Executor:
    async def execute(self, agent: Any, message: str) -> Result[str, str]:
        return Err("no agent")


class Tool:
    name = "tool"
    description = "does nothing"
    parameters_schema: dict[str, Any] = {}  # noqa: RUF012 - as a user would write it

    async def execute(self, arguments: dict[str, Any]) -> str:
        return str(arguments)


def structural(model: LLMClientProtocol, tool: ToolProtocol) -> list[AbstractWorkflowNode]:
    fitting: LLMClientProtocol = Model()
    executing: AgentExecutorProtocol = Executor()
    not_fitting: LLMClientProtocol = Executor()  # type: ignore[assignment]
    made = [LLMNode("a", llm=fitting, temperature=0.5), LLMNode("b", llm=not_fitting)]
    assert_type(made[0].node_type, NodeType)
    WorkflowBuilder("g").add_node("agent", agent=object(), executor=executing)
    return [*made, LLMNode("c", llm=model), ToolNode("d", tool=tool, on_error="text")]
