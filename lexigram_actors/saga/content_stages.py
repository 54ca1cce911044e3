"""`ContentAddressedStage`: what runs, and what decides its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import attrs

from lexigram_actors.saga.content_keys import check_name


@final
@attrs.frozen(eq=False)
class ContentAddressedStage:
    """One stage: what runs, and what besides its inputs decides the output.

    Args:
        stage_id: Its name, and under which the stages behind it find its output.
        handler: Takes the inputs, one dict; returns the output, or a `Result` of it. Sync or async.
        handler_version: Change it with whatever changes the output: the entries of other versions
            are then passed over.
        config_affecting_output: What else the output depends on, as a model's name; storable.
        compensation: Takes the output, and undoes the stage. Not called where the output came from
            the store. None: there is nothing to undo.

    The others are those of a `SagaStep`. With `idempotent`, a stage that was cut off while it ran
    is undone, too. `probe()` says whether such a stage happened; it is asked wherever there is one.
    `compensation` gets None where the output is not known: of a stage that was cut off, and after a
    crash of one whose output the saga's store could not take.
    """

    stage_id: str
    handler: Callable[[dict[str, Any]], Any]
    handler_version: str
    config_affecting_output: Mapping[str, Any] = attrs.field(factory=dict)
    compensation: Callable[[Any], Any] | None = None
    max_retries: int = attrs.field(default=3, kw_only=True)
    retry_delay: float = attrs.field(default=1.0, kw_only=True)
    idempotent: bool = attrs.field(default=False, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    compensation_timeout: float = attrs.field(default=30.0, kw_only=True)
    compensation_attempts: int = attrs.field(default=3, kw_only=True)
    probe: Callable[[], Any] | None = attrs.field(default=None, kw_only=True)
    pivot: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_name("stage_id", self.stage_id)
        check_name("handler_version", self.handler_version)
        for what in (self.handler, self.compensation, self.probe):
            if not callable(what) and (what is not None or what is self.handler):
                raise TypeError(f"{what!r} of stage {self.stage_id!r} cannot be called")
