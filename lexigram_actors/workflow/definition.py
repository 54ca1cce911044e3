"""Descriptions of workflows, and of which version an instance was begun under."""

from __future__ import annotations

from typing import Any, Self, final
from uuid import uuid4

from attrs import field, frozen

from lexigram_actors.checks import require, text, whole
from lexigram_actors.errors import WorkflowVersionMismatchError


@final
@frozen
class WorkflowDefinition:
    """A workflow's name, steps and version.

    Attributes:
        name: Unique among workflows.
        steps: In order; whoever executes it knows what they mean. Empty where nodes and edges, or
            a function, say what happens.
        version: Rises whenever an instance that was begun before could not go on.

    Raises:
        ConfigurationError: The name is no string, or the version no whole number of at least 1.
    """

    name: str
    steps: list[Any] = field(factory=list, converter=list)
    version: int = 1

    def __attrs_post_init__(self) -> None:
        require("name", self.name, text())
        require("version", self.version, whole(least=1))


@final
@frozen
class WorkflowInstance:
    """One execution of a workflow, running or paused.

    Attributes:
        instance_id: Tells it from every other.
        workflow_name: The definition's name.
        definition_version: The definition's version when the instance was made.
    """

    instance_id: str
    workflow_name: str
    definition_version: int

    @classmethod
    def create(cls, definition: WorkflowDefinition) -> Self:
        """Return a new instance, of the version that the definition has now."""
        return cls(str(uuid4()), definition.name, definition.version)

    def validate_definition_version(self, definition: WorkflowDefinition) -> None:
        """Refuse a definition of another version; call it before an instance goes on.

        Raises:
            WorkflowVersionMismatchError: The versions differ.
        """
        if definition.version != self.definition_version:
            raise WorkflowVersionMismatchError(
                self.workflow_name, self.definition_version, definition.version
            )
