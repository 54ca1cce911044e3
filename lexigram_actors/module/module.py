"""`WorkflowModule`: the provider, as a module that frameworks take in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.values import DynamicModule

if TYPE_CHECKING:
    from lexigram_actors.config import GraphConfig
    from lexigram_actors.machine.models import StateMachineProtocol
    from lexigram_actors.saga.models import SagaStoreProtocol
    from lexigram_actors.storage.database import DatabaseProviderProtocol
    from lexigram_actors.storage.ports import Store


@final
class WorkflowModule:
    """Pipelines, bulk operations, sagas, state machines and graphs, as a module.

    Each call makes a provider of its own; one application takes one of them.
    """

    @classmethod
    def configure(
        cls,
        config: Any | None = None,
        saga_store: SagaStoreProtocol | None = None,
        *,
        state_machine: StateMachineProtocol | None = None,
        db_provider: DatabaseProviderProtocol | None = None,
        state_table: str = "workflow_state_transitions",
        store: Store | None = None,
        graph_config: GraphConfig | None = None,
    ) -> DynamicModule:
        """Return the module with these settings; it exports everything that its provider binds.

        Args:
            config: A `BulkOperationConfig`. None: the defaults.
            saga_store: Where sagas record what they have done. None: in `store`, and without one
                in memory.
            state_machine: As for `WorkflowProvider`, and so are the others.

        Raises:
            TypeError: An argument is not what it should be.
            ConfigurationError: `state_table` is no name of a table.
        """
        return module_of(
            cls,
            WorkflowProvider(
                config,
                saga_store,
                state_machine,
                db_provider,
                state_table,
                store=store,
                graph_config=graph_config,
            ),
        )

    @classmethod
    def stub(cls, config: Any = None) -> DynamicModule:
        """Return the module for tests: everything in memory, nothing to set up.

        Args:
            config: A `BulkOperationConfig`. None: the defaults.

        Raises:
            TypeError: The config is something else.
        """
        return module_of(cls, WorkflowProvider(config))


def module_of(cls: type, provider: WorkflowProvider) -> DynamicModule:
    """Return a module of one provider, that exports what it binds."""
    return DynamicModule(cls, [provider], list(provider.bindings()))
