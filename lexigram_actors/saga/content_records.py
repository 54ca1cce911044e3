"""What a saga's store has of a stage that is done: its output, who ran it, and under which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from lexigram_actors.saga.content_keys import ContentCheckpointEntry, ContentCheckpointKey
from lexigram_actors.saga.models import SagaContext


def record_of(output: Any, ran: bool, key: ContentCheckpointKey | None) -> dict[str, Any]:
    """Return the result of a stage's step: its output, whether it ran here, and its key."""
    return {"output": output, "ran": ran, "hashes": None if key is None else hashes_of(key)}


def hashes_of(key: ContentCheckpointKey) -> list[str]:
    """Return what a record holds of a key; the rest the saga knows."""
    return [key.input_hash.hex(), key.config_hash.hex()]


def is_record(result: Any) -> TypeGuard[dict[str, Any]]:
    """Say whether a step's result is that of a stage."""
    return isinstance(result, dict) and result.keys() == {"output", "ran", "hashes"}


def recorded_key(
    stage_id: str, tenant_id: str | None, record: dict[str, Any]
) -> ContentCheckpointKey | None:
    """Return the key that the output was kept under; that of the version that ran then."""
    if record["hashes"] is None:
        return None
    inputs, config = map(bytes.fromhex, record["hashes"])
    return ContentCheckpointKey(stage_id, tenant_id, inputs, config)


def is_mine(entry: ContentCheckpointEntry, context: SagaContext) -> bool:
    """Say whether this step made the entry, and was cut off before it could be recorded.

    Then it was in an earlier epoch. An entry of the same one is of another run under the same id,
    as a saga without a store may have many.
    """
    epoch = entry.metadata.get("epoch")
    is_earlier = isinstance(epoch, int) and epoch < context.epoch
    return is_earlier and entry.metadata.get("run") == context.idempotency_key


def outputs_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of stages among the results of steps."""
    return {name: result["output"] for name, result in results.items() if is_record(result)}
