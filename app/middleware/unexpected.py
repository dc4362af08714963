"""The answer to what nothing else caught."""

from __future__ import annotations

import logging

from starlette.requests import ClientDisconnect

from app.errors import ServerError
from app.middleware.request_context import send_error
from app.services.asgi_call import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("manta")


class UnexpectedErrorMiddleware:
    """Answers 500 in our shape; the reason is in the log alone, beside the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        except ClientDisconnect:
            # It left in the middle of its own body; there is nobody to answer.
            pass
        except Exception:
            request_id = scope["state"]["request_id"]
            logger.exception("request %s failed", request_id)
            if not started:
                message = f"Something went wrong on our side. Name {request_id} when you report it."
                await send_error(send, ServerError(message))
