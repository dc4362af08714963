from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.services import asgi_call
from app.services.asgi_call import BUFFER_BYTES, ASGIApp, AsgiCall, Message, Receive, Scope, Send

JSON = (b"content-type", b"application/json")


pytestmark = pytest.mark.usefixtures("clean_loop")


def call_of(app: ASGIApp, body: bytes = b"{}") -> AsgiCall:
    return AsgiCall(app, "/v1/x", body, [(b"x-request-id", b"1")])


def started(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [*headers]}


def chunk(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


class Stream:
    """An application that writes what the test tells it to, and notes how it ended."""

    def __init__(self, *, honours_disconnect: bool = True) -> None:
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.honours_disconnect = honours_disconnect
        self.written = 0
        self.ended: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            if not self.honours_disconnect:
                await self._write(send)
                return
            writing = asyncio.create_task(self._write(send))
            leaving = asyncio.create_task(receive())
            try:
                await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
                self.ended = "disconnected" if leaving.done() else "finished"
                if writing.done():
                    writing.result()
            finally:
                writing.cancel()
                leaving.cancel()
                await asyncio.gather(writing, leaving, return_exceptions=True)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise

    async def _write(self, send: Send) -> None:
        await send(started(200, (b"content-type", b"text/event-stream")))
        while (item := await self.queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            await send(chunk(item))
            self.written += len(item)
        await send(chunk(b"", more=False))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_application_gets_a_post_with_body_and_headers():
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, await receive()))
        await send(started(201, JSON))
        await send(chunk(b"[]", more=False))

    call = call_of(app, b'{"a": 1}')
    await call.start()
    assert (call.status, call.content_type) == (201, "application/json")
    assert [piece async for piece in call] == [b"[]"]
    scope, message = seen
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/v1/x", b"/v1/x")
    assert (b"x-request-id", b"1") in scope["headers"]
    assert message == {"type": "http.request", "body": b'{"a": 1}', "more_body": False}


async def test_the_first_bytes_come_before_the_rest_exists():
    app = Stream()
    call = call_of(app)
    app.queue.put_nowait(b"one")
    await call.start()
    assert (call.status, call.content_type) == (200, "text/event-stream")
    assert await call.read() == b"one"
    reading = asyncio.create_task(call.read())
    await settle()
    assert not reading.done()
    app.queue.put_nowait(b"two")
    assert await reading == b"two"
    app.queue.put_nowait(None)
    assert await call.read() == b""
    assert await call.read() == b""


async def test_what_came_while_nobody_read_comes_merged():
    app = Stream()
    call = call_of(app)
    for piece in (b"a", b"b", b"c"):
        app.queue.put_nowait(piece)
    await call.start()
    await settle()
    app.queue.put_nowait(b"d")
    await settle()
    assert await call.read() == b"abcd"
    app.queue.put_nowait(None)
    assert [piece async for piece in call] == []


