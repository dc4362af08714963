"""Call an ASGI application in this process, streaming and cancellable.

httpx's ASGI transport buffers whole answers; this does not. Chunks that the application writes faster than they are
read are handed over merged, never on a timer: the first leaves at once. A reader that stops reading stops the
writer after ``BUFFER_BYTES``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from app.domain.usage import NOTHING, Usage

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

WRITER = "manta.writer"
"""The scope's extension that holds a ``Writer``, where the caller has one."""

USAGE = "manta.usage"
"""The scope's extension that holds a ``Tally``, where the caller counts."""

BUFFER_BYTES = 256 * 1024
CLOSE_TIMEOUT_S = 5.0


class Writer(Protocol):
    """A way past ``send`` for the body of an answer that has begun, for applications that may not wait.

    What ``send`` was given before stays before, and what it is given later comes later.
    """

    def ready(self) -> bool:
        """Whether the reader keeps up; if not, use ``send``, which waits."""
        ...

    def write(self, body: bytes) -> None:
        """Send a part of the body."""
        ...


class Tally:
    """What a request took, as the application that worked on it counts.

    Attributes:
        usage: Final when the application's call has ended, however that came about; when an answer begins, what was
            read for it, where the application knows by then.
        so_far: Tokens of the answer up to the end of what is being sent, where the application counts along; else 0.
    """

    __slots__ = ("so_far", "usage")

    def __init__(self) -> None:
        self.so_far = 0
        self.usage: Usage = NOTHING


def tally_of(scope: Scope) -> Tally:
    """The caller's; or one that nobody reads, where the caller does not count."""
    return scope.get("extensions", {}).get(USAGE) or Tally()


def post_scope(path: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    """The scope of a POST of JSON; ``headers`` have lower-case names."""
    return {
        "type": "http",
        # Below 2.4 Starlette watches receive() during a stream, which is how it learns that the reader left.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"engine"), (b"content-type", b"application/json"), *headers],
        "client": None,
        "server": ("engine", 80),
        "state": {},
    }


class Incoming:
    """What an application receives: the whole body, then nothing until its caller leaves.

    Attributes:
        gone: Set when the caller left.
    """

    __slots__ = ("_body", "gone")

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.gone = asyncio.Event()

    async def __call__(self) -> Message:
        """Receive."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


class AsgiCall:
    """One POST to ``app``.

    Args:
        app: The application.
        path: Its route.
        body: The whole request body.
        headers: Lower-case names and values.
        gave: Told with every part of the answer how many tokens that has by then; see ``Tally.so_far``.

    Attributes:
        tally: What the application says it took.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        gave: Callable[[int], None] | None = None,
    ) -> None:
        self.status = 0
        self.content_type = ""
        self.tally = Tally()
        self._scope = post_scope(path, headers)
        self._app = app
        self._gave = gave
        self._incoming = Incoming(body)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._finished = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    async def start(self, ended: Callable[[Usage], None] | None = None) -> None:
        """Run the application until its first bytes (or its end) are there; then ``status`` is known.

        Args:
            ended: Called once with what it took, when the application's call is over, whoever still waits by then.

        Raises:
            Exception: What the application raised before it answered.
        """
        self._task = asyncio.create_task(self._run())
        # What it raises after the reader left is nobody's concern, and no reason for a warning.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        if ended is not None:
            self._task.add_done_callback(lambda _: ended(self.tally.usage))
        try:
            await self._readable.wait()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if not self.status:
            self._task.result()
            raise RuntimeError("the application ended without an answer")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    async def read(self) -> bytes:
        """All that has come since the last read, waiting if that is nothing; empty at the end.

        Raises:
            Exception: What the application raised in the middle of its answer.
        """
        await self._readable.wait()
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self._writable.set()
        if not self._finished:
            self._readable.clear()
        elif not chunk and self._task is not None and not self._task.cancelled():
            await self._task
        return chunk

    def ready(self) -> bool:
        """See ``Writer``."""
        return self._buffered < BUFFER_BYTES

    def write(self, body: bytes) -> None:
        """See ``Writer``."""
        if not self._incoming.gone.is_set():
            self._chunks.append(body)
            self._buffered += len(body)
            self._readable.set()
            if self._gave is not None:
                self._gave(self.tally.so_far)

    async def aclose(self) -> None:
        """Tell the application that the reader left, and see it end."""
        self._incoming.gone.set()
        self._writable.set()
        if self._task is None or self._task.done():
            return
        # A handler that honours the disconnect ends by itself; one that does not is cancelled.
        try:
            _, pending = await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        for task in pending:
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_TIMEOUT_S)

    async def _run(self) -> None:
        try:
            extensions = {WRITER: self, USAGE: self.tally}
            await self._app({**self._scope, "extensions": extensions}, self._incoming, self._send)
        finally:
            self._finished = True
            self._readable.set()

    async def _send(self, message: Message) -> None:
        if self._incoming.gone.is_set():
            # One that writes on and on without ever waiting would keep the loop from doing anything else.
            await asyncio.sleep(0)
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", [])}
            self.content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
            return
        if body := message.get("body", b""):
            self.write(body)
            if not self.ready():
                self._writable.clear()
                await self._writable.wait()
