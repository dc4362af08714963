"""A cap on request bodies, counted as they come: neither Starlette nor Serve has one."""

from __future__ import annotations

from app.errors import PayloadTooLarge, UnsupportedMediaType
from app.middleware.request_context import send_error
from app.services.asgi_call import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Refuses bodies over ``max_bytes`` (413), and compressed ones (415), which could unpack to any size."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            await send_error(send, UnsupportedMediaType("Compressed request bodies are not accepted; send plain JSON."))
            return
        if int(_digits(headers.get(b"content-length", b"0"))) > self.max_bytes:
            await send_error(send, self._too_large())
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_bytes:
                    raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> PayloadTooLarge:
        message = f"The request body is over the limit of {self.max_bytes} bytes (MANTA_MAX_BODY_BYTES). Send less."
        return PayloadTooLarge(message)


def _digits(value: bytes) -> bytes:
    # A length of absurd many digits is refused like any other that is too large.
    return value[:15] if value[:15].isdigit() else b"0"
