"""A saga whose stages do not run where their output is known already.

**The problem.** Stages that are costly (a model, a rendering, a large query) run again and again on
what they had before: in the next run, in another saga, after a failure further down. **The trick.**
Each output is kept under the digest of all that decides it (`content_keys`); a stage whose key is
there takes the output from there.

**Undoing.** An output that came from the store is not this saga's to undo: somebody else made it,
and others may rely on it. So it is recorded with each step whether this saga ran the stage. And
what is undone must not be handed out any more: its entry is evicted *before* the undo begins.
Between the crash of a process that has kept an output and the recording of its step, the entry
itself says whose it is.

**Limits.** A saga that read an entry before it was evicted goes on with it. Two sagas that miss the
same key at the same time both run the stage; the entry of the first stays. A stage that was in
flight when its process died, and whose content another saga has kept meanwhile, takes that: what
its first run did is not undone.

Rejected: offering an output only when its saga has completed. It closes the gap above, and makes
every failure and every crash of an unrecorded saga begin from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

import trio

from lexigram_actors.checks import given
from lexigram_actors.errors import ConfigurationError, SagaStepError, describe
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga.content_checkpoints import StageCheckpoints
from lexigram_actors.saga.content_keys import ContentCheckpointKey, check_name, digest_of
from lexigram_actors.saga.content_records import (
    hashes_of,
    is_mine,
    is_record,
    outputs_of,
    record_of,
    recorded_key,
)
from lexigram_actors.saga.content_stages import ContentAddressedStage
from lexigram_actors.saga.content_stores import ContentCheckpointStoreProtocol
from lexigram_actors.saga.models import SagaContext, SagaState, SagaStep
from lexigram_actors.saga.saga import AbstractSaga
from lexigram_actors.storage.codec import Codec


class ContentAddressedSaga(AbstractSaga[Any]):
    """Runs stages one after another, those whose output is known not at all.

    Each stage gets the saga's inputs and the outputs of the stages before it, by their ids, in one
    dict that is its own copy. Where a stage fails, those that *this* saga ran are undone in
    reverse, as in any saga; each one's entry is evicted before.

    | what fails | what happens |
    | --- | --- |
    | the checkpoint store, on reading | the stage, with a `StoreError` as the cause, as if it had |
    | the checkpoint store, on keeping | nothing: it is logged, and the stage has run |
    | an output that cannot be stored | it is not kept (logged), nor is what depends on it |
    | the checkpoint store, on evicting | the undo, which then has not begun |

    Args:
        saga_id: Names this saga, in its own store and among the entries it makes. Whoever takes the
            id of a saga that was interrupted continues that one.
        checkpoint_store: Where outputs are kept and found.
        store: Where the saga's own progress is kept, as `AbstractSaga` takes it. None: nowhere.
        tenant_id: Whose outputs are shared. None: those of no tenant.
        inputs: What every stage gets; storable.
        codec: Knows your types in inputs, configuration and outputs. None: the store's own.
        timeout, on_store_error: As `AbstractSaga` takes them.

    Raises:
        ConfigurationError: A name that is none, a store that is none.
        NotStorableError: The inputs have no stable form; `path` says where.
    """

    def __init__(
        self,
        saga_id: str,
        checkpoint_store: ContentCheckpointStoreProtocol,
        *,
        store: Any = None,
        tenant_id: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        codec: Codec | None = None,
        timeout: float | None = None,
        on_store_error: Literal["stop", "continue"] = "stop",
    ) -> None:
        check_name("saga_id", saga_id)
        if tenant_id is not None:
            check_name("tenant_id", tenant_id)
        if not isinstance(checkpoint_store, ContentCheckpointStoreProtocol):
            raise ConfigurationError(
                "checkpoint_store must have get, set, evict and list_by_stage, and is "
                f"{given(checkpoint_store)}"
            )
        # In doubt is asked of `happened` below, which knows more than the settings can say.
        super().__init__(store, timeout=timeout, in_doubt="probe", on_store_error=on_store_error)
        self.saga_id = saga_id
        self.tenant_id = tenant_id
        self.codec = codec or getattr(checkpoint_store, "codec", None) or Codec()
        self.checkpoints = StageCheckpoints(saga_id, checkpoint_store, tenant_id, self.codec)
        self.inputs = dict(inputs or {})
        self.looked_up: set[str] = set()
        self.begun: set[str] = set()
        """Stages whose handler was called, here or before a crash, and is not known to have failed.
        What was looked up and is not among them has not happened."""
        self.stage_ids: list[str] = []
        self.records: dict[str, dict[str, Any]] = {}
        """What stages came to here, also where the saga's store could not take it."""
        digest_of("inputs", self.inputs, self.codec)

    def get_id(self) -> str:
        """Return the saga's id."""
        return self.saga_id

    def is_completed(self) -> bool:
        """Say whether the saga has come to its end, good or bad."""
        return self.state in (SagaState.COMPLETED, SagaState.FAILED)

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of the stages that are done, by id: a new dict."""
        return outputs_of(self.results)

    def was_cached(self, stage_id: str) -> bool:
        """Say whether a stage that is done took its output from the checkpoint store."""
        record = self.results.get(stage_id)
        return is_record(record) and not record["ran"]

    def add_stage(self, stage: ContentAddressedStage) -> None:
        """Add a stage behind those that are there.

        Raises:
            ConfigurationError: The id is taken, by a stage or an input.
            NotStorableError: The configuration has no stable form.
        """
        if not isinstance(stage, ContentAddressedStage):
            raise TypeError(f"add_stage takes a ContentAddressedStage, and got {given(stage)}")
        if stage.stage_id in self.inputs:
            raise ConfigurationError(
                f"the stage {stage.stage_id!r} has the name of an input: stages behind it could "
                "not tell them apart"
            )
        self.checkpoints.key_of(stage, {})
        self.add_step(self.step_of(stage))
        self.stage_ids.append(stage.stage_id)

    def step_of(self, stage: ContentAddressedStage) -> SagaStep:
        """Return the stage as a step, whose result is a record of what it came to."""

        async def action(context: SagaContext) -> Result[Any, Any]:
            return await self.do(stage, context)

        async def compensation(context: SagaContext) -> Any:
            return await self.undo(stage, context)

        async def probe() -> Any:
            return await self.happened(stage)

        return SagaStep(
            stage.stage_id,
            action,
            None if stage.compensation is None else compensation,
            stage.max_retries,
            stage.retry_delay,
            stage.idempotent,
            timeout=stage.timeout,
            compensation_timeout=stage.compensation_timeout,
            compensation_attempts=stage.compensation_attempts,
            probe=probe,
            pivot=stage.pivot,
        )

    async def run_stage(self, stage: ContentAddressedStage, inputs: Mapping[str, Any]) -> Any:
        """Return the output of one stage, from the checkpoint store or by running it, once.

        For what is no row of stages. It is no part of the saga: not recorded, not tried again, and
        not undone. Cancelled while it runs, nothing is kept.

        Raises:
            NotStorableError: The inputs have no stable form.
            SagaStepError: The stage failed, or the checkpoint store could not be read; its cause
                is what with.
        """
        key = self.checkpoints.key_of(stage, inputs)
        found = await self.checkpoints.find(stage, key)
        if found is not None:
            return found.output
        outcome = await self.call(stage, inputs)
        if isinstance(outcome, Err):
            cause = outcome.error
            raise SagaStepError(stage.stage_id, describe(cause), cause)
        await self.checkpoints.keep(stage, key, outcome.value, {})
        return outcome.value

    # --- forward

    async def do(self, stage: ContentAddressedStage, context: SagaContext) -> Result[Any, Any]:
        """Return the record of a stage: found, or run and kept."""
        if context.epoch > 1 and not self.looked_up:
            self.begun.add(stage.stage_id)  # it may have been under way when a process died
        self.looked_up.add(stage.stage_id)
        inputs = self.inputs_of(stage, context.results)
        key = self.checkpoints.key_or_none(stage, inputs)
        earlier = self.record_here(stage, key)
        if earlier is not None:
            await trio.lowlevel.checkpoint()
            return Ok(earlier)
        found = None if key is None else await self.checkpoints.find(stage, key)
        if found is not None:
            record = record_of(found.output, is_mine(found, context), key)
            self.records[stage.stage_id] = record
            return Ok(record)
        outcome = await self.call(stage, inputs)
        if isinstance(outcome, Err):
            return outcome
        record = self.records[stage.stage_id] = record_of(outcome.value, True, key)
        if key is not None:
            mark = {"saga": self.saga_id, "run": context.idempotency_key, "epoch": context.epoch}
            await self.checkpoints.keep(stage, key, outcome.value, mark)
        return Ok(record)

    def inputs_of(self, stage: ContentAddressedStage, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the saga's inputs, and the outputs of the stages before this one."""
        before = self.stage_ids[: self.stage_ids.index(stage.stage_id)]
        outputs = outputs_of(results)
        return {**self.inputs, **{name: outputs[name] for name in before if name in outputs}}

    def record_here(
        self, stage: ContentAddressedStage, key: ContentCheckpointKey | None
    ) -> dict[str, Any] | None:
        """Return the record of a stage that ran here, and that could not be recorded then.

        The store may have the output of whoever was faster, and that is not this saga's to undo.
        """
        record = self.records.get(stage.stage_id)
        if key is None or record is None or not record["ran"]:
            return None
        return record if record["hashes"] == hashes_of(key) else None

    async def call(
        self, stage: ContentAddressedStage, inputs: Mapping[str, Any]
    ) -> Result[Any, Any]:
        """Run the handler on a copy of the inputs; `Err` where it says so or raises."""
        mine = own_copy(inputs)
        self.begun.add(stage.stage_id)
        outcome: Result[Any, Any]
        try:
            outcome = as_result(await invoke(stage.handler, mine))
        except Exception as error:  # noqa: BLE001 - the handler's, told as a failure of the stage
            outcome = Err(error)
        if isinstance(outcome, Err):
            self.begun.discard(stage.stage_id)
        return outcome

    # --- back

    async def undo(self, stage: ContentAddressedStage, context: SagaContext) -> Any:
        """Undo a stage if this saga ran it; evict its entry first."""
        record = context.results.get(stage.stage_id)
        if not is_record(record):
            record = self.records.get(stage.stage_id)
        if record is None:  # cut off, or of an output that the saga's store did not take
            await self.checkpoints.evict(
                stage, self.checkpoints.key_or_none(stage, self.inputs_of(stage, context.results))
            )
            return await invoke_undo(stage, None)
        if not record["ran"]:
            return None
        await self.checkpoints.evict(stage, recorded_key(stage.stage_id, self.tenant_id, record))
        return await invoke_undo(stage, own_copy(record["output"]))

    async def happened(self, stage: ContentAddressedStage) -> Any:
        """Say whether a stage that was cut off happened.

        Raises:
            SagaStepError: Nobody knows; it has to be looked at.
        """
        if stage.stage_id in self.looked_up - self.begun:
            return False
        if stage.probe is not None:
            return await invoke(stage.probe)
        if stage.idempotent or stage.compensation is None:
            return True
        raise SagaStepError(stage.stage_id, "it was cut off while it ran, and has no probe")


def own_copy(value: Any) -> Any:
    """Return a copy that a handler may change; the value itself where it cannot be copied."""
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - a lock, a connection: then the handler shares it
        return value


async def invoke_undo(stage: ContentAddressedStage, output: Any) -> Any:
    return None if stage.compensation is None else await invoke(stage.compensation, output)
