"""`LLMNode`: the prompt, the options, the answer, and pieces while somebody watches."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import ConfigurationError, WorkflowStepError
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes import LLMNode
from lexigram_actors.graph.protocols import ChatMessage, LLMClientProtocol
from lexigram_actors.graph.tokens import token_sink
from lexigram_actors.result import Err, Ok, Result


@frozen
class Completion:
    content: Any
    model: str = "small"
    usage: int = 0


ANSWER = Ok(Completion("answer"))


class Client:
    def __init__(self, answer: Any = ANSWER) -> None:
        self.answer = answer
        self.calls: list[tuple[list[ChatMessage], dict[str, Any]]] = []

    async def complete(self, messages: Any, **options: Any) -> Result[Any, Exception]:
        self.calls.append((messages, options))
        await trio.lowlevel.checkpoint()
        return self.answer


class StreamingClient(Client):
    """Gives its pieces one by one; `closed` says what ended the stream."""

    def __init__(self, *pieces: Any, error: Exception | None = None) -> None:
        super().__init__()
        self.pieces = pieces
        self.error = error
        self.streams: list[tuple[list[ChatMessage], dict[str, Any]]] = []
        self.closed = 0

    async def stream(self, messages: Any, **options: Any) -> AsyncIterator[Any]:
        self.streams.append((messages, options))
        try:
            for piece in self.pieces:
                await trio.lowlevel.checkpoint()
                yield piece
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1


@pytest.fixture
def watch() -> Iterator[Callable[[Callable[[str], None]], None]]:
    """Stands for the engine: where the pieces go that nodes emit from now on."""
    before = token_sink.get()

    def watch(sink: Callable[[str], None]) -> None:
        token_sink.set(sink)

    yield watch
    token_sink.set(before)


def test_the_clients_here_satisfy_the_protocol() -> None:
    assert isinstance(Client(), LLMClientProtocol)
    assert not isinstance(object(), LLMClientProtocol)


def test_it_is_a_node_for_models() -> None:
    node = LLMNode("ask", llm=Client())
    assert (node.name, node.node_type) == ("ask", NodeType.LLM)


async def test_the_input_is_sent_and_the_content_of_the_completion_is_stored() -> None:
    client = Client()
    assert await LLMNode("ask", llm=client).execute({"input": "hello"}) == {"output": "answer"}
    assert client.calls == [([ChatMessage("user", "hello")], {})]


async def test_the_prompt_is_filled_in_and_the_system_prompt_stands_first_as_written() -> None:
    client = Client()
    node = LLMNode(
        "ask",
        llm=client,
        prompt_template='{topic} as {"json": 1}, {unknown}, {topic.__class__}',
        system_prompt="Be {topic}",
        output_key="draft",
    )
    assert await node.execute({"topic": "{secret}", "secret": "hidden"}) == {"draft": "answer"}
    assert client.calls[0][0] == [
        ChatMessage("system", "Be {topic}"),
        ChatMessage("user", '{secret} as {"json": 1}, {unknown}, {topic.__class__}'),
    ]


async def test_only_the_options_that_were_given_are_passed() -> None:
    client = Client()
    await LLMNode("ask", llm=client, temperature=0.0, max_tokens=0).execute({})
    await LLMNode("ask", llm=client, model="large").execute({})
    assert [options for _, options in client.calls] == [
        {"temperature": 0.0, "max_tokens": 0},
        {"model": "large"},
    ]


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        (Ok(Completion("text")), "text"),
        (Ok(Completion(None)), ""),
        (Ok(Completion(5)), "5"),
        (Ok("plain"), "plain"),
        (Ok(None), ""),
        (Completion("no result around it"), "no result around it"),
        ("plain", "plain"),
        ({"content": "of a dict"}, "{'content': 'of a dict'}"),
    ],
)
async def test_a_client_may_return_a_result_or_the_completion_itself(
    answer: Any, stored: str
) -> None:
    assert await LLMNode("ask", llm=Client(answer)).execute({"input": ""}) == {"output": stored}


async def test_a_client_may_be_synchronous() -> None:
    class Plain:
        def complete(self, messages: Any) -> Any:
            return Completion(messages[0].content.upper())

    assert await LLMNode("ask", llm=Plain()).execute({"input": "a"}) == {"output": "A"}


async def test_a_completion_whose_content_cannot_be_read_is_a_failure() -> None:
    class Broken:
        @property
        def content(self) -> str:
            raise RuntimeError("unreadable")

    with pytest.raises(RuntimeError, match="unreadable"):
        await LLMNode("ask", llm=Client(Ok(Broken()))).execute({})
    node = LLMNode("ask", llm=Client(Ok(Broken())), on_error="text")
    assert await node.execute({}) == {"output": "LLM error: unreadable"}


@pytest.mark.parametrize("prompts", [{"prompt_template": None}, {"system_prompt": 5}])
def test_a_prompt_that_is_no_string_is_refused(prompts: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be a string"):
        LLMNode("ask", llm=Client(), **prompts)


async def test_nobody_watching_the_model_is_not_asked_to_stream() -> None:
    client = StreamingClient("a", "b")
    assert await LLMNode("ask", llm=client).execute({"input": "x"}) == {"output": "answer"}
    assert (len(client.calls), len(client.streams)) == (1, 0)


async def test_a_watched_client_that_cannot_stream_is_asked_as_always(watch: Any) -> None:
    pieces: list[str] = []
    watch(pieces.append)
    assert await LLMNode("ask", llm=Client()).execute({"input": "x"}) == {"output": "answer"}
    assert pieces == []


async def test_watched_each_piece_is_emitted_and_the_joined_text_is_stored(watch: Any) -> None:
    client = StreamingClient("Hel", Completion("lo"), Completion(None), Completion("!"))
    pieces: list[str] = []
    watch(pieces.append)
    node = LLMNode("ask", llm=client, model="large")
    assert await node.execute({"input": "x"}) == {"output": "Hello!"}
    assert pieces == ["Hel", "lo", "", "!"]
    assert client.streams == [([ChatMessage("user", "x")], {"model": "large"})]
    assert client.calls == []


async def test_an_empty_stream_is_an_empty_text(watch: Any) -> None:
    watch(lambda text: None)
    assert await LLMNode("ask", llm=StreamingClient()).execute({}) == {"output": ""}


async def test_a_stream_may_come_from_an_async_function(watch: Any) -> None:
    class Later(StreamingClient):
        async def stream(self, messages: Any, **options: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return StreamingClient.stream(self, messages, **options)

    watch(lambda text: None)
    assert await LLMNode("ask", llm=Later("a", "b")).execute({}) == {"output": "ab"}


async def test_a_stream_that_breaks_off_is_a_failure_and_is_closed(watch: Any) -> None:
    pieces: list[str] = []
    watch(pieces.append)
    client = StreamingClient("half", error=OSError("reset"))
    with pytest.raises(OSError, match="reset"):
        await LLMNode("ask", llm=client).execute({})
    assert (pieces, client.closed) == (["half"], 1)
    node = LLMNode("ask", llm=client, on_error="text")
    assert await node.execute({}) == {"output": "LLM error: reset"}


async def test_a_stream_is_closed_when_the_watcher_fails(watch: Any) -> None:
    def sink(text: str) -> None:
        raise ValueError("not this")

    watch(sink)
    client = StreamingClient("a", "b")
    with pytest.raises(ValueError, match="not this"):
        await LLMNode("ask", llm=client).execute({})
    assert client.closed == 1


class HangingStream:
    """Never gives a piece; closing takes `closing` seconds, and then raises `error`."""

    def __init__(self, closing: float, error: Exception | None = None) -> None:
        self.closing = closing
        self.error = error
        self.closed = False

    def stream(self, messages: Any) -> HangingStream:
        return self

    def __aiter__(self) -> HangingStream:
        return self

    async def __anext__(self) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.sleep(self.closing)
        self.closed = True
        if self.error is not None:
            raise self.error


async def cancelled_while_streaming(stream: HangingStream, on_error: Any) -> trio.CancelScope:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(LLMNode("ask", llm=stream, on_error=on_error).execute, {})
            await wait_all_tasks_blocked()
            scope.cancel()
    return scope


@pytest.mark.parametrize("on_error", ["raise", "text"])
async def test_a_cancelled_stream_is_still_closed(
    watch: Any, on_error: str, autojump_clock: MockClock
) -> None:
    watch(lambda text: None)
    stream = HangingStream(closing=1)
    assert (await cancelled_while_streaming(stream, on_error)).cancelled_caught
    assert stream.closed


async def test_a_stream_that_does_not_close_holds_a_cancellation_up_for_seconds_only(
    watch: Any, autojump_clock: MockClock
) -> None:
    watch(lambda text: None)
    started = trio.current_time()
    stream = HangingStream(closing=1000)
    assert (await cancelled_while_streaming(stream, "raise")).cancelled_caught
    assert not stream.closed
    assert trio.current_time() - started < 10


async def test_a_stream_that_fails_to_close_does_not_replace_the_cancellation(
    watch: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch(lambda text: None)
    with caplog.at_level(logging.ERROR):
        scope = await cancelled_while_streaming(HangingStream(1, OSError("gone")), "text")
    assert scope.cancelled_caught
    assert "closing a stream of HangingStream failed" in caplog.text


class FailingStream:
    """Gives one piece; closing fails, and what it waits for meanwhile ends only in time."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = errors
        self.given = 0

    def stream(self, messages: Any) -> FailingStream:
        return self

    def __aiter__(self) -> FailingStream:
        return self

    async def __anext__(self) -> str:
        await trio.lowlevel.checkpoint()
        self.given += 1
        if self.given > 1:
            raise StopAsyncIteration
        return "the whole answer"

    async def aclose(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)  # cancelled, and in the group with the errors
            for error in self.errors:
                nursery.start_soon(self._fail_when_cancelled, error)

    async def _fail_when_cancelled(self, error: Exception) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error


