"""Read by type checkers, never run: what durable functions look like to users."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, assert_type
from uuid import UUID

from lexigram_actors import (
    Branch,
    Child,
    DurableFunction,
    StepInfo,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowInstance,
    current_step,
    workflow,
)
from lexigram_actors.host.seam import Runnable
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.retry import RetryPolicy


async def charge(amount: int, currency: str = "EUR") -> str:
    return f"{amount} {currency}"


def price(item: str) -> int:
    return len(item)


async def reserve(item: str) -> Result[int, ValueError]:
    return Ok(1) if item else Err(ValueError(item))


async def ship(ctx: WorkflowContext, item: str) -> bytes:
    return item.encode()


@workflow
async def bare(ctx: WorkflowContext) -> None: ...


@workflow(name="order", timeout=300.0, retries=1, version=2)
async def order(ctx: WorkflowContext, item: str) -> Result[str, Exception]:
    assert_type(ctx.instance_id, str)
    assert_type(await ctx.step(charge, 3, currency="USD"), str)
    assert_type(await ctx.step(price, item, name="price", retry=3, timeout=5.0), int)
    assert_type(await ctx.step(reserve, item, retry=RetryPolicy(retries=2)), int)
    assert_type(ctx.now(), datetime)
    assert_type(ctx.uuid(), UUID)
    assert_type(ctx.random(), Random)
    assert_type(ctx.patched("new way"), bool)
    assert_type(ctx.cancel_reason, str | None)
    async with ctx.parallel() as group:
        shipped = group.start(ship, item)
    assert_type(shipped, Branch[bytes])
    assert_type(shipped.value, bytes)
    assert_type(await ctx.map(ship, ["a", "b"], limit=1), list[bytes])
    async with ctx.move_on_after(5) as limit:
        await ctx.sleep(10)
    assert_type(limit.fired, bool)
    child = await ctx.start_child("shipping", item)
    assert_type(child, Child)
    answer: Any = await ctx.ask_human("Ship it?", schema=bool)
    await ctx.run(bare)

    @ctx.query("status")
    def status() -> str:
        return "at work"

    assert_type(status, Callable[[], str])
    return Ok(answer)


def runnables(function: DurableFunction) -> Runnable:
    return function


def step_info() -> None:
    assert_type(current_step(), StepInfo)
    assert_type(current_step().idempotency_key, str)


def definitions() -> None:
    definition = WorkflowDefinition("order", version=2)
    assert_type(WorkflowInstance.create(definition), WorkflowInstance)
