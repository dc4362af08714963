"""What stands before Serve's own HTTP proxy: a client must not steer Serve, nor see Serve's own errors.

``deployments.local`` installs it; on other clusters set, before ``ray start``,
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy:middlewares``.
"""

from __future__ import annotations

from collections.abc import Iterable

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware

from app.errors import ApiError, GatewayCrashed, ServerError, ServiceUnavailable
from app.middleware.request_context import send_error
from app.services.asgi_call import ASGIApp, Message, Receive, Scope, Send

STEERING = frozenset(
    (
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-request-id",
        b"x-session-id",
        b"serve_multiplexed_model_id",
    )
)
"""Headers that Serve obeys whoever sends them (http_util.py and proxy.py of Ray 2.60)."""

UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
"""Tells Serve not to watch whether the client leaves."""


def middlewares() -> list[Middleware]:
    """What Serve's proxy wraps itself in; or a replica, where HAProxy comes to it without one."""
    return [Middleware(ProxyGuardMiddleware, in_replica=_in_replica())]


class ProxyGuardMiddleware:
    """Drops steering headers on the way in; on the way out, gives Serve's plain-text errors our shape.

    Args:
        app: Serve's.
        in_replica: Whether this is the process that answers. What runs there sees by itself that a client leaves; two
            tasks and a queue for each request, with which Serve would watch too, are saved. From outside, a failure of
            Serve's is this process's death.
    """

    def __init__(self, app: ASGIApp, *, in_replica: bool = False) -> None:
        self.app = app
        self._failure = ServerError if in_replica else GatewayCrashed
        self._added = [UNWATCHED] if in_replica else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name.lower() not in STEERING and not name.lower().startswith(b"x-serve-")
        ] + self._added
        await self.app(scope, receive, _Guard(send, self._failure))


def _in_replica() -> bool:
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True


class _Guard:
    def __init__(self, send: Send, failure: type[ApiError]) -> None:
        self._send = send
        self._failure = failure
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_serves_own(message):
            self._replaced = True
            await send_error(self._send, self._error(message["status"]))
        elif not self._replaced:
            if message["type"] == "http.response.start":
                message["headers"] = _one_request_id(message.get("headers", ()))
            await self._send(message)

    def _error(self, status: int) -> ApiError:
        if status >= 500 and status != 503:
            return self._failure("The gateway failed while working on this request. Try again.")
        return ServiceUnavailable("The gateway is not ready yet. Try again shortly.", retry_after_s=2)


def _is_serves_own(message: Message) -> bool:
    if message["status"] < 400:
        return False
    types = [value for name, value in message.get("headers", ()) if bytes(name).lower() == b"content-type"]
    return not any(bytes(value).startswith(b"application/json") for value in types)


def _one_request_id(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    # Serve appends an id of its own behind the gateway's.
    kept: list[tuple[bytes, bytes]] = []
    seen = False
    for name, value in headers:
        is_id = bytes(name).lower() == b"x-request-id"
        if not (is_id and seen):
            kept.append((name, value))
        seen = seen or is_id
    return kept
