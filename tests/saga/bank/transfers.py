"""Transfers as sagas: debit, credit, and a notice; some fail, and the undos of some fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Literal

import trio
from attrs import frozen

from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga import AbstractSaga, SagaContext, SagaState, SagaStep
from tests.saga.bank.bank import ACCOUNTS, Bank, Kind, Refusal

FAILING_LEGS: Final = 0.2
FAILING_UNDOS: Final = 0.05

STEPS: Final = ("debit", "credit", "notify")
KINDS: Final[tuple[Kind, ...]] = ("debit", "credit")

Fault = Literal["", "err", "raise", "late", "once"]


@frozen
class Transfer:
    """What is to be moved, and what goes wrong.

    Attributes:
        fault: How the step `at` fails: for good, or `"once"`. One that is `"late"` has happened.
        failing: The legs whose undo fails, until the bank is repaired.
        idempotent: Whether the undos say that they may run twice.
    """

    number: int
    source: int
    target: int
    amount: int
    fault: Fault
    at: str
    failing: frozenset[str]
    idempotent: bool

    @property
    def id(self) -> str:
        return f"transfer {self.number}"


def transfers_from(seed: int, number: int) -> list[Transfer]:
    """Return transfers as the seed has them."""
    chance = random.Random(seed)
    return [one_from(chance, each) for each in range(number)]


def one_from(chance: random.Random, number: int) -> Transfer:
    source, target = chance.sample(range(ACCOUNTS), 2)
    fails = chance.random() < FAILING_LEGS
    faults: tuple[Fault, ...] = ("err", "raise", "late") if fails else ("", "", "", "once")
    return Transfer(
        number,
        source,
        target,
        amount=chance.randint(1, 100),
        fault=chance.choice(faults),
        at=chance.choice(STEPS),
        failing=frozenset(kind for kind in KINDS if chance.random() < FAILING_UNDOS),
        idempotent=chance.random() < 0.7,
    )


@frozen
class Pace:
    """How long things take, in seconds."""

    work: float = 0.1
    retry: float = 1.0
    timeout: float = 10.0


@frozen(kw_only=True)
class Surroundings:
    """What the sagas of one life use.

    Attributes:
        alive: Raises once the process is dead.
        repaired: Whether all undos work.
    """

    bank: Bank
    pace: Pace = Pace()
    alive: Callable[[], None] = lambda: None
    repaired: bool = False


class TransferSaga(AbstractSaga[Any]):
    """Moves money from one account to another."""

    def __init__(self, transfer: Transfer, around: Surroundings) -> None:
        super().__init__()
        self.transfer = transfer
        self.around = around
        self.tried = False
        self.add_step(self.leg("debit", transfer.source, -transfer.amount))
        self.add_step(self.leg("credit", transfer.target, transfer.amount))
        self.add_step(SagaStep("notify", self.notify, max_retries=2, retry_delay=around.pace.retry))

    def get_id(self) -> str:
        return self.transfer.id

    def is_completed(self) -> bool:
        return self.state in (SagaState.COMPLETED, SagaState.FAILED)

    def leg(self, kind: Kind, account: int, amount: int) -> SagaStep:
        async def move(context: SagaContext) -> Result[Any, Exception]:
            failure = await self.begin(kind)
            if failure is not None:
                return failure
            try:
                self.around.bank.move(
                    context.idempotency_key, self.transfer.number, kind, account, amount
                )
            except Refusal as refusal:
                return Err(refusal)
            await self.end(kind)
            return Ok(amount)

        async def undo() -> None:
            await self.undo(kind)

        return SagaStep(
            kind,
            move,
            undo,
            max_retries=2,
            retry_delay=self.around.pace.retry,
            idempotent=self.transfer.idempotent,
            timeout=self.around.pace.timeout,
            compensation_attempts=2,
        )

    async def notify(self) -> Result[Any, Exception]:
        failure = await self.begin("notify")
        return Ok("told") if failure is None else failure

    async def begin(self, step: str) -> Err[Exception] | None:
        """Take a while, and fail where it is to fail without having happened."""
        await trio.sleep(self.around.pace.work)
        self.around.alive()
        transfer = self.transfer
        if transfer.at != step:
            return None
        if transfer.fault == "raise":
            raise OSError("no route")
        if transfer.fault == "once" and not self.tried:
            self.tried = True
            return Err(OSError("not now"))
        fails = transfer.fault == "err" or (step == "notify" and transfer.fault == "late")
        return Err(OSError("no")) if fails else None

    async def end(self, kind: Kind) -> None:
        """Take a while; where it is to be late it has happened, and does not say so."""
        if self.transfer.at == kind and self.transfer.fault == "late":
            await trio.sleep(2 * self.around.pace.timeout)
        await trio.sleep(self.around.pace.work)

    async def undo(self, kind: Kind) -> None:
        await trio.sleep(self.around.pace.work)
        self.around.alive()
        if kind in self.transfer.failing and not self.around.repaired:
            raise OSError("the bank is closed")
        once = not self.transfer.idempotent and not self.around.repaired
        self.around.bank.undo(self.transfer.number, kind, once=once)
        await trio.sleep(self.around.pace.work)


def runnable_of(transfers: list[Transfer], around: Surroundings) -> Any:
    """Return the transfers as a host runs them; the input is the number of one."""
    return TransferSaga.as_runnable(
        lambda number: TransferSaga(transfers[number], around), name="transfer"
    )
