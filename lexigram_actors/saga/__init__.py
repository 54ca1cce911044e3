"""Sagas: steps that are undone when a later one fails."""

from lexigram_actors.saga.decorators import saga_step
from lexigram_actors.saga.models import SagaContext, SagaState, SagaStep, SagaStoreProtocol
from lexigram_actors.saga.runnable import SagaRunnable
from lexigram_actors.saga.saga import AbstractSaga
from lexigram_actors.saga.stores import CacheSagaStore, MemorySagaStore

__all__ = [
    "AbstractSaga",
    "CacheSagaStore",
    "MemorySagaStore",
    "SagaContext",
    "SagaRunnable",
    "SagaState",
    "SagaStep",
    "SagaStoreProtocol",
    "saga_step",
]
