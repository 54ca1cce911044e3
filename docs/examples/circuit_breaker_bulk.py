"""Stop calling a service while it is down, and finish the job when it is back.

The service answers for the modules of the standard library, and is down for a while. After three
failures in a row the breaker opens: calls are refused at once instead of made. A probe finds the
service again, and the retries of the batches that were refused go through.

    python docs/examples/circuit_breaker_bulk.py
"""

from __future__ import annotations

import sys
from collections import Counter
from importlib.machinery import PathFinder

import trio

from lexigram_actors import BulkOperation, BulkOperationConfig, CircuitBreaker, CircuitBreakerConfig

OUTAGE = 0.3


class Service:
    """Knows what kind each module is; refuses connections between its 6th call and the end of
    the outage.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.back_at: float | None = None

    async def kinds(self, modules: list[str]) -> list[str]:
        await trio.sleep(0.002)
        if self.calls["answered"] == 5 and self.back_at is None:
            self.back_at = trio.current_time() + OUTAGE
        if self.back_at is not None and trio.current_time() < self.back_at:
            self.calls["failed"] += 1
            raise ConnectionRefusedError("the service is down")
        self.calls["answered"] += 1
        return [kind_of(module) for module in modules]


def kind_of(module: str) -> str:
    if module in sys.builtin_module_names:
        return "built in"
    spec = PathFinder.find_spec(module)
    if spec is None:
        return "not on this system"
    return "package" if spec.submodule_search_locations else "module"


async def main() -> None:
    modules = sorted(sys.stdlib_module_names)
    service = Service()
    breaker = CircuitBreaker(
        CircuitBreakerConfig(failure_threshold=3, recovery_timeout=0.05, name="module service")
    )
    operation: BulkOperation[str, str] = BulkOperation(
        BulkOperationConfig(batch_size=10, max_concurrency=2, retry_attempts=8, retry_delay=0.01),
        service.kinds,
        circuit_breaker=breaker,
    )

    kinds: Counter[str] = Counter()
    async with operation.execute(modules) as run:
        async for result in run:
            kinds.update(result.results)

    for kind, number in kinds.most_common():
        print(f"{number:4} {kind}")
    calls, metrics = service.calls, operation.metrics
    print(f"{metrics.failed_items} of {len(modules)} modules without an answer")
    print(f"the service answered {calls['answered']} calls and failed {calls['failed']}")
    print(f"retries: {metrics.total_retries}, breaker now: {breaker.state}")


if __name__ == "__main__":
    trio.run(main)
