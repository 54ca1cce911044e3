"""Looking into the bank, and into the store: is every amount accounted for?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from lexigram_actors.errors import SagaError
from lexigram_actors.host.operator import Operator
from lexigram_actors.storage.instances import Instance, InstanceStatus
from lexigram_actors.storage.ports import Store
from tests.saga.bank.bank import ACCOUNTS, AT_FIRST, Bank, Kind, Leg
from tests.saga.bank.transfers import Transfer

MONEY: Final = ACCOUNTS * AT_FIRST
STUCK: Final = InstanceStatus.COMPENSATION_STUCK


@frozen
class Audit:
    """What was found.

    Attributes:
        stuck: The steps that stand, or may, by the number of their transfer.
    """

    completed: int
    undone: int
    stuck: Mapping[int, frozenset[str]]


async def stuck_in(operator: Operator) -> dict[int, frozenset[str]]:
    """Return what an operator is told: the transfers that are stuck, with their steps."""
    found: dict[int, frozenset[str]] = {}
    before = None
    while page := await operator.select(status=[STUCK], before=before):
        for instance in page:
            outcome = await operator.outcome(instance.id)
            assert outcome is not None
            error = outcome.unwrap_err()
            assert isinstance(error, SagaError), repr(error)
            assert error.uncompensated, f"{instance.id} is stuck, and does not say where"
            found[number_of(instance)] = frozenset(error.uncompensated)
        before = (page[-1].created_at, page[-1].id)
    return found


def number_of(instance: Instance) -> int:
    return int(instance.id.removeprefix("transfer "))


async def audit(bank: Bank, store: Store, transfers: Sequence[Transfer]) -> Audit:
    """Compare the bank with what the store says of each transfer.

    Raises:
        AssertionError: Some amount is unaccounted for, or something is half done and not listed.
    """
    operator = Operator(store)
    assert not bank.complaints(), bank.complaints()[:5]
    stuck = await stuck_in(operator)
    counts = await operator.count()
    assert sum(counts.values()) == len(transfers), counts
    legs = bank.legs()
    completed = undone = 0
    for transfer in transfers:
        instance = await operator.find(transfer.id)
        stands = standing(legs.get(transfer.number, {}))
        if instance.status is InstanceStatus.COMPLETED:
            completed += 1
            assert stands == {"debit", "credit"}, f"{transfer}: only {stands}"
        else:
            undone += instance.status is InstanceStatus.FAILED
            assert instance.status in (InstanceStatus.FAILED, STUCK), instance
            unlisted = stands - stuck.get(transfer.number, frozenset())
            assert not unlisted, f"{transfer} is {instance.status}; not listed: {unlisted}"
    missing = sum(
        legs[number][kind].amount
        for number, steps in stuck.items()
        for kind in standing(legs.get(number, {}))
        if kind in steps
    )
    assert bank.total() - missing == MONEY, f"{bank.total()} on accounts, {missing} stuck"
    return Audit(completed, undone, stuck)


def standing(legs: Mapping[Kind, Leg]) -> set[Kind]:
    return {kind for kind, leg in legs.items() if leg.state == "stands"}
