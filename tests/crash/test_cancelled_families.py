"""An instance is cancelled with all that it began, and its host crashes meanwhile."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.testing import World, crash_everywhere
from lexigram_actors.testing.world import StoreKind
from tests.crash.points import tried
from tests.crash.programs import begun, hosting, surely

CANCELLED: Final = InstanceStatus.CANCELLED

MOST: Final = {"memory": None, "sqlite": 60}
"""Points that are tried: in memory all."""


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_crashed_at_any_call_all_of_a_family_is_cancelled_in_the_end(store: StoreKind) -> None:
    report = crash_everywhere(family, check=check_family, store=store, most=MOST[store], within=1e6)
    tried(f"family {store}", report.points)


def test_crashed_again_while_it_recovers_all_of_a_family_is_cancelled_in_the_end() -> None:
    report = crash_everywhere(family, check=check_family, twice=True, most=30, within=1e6)
    tried("family twice", report.points)


async def family(world: World) -> Any:
    """A parent waits for its child, which waits for its own; then the parent is cancelled."""

    @workflow
    async def grandchild(ctx: WorkflowContext) -> None:
        await ctx.step(world.effect, "grandchild", name="begin")
        await ctx.sleep(1e5)
        await ctx.step(world.effect, "too late", name="late")

    @workflow
    async def child(ctx: WorkflowContext) -> None:
        try:
            await ctx.child_result(await ctx.start_child(grandchild, id="grandchild"))
        finally:
            with trio.CancelScope(shield=True):
                await ctx.step(world.effect, "undo", name="undo")

    @workflow
    async def parent(ctx: WorkflowContext) -> str:
        await ctx.start_child(grandchild, id="delayed", delay=1e5)
        started = await ctx.start_child(child, id="child")
        try:
            await ctx.child_result(started)
        except Exception:
            return "the child failed"
        return "the child ended"

    async with hosting(world, parent, child, grandchild) as host:
        handle = await begun(world, host, parent, None, "parent")
        await trio.sleep(100)
        await surely(handle.cancel, "enough", grace=0)
        await world.acknowledge("the cancellation")
        for id in ("parent", "child", "grandchild", "delayed"):
            assert (await surely(host.operator.find, id)).status is CANCELLED
        return str((await handle.result()).unwrap_err())


async def check_family(world: World) -> None:
    assert "enough" in world.result
    found = await world.store.instances.select()
    assert {each.id for each in found} == {"parent", "child", "grandchild", "delayed"}
    assert {each.status for each in found} == {CANCELLED}
    assert world.started("undo") >= 1
    assert world.started("too late") == 0