@pytest.mark.parametrize("errors", [[OSError("reset")], [OSError("one"), ValueError("two")]])
async def test_tasks_of_a_stream_that_fail_when_its_time_is_up_do_not_replace_the_answer(
    watch: Any,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    errors: list[Exception],
) -> None:
    watch(lambda text: None)
    node = LLMNode("ask", llm=FailingStream(*errors))
    with caplog.at_level(logging.WARNING):
        assert await node.execute({"input": "x"}) == {"output": "the whole answer"}
    assert "closing a stream of FailingStream failed" in caplog.text


async def test_tasks_of_a_stream_that_fail_do_not_replace_a_cancellation(
    watch: Any, autojump_clock: MockClock
) -> None:
    class Endless(FailingStream):
        async def __anext__(self) -> str:
            await trio.sleep_forever()
            raise AssertionError

    watch(lambda text: None)
    stream: Any = Endless(OSError("reset"))
    assert (await cancelled_while_streaming(stream, "text")).cancelled_caught


class Closing(FailingStream):
    """Gives one piece, and is closed by whatever it was made with."""

    def __init__(self, aclose: Any) -> None:
        super().__init__()
        self._aclose = aclose

    @property
    def aclose(self) -> Any:
        if isinstance(self._aclose, Exception):
            raise self._aclose
        return self._aclose


