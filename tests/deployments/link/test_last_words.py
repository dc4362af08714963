"""A replica that is killed: what it had sent by then is heard, and the tokens of it are counted."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import uvloop

from app.services.asgi_call import Receive, Scope, Send, tally_of
from app.services.backend import EngineRequest
from deployments.link.link import Link, LinkLost
from deployments.link.tickets import Ticket
from deployments.link.wire import Head, Kind, frame
from tests.deployments.link.conftest import Behaviour, Replica, body, start
from tests.support.meter import Recorder

Start = Callable[[Behaviour], Awaitable[Replica]]

REQUEST = EngineRequest("/v1/completions", b"{}", "id", "m", b"account")
ANSWER = (
    frame(Kind.HEAD, 1, msgspec.msgpack.encode(Head(200, "text/event-stream")))
    + frame(Kind.DATA, 1, b"one", 1)
    + frame(Kind.DATA, 1, b"two three", 3)
)
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers three tokens in two parts, and no more."""
    await receive()
    await start(send)
    for so_far in (1, 3):
        tally_of(scope).so_far = so_far
        await body(send, b"part")
    await receive()


async def hang_up(there: Replica, link: Link) -> None:
    """End the connection from the replica's side, as its death would."""
    for each in there.listener._links:  # pyright: ignore[reportPrivateUsage]
        transport = each._out.transport  # pyright: ignore[reportPrivateUsage]
        assert transport is not None
        transport.abort()
    while link.alive:
        await asyncio.sleep(0.005)


async def test_tokens_that_came_before_the_link_was_lost_are_counted(replica: Start):
    there, meter = await replica(counting), Recorder()
    link = await there.link()
    answer = link.send(REQUEST, meter)
    read = b""
    while read != b"partpart":
        read += await anext(aiter(answer))
    await hang_up(there, link)
    assert meter.seen == [3]


async def test_tokens_that_nobody_wants_any_more_are_counted_like_others(replica: Start):
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await counting(scope, receive, send)
        tally_of(scope).so_far = 4
        await asyncio.sleep(0.05)

    there, meter = await replica(deaf), Recorder()
    link = await there.link()
    answer = link.send(REQUEST, meter)
    await answer.begun()
    answer.close()
    await hang_up(there, link)
    assert meter.seen == [3]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_write_that_fails_does_not_keep_what_was_said_before_from_being_heard(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
):
    """The replica's end is noticed by writing to it, with its last words still unread."""
    with socket.create_server(("127.0.0.1", 0)) as door, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_write_to_a_dead_replica(door))


async def _write_to_a_dead_replica(door: socket.socket) -> None:
    meter = Recorder()
    connecting = asyncio.create_task(Link.connect(Ticket("a" * 32, *door.getsockname(), 1, "token")))
    replica, _ = await asyncio.to_thread(door.accept)
    with replica:
        await asyncio.to_thread(replica.recv, 4096)
        replica.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: manta-link/3\r\nconnection: upgrade\r\n\r\n")
        link = await connecting
        answer = link.send(REQUEST, meter)
        await asyncio.to_thread(replica.recv, 4096)
        # From here to the failing write the loop does not turn: nothing of this is read.
        replica.sendall(ANSWER)
        replica.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.write(Kind.TAKEN, 1, bytes(4))
    link._out.flush()  # pyright: ignore[reportPrivateUsage]
    assert await anext(aiter(answer)) == b"onetwo three"
    with pytest.raises(LinkLost):
        await anext(aiter(answer))
    assert meter.seen == [3]
