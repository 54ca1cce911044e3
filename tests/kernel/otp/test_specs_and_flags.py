"""Erlang/OTP `supervisor_SUITE`: `child_specs`, `child_specs_map`, `sup_flags`.

What is wrong is refused when the value is made, before anything runs, by an error that shows what
was given.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from lexigram_actors.kernel import (
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
)

from .behaviours import Log, child, worker
from .views import counts, ids

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem

REFUSED = (TypeError, ValueError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("behaviour", "mfa"),
        ("behaviour", None),
        ("behaviour", 17),
        ("restart", "prmanent"),
        ("shutdown", -10),
        ("shutdown", math.nan),
        ("shutdown", "brutal_kill"),
        ("significant", "maybe"),
        ("mailbox", -1),
        ("mailbox", "large"),
        ("id", None),
        ("id", ""),
    ],
)
def test_child_specs(field: str, value: object) -> None:
    """A spec with an invalid behaviour, restart type, time or flag cannot be made.

    Deviation: types of child and code modules are not part of a spec here.
    """
    fields: dict[str, Any] = {"id": "child", "behaviour": worker, field: value}
    with pytest.raises(REFUSED) as refusal:
        ChildSpec(**fields)
    assert field in str(refusal.value)


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("shutdown", [0, 1.0, math.inf])
@pytest.mark.parametrize("behaviour", [worker, Supervisor()])
def test_child_specs_valid(restart: Restart, shutdown: float, behaviour: Any) -> None:
    """Every restart type goes with every shutdown time, for workers and supervisors."""
    spec = ChildSpec("child", behaviour, restart=restart, shutdown=shutdown)
    Supervisor([spec])


def test_child_specs_duplicate_child_name() -> None:
    """Two children with one id are refused, and the id is named."""
    first = ChildSpec("twin", worker, shutdown=math.inf)
    second = ChildSpec("twin", worker, shutdown=1.0)
    with pytest.raises(ValueError, match="twin"):
        Supervisor([first, second])


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_child_specs_start_child(
    system: ActorSystem, kind: Any, autojump_clock: MockClock
) -> None:
    """`start_child` refuses what is no spec, and the supervisor goes on."""
    supervisor = await system.spawn(kind())
    for nonsense in ("hej", None, worker, ("child", worker)):
        with pytest.raises(REFUSED):
            await supervisor.start_child(nonsense)
    assert await ids(supervisor) == []


@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "significant"),
    list(product(AutoShutdown, Restart, [False, True])),
)
async def test_child_specs_map(
    system: ActorSystem,
    log: Log,
    auto_shutdown: AutoShutdown,
    restart: Restart,
    significant: bool,
    autojump_clock: MockClock,
) -> None:
    """Only transient and temporary children can be significant, and not where nothing is.

    Checked for children given to the supervisor and for those that are started later.
    """
    allowed = not significant or (
        restart is not Restart.PERMANENT and auto_shutdown is not AutoShutdown.NEVER
    )
    if allowed:
        spec = child(log, "child", restart=restart, significant=significant)
        Supervisor([spec], auto_shutdown=auto_shutdown)
        supervisor = await system.spawn(Supervisor(auto_shutdown=auto_shutdown))
        await supervisor.start_child(spec)
        assert await ids(supervisor) == ["child"]
    elif restart is Restart.PERMANENT:
        with pytest.raises(ValueError, match="significant"):
            child(log, "child", restart=restart, significant=significant)
    else:
        spec = child(log, "child", restart=restart, significant=significant)
        with pytest.raises(ValueError, match="significant"):
            Supervisor([spec], auto_shutdown=auto_shutdown)
        supervisor = await system.spawn(Supervisor(auto_shutdown=auto_shutdown))
        with pytest.raises(ValueError, match="significant"):
            await supervisor.start_child(spec)
        assert await counts(supervisor) == (0, 0, 0, 0)
        assert log.starts == []


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("strategy", "none_for_one"),
        ("max_restarts", -1),
        ("max_restarts", 1.5),
        ("max_restarts", "many"),
        ("period", 0),
        ("period", -1.0),
        ("period", math.nan),
        ("period", "long"),
        ("auto_shutdown", "sometimes"),
        ("backoff", "slow"),
    ],
)
def test_sup_flags(flag: str, value: object) -> None:
    """A supervisor with an unknown strategy or auto-shutdown, or impossible limits, is refused."""
    flags: dict[str, Any] = {flag: value}
    with pytest.raises(REFUSED) as refusal:
        Supervisor([], **flags)
    assert flag in str(refusal.value)


def test_sup_flags_unknown() -> None:
    """A flag that does not exist is a `TypeError`.

    Deviation: OTP ignores it.
    """
    flags: dict[str, Any] = {"silly_flag": True}
    with pytest.raises(TypeError, match="silly_flag"):
        Supervisor([], **flags)


@pytest.mark.parametrize("value", [-1, "many", math.nan])
def test_sup_flags_max_children(value: object) -> None:
    """A dynamic supervisor has room for some children or none, not for fewer."""
    flags: dict[str, Any] = {"max_children": value}
    with pytest.raises(REFUSED) as refusal:
        DynamicSupervisor(**flags)
    assert "max_children" in str(refusal.value)


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_sup_flags_valid(
    system: ActorSystem, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """Every strategy is accepted, and an intensity of zero."""
    supervisor = await system.spawn(Supervisor(strategy=strategy, max_restarts=0, period=1))
    assert await ids(supervisor) == []
