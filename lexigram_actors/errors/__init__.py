"""Every error of the library, one tree under `LexigramError`.

Classes differ where the reader's next action differs. Each carries its facts as fields, builds
its message from them, survives pickle and copy, and has `to_dict()`.

    LexigramError                            LEX_ERR_CORE_001
    ├── ConfigurationError (ValueError)      LEX_ERR_CONF_001
    ├── MissingExtraError (ImportError)      LEX_ERR_CONF_002
    ├── CircuitOpenError                     LEX_ERR_RES_001
    ├── UnwrapError                          LEX_ERR_CORE_003
    ├── ForeignError                         LEX_ERR_CORE_002
    ├── ActorError                           LEX_ERR_ACT_001
    │   ├── MailboxFull                      LEX_ERR_ACT_002
    │   ├── ActorStopped                     LEX_ERR_ACT_003
    │   ├── ActorFailed                      LEX_ERR_ACT_004
    │   ├── AskTimeout (TimeoutError)        LEX_ERR_ACT_005
    │   ├── RestartIntensityExceeded         LEX_ERR_ACT_006
    │   ├── ActorUnresponsive                LEX_ERR_ACT_007
    │   ├── ActorNameTaken                   LEX_ERR_ACT_008
    │   └── ChildError                       LEX_ERR_ACT_009
    ├── StoreError                           LEX_ERR_STORE_001
    │   ├── StoreCorruptedError              LEX_ERR_STORE_002
    │   ├── StoreVersionError                LEX_ERR_STORE_003
    │   └── LeaseLost                        LEX_ERR_STORE_004
    ├── NotStorableError (ValueError)        LEX_ERR_STORE_005
    ├── PipelineExecutionError               LEX_ERR_PIPE_001
    │   └── WorkflowError                    LEX_ERR_WF_003
    │       ├── WorkflowNotFoundError        LEX_ERR_WF_004
    │       ├── WorkflowStateError           LEX_ERR_WF_005
    │       ├── WorkflowStepError            LEX_ERR_WF_006
    │       ├── WorkflowTimeoutError (TimeoutError)   LEX_ERR_WF_007
    │       ├── WorkflowCompensationError    LEX_ERR_WF_008
    │       ├── WorkflowVersionMismatchError LEX_ERR_WF_010
    │       ├── NonDeterminismError          LEX_ERR_WF_026
    │       ├── WorkflowFailedError          LEX_ERR_WF_027
    │       └── WorkflowCancelledError       LEX_ERR_WF_028
    ├── PipelineStepError                    LEX_ERR_PIPE_002
    ├── GraphExecutionError                  LEX_ERR_WF_011
    │   ├── NodeExecutionError               LEX_ERR_WF_012
    │   ├── CycleDetectedError               LEX_ERR_WF_013
    │   ├── GraphTimeoutError (TimeoutError) LEX_ERR_WF_014
    │   ├── GraphValidationError             LEX_ERR_WF_015
    │   ├── HumanInputRequiredError          LEX_ERR_WF_016
    │   ├── StateConflictError               LEX_ERR_WF_024
    │   └── AnswerInvalidError (ValueError)  LEX_ERR_WF_025
    ├── SagaError                            LEX_ERR_WF_019
    │   ├── SagaStepError                    LEX_ERR_WF_023
    │   └── SagaVersionMismatchError         LEX_ERR_WF_009
    ├── StateError                           LEX_ERR_WF_017
    │   └── StateConcurrencyError            LEX_ERR_WF_018
    └── BulkOperationError                   LEX_ERR_WF_020
        ├── BulkOperationTimeoutError (TimeoutError)  LEX_ERR_WF_021
        └── BulkOperationCancelledError      LEX_ERR_WF_022

Files: `base` the root, and how errors travel; `common` configuration, extras, breaker, unwrap;
`actors`, `store`, `workflow` (pipelines too), `graph`, `saga`, `machine`, `bulk` the kinds.
"""

from __future__ import annotations

from lexigram_actors.errors.actors import (
    CHILD_PROBLEMS,
    ActorError,
    ActorFailed,
    ActorNameTaken,
    ActorStopped,
    ActorUnresponsive,
    AskTimeout,
    ChildError,
    MailboxFull,
    RestartIntensityExceeded,
)
from lexigram_actors.errors.base import ForeignError, LexigramError, describe, text_of
from lexigram_actors.errors.bulk import (
    BulkOperationCancelledError,
    BulkOperationError,
    BulkOperationTimeoutError,
)
from lexigram_actors.errors.common import (
    CircuitOpenError,
    ConfigurationError,
    MissingExtraError,
    UnwrapError,
)
from lexigram_actors.errors.graph import (
    AnswerInvalidError,
    CycleDetectedError,
    GraphExecutionError,
    GraphTimeoutError,
    GraphValidationError,
    HumanInputRequiredError,
    NodeExecutionError,
    StateConflictError,
)
from lexigram_actors.errors.machine import StateConcurrencyError, StateError
from lexigram_actors.errors.saga import SagaError, SagaStepError, SagaVersionMismatchError
from lexigram_actors.errors.store import (
    LeaseLost,
    NotStorableError,
    StoreCorruptedError,
    StoreError,
    StoreVersionError,
)
from lexigram_actors.errors.workflow import (
    NonDeterminismError,
    PipelineExecutionError,
    PipelineStepError,
    WorkflowCancelledError,
    WorkflowCompensationError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowTimeoutError,
    WorkflowVersionMismatchError,
)

__all__ = [
    "CHILD_PROBLEMS",
    "ActorError",
    "ActorFailed",
    "ActorNameTaken",
    "ActorStopped",
    "ActorUnresponsive",
    "AnswerInvalidError",
    "AskTimeout",
    "BulkOperationCancelledError",
    "BulkOperationError",
    "BulkOperationTimeoutError",
    "ChildError",
    "CircuitOpenError",
    "ConfigurationError",
    "CycleDetectedError",
    "ForeignError",
    "GraphExecutionError",
    "GraphTimeoutError",
    "GraphValidationError",
    "HumanInputRequiredError",
    "LeaseLost",
    "LexigramError",
    "MailboxFull",
    "MissingExtraError",
    "NodeExecutionError",
    "NonDeterminismError",
    "NotStorableError",
    "PipelineExecutionError",
    "PipelineStepError",
    "RestartIntensityExceeded",
    "SagaError",
    "SagaStepError",
    "SagaVersionMismatchError",
    "StateConcurrencyError",
    "StateConflictError",
    "StateError",
    "StoreCorruptedError",
    "StoreError",
    "StoreVersionError",
    "UnwrapError",
    "WorkflowCancelledError",
    "WorkflowCompensationError",
    "WorkflowError",
    "WorkflowFailedError",
    "WorkflowNotFoundError",
    "WorkflowStateError",
    "WorkflowStepError",
    "WorkflowTimeoutError",
    "WorkflowVersionMismatchError",
    "describe",
    "text_of",
]
