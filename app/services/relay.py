"""From an engine's answer to the client's socket: bytes as they come, and no more work once the client left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any, Protocol

from starlette.responses import Response, StreamingResponse

from app.domain.usage import UsageStatus
from app.errors import ApiError, ServerError
from app.services.asgi_call import Receive, Scope, Send
from app.services.backend import EngineResponse

logger = logging.getLogger("manta")

SSE = "text/event-stream"
EVENT_STREAM = f"{SSE}; charset=utf-8"
"""What streams of ours are, in full."""

STREAM_HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
OVERLOADED = (429, 503)
RETRY_AFTER = b"1"
"""What an engine that is full does not say itself, in seconds."""

WAITING = b": waiting for the model\n\n"

LAST_EVENT = (b"data: [DONE]", b"event: message_stop", b"event: response.completed", b"event: response.incomplete")
"""How streams say that they are whole: OpenAI's chats, Anthropic's, OpenAI's responses."""


def is_last(chunk: bytes) -> bool:
    """Whether a part of a stream says that it is whole: at the start of a line, for answers may quote what says so."""
    return any(chunk.startswith(mark) or b"\n" + mark in chunk for mark in LAST_EVENT)


class Watch(Protocol):
    """Hears how an answer does on its way to the caller.

    Attributes:
        events: Events of the stream that have come so far.
    """

    events: int

    def answered(self, http_status: int) -> None:
        """The answer's first bytes are here."""
        ...

    def over(self, status: UsageStatus, http_status: int) -> None:
        """It is over for its caller; called once, whatever became of it."""
        ...


class Unwatched:
    """Hears nothing."""

    def __init__(self) -> None:
        self.events = 0

    def answered(self, http_status: int) -> None:
        """Nothing to do."""

    def over(self, status: UsageStatus, http_status: int) -> None:
        """Nothing to do."""


class Relay(Response):
    """An ASGI response that fetches its answer itself, so that it can watch the client while it waits.

    Args:
        fetch: Starts the work; returns when the answer's first bytes are here. Cancelling it cancels the work.
        stream: Whether the caller asked for server-sent events.
        keepalive_s: A stream that has nothing to say yet gets a comment every so many seconds.
        error_event: The name of an error's event, where clients go by names (Anthropic's do).
        last_words: Makes the end of a stream of an error's JSON, where that takes more.
        watch: Hears how it does.
    """

    def __init__(  # noqa: PLR0913 - made in few places, with names
        self,
        fetch: Callable[[], Awaitable[EngineResponse]],
        *,
        stream: bool,
        keepalive_s: float,
        error_event: str | None = None,
        last_words: Callable[[bytes], bytes] | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._stream = stream
        self._keepalive_s = keepalive_s
        self._error_prefix = f"event: {error_event}\n".encode() if error_event else b""
        self._last_words = last_words or self._error_event
        self._started = False
        self._watch: Watch = watch or Unwatched()
        self._status = 0
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay until the answer ends or the client leaves.

        Raises:
            ApiError: The work failed before anything was sent.
        """
        work = asyncio.current_task()
        assert work is not None
        over = False

        def leave(_: asyncio.Task[None]) -> None:
            if not over:
                work.cancel()

        gone = asyncio.create_task(_disconnected(receive))
        gone.add_done_callback(leave)
        outcome: UsageStatus = "client_left"
        try:
            await self._run(send)
            outcome = "completed" if self._complete else "failed"
        except asyncio.CancelledError:
            # Only our own cancellation ends here; another is how Serve's proxy, for one, says that the client left.
            if not gone.done() or work.uncancel():
                raise
        except ApiError as error:
            outcome, self._status = "failed", error.status
            raise
        except Exception:
            outcome, self._status = "failed", ServerError.status
            raise
        finally:
            over = True
            gone.cancel()
            self._watch.over(outcome, self._status)

    async def _run(self, send: Send) -> None:
        try:
            await (self._run_stream(send) if self._stream else self._run_whole(send))
        except ApiError as error:
            if not self._started:
                raise
            await self._send_last_event(send, error.json())
        except Exception:
            if not self._started:
                raise
            logger.exception("an answer under way failed")
            error = ServerError("The answer failed on our side. What came before is all there is; try again.")
            await self._send_last_event(send, error.json())

    async def _run_whole(self, send: Send) -> None:
        response = await self._fetch()
        self._watch.answered(response.status)
        async with _closing(response):
            body = b"".join([chunk async for chunk in response])
        await self._send_whole(send, response, body)

    async def _run_stream(self, send: Send) -> None:
        response = await self._fetch_with_keepalive(send)
        self._watch.answered(response.status)
        async with _closing(response):
            if not response.content_type.startswith(SSE):
                await self._send_refusal(send, response)
                return
            await self._start_stream(send)
            watch, chunk = self._watch, b""
            async for chunk in response:
                watch.events += chunk.count(b"\n\n")
                await _send_chunk(send, chunk)
            self._complete = is_last(chunk)
        await _send_chunk(send, b"", more=False)

    async def _fetch_with_keepalive(self, send: Send) -> EngineResponse:
        fetching: asyncio.Task[EngineResponse] = asyncio.ensure_future(self._fetch())  # type: ignore[arg-type]
        try:
            while not (await asyncio.wait((fetching,), timeout=self._keepalive_s))[0]:
                await self._start_stream(send)
                await _send_chunk(send, WAITING)
        except BaseException:
            # It may have come in the very moment in which the client left: then nobody else ends its work.
            await _end(fetching)
            if not fetching.cancelled() and not fetching.exception():
                await fetching.result().aclose()
            raise
        return fetching.result()

    async def _send_refusal(self, send: Send, response: EngineResponse) -> None:
        # The engine refused a stream: a plain answer, unless comments have committed us to 200 already.
        body = b"".join([chunk async for chunk in response])
        if self._started:
            await self._send_last_event(send, body)
        else:
            await self._send_whole(send, response, body)

    def _error_event(self, error: bytes) -> bytes:
        return self._error_prefix + b"data: " + error + b"\n\n"

    async def _send_last_event(self, send: Send, error: bytes) -> None:
        await _send_chunk(send, self._last_words(error))
        await _send_chunk(send, b"", more=False)

    async def _send_whole(self, send: Send, response: EngineResponse, body: bytes) -> None:
        headers = [
            (b"content-type", response.content_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
        ]
        if response.status in OVERLOADED:
            headers.append((b"retry-after", RETRY_AFTER))
        self._started = True
        self._status = response.status
        self._complete = response.status < 400
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await _send_chunk(send, body, more=False)

    async def _start_stream(self, send: Send) -> None:
        if not self._started:
            self._started = True
            self._status = 200
            await send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})


@contextlib.asynccontextmanager
async def _closing(response: EngineResponse) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await response.aclose()


async def _send_chunk(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def event_stream(events: AsyncIterable[bytes]) -> Response:
    """A response of events that are made here, and not relayed."""
    headers = {name.decode(): value.decode() for name, value in STREAM_HEADERS}
    return StreamingResponse(events, headers=headers)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait until it is over; what it raised then is nobody's concern any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
