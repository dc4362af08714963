"""The replica's end of links: a private door that opens to a ticket, and the calls that come through it.

Nothing here waits on a timer and nothing looks into an answer: what the engine's application sends is framed and
gathered until the end of the event loop's turn, so that a step of the engine is one write for all streams of a link.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from typing import cast

import h11
import msgspec

from app.services.asgi_call import USAGE, WRITER, ASGIApp, Incoming, Message, Scope, Tally
from app.services.backend import EngineRequest
from app.services.inprocess import engine_scope
from deployments.engines.base import EngineDead
from deployments.link.outbox import Outbox
from deployments.link.tickets import Grant, Grants, Ticket
from deployments.link.unwritten import OnOrphans, Unwritten
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
from deployments.slate.slate import Line, Slate

logger = logging.getLogger("manta")

HANDSHAKE_S = 5.0
MAX_HEADERS = 4096
CLOSE_S = 5.0
"""How long an application may take to end once its caller is gone."""

WRITTEN_S = 2.0
"""How long gateways have, when a replica goes, to get on record what they have been told last."""


class Listener:
    """Where a replica is reached by its gateways.

    Args:
        app: The engine's application.
        replica: The replica's actor id, in hex.
        host: The address to listen on: the node's own.
        places: How many requests it takes at once.
        on_orphans: Gets what requests took whose gateway was lost; by default nobody does.
        slate: Where calls have their lines; by default nowhere.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        app: ASGIApp,
        replica: str,
        host: str,
        places: int,
        on_orphans: OnOrphans = lambda _: None,
        slate: Slate | None = None,
    ) -> None:
        self._app = app
        self._replica = replica
        self._host = host
        self._places = places
        self._grants = Grants()
        self._unwritten = Unwritten(on_orphans, slate)
        self._links: set[_Link] = set()
        self._calls: set[_Call] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: There is no such address here.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._link, self._host, 0)

    async def drain(self) -> None:
        """Wait until no call is under way: one may run on trust, of which Serve does not know."""
        while tasks := [call.task for call in self._calls]:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Close the door and every link; their calls end, and gateways are told what each took."""
        if self._server is not None:
            self._server.close()
        await self._end_calls()
        for link in self._links:
            link.flush()
        await self._unwritten.settle(WRITTEN_S)
        for link in self._links:
            link.close()
        await self._end_calls()  # those that came meanwhile

    def grant(self) -> tuple[Ticket, Grant]:
        """A new lease."""
        assert self._server is not None, "start() comes first"
        port: int = self._server.sockets[0].getsockname()[1]
        grant = self._grants.new()
        room = max(0, self._places - len(self._grants))
        return Ticket(self._replica, self._host, port, room, grant.token), grant

    def end(self, grant: Grant) -> None:
        """A lease is over."""
        self._grants.end(grant)

    async def _end_calls(self) -> None:
        for call in self._calls:
            call.cancel()
        if tasks := [call.task for call in self._calls]:
            await asyncio.wait(tasks)

    def _link(self) -> _Link:
        return _Link(self._app, self._grants, self._unwritten, self._links, self._calls)


class _Link(asyncio.Protocol):
    """One connection: first a handshake, then frames."""

    def __init__(
        self, app: ASGIApp, grants: Grants, unwritten: Unwritten, links: set[_Link], calls: set[_Call]
    ) -> None:
        self._app = app
        self._grants = grants
        self._unwritten = unwritten
        self._links = links
        self._all_calls = calls
        self._lost = False
        self._mine: dict[str, Grant] = {}
        self._calls: dict[int, _Call] = {}
        self._http: h11.Connection | None = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._decoder = Decoder()
        self._out = Outbox()
        self._timeout: asyncio.TimerHandle | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.transport = cast(asyncio.Transport, transport)
        self._links.add(self)
        self._timeout = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._out.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self)
        self._out.transport = None
        if self._timeout is not None:
            self._timeout.cancel()
        self.writable.set()
        for call in self._calls.values():
            call.cancel()
        for grant in self._mine.values():
            self._grants.end(grant)
        self._forsake()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            if self._http is not None:
                data = self._shake_hands(self._http, data)
            for kind, stream, payload, _ in self._decoder.feed(data):
                self._take(kind, stream, payload)
        except (WireError, h11.RemoteProtocolError, msgspec.MsgspecError, struct.error, UnicodeDecodeError) as error:
            logger.warning("a link was closed: %s", error)
            if self._out.transport is not None:
                self._out.transport.abort()

    def write(self, kind: Kind, stream: int, payload: bytes = b"", tokens: int = 0) -> None:
        """Send a frame; nothing happens once the link is lost."""
        self._out.write(kind, stream, payload, tokens)

    def done(self, stream: int, kind: Kind, payload: bytes, ended: Line) -> None:
        """A call has ended: tell the gateway, and keep what it took until that is on record."""
        self._all_calls.discard(self._calls.pop(stream))
        if self._lost:
            self._unwritten.leave([ended])
            return
        self.write(kind, stream, payload)
        self._unwritten.keep(self, stream, ended)

    def flush(self) -> None:
        """Send what is gathered."""
        self._out.flush()

    def close(self) -> None:
        """Hang up."""
        self._out.flush()
        if self._out.transport is not None:
            self._out.transport.close()
        self._forsake()

    def _forsake(self) -> None:
        """Nothing that the gateway says is heard any more."""
        self._lost = True
        self._unwritten.lost(self)

    def _shake_hands(self, http: h11.Connection, data: bytes) -> bytes:
        http.receive_data(data)
        event = http.next_event()
        if event is h11.NEED_DATA:
            return b""
        if not isinstance(event, h11.Request):
            raise WireError("no request where a handshake was due")
        if event.target != PATH.encode():
            return self._refuse(http, 404, "not_found", "There is nothing here.")
        headers = dict(list(event.headers))
        scheme, _, token = headers.get(b"authorization", b"").decode("ascii", "replace").partition(" ")
        grant = self._grants.redeem(token) if scheme == SCHEME else None
        if grant is None or headers.get(b"upgrade") != PROTOCOL.encode():
            return self._refuse(http, 403, "invalid_ticket", "This ticket opens nothing.")
        self._mine[grant.token] = grant
        self._http = None
        assert self._timeout is not None
        self._timeout.cancel()
        self._out.send(http.send(h11.InformationalResponse(status_code=101, headers=_upgrade())))
        return http.trailing_data[0]

    def _refuse(self, http: h11.Connection, status: int, code: str, message: str) -> bytes:
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        body = msgspec.json.encode(error)
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        self._out.send(http.send(h11.Response(status_code=status, headers=headers)))
        self._out.send(http.send(h11.Data(data=body)))
        self._out.send(http.send(h11.EndOfMessage()))
        assert self._out.transport is not None
        self._out.transport.close()
        return b""

    def _take(self, kind: int, stream: int, payload: bytes) -> None:
        if kind == Kind.REQUEST:
            request = msgspec.msgpack.decode(payload, type=Request)
            if stream in self._calls:
                raise WireError(f"stream {stream} is taken")
            line = self._unwritten.line(request.account)
            self._calls[stream] = call = _Call(self, stream, self._app, request, line)
            self._all_calls.add(call)
        elif kind == Kind.WRITTEN:
            self._unwritten.written(self, stream)
        elif kind == Kind.TAKEN:
            if (call := self._calls.get(stream)) is not None:
                call.taken(COUNT.unpack(payload)[0])
        elif kind == Kind.CANCEL:
            if (call := self._calls.get(stream)) is not None:
                call.cancel()
        elif kind == Kind.ADOPT:
            token = payload.decode("ascii")
            if (grant := self._grants.redeem(token)) is not None:
                self._mine[token] = grant
        elif kind == Kind.RELEASE:
            if (grant := self._mine.pop(payload.decode("ascii"), None)) is not None:
                self._grants.end(grant)
        else:
            raise WireError(f"a frame of unknown kind {kind}")


class _Call:
    """One request on its way through the application."""

    __slots__ = (
        "_begun",
        "_complete",
        "_credit",
        "_head",
        "_incoming",
        "_line",
        "_link",
        "_room",
        "_stream",
        "_tally",
        "task",
    )

    def __init__(self, link: _Link, stream: int, app: ASGIApp, request: Request, line: Line) -> None:
        self._link = link
        self._stream = stream
        self._line = line
        self._tally = Tally()
        self._incoming = Incoming(request.body)
        self._head: bytes = b""
        self._begun = False
        self._complete = False
        self._credit = WINDOW
        self._room: asyncio.Future[None] | None = None
        scope = engine_scope(EngineRequest(request.path, request.body, request.request_id, request.model))
        scope["extensions"] = {WRITER: self, USAGE: self._tally}
        self.task = asyncio.get_running_loop().create_task(self._run(app, scope))

    def taken(self, count: int) -> None:
        """The reader has taken so many bytes."""
        self._credit += count
        if self._credit > 0:
            self._make_room()

    def cancel(self) -> None:
        """The reader is gone."""
        if not self._incoming.gone.is_set():
            self._incoming.gone.set()
            self._make_room()
            # An application that honours the disconnect ends by itself; one that does not is cancelled.
            asyncio.get_running_loop().call_later(CLOSE_S, self.task.cancel)

    def ready(self) -> bool:
        """See ``Writer``."""
        return self._credit > 0 and self._link.writable.is_set()

    def write(self, body: bytes) -> None:
        """See ``Writer``."""
        if not self._incoming.gone.is_set():
            so_far = self._tally.so_far
            self._link.write(Kind.DATA, self._stream, body, so_far)
            self._line.gave(so_far)
            self._credit -= len(body)

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        death: EngineDead | None = None
        try:
            await app(scope, self._incoming, self._send)
        except EngineDead as error:
            death = error
        except Exception:
            self._complete = False
            if not self._incoming.gone.is_set():
                logger.exception("a call of the engine failed")
        finally:
            self._end(death)

    def _end(self, death: EngineDead | None) -> None:
        usage = self._tally.usage
        if death is not None:
            kind, payload = Kind.DEAD, msgspec.msgpack.encode(Death(str(death), usage))
        else:
            kind, payload = Kind.END if self._complete else Kind.BROKEN, msgspec.msgpack.encode(usage)
        self._line.ends(usage, int(time.time() * 1000))
        self._link.done(self._stream, kind, payload, self._line)

    async def _send(self, message: Message) -> None:
        if self._incoming.gone.is_set():
            # One that writes on and on without ever waiting would keep the loop from doing anything else.
            await asyncio.sleep(0)
            return
        if message["type"] == "http.response.start":
            self._head = _head(message)
            return
        body: bytes = message.get("body", b"")
        self._complete = not message.get("more_body", False)
        if not body and not self._complete:
            return
        link, stream = self._link, self._stream
        if not self._begun:
            self._begun = True
            self._line.begins(self._tally.usage)
            link.write(Kind.HEAD, stream, self._head)
        if body:
            self.write(body)
            if self._credit <= 0:
                await self._wait_for_room()
        if not link.writable.is_set():
            await link.writable.wait()

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


def _head(message: Message) -> bytes:
    headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", [])}
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    return msgspec.msgpack.encode(Head(message["status"], content_type))


def _upgrade() -> list[tuple[str, str]]:
    return [("upgrade", PROTOCOL), ("connection", "upgrade")]
