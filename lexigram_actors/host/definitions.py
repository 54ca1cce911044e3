"""What a host can run, by kind, name and version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from lexigram_actors.errors import ConfigurationError, WorkflowNotFoundError
from lexigram_actors.host.seam import Runnable, check_runnable
from lexigram_actors.storage.instances import Definition


def runnable_of(given: Any) -> Runnable:
    """Return what is to be run: a `Runnable` as it is, of a `@workflow` function its own.

    Raises:
        TypeError: It is neither.
    """
    attached = getattr(given, "__runnable__", None)
    runnable = given if attached is None else attached
    check_runnable(runnable)
    found: Runnable = runnable
    return found


def definition_of(runnable: Runnable) -> Definition:
    """Return what it is known by in a store."""
    return Definition(runnable.kind, runnable.name, runnable.version)


@final
class Definitions:
    """A registry. Several versions of one name may stand side by side."""

    __slots__ = ("_by_definition", "_by_name")

    def __init__(self) -> None:
        self._by_definition: dict[Definition, Runnable] = {}
        self._by_name: dict[str, list[Definition]] = {}

    def add(self, given: Any) -> Definition:
        """Register; the same again is fine.

        Raises:
            TypeError: It cannot be run.
            ConfigurationError: Another one has its kind, name and version; or its name, with
                another kind.
        """
        runnable = runnable_of(given)
        definition = definition_of(runnable)
        known = self._by_definition.get(definition)
        if known is not None and known is not runnable:
            raise ConfigurationError(
                f"two definitions are {shown(definition)}",
                hint="give one of them another name, or another version",
            )
        others = self._by_name.setdefault(definition.name, [])
        if others and others[0].kind != definition.kind:
            raise ConfigurationError(
                f"{definition.name!r} is a {others[0].kind} and a {definition.kind}",
                hint="give one of them another name",
            )
        if known is None:
            self._by_definition[definition] = runnable
            others.append(definition)
        return definition

    def find(self, given: Any) -> Definition:
        """Return what a name (in its highest version) or a runnable is registered as.

        Raises:
            WorkflowNotFoundError: It is not.
            TypeError: It is nothing that could be.
        """
        if isinstance(given, str):
            named = self._by_name.get(given)
            if not named:
                known = ", ".join(sorted(self._by_name)) or "none"
                raise WorkflowNotFoundError(given, hint=f"register it; known are: {known}")
            return max(named, key=lambda definition: definition.version)
        runnable = runnable_of(given)
        definition = definition_of(runnable)
        if self._by_definition.get(definition) is not runnable:
            raise WorkflowNotFoundError(
                definition.name,
                hint="register it, so that a host that is started again can go on with it: "
                "open_host(store, register=[...])",
            )
        return definition

    def get(self, definition: Definition) -> Runnable | None:
        """Return what is registered so; None: nothing."""
        return self._by_definition.get(definition)

    def versions(self, name: str) -> list[int]:
        """Return the versions that are registered of a name."""
        return sorted(definition.version for definition in self._by_name.get(name, ()))

    def __iter__(self) -> Iterator[Definition]:
        return iter(tuple(self._by_definition))

    def __contains__(self, definition: object) -> bool:
        return definition in self._by_definition

    def __len__(self) -> int:
        return len(self._by_definition)


def shown(definition: Definition) -> str:
    """Return a definition as messages show it."""
    return f"{definition.kind} {definition.name!r} version {definition.version}"