@pytest.mark.parametrize(
    ("aclose", "said"),
    [
        (trio.sleep_forever, "closing a stream of Closing took over 5 s"),
        (lambda: 1 / 0, "closing a stream of Closing failed"),
        (OSError("no such thing"), "closing a stream of Closing failed"),
        (lambda: None, ""),
        (None, ""),
    ],
    ids=["slow", "failing", "unreadable", "plain", "none"],
)
async def test_however_a_stream_closes_a_complete_answer_is_kept(
    watch: Any,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    aclose: Any,
    said: str,
) -> None:
    watch(lambda text: None)
    with caplog.at_level(logging.WARNING):
        node = LLMNode("ask", llm=Closing(aclose))
        assert await node.execute({"input": "x"}) == {"output": "the whole answer"}
    assert [record.getMessage() for record in caplog.records] == ([said] if said else [])


async def test_pieces_in_a_result_are_unwrapped(watch: Any) -> None:
    pieces: list[str] = []
    watch(pieces.append)
    client = StreamingClient(Ok("Hel"), Ok(Completion("lo")), "!")
    assert await LLMNode("ask", llm=client).execute({}) == {"output": "Hello!"}
    assert pieces == ["Hel", "lo", "!"]


QUOTA = PermissionError("no quota")


@pytest.mark.parametrize("error", [QUOTA, "no quota"], ids=["exception", "text"])
async def test_a_piece_that_is_an_err_is_a_failure_and_the_stream_is_closed(
    watch: Any, error: Any
) -> None:
    pieces: list[str] = []
    watch(pieces.append)
    client = StreamingClient("half", Err(error), "never")
    node = LLMNode("ask", llm=client, on_error="text")
    assert await node.execute({}) == {"output": "LLM error: no quota"}
    assert (pieces, client.closed) == (["half"], 1)
    with pytest.raises(PermissionError if error is QUOTA else WorkflowStepError) as caught:
        await LLMNode("ask", llm=client).execute({})
    assert "no quota" in str(caught.value)
    assert (pieces, client.closed) == (["half", "half"], 2)


async def as_coroutine(value: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return value


@pytest.mark.parametrize("answered", [lambda value: value, as_coroutine], ids=["plain", "async"])
async def test_a_stream_may_come_in_a_result(watch: Any, answered: Any) -> None:
    class Client:
        def __init__(self, outcome: Any) -> None:
            self.outcome = outcome

        def stream(self, messages: Any) -> Any:
            return answered(self.outcome)

    watch(lambda text: None)
    opened = Ok(StreamingClient("a", Ok("b")).stream([]))
    assert await LLMNode("ask", llm=Client(opened)).execute({}) == {"output": "ab"}
    with pytest.raises(PermissionError, match="no quota"):
        await LLMNode("ask", llm=Client(Err(QUOTA))).execute({})
    node = LLMNode("ask", llm=Client(Err("no quota")), on_error="text")
    assert await node.execute({}) == {"output": "LLM error: no quota"}


async def test_an_err_of_the_client_is_its_failure() -> None:
    with pytest.raises(PermissionError):
        await LLMNode("ask", llm=Client(Err(PermissionError("key")))).execute({"input": "x"})
