"""Frames on their way out, gathered until the end of the event loop's turn: one write for all streams of a link."""

from __future__ import annotations

import asyncio

from deployments.link.wire import Kind, frame


class Outbox:
    """One connection's. Without a transport, before and after the connection, what is written goes nowhere.

    Attributes:
        transport: The connection.
    """

    __slots__ = ("_frames", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._frames: list[bytes] = []

    def write(self, kind: Kind, stream: int, payload: bytes = b"", tokens: int = 0) -> None:
        """Send a frame at the end of this turn of the loop."""
        if self.transport is None:
            return
        if not self._frames:
            asyncio.get_running_loop().call_soon(self.flush)
        self._frames.append(frame(kind, stream, payload, tokens))

    def send(self, data: bytes | None) -> None:
        """Send bytes as they are, at once."""
        if data and self.transport is not None:
            self.transport.write(data)

    def flush(self) -> None:
        """Send what is there."""
        self.send(b"".join(self._frames))
        self._frames.clear()
