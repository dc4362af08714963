"""An engine's answer on its way to its caller, and into the journal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from starlette.responses import Response

from app.services.answers.record import Record
from app.services.asgi_call import Receive, Scope, Send
from app.services.backend import EngineResponse, Fetch
from app.services.relay import SSE, Relay

DONE = b"data: [DONE]\n\n"
FRAME = b"data: {"
OBJECT = b"{"

Undo = Callable[[], Awaitable[None]]


class Kept:
    """An ``EngineResponse`` that is written down as it is read, and kept before its reader sees its end.

    Args:
        inner: The engine's.
        record: Where it is written down.
        metadata: What is written into the answer's first frame, or its body.
        undo: Called where the engine refused: nothing of the attempt is to remain.
    """

    def __init__(
        self,
        inner: EngineResponse,
        record: Record,
        metadata: Mapping[str, str] | None = None,
        undo: Undo | None = None,
    ) -> None:
        self.status = inner.status
        self.content_type = inner.content_type
        self._inner = inner
        self._record = record
        self._metadata = metadata
        self._undo = undo

    def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._record.keeping.stream
        if self.status >= 400 or (stream and not self.content_type.startswith(SSE)):
            return self._refused()
        return self._streamed() if stream else self._whole()

    async def aclose(self) -> None:
        """Stop the work behind it; what came of it by then is kept."""
        try:
            await self._inner.aclose()
        finally:
            self._record.leave()

    async def _streamed(self) -> AsyncGenerator[bytes]:
        record, metadata = self._record, self._metadata
        try:
            async for chunk in self._inner:
                record.write(chunk)
                sent = chunk
                if metadata is not None and FRAME in chunk:
                    sent, metadata = spliced(chunk, metadata, FRAME), None
                if not sent.endswith(DONE):
                    yield sent
                    continue
                if said := sent[: -len(DONE)]:
                    yield said
                await record.end()
                yield DONE
        except Exception:
            # Before its caller hears of it: who then looks finds what there is.
            await record.end()
            raise
        await record.end()

    async def _whole(self) -> AsyncGenerator[bytes]:
        try:
            body = b"".join([chunk async for chunk in self._inner])
        except Exception:
            # Nobody saw anything of it.
            await _taken_back(self._record, self._undo)
            raise
        self._record.write(body)
        await self._record.end()
        yield spliced(body, self._metadata, OBJECT)

    async def _refused(self) -> AsyncGenerator[bytes]:
        body = b"".join([chunk async for chunk in self._inner])
        await _taken_back(self._record, self._undo)
        yield body


def keeping_fetch(fetch: Fetch, record: Record, undo: Undo) -> Fetch:
    """``fetch``, its answer kept.

    Args:
        record: Is there before the work begins.
        undo: Called where there was no answer at all, for whatever reason but that nobody waited for it.
    """

    async def fetch_kept() -> EngineResponse:
        try:
            return Kept(await fetch(), record, record.keeping.metadata, undo)
        except Exception:
            await _taken_back(record, undo)
            raise
        except BaseException:
            record.leave()
            raise

    return fetch_kept


class KeptRelay(Response):
    """A relay of what is kept: when it is over, for whatever reason, so is the record."""

    def __init__(self, relay: Relay, record: Record) -> None:
        super().__init__()
        self._relay = relay
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``Relay``."""
        try:
            await self._relay(scope, receive, send)
        finally:
            self._record.leave()


def spliced(data: bytes, metadata: Mapping[str, str] | None, mark: bytes) -> bytes:
    """The data with ``metadata`` as the first member of the object that begins with ``mark``."""
    if not metadata:
        return data
    head, found, rest = data.partition(mark)
    return head + found + b'"metadata":' + msgspec.json.encode(metadata) + b"," + rest if found else data


async def _taken_back(record: Record, undo: Undo | None) -> None:
    """Have nothing remain; the record goes last, unless it is left for what could not be done now."""
    try:
        if undo is not None:
            await undo()
    finally:
        record.forget()
