"""Whether a replica has anything to do, by its calls: some of them never reach the engine's core."""

from __future__ import annotations

import time

from app.services.asgi_call import ASGIApp, Receive, Scope, Send


class Activity:
    """An ASGI application that knows when it was used last.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls = 0
        self._last_end = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last call ended; 0 while there is one."""
        return 0.0 if self._calls else time.monotonic() - self._last_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        self._calls += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._calls -= 1
            self._last_end = time.monotonic()
