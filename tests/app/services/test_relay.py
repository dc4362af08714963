from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.errors import EngineCrashed, ModelStarting
from app.services.asgi_call import Message
from app.services.backend import EngineResponse
from app.services.relay import LAST_EVENT, WAITING, Relay

pytestmark = pytest.mark.usefixtures("clean_loop")

SSE = "text/event-stream; charset=utf-8"
HANG = object()
"""An answer that has no more to say and does not end."""


class FakeResponse:
    """An answer under way, from a list of chunks and exceptions."""

    def __init__(self, *parts: object, status: int = 200, content_type: str = SSE) -> None:
        self.parts = parts
        self.status = status
        self.content_type = content_type
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            if isinstance(part, Exception):
                raise part
            if part is HANG:
                await asyncio.Event().wait()
            assert isinstance(part, bytes)
            yield part

    async def aclose(self) -> None:
        self.closed += 1


class Client:
    """The server's side of a connection, which the client can leave."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.left = asyncio.Event()
        self.got = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(dict(message))
        self.got.set()

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


def answer(response: FakeResponse) -> Callable[[], Awaitable[EngineResponse]]:
    async def fetch() -> EngineResponse:
        await asyncio.sleep(0)
        return response

    return fetch


def failing(error: Exception, *, after_s: float = 0) -> Callable[[], Awaitable[EngineResponse]]:
    async def fetch() -> EngineResponse:
        await asyncio.sleep(after_s)
        raise error

    return fetch


class Waiting:
    """A fetch that waits until the test lets it go, and notes that it was cancelled."""

    def __init__(self, response: FakeResponse) -> None:
        self.response = response
        self.ready = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> EngineResponse:
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.response


async def run(relay: Relay, client: Client | None = None) -> Client:
    client = client or Client()
    async with asyncio.timeout(10):
        await relay({"type": "http"}, client.receive, client.send)
    return client


def relay_of(fetch: Any, *, stream: bool = True, keepalive_s: float = 60, **options: Any) -> Relay:
    return Relay(fetch, stream=stream, keepalive_s=keepalive_s, **options)


async def test_a_stream_is_relayed_chunk_by_chunk():
    response = FakeResponse(b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n")
    client = await run(relay_of(answer(response)))
    assert client.status == 200
    assert client.headers == {"content-type": SSE, "cache-control": "no-cache", "x-accel-buffering": "no"}
    assert [message["body"] for message in client.messages[1:]] == [*response.parts, b""]
    assert client.complete
    assert response.closed


async def test_a_whole_answer_is_relayed_with_its_status_type_and_length():
    response = FakeResponse(b'{"a"', b": 1}", status=400, content_type="application/json")
    client = await run(relay_of(answer(response), stream=False))
    assert client.status == 400
    assert client.headers == {"content-type": "application/json", "content-length": "8"}
    assert client.body == b'{"a": 1}'
    assert client.complete
    assert response.closed


async def test_a_stream_that_waits_gets_comments():
    fetch = Waiting(FakeResponse(b"data: 1\n\n"))
    client = Client()
    running = asyncio.create_task(run(relay_of(fetch, keepalive_s=0.02), client))
    while client.body.count(WAITING) < 3:
        await asyncio.sleep(0.01)
    fetch.ready.set()
    await running
    assert client.status == 200
    assert client.body.replace(WAITING, b"") == b"data: 1\n\n"
    assert WAITING.startswith(b":")
    assert WAITING.endswith(b"\n\n")


async def test_a_whole_answer_that_waits_gets_none():
    fetch = Waiting(FakeResponse(b"{}", content_type="application/json"))
    client = Client()
    running = asyncio.create_task(run(relay_of(fetch, stream=False, keepalive_s=0.01), client))
    await asyncio.sleep(0.1)
    assert client.messages == []
    fetch.ready.set()
    await running
    assert client.body == b"{}"


async def test_a_refusal_of_a_stream_is_a_plain_answer():
    response = FakeResponse(b'{"error": {}}', status=400, content_type="application/json")
    client = await run(relay_of(answer(response)))
    assert (client.status, client.headers["content-type"]) == (400, "application/json")
    assert client.body == b'{"error": {}}'
    assert response.closed


async def test_a_refusal_after_comments_is_the_last_event():
    fetch = Waiting(FakeResponse(b'{"error"', b": {}}", status=400, content_type="application/json"))
    client = Client()
    running = asyncio.create_task(run(relay_of(fetch, keepalive_s=0.01), client))
    await client.got.wait()
    fetch.ready.set()
    await running
    assert client.status == 200
    assert client.body.replace(WAITING, b"") == b'data: {"error": {}}\n\n'
    assert client.complete


async def test_an_error_before_anything_was_sent_is_raised():
    for stream in (True, False):
        client = Client()
        with pytest.raises(ModelStarting):
            await run(relay_of(failing(ModelStarting("Later.")), stream=stream), client)
        assert client.messages == []


async def test_an_error_after_comments_is_the_last_event():
    error = ModelStarting("Later.")
    client = await run(relay_of(failing(error, after_s=0.1), keepalive_s=0.02))
    assert client.body.replace(WAITING, b"") == error.event()
    assert client.complete


@pytest.mark.parametrize("event", [None, "error"])
async def test_an_error_in_the_middle_is_the_last_event(event: str | None):
    error = EngineCrashed("It died.")
    response = FakeResponse(b"data: 1\n\n", error)
    client = await run(relay_of(answer(response), error_event=event))
    named = b"event: error\n" if event else b""
    assert client.body == b"data: 1\n\n" + named + error.event()
    assert client.complete
    assert response.closed


async def test_an_error_that_nobody_foresaw_is_the_last_event_too(caplog: pytest.LogCaptureFixture):
    client = await run(relay_of(answer(FakeResponse(b"data: 1\n\n", ZeroDivisionError("secret")))))
    event = json.loads(client.body.removeprefix(b"data: 1\n\ndata: "))
    assert event["error"]["type"] == "server_error"
    assert "secret" not in client.body.decode()
    assert "ZeroDivisionError" in caplog.text
    assert client.complete


async def test_an_error_in_the_middle_of_a_whole_answer_is_raised():
    response = FakeResponse(b"{", EngineCrashed("It died."), content_type="application/json")
    client = Client()
    with pytest.raises(EngineCrashed):
        await run(relay_of(answer(response), stream=False), client)
    assert client.messages == []
    assert response.closed


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_waiting_ends_the_work(stream: bool):
    fetch = Waiting(FakeResponse())
    client = Client()
    running = asyncio.create_task(run(relay_of(fetch, stream=stream), client))
    await asyncio.sleep(0.01)
    client.left.set()
    await running
    assert fetch.cancelled
    assert client.messages == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_in_the_middle_ends_the_work(stream: bool):
    response = FakeResponse(b"data: 1\n\n", HANG)
    client = Client()
    running = asyncio.create_task(run(relay_of(answer(response), stream=stream), client))
    await asyncio.sleep(0.01)
    client.left.set()
    await running
    assert response.closed
    assert not client.complete


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_in_the_moment_the_answer_comes_ends_the_work(stream: bool):
    fetch = Waiting(FakeResponse(b"data: 1\n\n", HANG))
    client = Client()
    running = asyncio.create_task(run(relay_of(fetch, stream=stream), client))
    await asyncio.sleep(0.01)
    client.left.set()
    fetch.ready.set()
    await running
    assert fetch.cancelled or fetch.response.closed


async def test_whatever_the_order_of_events_no_answer_is_left_open():
    for ticks in range(12):
        fetch = Waiting(FakeResponse(b"data: 1\n\n", HANG))
        client = Client()
        running = asyncio.create_task(run(relay_of(fetch), client))
        await asyncio.sleep(0.01)
        fetch.ready.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        client.left.set()
        await running
        assert fetch.cancelled or fetch.response.closed, ticks


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_the_relay_ends_the_work(stream: bool):
    response = FakeResponse(b"data: 1\n\n", HANG)
    running = asyncio.create_task(run(relay_of(answer(response), stream=stream)))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert response.closed


async def test_a_client_that_stays_after_the_answer_holds_nothing_up():
    response = FakeResponse(b"data: 1\n\n")
    client = await run(relay_of(answer(response)))
    assert not client.left.is_set()
    assert client.complete


class Watcher:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.events = 0
        self.heard: list[tuple[str, ...]] = []

    def answered(self, http_status: int) -> None:
        self.heard.append(("answered", str(http_status)))

    def over(self, status: str, http_status: int) -> None:
        self.heard.append(("over", status, str(http_status)))


async def watched(fetch: Callable[[], Awaitable[EngineResponse]], client: Client, **options: Any) -> Watcher:
    watcher = Watcher()
    values: dict[str, Any] = {"stream": True, "keepalive_s": 60, **options}
    relay = Relay(fetch, watch=watcher, **values)
    with contextlib.suppress(Exception):
        await relay({"type": "http"}, client.receive, client.send)
    return watcher


FIRST, LAST = b'data: {"choices": []}\n\n', b"data: [DONE]\n\n"


async def test_whoever_watches_hears_of_a_whole_stream_and_how_many_events_it_had() -> None:
    watcher = await watched(answer(FakeResponse(FIRST, FIRST + FIRST, LAST)), Client())
    assert watcher.heard == [("answered", "200"), ("over", "completed", "200")]
    assert watcher.events == 4


async def test_a_stream_of_anthropics_is_whole_by_another_word() -> None:
    end = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
    assert (await watched(answer(FakeResponse(FIRST, end)), Client())).heard[-1] == ("over", "completed", "200")


async def test_a_stream_that_ends_with_an_error_has_failed() -> None:
    ends: list[FakeResponse] = [
        FakeResponse(FIRST, b'data: {"error": {}}\n\n'),
        FakeResponse(FIRST, EngineCrashed("x")),
    ]
    for response in ends:
        assert (await watched(answer(response), Client())).heard[-1] == ("over", "failed", "200")


@pytest.mark.parametrize("mark", LAST_EVENT)
async def test_a_stream_that_quotes_how_others_end_is_not_whole_by_that(mark: bytes) -> None:
    failed = b'event: response.failed\ndata: {"text": "it ended with ' + mark + b'"}\n\n'
    assert (await watched(answer(FakeResponse(FIRST, failed)), Client())).heard[-1] == ("over", "failed", "200")
    whole = await watched(answer(FakeResponse(FIRST, FIRST + mark + b"\n\n")), Client())
    assert whole.heard[-1] == ("over", "completed", "200")


async def test_a_whole_answer_is_complete_unless_it_is_an_error() -> None:
    for status, outcome in ((200, "completed"), (400, "failed")):
        response = FakeResponse(b"{}", status=status, content_type="application/json")
        heard = (await watched(answer(response), Client(), stream=False)).heard
        assert heard == [("answered", str(status)), ("over", outcome, str(status))]


async def test_what_failed_before_its_answer_has_the_errors_status() -> None:
    for error, status in ((ModelStarting("x"), "503"), (RuntimeError("x"), "500")):
        assert (await watched(failing(error), Client(), stream=False)).heard == [("over", "failed", status)]


async def test_whoever_watches_hears_that_the_client_left() -> None:
    client, watcher = Client(), Watcher()
    relay = Relay(answer(FakeResponse(FIRST, HANG)), stream=True, keepalive_s=60, watch=watcher)
    running = asyncio.create_task(relay({"type": "http"}, client.receive, client.send))
    await client.got.wait()
    client.left.set()
    await running
    assert watcher.heard[-1] == ("over", "client_left", "200")


async def test_whoever_watches_hears_of_a_client_that_left_before_there_was_an_answer() -> None:
    client, watcher = Client(), Watcher()
    relay = Relay(Waiting(FakeResponse()), stream=False, keepalive_s=60, watch=watcher)
    running = asyncio.create_task(relay({"type": "http"}, client.receive, client.send))
    await asyncio.sleep(0)
    client.left.set()
    await running
    assert watcher.heard == [("over", "client_left", "0")]
