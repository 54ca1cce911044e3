"""`HumanNode`: asks a person."""

from __future__ import annotations

from typing import Any, final

from lexigram_actors.checks import number, require, text
from lexigram_actors.errors import AnswerInvalidError, ConfigurationError, HumanInputRequiredError
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.templates import render
from lexigram_actors.schemas import check_schema, structured


@final
class HumanNode(AbstractWorkflowNode):
    """Pauses the run until a person has answered, and stores the answer.

    Args:
        name: Names the node where it is used alone, and the question.
        prompt: What to ask. `{key}` is replaced by what the state has under that key; everything
            else stays as it is written.
        output_key: The key of the state under which the answer is stored.
        resume_key: The key under which the node finds its answer; None: the output key.
        schema: The type that the answer is structured to (see `answers`); None takes anything.
        expires_after: Seconds until nobody needs to answer any more; None: never.
        default_answer: The answer that is taken then; None: the node fails with a time-out.

    None is no answer: a question answered with it is asked again.

    Raises:
        ConfigurationError: The prompt is no string, `expires_after` is not above 0, the schema is
            no type for answers, or the default answer does not fit it.
        MissingExtraError: There is a schema, and `cattrs` is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        prompt: str = "Human input required.",
        output_key: str = "human_response",
        resume_key: str | None = None,
        schema: Any = None,
        expires_after: float | None = None,
        default_answer: Any = None,
    ) -> None:
        require("prompt", prompt, text())
        require("expires_after", expires_after, number(above=0, optional=True))
        super().__init__(name, NodeType.HUMAN)
        self._prompt = prompt
        self._output_key = output_key
        self._resume_key = output_key if resume_key is None else resume_key
        self._schema = schema
        self._expires_after = expires_after
        self._default_answer = default_answer
        self._check_answers()

    def _check_answers(self) -> None:
        check_schema(self.name, self._schema)
        if self._default_answer is not None:
            try:
                self._structured(self._default_answer)
            except AnswerInvalidError as error:
                raise ConfigurationError(f"default_answer: {error.problem}", cause=error) from error

    @property
    def output_key(self) -> str:
        """The key under which the answer is stored."""
        return self._output_key

    @property
    def resume_key(self) -> str:
        """The key under which the node finds its answer."""
        return self._resume_key

    @property
    def schema(self) -> Any:
        """The type that the answer is structured to, or None."""
        return self._schema

    @property
    def expires_after(self) -> float | None:
        """Seconds until the question expires, or None."""
        return self._expires_after

    @property
    def default_answer(self) -> Any:
        """The answer that is taken when the question expires, or None."""
        return self._default_answer

    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the answer under the output key, or ask for it. No checkpoint.

        Raises:
            HumanInputRequiredError: There is no answer in the state.
            AnswerInvalidError: There is, and it does not fit the schema.
            MissingExtraError: There is a schema, and `cattrs` is not installed.
        """
        answer = state.get(self._resume_key)
        if answer is not None:
            return {self._output_key: self._structured(answer)}
        raise HumanInputRequiredError(
            render(self._prompt, state), node=self.name, checkpoint_id=self.name
        )

    def _structured(self, answer: Any) -> Any:
        return structured(self.name, self._schema, answer)
