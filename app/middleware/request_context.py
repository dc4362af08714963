"""The outermost layer: gives a request its id, and logs one line at its end."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

from app.errors import ApiError
from app.services.asgi_call import ASGIApp, Message, Receive, Scope, Send

access_log = logging.getLogger("manta.access")

MAX_LOGGED_PATH = 256


class RequestContextMiddleware:
    """Puts ``request_id`` into the request's state and ``x-request-id`` and ``openai-processing-ms`` on its answer.

    The id is always ours: a client cannot choose what logs, traces and the engine know a request by.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"req_{secrets.token_hex(16)}"
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        _drop_trailing_slash(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                elapsed_ms = int((time.perf_counter() - started) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name, request_id.encode()) for name in _id_headers(scope)),
                    (b"openai-processing-ms", str(elapsed_ms).encode()),
                    *state.get("rate_limits", ()),
                ]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            _log(scope, request_id, status, time.perf_counter() - started)


async def send_error(send: Send, error: ApiError) -> None:
    """Answer with an error, from below any framework."""
    body = error.json()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _id_headers(scope: Scope) -> tuple[bytes, ...]:
    # Anthropic's SDKs look for the id under another name than OpenAI's.
    if scope["path"].endswith(("/messages", "/messages/count_tokens")):
        return (b"x-request-id", b"request-id")
    return (b"x-request-id",)


def _drop_trailing_slash(scope: Scope) -> None:
    path: str = scope["path"]
    if path.endswith("/") and path != "/":
        scope["path"] = path.rstrip("/") or "/"


def _log(scope: Scope, request_id: str, status: int, elapsed_s: float) -> None:
    state = scope["state"]
    # A path may hold anything: line breaks that look like another line, or 64 KB.
    path = "".join(character if character.isprintable() else "?" for character in scope["path"][:MAX_LOGGED_PATH])
    # 499: the client left before it was answered.
    status = status or 499
    access_log.info(
        "%s %s %d",
        scope["method"],
        path,
        status,
        extra={
            "request_id": request_id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "elapsed_ms": round(elapsed_s * 1000, 1),
            "subject": state.get("subject"),
            "model": state.get("model"),
        },
    )
