"""What modules are made of, and what a health check answers: plain values, of no framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen
from attrs.validators import deep_iterable, instance_of


class HealthStatus(StrEnum):
    """How well something is.

    | | |
    | --- | --- |
    | `HEALTHY` | it was asked, and answered in time; or there is nothing to ask |
    | `DEGRADED` | it works, or may work, but something needs attention: the message says what |
    | `UNHEALTHY` | it was asked, and failed, or did not answer in time |
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@frozen
class HealthCheckResult:
    """What a health check found.

    Args:
        component: What was asked.
        status: How well it is; of several parts the worst.
        details: More about it: plain values that JSON can hold, without secrets.
        duration_ms: Milliseconds that the check took.
        message: One sentence for people. None: there is nothing to say.
    """

    component: str
    status: HealthStatus = HealthStatus.HEALTHY
    details: Mapping[str, Any] = field(factory=dict, hash=False)
    duration_ms: float = 0.0
    message: str | None = None

    def is_healthy(self) -> bool:
        """Say whether the status is `HEALTHY`."""
        return self.status is HealthStatus.HEALTHY

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, for an endpoint."""
        return {
            "component": self.component,
            "status": str(self.status),
            "details": dict(self.details),
            "duration_ms": round(self.duration_ms, 2),
            "message": self.message,
        }


def in_order(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values as a tuple, which nobody changes later."""
    return tuple(values)


@frozen
class DynamicModule:
    """A module that was configured when the program ran: what it brings, and what others see of it.

    Args:
        module: The class that made it. Frameworks tell modules apart by it.
        providers: Instances, made already; one of them belongs to one application.
        exports: The types that other parts of an application may ask the container for.

    Raises:
        TypeError: `module` is no class, or something in `exports` is none.
    """

    module: type = field(validator=instance_of(type))
    providers: tuple[Any, ...] = field(default=(), converter=in_order)
    exports: tuple[type, ...] = field(
        default=(), converter=in_order, validator=deep_iterable(instance_of(type))
    )
