"""The few things of ASGI that an engine in pure Python needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from app.errors import ApiError
from app.services.asgi_call import Receive, Send
from deployments.engines.scripted.schedule import Run


class Disconnected(Exception):
    """The caller left."""


class Out:
    """A response whose head leaves together with its first bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def whole(self, body: dict[str, Any]) -> None:
        """Send a JSON answer."""
        await self._all(200, msgspec.json.encode(body), {})

    async def stream(self, body: bytes, *, last: bool = False) -> None:
        """Send events as they are."""
        if not self._started:
            await self._start(200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"})
        if body or last:
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    @property
    def started(self) -> bool:
        """Whether something left already, so that the status stands."""
        return self._started

    async def fail(self, error: ApiError, event: bytes) -> None:
        """Send an error: as the answer, or as the last event (named ``event``, if not empty) of a stream under way."""
        if self._started:
            name = b"event: " + event + b"\n" if event else b""
            await self.stream(name + error.event(), last=True)
        else:
            await self._all(error.status, error.json(), error.headers)

    async def _all(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self._start(status, {"content-type": "application/json", "content-length": str(len(body)), **headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._started = True
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})


async def read_body(receive: Receive) -> bytes:
    """The whole request body.

    Raises:
        Disconnected: The caller left before its end.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


@asynccontextmanager
async def watched(receive: Receive, run: Run) -> AsyncGenerator[None]:
    """Interrupt the run as soon as its caller leaves."""
    watcher = asyncio.create_task(_watch(receive, run))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


async def lifespan(receive: Receive, send: Send) -> None:
    """Agree to whatever the server says about its own life."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _watch(receive: Receive, run: Run) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    run.interrupt(Disconnected())
