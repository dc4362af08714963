"""The gateway's end of a link: one connection to a replica, and the answers that come over it.

An answer's bytes are handed on as they are. What arrives in one read for many answers wakes each of their readers once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import h11
import msgspec

from app.domain.usage import Usage
from app.services.backend import UNMETERED, EngineRequest, Meter, forget_nothing
from deployments.engines.base import EngineDead
from deployments.link.outbox import Outbox
from deployments.link.tickets import Ticket
from deployments.link.wire import (
    COUNT,
    PATH,
    PROTOCOL,
    SCHEME,
    WINDOW,
    Death,
    Decoder,
    Head,
    Kind,
    Request,
    WireError,
)

CONNECT_S = 3.0
READ_BYTES = 256 * 1024


class LinkLost(Exception):
    """The connection ended: the replica is gone, or cannot be reached any more."""


class CallBroken(Exception):
    """The replica's application failed; its log says why."""


class Link(asyncio.Protocol):
    """One connection, once it is open. See ``connect``.

    Attributes:
        replica: The replica's actor id, in hex.
        retired: Whether no new call should go this way: its engine is dead.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.replica = ticket.replica
        self.retired = False
        self._ticket = ticket
        self._http: h11.Connection | None = h11.Connection(h11.CLIENT)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._decoder = Decoder()
        self._answers: dict[int, Answer] = {}
        self._numbers = itertools.cycle(range(1, 2**32))
        self._out = Outbox()

    @classmethod
    async def connect(cls, ticket: Ticket) -> Link:
        """Open a link with a ticket.

        Raises:
            LinkLost: There is nobody at its address, or not in ``CONNECT_S`` seconds, or the ticket is refused.
        """
        link = cls(ticket)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: link, ticket.host, ticket.port)
                await link._opened
        except (OSError, TimeoutError) as error:
            link.close()
            raise LinkLost(f"no link to {ticket.host}:{ticket.port}: {error or type(error).__name__}") from None
        except BaseException:
            link.close()
            raise
        return link

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._out.transport is not None and not self._out.transport.is_closing()

    def send(self, request: EngineRequest, meter: Meter = UNMETERED) -> Answer:
        """Start a call.

        Args:
            request: What is asked.
            meter: Hears that it began, and once what it took, however it ends.

        Raises:
            LinkLost: The link is not alive.
        """
        if not self.alive:
            raise LinkLost("the link is closed")
        stream = next(number for number in self._numbers if number not in self._answers)
        answer = self._answers[stream] = Answer(self, stream, meter, kept=bool(request.account))
        call = Request(request.path, request.request_id, request.model, request.body, request.account)
        self.write(Kind.REQUEST, stream, msgspec.msgpack.encode(call))
        meter.began()
        return answer

    def adopt(self, token: str) -> None:
        """Bind another lease of this replica to the link."""
        self.write(Kind.ADOPT, 0, token.encode())

    def release(self, token: str) -> None:
        """Say that a lease is over."""
        self.write(Kind.RELEASE, 0, token.encode())

    def write(self, kind: Kind, stream: int, payload: bytes = b"") -> None:
        """Send a frame; nothing happens once the link is lost."""
        self._out.write(kind, stream, payload)

    def forget(self, stream: int) -> None:
        """Let go of an answer whose call has ended."""
        self._answers.pop(stream, None)

    def close(self) -> None:
        """Hang up: the replica ends all calls of this link, and its leases."""
        self._out.flush()
        if self._out.transport is not None:
            self._out.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Show the ticket."""
        self._out.transport = cast(asyncio.Transport, transport)
        assert self._http is not None
        host = f"{self._ticket.host}:{self._ticket.port}"
        headers = [
            ("host", host),
            ("upgrade", PROTOCOL),
            ("connection", "upgrade"),
            ("authorization", f"{SCHEME} {self._ticket.token}"),
        ]
        request: Any = h11.Request(method="GET", target=PATH, headers=headers)
        self._out.send(self._http.send(request))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every reader."""
        if exc is not None:
            self._hear_the_rest()
        self._out.transport = None
        if not self._opened.done():
            self._opened.set_exception(LinkLost("the replica hung up"))
            self._opened.exception()  # whoever waits is told; that nobody does is no reason for a warning
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.lose()

    def data_received(self, data: bytes) -> None:
        """Hand each frame to its answer."""
        try:
            if self._http is not None:
                data = self._shake_hands(self._http, data)
            for kind, stream, payload, tokens in self._decoder.feed(data):
                if kind == Kind.DEAD:
                    self.retired = True
                if (answer := self._answers.get(stream)) is not None:
                    answer.take(kind, payload, tokens)
        except (WireError, h11.RemoteProtocolError, msgspec.MsgspecError):
            if self._out.transport is not None:
                self._out.transport.abort()

    def _hear_the_rest(self) -> None:
        """Read what the replica had said by its end: a write that fails ends the connection with that unread."""
        assert self._out.transport is not None
        socket = self._out.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            while data := os.read(socket.fileno(), READ_BYTES):
                self.data_received(data)

    def _shake_hands(self, http: h11.Connection, data: bytes) -> bytes:
        http.receive_data(data)
        event = http.next_event()
        if event is h11.NEED_DATA:
            return b""
        if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
            raise WireError("the ticket was refused")
        self._http = None
        if not self._opened.done():
            self._opened.set_result(None)
        return http.trailing_data[0]


class Answer:
    """An answer under way; see ``EngineResponse``, whose promises it keeps once ``begun``.

    One reader at a time.
    """

    def __init__(self, link: Link, stream: int, meter: Meter, *, kept: bool) -> None:
        self._link = link
        self._stream = stream
        self._meter = meter
        self._kept = kept
        self._head: Head | None = None
        self._chunks: list[bytes] = []
        self._taken = 0
        self._tokens = 0
        self._finished = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self._head is not None, "begun() comes first"
        return self._head.status

    @property
    def content_type(self) -> str:
        """The media type."""
        assert self._head is not None, "begun() comes first"
        return self._head.content_type

    async def begun(self) -> None:
        """Wait for the answer's beginning.

        Raises:
            LinkLost: The replica is gone.
            EngineDead: Its engine is.
            CallBroken: It failed without an answer.
        """
        while self._head is None:
            if self._error is not None:
                raise self._error
            await self._news()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if chunk := self._next():
                yield chunk
            elif self._error is not None:
                raise self._error
            elif self._finished:
                return
            else:
                await self._news()

    def close(self) -> None:
        """Want no more of it: the replica stops its work, if that is not over."""
        if not self._finished:
            self._finished = True
            self._chunks.clear()
            self._link.write(Kind.CANCEL, self._stream)

    def take(self, kind: int, payload: bytes, tokens: int = 0) -> None:
        """Hear from the replica."""
        if kind == Kind.DATA:
            # Counted here, not where it is read: also what nobody wants any more has been made.
            self._tokens = tokens
            if not self._finished:
                self._chunks.append(payload)
        elif kind == Kind.HEAD:
            self._head = msgspec.msgpack.decode(payload, type=Head)
        elif kind == Kind.END:
            self._end(_usage(payload))
        elif kind == Kind.DEAD:
            death = msgspec.msgpack.decode(payload, type=Death)
            self._end(death.usage, EngineDead(death.reason))
        elif kind == Kind.BROKEN:
            self._end(_usage(payload), CallBroken())
        else:
            raise WireError(f"a frame of unknown kind {kind}")
        self._wake()

    def lose(self) -> None:
        """The replica will say no more, not even what it took."""
        self._finish(LinkLost("the link was lost"))
        self._wake()
        self._meter.lost(self._tokens)

    def _end(self, usage: Usage, error: Exception | None = None) -> None:
        link, stream = self._link, self._stream
        link.forget(stream)
        self._finish(error)
        self._meter.ended(usage, partial(link.write, Kind.WRITTEN, stream) if self._kept else forget_nothing)

    def _next(self) -> bytes:
        chunks = self._chunks
        if not chunks:
            return b""
        chunk = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._taken += len(chunk)
        if self._taken >= WINDOW // 2:
            self._link.write(Kind.TAKEN, self._stream, COUNT.pack(self._taken))
            self._taken = 0
        return chunk

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self, error: Exception | None = None) -> None:
        if not self._finished:
            self._finished = True
            self._error = error


def _usage(payload: bytes) -> Usage:
    return msgspec.msgpack.decode(payload, type=Usage)
