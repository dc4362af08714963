"""One address in front of several servers, as a load balancer is; the test says which of them is behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.support.ports import bound_socket


class Switch:
    """Passes connections on to the server that it is set to."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._target = 0
        self._open: set[asyncio.StreamWriter] = set()

    def to(self, url: str) -> None:
        """From now on to this one: connections to another are ended, as clients would keep them."""
        self._target = urlsplit(url).port or 0
        for writer in self._open:
            writer.close()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        finally:
            self._open -= ends


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def switch() -> AsyncIterator[Switch]:
    """One that listens; set it before it is used."""
    listener = bound_socket()
    made = Switch(listener.getsockname()[1])
    server = await asyncio.start_server(made.connect, sock=listener)
    try:
        yield made
    finally:
        server.close()
        made.to(made.url)
        await server.wait_closed()
