"""Configuration: frozen values, made by hand or from a dict, a TOML file or the environment.

A constructor reads nothing but its arguments. The three loaders are explicit calls:

    BulkOperationConfig.from_toml("app.toml")      # table [workflow]
    BulkOperationConfig.from_env()                 # LEX_WORKFLOW__BATCH_SIZE=50 ...
    GraphConfig.from_dict({"max_iterations": 100})

All refuse what they do not know, with the nearest name they do know, and list every wrong setting
at once in a `ConfigurationError`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import ClassVar, Literal

from attrs import field, frozen

from lexigram_actors.breaker import CircuitBreakerConfig
from lexigram_actors.checks import amount, check, choice, flag, given, nested, number, whole
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.loading import LoadableConfig


class Environment(StrEnum):
    """Where a program runs."""

    DEVELOPMENT = "development"
    TESTING = "testing"
    STAGING = "staging"
    PRODUCTION = "production"


@frozen
class ConfigIssue:
    """A setting that is valid and yet not wise in some environment."""

    field: str
    message: str
    severity: Literal["error", "warning"] = "error"


@frozen
class CheckedConfig(LoadableConfig, ABC):
    """What the configs here share: loaders, a check of every setting, advice for environments."""

    def __attrs_post_init__(self) -> None:
        check(self)

    @abstractmethod
    def _issues(self) -> list[ConfigIssue]:
        """Return what is unwise where it matters: staging and production."""

    def validate_for_environment(self, env: Environment | None = None) -> list[ConfigIssue]:
        """Return what is unwise for that environment; an empty list if nothing is.

        Only staging and production are judged; None, development and testing have no issues.
        """
        if env is None:
            return []
        if env not in list(Environment):
            known = ", ".join(Environment)
            raise ConfigurationError(f"unknown environment {given(env)}; there are {known}")
        return self._issues() if env in (Environment.STAGING, Environment.PRODUCTION) else []


@frozen
class BulkOperationConfig(CheckedConfig):
    """Configuration of bulk operations, and the default time-out of pipelines.

    Args:
        batch_size: Items in a batch, at least 1.
        max_concurrency: Batches worked on at once, at least 1.
        timeout: Seconds a whole run may take; `inf` sets no limit.
        retry_attempts: Further attempts for a failed batch; 0 makes none.
        retry_delay: Seconds before the first retry, doubled for each further one.
        enable_progress_tracking: Whether progress callbacks are called.
        circuit_breaker_config: When to stop calling a processor that keeps failing; None: never.
        pipeline_timeout: Seconds a pipeline may take by default; `inf` sets no limit.
        ordered: Deliver results in the order of the input instead of as they come.
        on_poison: What becomes of a batch that fails for good: `"fail"` fails all its items,
            `"bisect"` splits it until the bad items stand alone.
        failure_limit: Failed items that end the run: an int tolerates so many (0: none), a float
            is a fraction of the items done; None: any number.
        jitter: At most this fraction of each delay (0 to 1) is added to it at random.
        rate_limit: Items a second, at most; None: no limit.
        adaptive: Find the concurrency by itself, up to `max_concurrency`.

    Raises:
        ConfigurationError: A value is of the wrong type or out of its range; all are listed.
    """

    ENV_PREFIX: ClassVar[str] = "LEX_WORKFLOW__"
    TOML_TABLE: ClassVar[tuple[str, ...]] = ("workflow",)
    OF_OTHERS: ClassVar[tuple[str, ...]] = ("graph",)

    batch_size: int = field(default=10, metadata=whole(least=1))
    max_concurrency: int = field(default=5, metadata=whole(least=1))
    timeout: float = field(default=300.0, metadata=number(above=0, unbounded=True))
    retry_attempts: int = field(default=3, metadata=whole(least=0))
    retry_delay: float = field(default=1.0, metadata=number(least=0))
    enable_progress_tracking: bool = field(default=True, metadata=flag())
    circuit_breaker_config: CircuitBreakerConfig | None = field(
        default=None, metadata=nested(CircuitBreakerConfig)
    )
    pipeline_timeout: float = field(default=60.0, metadata=number(above=0, unbounded=True))
    ordered: bool = field(default=False, kw_only=True, metadata=flag())
    on_poison: Literal["fail", "bisect"] = field(
        default="fail", kw_only=True, metadata=choice("fail", "bisect")
    )
    failure_limit: int | float | None = field(default=None, kw_only=True, metadata=amount())
    jitter: float = field(default=0.0, kw_only=True, metadata=number(least=0, most=1))
    rate_limit: float | None = field(
        default=None, kw_only=True, metadata=number(above=0, optional=True)
    )
    adaptive: bool = field(default=False, kw_only=True, metadata=flag())

    def _issues(self) -> list[ConfigIssue]:
        at_once = self.batch_size * self.max_concurrency
        found = {
            "timeout": math.isinf(self.timeout) and "a run that hangs is never ended",
            "retry_delay": self.retry_attempts > 0
            and self.retry_delay == 0
            and "retries come at once, and meet the same fault again",
            "batch_size": at_once > 1_000_000
            and f"{at_once:,} items are held in memory at once (batch_size x max_concurrency)",
        }
        return [ConfigIssue(name, said, "warning") for name, said in found.items() if said]


@frozen
class GraphConfig(CheckedConfig):
    """Configuration of the graph engine.

    Args:
        enabled: Whether graphs are offered at all.
        max_iterations: Node executions in a run, at least 1; a guard against endless loops.
        node_timeout: Seconds for each execution of a node; 0 sets no limit.
        total_timeout: Seconds for a run; 0 sets no limit.
        checkpoint_enabled: Record the state after each node, so that a failed run can go on.
        parallel_branches: Run branches side by side; False runs ready nodes one at a time.
        max_parallel_branches: Nodes that run at once, at most; 0 sets no limit.
        on_conflict: What becomes of writes to one key side by side, without a reducer: `"last"`
            takes the later in merge order, `"error"` fails the run.

    Raises:
        ConfigurationError: A value is of the wrong type or out of its range; all are listed.
    """

    ENV_PREFIX: ClassVar[str] = "LEX_WORKFLOW__GRAPH__"
    TOML_TABLE: ClassVar[tuple[str, ...]] = ("workflow", "graph")

    enabled: bool = field(default=True, metadata=flag())
    max_iterations: int = field(default=25, metadata=whole(least=1))
    node_timeout: float = field(default=120.0, metadata=number(least=0, unbounded=True))
    total_timeout: float = field(default=0.0, metadata=number(least=0, unbounded=True))
    checkpoint_enabled: bool = field(default=False, metadata=flag())
    parallel_branches: bool = field(default=True, metadata=flag())
    max_parallel_branches: int = field(default=0, metadata=whole(least=0))
    on_conflict: Literal["last", "error"] = field(
        default="last", kw_only=True, metadata=choice("last", "error")
    )

    def _issues(self) -> list[ConfigIssue]:
        endless = all(t in (0, math.inf) for t in (self.node_timeout, self.total_timeout))
        found = {
            "node_timeout": endless
            and "a node that hangs is never ended; total_timeout is off too",
            "max_iterations": self.max_iterations > 10_000
            and "a loop that does not end is noticed late",
        }
        return [ConfigIssue(name, said, "warning") for name, said in found.items() if said]
