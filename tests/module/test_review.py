"""Health checks on asyncio without a framework, and what they must not say."""

from __future__ import annotations

import asyncio

import pytest

from lexigram_actors.module import WorkflowProvider
from lexigram_actors.module.discretion import reason
from lexigram_actors.saga.stores import CacheSagaStore
from lexigram_actors.storage import MemoryStore
from tests.module.services import PlainContainer


@pytest.mark.parametrize(
    "provider",
    [
        WorkflowProvider(store=MemoryStore()),
        WorkflowProvider(saga_store=CacheSagaStore(MemoryStore())),
    ],
    ids=["store", "saga store"],
)
def test_under_asyncio_sagas_in_a_store_of_ours_are_not_asked(provider: WorkflowProvider) -> None:
    async def main() -> str:
        await provider.register(PlainContainer())
        return str((await provider.health_check()).details["components"]["saga_store"])

    said = asyncio.run(main())
    assert "'degraded'" in said
    assert "not asked: it answers under Trio only, not under asyncio" in said


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc.Zq7x",
        "refused: bearer Zq7x",
        'of {"password": "ab\\"Zq7x"}',
        "of {'password': 'ab\\'Zq7x'}",
        "passphrase=Zq7x",
        "pass=Zq7x",
        "auth: Zq7x",
        "api-key: Zq7x",
        "AWS_SECRET_ACCESS_KEY=Zq7x",
        "AccountKey=Zq7x;EndpointSuffix=core",
        "private_key = Zq7x",
        "SharedAccessSignature=Zq7x",
        "sv=2024&sig=Zq7x",
    ],
)
def test_no_secret_is_told(text: str) -> None:
    assert "Zq7x" not in reason(OSError(text))


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'name'",
        "password authentication failed for user app",
        'duplicate key value violates constraint "t_pkey"',
        "the author: ana",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert text in reason(OSError(text))
