"""Containers as providers want them: a registrar and a resolver, whatever was given."""

from __future__ import annotations

from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.module.protocols import ContainerRegistrarProtocol, ContainerResolverProtocol


def registrar_of(container: Any) -> ContainerRegistrarProtocol:
    """Return what takes bindings for a container: itself, or an adapter for an `svcs.Registry`.

    Raises:
        TypeError: It is no registrar.
    """
    if isinstance(container, ContainerRegistrarProtocol):
        return container
    if svcs_made(container, "Registry"):
        from lexigram_actors.module.svcs_adapter import SvcsRegistrar

        return SvcsRegistrar(container)
    raise TypeError(
        f"a registrar has singleton(interface, factory), or is an svcs.Registry; "
        f"{given(container)} is neither"
    )


def resolver_of(container: Any) -> ContainerResolverProtocol:
    """Return what resolves for a container: itself, or an adapter for an `svcs.Container`.

    Raises:
        TypeError: It is no resolver.
    """
    if isinstance(container, ContainerResolverProtocol):
        return container
    if svcs_made(container, "Container"):
        from lexigram_actors.module.svcs_adapter import SvcsResolver

        return SvcsResolver(container)
    raise TypeError(
        f"a resolver has an async resolve(interface), or is an svcs.Container; "
        f"{given(container)} is neither"
    )


def svcs_made(container: object, name: str) -> bool:
    """Say whether an object is of that class of svcs, or of one made from it, without svcs."""
    return any(
        each.__name__ == name and each.__module__.partition(".")[0] == "svcs"
        for each in type(container).__mro__
    )
