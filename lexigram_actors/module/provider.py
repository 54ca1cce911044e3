"""`WorkflowProvider`: what the library brings into a container, and how well it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self, final

from lexigram_actors.checks import number, require
from lexigram_actors.config import BulkOperationConfig, GraphConfig
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.machine.models import StateMachineProtocol, StatePersistenceProtocol
from lexigram_actors.machine.persistence import DatabaseStatePersistence
from lexigram_actors.machine.stored import StoreStatePersistence
from lexigram_actors.module.arguments import checked_table, fitting, kind
from lexigram_actors.module.containers import registrar_of, resolver_of
from lexigram_actors.module.health import Question, ask_all, needs_trio, summary, worst
from lexigram_actors.module.surroundings import surroundings
from lexigram_actors.module.values import HealthCheckResult, HealthStatus
from lexigram_actors.pipeline import Pipeline, PipelineProtocol
from lexigram_actors.result import Err
from lexigram_actors.saga.models import SagaStoreProtocol
from lexigram_actors.saga.stores import CacheSagaStore, MemorySagaStore
from lexigram_actors.storage.database import DatabaseProviderProtocol
from lexigram_actors.storage.ports import Store

if TYPE_CHECKING:
    from lexigram_actors.module.protocols import (
        ContainerRegistrarProtocol,
        ContainerResolverProtocol,
    )

logger = logging.getLogger(__name__)

PIPELINE: Final = "default"
"""The name of the shared pipeline."""

NOBODY: Final = "lexigram_actors:health-check"
"""The id of a saga, and of a machine, that is asked for and not there."""


@final
class WorkflowProvider:
    """Brings pipelines, bulk operations, sagas and state machines into a container.

    A container registers it, then boots it, and shuts it down at the end; it may be booted again.
    Each application has one of its own. Everything is a singleton: whoever asks gets the same
    object. What was given is never opened or closed here.

    Registering, booting and shutting down work on any loop, Trio's or not: they await nothing but
    the container.

    Args:
        config: Settings of bulk operations. None: the defaults.
        saga_store: Where sagas record what they have done. None: in `store`, and without one in
            memory, where nothing outlives the process.
        state_machine: Bound under `StateMachineProtocol`. None: nothing is.
        db_provider: A database for the transitions of state machines, bound under
            `StatePersistenceProtocol`. None: they are kept in `store`, and without one nothing is
            bound.
        state_table: The table of the transitions in `db_provider`.
        store: One of the library's stores, open as long as the container is used: for sagas and
            state machines. What is given besides wins.
        graph_config: Settings of the graph engine. None: the defaults.

    Attributes:
        config: The settings of bulk operations.
        saga_store: The store of sagas, the one in memory where none was given.

    Raises:
        TypeError: An argument is not what it should be; the message names it.
        ConfigurationError: `state_table` is no name of a table.
    """

    name = "workflow"

    def __init__(
        self,
        config: BulkOperationConfig | None = None,
        saga_store: SagaStoreProtocol | None = None,
        state_machine: StateMachineProtocol | None = None,
        db_provider: DatabaseProviderProtocol | None = None,
        state_table: str = "workflow_state_transitions",
        *,
        store: Store | None = None,
        graph_config: GraphConfig | None = None,
    ) -> None:
        self.config = fitting("config", config, BulkOperationConfig) or BulkOperationConfig()
        self.graph_config = fitting("graph_config", graph_config, GraphConfig) or GraphConfig()
        self.state_machine = fitting("state_machine", state_machine, StateMachineProtocol)
        self.db_provider = fitting("db_provider", db_provider, DatabaseProviderProtocol)
        self.state_table = checked_table(state_table)
        self.store = fitting("store", store, Store)
        self.saga_store = fitting("saga_store", saga_store, SagaStoreProtocol) or self._sagas()
        self.persistence = self._persistence()
        self._pipeline: Pipeline | None = None
        self._is_shut_down = False

    @classmethod
    def from_config(cls, config: BulkOperationConfig, **context: Any) -> Self:
        """Return a provider with these settings.

        Args:
            config: Settings of bulk operations.
            **context: Any other argument of the constructor, by name. One that it does not have is
                a `TypeError`: left out in silence, a store would be missed when it is needed.
        """
        return cls(config, **context)

    # --- in a container ---------------------------------------------------------------------

    def bindings(self) -> dict[type, Callable[[], Any]]:
        """Return what is registered: by type, the function that gives its object."""
        found: dict[type, Callable[[], Any]] = {
            WorkflowProvider: lambda: self,
            BulkOperationConfig: lambda: self.config,
            GraphConfig: lambda: self.graph_config,
            Pipeline: self._shared_pipeline,
            PipelineProtocol: self._shared_pipeline,
            SagaStoreProtocol: lambda: self.saga_store,
        }
        if self.state_machine is not None:
            found[StateMachineProtocol] = lambda: self.state_machine
        if self.persistence is not None:
            found[StatePersistenceProtocol] = lambda: self.persistence
        return found

    async def register(self, container: ContainerRegistrarProtocol) -> None:
        """Bind everything; nothing is made yet.

        | type | what is given |
        | --- | --- |
        | `WorkflowProvider` | this provider |
        | `BulkOperationConfig`, `GraphConfig` | the settings |
        | `Pipeline`, `PipelineProtocol` | one pipeline without steps, shared by all who ask |
        | `SagaStoreProtocol` | `saga_store` |
        | `StateMachineProtocol` | `state_machine`, where given |
        | `StatePersistenceProtocol` | the transitions in `db_provider` or `store`, where given |

        It does not checkpoint: it cannot be cancelled half-way.

        Args:
            container: A registrar, or an `svcs.Registry`.

        Raises:
            TypeError: It is neither. Nothing is bound.
        """
        registrar = registrar_of(container)
        for interface, factory in self.bindings().items():
            registrar.singleton(interface, factory)

    async def boot(self, container: ContainerResolverProtocol) -> None:
        """Resolve the settings and log them, so that the log shows what is in force.

        Args:
            container: A resolver, or an `svcs.Container`.

        Raises:
            ConfigurationError: What is bound to `BulkOperationConfig` is none.
            TypeError: The container is neither.
        """
        config = await resolver_of(container).resolve(BulkOperationConfig)
        if not isinstance(config, BulkOperationConfig):
            raise ConfigurationError(
                f"the container gave {kind(config)} for BulkOperationConfig",
                hint="bind an instance of BulkOperationConfig, or leave it to the provider",
            )
        self._is_shut_down = False
        logger.info(
            "workflow provider booted: %s, sagas in %s, transitions in %s",
            config,
            type(self.saga_store).__name__,
            "nothing" if self.persistence is None else type(self.persistence).__name__,
            extra={"config": config},
        )

    async def shutdown(self) -> None:
        """End; a second time does nothing. Stores that were given stay as they are.

        The shared pipeline is let go of. It does not checkpoint.
        """
        if self._is_shut_down:
            return
        self._is_shut_down = True
        self._pipeline = None
        logger.info("workflow provider shut down")

    # --- health -----------------------------------------------------------------------------

    async def health_check(self, timeout: float = 5.0) -> HealthCheckResult:
        """Ask every component that keeps something, and return how well they are.

        The saga store is asked for a saga that is not there, the database whether it is connected
        and for `SELECT 1`, the transitions in a store for a machine that is not there. They are
        asked side by side. One that raises, answers `Err`, or does not answer in time is
        unhealthy; its message says why, without addresses and passwords.

        Under asyncio, what answers under Trio only (the library's own stores) is not asked and
        degraded, but for `MemorySagaStore`; without the package `anyio` nothing else is asked.

        Args:
            timeout: Seconds for each component; `inf`: no limit. A component that shields itself
                from being cancelled is waited for, and is unhealthy then.

        Returns:
            `details["components"]` has `status`, `driver` and `message` by component.

        Raises:
            ConfigurationError: The timeout is no number of seconds. What components raise is told,
                and not raised.

        Cancelled, the questions are cancelled too, and nothing is left running.
        """
        require("timeout", timeout, number(least=0, unbounded=True))
        here = surroundings()
        clock = time.perf_counter if here is None else here.current_time
        began = clock()
        questions = self._questions()
        findings = await ask_all(questions, timeout)
        status, message = worst(findings), summary(questions, findings)
        if self._is_shut_down:
            status, message = HealthStatus.UNHEALTHY, "shut down"
        components: dict[str, Any] = {"pipeline": {"status": str(HealthStatus.HEALTHY)}}
        if self.state_machine is not None:
            components["state_machine"] = {
                "status": str(HealthStatus.HEALTHY),
                "driver": type(self.state_machine).__name__,
            }
        for question, finding in zip(questions, findings, strict=True):
            components[question.component] = question.details(finding)
        return HealthCheckResult(
            self.name, status, {"components": components}, (clock() - began) * 1000, message
        )

    def _questions(self) -> list[Question]:
        sagas = self.saga_store
        # What a saga store of ours needs is what the cache below it needs.
        below = sagas.cache if isinstance(sagas, CacheSagaStore) else sagas
        in_memory = isinstance(sagas, MemorySagaStore)
        questions = [
            Question(
                "saga_store",
                lambda: sagas.load(NOBODY),
                {"driver": type(sagas).__name__},
                needs_trio=needs_trio(below) and not in_memory,
                never_waits=in_memory,
            )
        ]
        if self.db_provider is not None:
            questions.append(self._database_question(self.db_provider))
        elif self.persistence is not None:
            persistence = self.persistence
            questions.append(
                Question(
                    "state_persistence",
                    lambda: persistence.get_current_version(NOBODY),
                    {"driver": type(persistence).__name__},
                    needs_trio=True,
                )
            )
        return questions

    def _database_question(self, database: DatabaseProviderProtocol) -> Question:
        async def ask() -> Any:
            if not await database.is_connected():
                return Err("it is not connected")
            return await database.execute_query("SELECT 1")

        facts = {"driver": type(database).__name__, "table": self.state_table}
        return Question("state_persistence", ask, facts, needs_trio=needs_trio(database))

    # --- making -----------------------------------------------------------------------------

    def _sagas(self) -> SagaStoreProtocol:
        return MemorySagaStore() if self.store is None else CacheSagaStore(self.store)

    def _persistence(self) -> StatePersistenceProtocol | None:
        if self.db_provider is not None:
            return DatabaseStatePersistence(self.db_provider, self.state_table)
        return None if self.store is None else StoreStatePersistence(self.store)

    def _shared_pipeline(self) -> Pipeline:
        if self._pipeline is None:
            self._pipeline = Pipeline(PIPELINE)
        return self._pipeline
