"""Read by type checkers, run by nobody: what is inferred of processors, items and functions."""

from __future__ import annotations

from typing import assert_type

from lexigram_actors.bulk import (
    BulkBatchResult,
    BulkOperation,
    BulkRun,
    bulk_filter,
    bulk_map,
    bulk_reduce,
)


async def spell(items: list[int]) -> list[str]:
    return [str(item) for item in items]


def spell_plainly(items: list[int]) -> list[str]:
    return [str(item) for item in items]


async def spell_one(item: int) -> str:
    return str(item)


async def is_even(item: int) -> bool:
    return item % 2 == 0


async def add_length(total: int, item: str) -> int:
    return total + len(item)


async def operations() -> None:
    assert_type(BulkOperation(processor=spell), BulkOperation[int, str])
    assert_type(BulkOperation(processor=spell_plainly), BulkOperation[int, str])
    operation: BulkOperation[int, str] = BulkOperation()
    async with operation.execute(range(3), spell) as run:
        assert_type(run, BulkRun[int, str])
        async for result in run:
            assert_type(result, BulkBatchResult[int, str])


async def combinators() -> None:
    assert_type(await bulk_map(spell_one, [1]), list[str])
    assert_type(await bulk_map(str, range(3)), list[str])
    async for result in bulk_filter([1], is_even):
        assert_type(result, BulkBatchResult[int, int])
    assert_type(await bulk_reduce(["a"], add_length, 0), int)
