"""A provider of lexigram that passes everything on to one of ours. Imported where lexigram is."""

from __future__ import annotations

from typing import Any, Final, final

from lexigram.contracts.core import HealthCheckResult, HealthStatus, ProviderPriority
from lexigram.di.provider import Provider

from lexigram_actors.module import values

HEADROOM: Final = 0.9
"""The part of a time limit that a check may use for itself."""


@final
class LexigramProvider(Provider):
    """Registers, boots, shuts down and asks the provider it is made of, and nothing else.

    lexigram sets no settings on it from its own configuration: they are those of `inner`.

    Args:
        inner: A `WorkflowProvider`, or whatever has its methods.
    """

    priority = ProviderPriority.DOMAIN

    def __init__(self, inner: Any) -> None:
        super().__init__(name=inner.name)
        self.inner = inner

    async def register(self, container: Any) -> None:
        """Bind what the provider binds."""
        await self.inner.register(container)

    async def boot(self, container: Any) -> None:
        """Boot the provider."""
        await self.inner.boot(container)

    async def shutdown(self) -> None:
        """Shut the provider down."""
        await self.inner.shutdown()

    async def health_check(self, timeout: float = 5.0) -> HealthCheckResult:
        """Ask the provider; return its answer as a result of lexigram.

        lexigram gives a whole check `timeout` seconds, from before it begins: the provider gets a
        little less, so that it is its own answer that arrives, and says which component is late.
        """
        return result_of(await self.inner.health_check(timeout * HEADROOM))


def result_of(found: values.HealthCheckResult) -> HealthCheckResult:
    """Return a result as one of lexigram; what is not well is its error, too."""
    return HealthCheckResult(
        component=found.component,
        status=HealthStatus(str(found.status)),
        message=found.message,
        error=found.message if found.status is values.HealthStatus.UNHEALTHY else None,
        duration_ms=found.duration_ms,
        details=dict(found.details),
    )
