"""The outputs of stages, looked up, kept and evicted: what may fail, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, final

import trio

from lexigram_actors.errors import NotStorableError, SagaStepError, describe
from lexigram_actors.saga.content_keys import ContentCheckpointEntry, ContentCheckpointKey
from lexigram_actors.saga.content_stages import ContentAddressedStage
from lexigram_actors.saga.content_stores import ContentCheckpointStoreProtocol
from lexigram_actors.storage.codec import Codec

logger = logging.getLogger(__name__)

KEEPING_TIMEOUT: Final = 30.0
"""Seconds that keeping an output may take; it is not cut off, since the stage has run."""

EVICTIONS: Final = 3
"""Attempts to evict an entry before the undo behind it counts as failed."""


@final
class StageCheckpoints:
    """What one saga looks up, keeps and evicts in the store of checkpoints.

    Args:
        saga_id: For the log.
        store: Where outputs are.
        tenant_id: Whose they are; None: those of no tenant.
        codec: Knows the types in inputs, configuration and outputs.
    """

    def __init__(
        self,
        saga_id: str,
        store: ContentCheckpointStoreProtocol,
        tenant_id: str | None,
        codec: Codec,
    ) -> None:
        self.saga_id = saga_id
        self.store = store
        self.tenant_id = tenant_id
        self.codec = codec

    def key_of(
        self, stage: ContentAddressedStage, inputs: Mapping[str, Any]
    ) -> ContentCheckpointKey:
        """Return what the output of a stage is kept under, for these inputs.

        Raises:
            NotStorableError: They have no stable form, or the configuration has none.
        """
        return ContentCheckpointKey.compute(
            stage.stage_id,
            self.tenant_id,
            dict(inputs),
            stage.handler_version,
            dict(stage.config_affecting_output),
            codec=self.codec,
        )

    def key_or_none(
        self, stage: ContentAddressedStage, inputs: Mapping[str, Any]
    ) -> ContentCheckpointKey | None:
        """Return the key; None where an output before it has no stable form."""
        try:
            return self.key_of(stage, inputs)
        except NotStorableError as error:
            self.log_unkept(stage, describe(error))
            return None

    async def find(
        self, stage: ContentAddressedStage, key: ContentCheckpointKey
    ) -> ContentCheckpointEntry | None:
        """Return the entry of a key.

        Raises:
            SagaStepError: The store could not say, or what it has is damaged.
        """
        try:
            return await self.store.get(key)
        except Exception as error:
            raise SagaStepError(
                stage.stage_id, f"its checkpoint cannot be read: {describe(error)}", error
            ) from error

    async def keep(
        self,
        stage: ContentAddressedStage,
        key: ContentCheckpointKey,
        output: Any,
        mark: dict[str, Any],
    ) -> None:
        """Put an output into the store; what hinders that is logged, for the stage has run.

        Not cut off by a cancellation: the step would be in doubt, though all of it is known.
        """
        with trio.move_on_after(KEEPING_TIMEOUT, shield=True) as scope:
            try:
                size = len(self.codec.dumps(output))
                entry = ContentCheckpointEntry(
                    output, datetime.now(UTC), stage.handler_version, size, mark
                )
                await self.store.set(key, entry)
            except Exception as error:  # noqa: BLE001 - of any store of the caller's
                self.log_unkept(stage, describe(error))
        if scope.cancelled_caught:
            self.log_unkept(stage, f"no answer within {KEEPING_TIMEOUT:g} seconds")

    async def evict(self, stage: ContentAddressedStage, key: ContentCheckpointKey | None) -> None:
        """Take the output of a stage out of the store, so that nobody gets it any more.

        Raises:
            SagaStepError: Not possible; the undo has not begun.
        """
        if key is None:
            return
        for _ in range(EVICTIONS - 1):
            if await self.has_evicted(key):
                return
            await trio.sleep(stage.retry_delay)
        try:
            await self.store.evict(key)
        except Exception as error:
            raise SagaStepError(
                stage.stage_id,
                "its undo has not begun, because its checkpoint cannot be evicted: "
                f"{describe(error)}",
                error,
            ) from error

    async def has_evicted(self, key: ContentCheckpointKey) -> bool:
        """Try to evict an entry; say whether it went well."""
        try:
            await self.store.evict(key)
        except Exception:  # noqa: BLE001 - of any store of the caller's; the last attempt tells
            return False
        return True

    def log_unkept(self, stage: ContentAddressedStage, why: str) -> None:
        logger.warning(
            "saga %r: the output of stage %r is not kept: %s",
            self.saga_id,
            stage.stage_id,
            why,
            extra={"saga": self.saga_id, "stage": stage.stage_id},
        )
