"""What users describe supervisors with: of a fixed set of children, or of ones that come and go."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import final

from lexigram_actors.kernel.specs import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Strategy,
    SupervisingBehaviour,
    SupervisionPolicy,
)


@final
class Supervisor(SupervisingBehaviour):
    """Starts its children in order, restarts them as its strategy says, stops them in reverse.

        supervisor = await system.spawn(Supervisor([ChildSpec("counter", Counter)]))

    As Erlang/OTP's `supervisor`. Where it deviates:

    - A restart keeps the child's mailbox, name and references: only the message in hand is lost.
    - More than `max_restarts` within `period` seconds stops all children in reverse start order;
      the supervisor then ends as *failed* with `RestartIntensityExceeded` (OTP: `shutdown`), so
      that its own supervisor restarts it if it is permanent or transient (OTP: permanent only).
    - With `backoff`, restarts in a row wait longer and longer.

    Args:
        children: started one after the other; when one does not start, those before it are stopped
            and the supervisor's own start fails.
        strategy: which siblings are restarted with a child.
        max_restarts, period: the intensity; a group that is restarted together counts once.
        auto_shutdown: whether it ends when significant children do.
        backoff: None restarts at once.

    Raises:
        ConfigurationError: (a `ValueError`) an id is used twice, or a value makes no sense.
    """

    __slots__ = ()

    def __init__(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        backoff: Backoff | None = None,
    ) -> None:
        self.supervision = SupervisionPolicy(
            strategy=strategy,
            max_restarts=max_restarts,
            period=period,
            auto_shutdown=auto_shutdown,
            backoff=backoff,
            children=tuple(children),
        )


@final
class DynamicSupervisor(SupervisingBehaviour):
    """Supervises children that come and go by `start_child`, each for itself.

    As OTP's `simple_one_for_one` and Elixir's `DynamicSupervisor`: a child that ended is
    forgotten, all are stopped at once, not one after the other, and none is significant. Unlike
    theirs, each child brings its own spec and id.

    Args:
        max_children: `start_child` raises `ChildError` `"max_children"` beyond it.
        max_restarts, period, backoff: as for `Supervisor`.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        max_children: float = inf,
        max_restarts: int = 1,
        period: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.supervision = SupervisionPolicy(
            max_children=max_children,
            max_restarts=max_restarts,
            period=period,
            backoff=backoff,
            dynamic=True,
        )
