"""A small ASGI application, to look at one layer of middleware alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.services.asgi_call import ASGIApp, Message, Receive, Scope, Send


class App:
    """An application that does what the test says, behind middleware.

    Args:
        wrap: Puts the middleware around it.
        messages: What it sends; an exception is raised.
    """

    def __init__(self, wrap: Callable[[ASGIApp], ASGIApp], *messages: Message | Exception) -> None:
        self.wrap = wrap
        self.messages = messages
        self.scope: Scope = {}
        self.sent: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        for message in self.messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    async def handle(self, path: str = "/x", **scope: Any) -> None:
        """Send it one request."""

        async def send(message: Message) -> None:
            self.sent.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        full = {"type": "http", "method": "GET", "path": path, "headers": [], **scope}
        await self.wrap(self)(full, receive, send)

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Those of its answer."""
        return dict(self.sent[0]["headers"])


def ok() -> tuple[Message, Message]:
    """A good answer."""
    return {"type": "http.response.start", "status": 200, "headers": []}, {"type": "http.response.body", "body": b"ok"}