async def test_a_reader_that_stops_reading_stops_the_writer():
    app = Stream()
    call = call_of(app)
    block = b"x" * (BUFFER_BYTES // 4)
    for _ in range(12):
        app.queue.put_nowait(block)
    await call.start()
    await settle()
    assert app.written < BUFFER_BYTES + len(block)
    assert app.queue.qsize() == 8
    assert len(await call.read()) == BUFFER_BYTES
    app.queue.put_nowait(None)
    rest = b"".join([piece async for piece in call])
    assert len(rest) == 8 * len(block)


async def test_an_answer_without_a_body_is_an_answer():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(started(204))
        await send(chunk(b"", more=False))

    call = call_of(app)
    await call.start()
    assert call.status == 204
    assert await call.read() == b""


async def test_what_is_raised_before_the_answer_is_raised_at_the_start():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call_of(app).start()


async def test_an_application_that_says_nothing_is_an_error():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    with pytest.raises(RuntimeError, match="without an answer"):
        await call_of(app).start()


async def test_what_is_raised_in_the_middle_comes_after_what_was_written():
    app = Stream()
    call = call_of(app)
    app.queue.put_nowait(b"half")
    app.queue.put_nowait(ZeroDivisionError())
    await call.start()
    await settle()
    assert await call.read() == b"half"
    with pytest.raises(ZeroDivisionError):
        await call.read()


async def test_what_is_raised_between_head_and_body_is_raised_at_the_first_read():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(started())
        raise ZeroDivisionError

    call = call_of(app)
    await call.start()
    with pytest.raises(ZeroDivisionError):
        await call.read()


async def test_closing_ends_an_application_that_watches_for_its_caller():
    app = Stream()
    call = call_of(app)
    app.queue.put_nowait(b"one")
    await call.start()
    await call.aclose()
    assert app.ended == "disconnected"


async def test_closing_cancels_an_application_that_does_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asgi_call, "CLOSE_TIMEOUT_S", 0.05)
    app = Stream(honours_disconnect=False)
    call = call_of(app)
    app.queue.put_nowait(b"one")
    await call.start()
    await call.aclose()
    assert app.ended == "cancelled"


async def test_closing_ends_an_application_that_writes_without_ever_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asgi_call, "CLOSE_TIMEOUT_S", 0.05)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(started())
        while True:
            await send(chunk(b"x" * 1024))

    call = call_of(app)
    await call.start()
    await call.aclose()


async def test_closing_releases_a_writer_that_waits_for_its_reader():
    app = Stream()
    call = call_of(app)
    for _ in range(3):
        app.queue.put_nowait(b"x" * BUFFER_BYTES)
    await call.start()
    await settle()
    await call.aclose()
    assert app.ended == "disconnected"


async def test_closing_may_be_repeated_and_may_come_before_the_start_and_after_the_end():
    app = Stream()
    call = call_of(app)
    await call.aclose()

    call = call_of(app)
    app.queue.put_nowait(b"all")
    app.queue.put_nowait(None)
    await call.start()
    assert [piece async for piece in call] == [b"all"]
    await call.aclose()
    await call.aclose()
    assert app.ended == "finished"


async def test_closing_during_the_start_ends_the_start():
    app = Stream()
    call = call_of(app)
    starting = asyncio.create_task(call.start())
    await settle()
    await call.aclose()
    await starting
    assert await call.read() == b""
    assert app.ended == "disconnected"


async def test_closing_after_an_error_that_nobody_read():
    app = Stream()
    call = call_of(app)
    app.queue.put_nowait(b"half")
    app.queue.put_nowait(ZeroDivisionError())
    await call.start()
    await settle()
    await call.aclose()


async def test_cancelling_the_start_ends_the_application():
    app = Stream()
    starting = asyncio.create_task(call_of(app).start())
    await settle()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert app.ended == "disconnected"


async def test_cancelling_the_close_of_a_stubborn_application_cancels_it():
    app = Stream(honours_disconnect=False)
    call = call_of(app)
    app.queue.put_nowait(b"one")
    await call.start()
    closing = asyncio.create_task(call.aclose())
    await settle()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await settle()
    assert app.ended == "cancelled"


async def test_a_cancelled_reader_can_be_followed_by_another():
    app = Stream()
    call = call_of(app)
    app.queue.put_nowait(b"one")
    await call.start()
    await call.read()
    reading = asyncio.create_task(call.read())
    await settle()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    app.queue.put_nowait(b"two")
    assert await call.read() == b"two"
    await call.aclose()


@pytest.mark.parametrize("make", [bytes, bytearray, lambda value: memoryview(value).tobytes()])
async def test_header_names_of_any_case_are_understood(make: Callable[[bytes], Any]):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [[make(b"Content-Type"), make(b"a/b")]]})
        await send(chunk(b"x", more=False))

    call = call_of(app)
    await call.start()
    assert call.content_type == "a/b"
    await call.aclose()
