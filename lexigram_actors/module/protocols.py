"""What a provider asks of a container. An object that fits, fits."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ContainerRegistrarProtocol(Protocol):
    """Takes bindings, before anything is resolved."""

    def singleton(self, interface: type, factory_or_type: Any) -> None:
        """Bind a type to what makes its one object, the first time that it is asked for.

        Args:
            interface: What is asked for.
            factory_or_type: A function without parameters. Containers also take classes; the
                providers here give functions only, which every container understands.
        """
        ...


@runtime_checkable
class ContainerResolverProtocol(Protocol):
    """Gives what was bound."""

    async def resolve(self, interface: type) -> Any:
        """Return the object that is bound to a type, made now if it is not there yet."""
        ...
