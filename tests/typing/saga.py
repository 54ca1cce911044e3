"""Read by type checkers, run by nobody: sagas, state machines, approvals and the module as used."""

from __future__ import annotations

from typing import Any, assert_type

from lexigram_actors import (
    AbstractSaga,
    ApprovalChain,
    ApprovalLevel,
    BulkOperationConfig,
    DynamicModule,
    Err,
    HealthCheckResult,
    HookRegistry,
    MemorySagaStore,
    Ok,
    Result,
    SagaContext,
    SagaError,
    SagaRunnable,
    SagaState,
    SagaStep,
    SagaStoreProtocol,
    State,
    StateMachine,
    Transition,
    WorkflowCompletedHook,
    WorkflowModule,
    WorkflowProvider,
    observing,
    open_host,
    saga_step,
)


async def reserve(context: SagaContext) -> Result[str, str]:
    if context.attempt > 2:
        return Err("no stock")
    return Ok(context.idempotency_key)


async def release() -> None: ...


@saga_step(name="charge", compensation=release)
async def charge() -> int:
    return 3


class Order(AbstractSaga[None]):
    VERSION = 2

    def __init__(self, item: str, store: SagaStoreProtocol | None = None) -> None:
        super().__init__(store, timeout=60, in_doubt="probe")
        self.item = item
        self.add_step(SagaStep("reserve", reserve, release, 3, 0.5, True, timeout=5))
        self.add_parallel(SagaStep("pack", release), SagaStep("label", lambda: None))
        self.add_step(charge)

    def get_id(self) -> str:
        return self.item

    def is_completed(self) -> bool:
        return self.state is SagaState.COMPLETED


async def sagas() -> None:
    order = Order("book", MemorySagaStore())
    result = await order.execute()
    assert_type(result, Result[None, SagaError])
    if isinstance(result, Err):
        assert_type(result.error.uncompensated, list[str])
    assert_type(order.compensation_errors, dict[str, Exception])
    runnable = Order.as_runnable()
    assert_type(runnable, SagaRunnable)
    async with open_host("memory", register=[runnable], hooks=HookRegistry()) as host:
        handle = await host.start(runnable, "book", id="book")
        await handle.skip("reserve")
        await handle.force("reserve")


async def machines() -> None:
    machine = StateMachine(
        [State("open", {"close": Transition("close", "closed")}), State("closed")], "open"
    )
    assert_type(await machine.transition("close"), str)
    assert_type(machine.version, int)
    chain = ApprovalChain("expense", [ApprovalLevel("manager", approvers=("ana",))])
    assert_type(chain.kind, str)


async def observed(hooks: HookRegistry) -> None:
    def count(payload: WorkflowCompletedHook) -> None:
        assert_type(payload.succeeded, bool)

    hooks.add(WorkflowCompletedHook, count)
    async with observing(hooks=hooks):
        await sagas()


async def modules(container: Any) -> None:
    assert_type(WorkflowModule.configure(BulkOperationConfig(batch_size=2)), DynamicModule)
    provider = WorkflowProvider(saga_store=MemorySagaStore())
    await provider.register(container)
    assert_type(await provider.health_check(timeout=1.0), HealthCheckResult)
