"""The mail of a function actor, one message after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar, final

import trio
from trio.lowlevel import checkpoint

from lexigram_actors.kernel.waiting import Ask

if TYPE_CHECKING:
    from lexigram_actors.kernel.actor import ActorContext

M = TypeVar("M")


@final
class Messages(AsyncIterator[M]):
    """The messages of a function actor, until it is asked to stop and none is left."""

    __slots__ = ("cell", "context")

    def __init__(self, context: ActorContext[M]) -> None:
        self.context = context
        self.cell = context.cell

    def __aiter__(self) -> Messages[M]:
        return self

    async def __anext__(self) -> M:
        context, cell = self.context, self.cell
        if context.closed:
            raise StopAsyncIteration
        mailbox = cell.mailbox
        if context.ask is not None:
            context.ask.answer(None)
            context.ask = None
        if mailbox.receiver is not None:
            raise trio.BusyResourceError(f"another task reads the mailbox of actor {cell.name!r}")
        if cell.system.pacer.due():
            await checkpoint()
        while cell.halting or not (mailbox.items or mailbox.ready()):
            if cell.stop_reason is not None:
                raise StopAsyncIteration
            await mailbox.wait_mail()
        item = mailbox.take()
        if type(item) is Ask:
            context.ask = item
            item = item.message
        message: M = item
        return message
