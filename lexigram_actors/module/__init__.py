"""The library as a module of an application with dependency injection.

| | |
| --- | --- |
| `WorkflowModule.configure(...)` | the library's part of an application: a `DynamicModule` |
| `WorkflowProvider` | binds it into a container, boots it, says how well it is |
| `SvcsRegistrar`, `SvcsResolver` | svcs as the container, with singletons and their cleanups |
| `for_lexigram(module)` | the module for an application of lexigram |

Neither framework is loaded here; each is on first use.
"""

from lexigram_actors.module.lexigram_adapter import for_lexigram
from lexigram_actors.module.module import WorkflowModule
from lexigram_actors.module.protocols import ContainerRegistrarProtocol, ContainerResolverProtocol
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.svcs_adapter import SvcsRegistrar, SvcsResolver
from lexigram_actors.module.values import DynamicModule, HealthCheckResult, HealthStatus

__all__ = [
    "ContainerRegistrarProtocol",
    "ContainerResolverProtocol",
    "DynamicModule",
    "HealthCheckResult",
    "HealthStatus",
    "SvcsRegistrar",
    "SvcsResolver",
    "WorkflowModule",
    "WorkflowProvider",
    "for_lexigram",
]
