"""The door of a replica: it opens to a ticket, once, and to nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from deployments.link import listener, tickets
from deployments.link.link import Link, LinkLost
from deployments.link.wire import HEADER, MAX_PAYLOAD, Kind, Request, frame
from tests.deployments.link.conftest import Behaviour, Replica, request
from tests.deployments.link.test_link import echo, until

pytestmark = pytest.mark.usefixtures("clean_loop")
CALL = msgspec.msgpack.encode(Request("/v1/completions", "id", "m", b"{}"))
Start = Callable[[Behaviour], Awaitable[Replica]]


async def knock(port: int, head: str, frames: bytes = b"") -> bytes:
    """Everything that the door says to these bytes, until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode() + frames)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def handshake(token: str | None, path: str = "/link", upgrade: str = "manta-link/3") -> str:
    authorization = f"authorization: Ticket {token}\n" if token is not None else ""
    return f"GET {path} HTTP/1.1\nhost: x\nupgrade: {upgrade}\nconnection: upgrade\n{authorization}\n"


async def test_a_ticket_opens_a_link_once(replica: Start):
    there = await replica(echo)
    ticket, _ = there.ticket()
    link = await Link.connect(ticket)
    with pytest.raises(LinkLost):
        await Link.connect(ticket)
    assert link.alive
    link.close()


@pytest.mark.parametrize("token", [None, "", "guessed", "x" * 32, "\u00e9"])
async def test_who_has_no_ticket_is_refused_and_served_nothing(replica: Start, token: str | None):
    there = await replica(echo)
    ticket, _ = there.ticket()
    call = frame(Kind.REQUEST, 1, CALL)
    said = await knock(ticket.port, handshake(token), call)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_ticket"
    assert there.running == 0


async def test_a_ticket_of_another_replica_is_refused(replica: Start):
    here, there = await replica(echo), await replica(echo)
    foreign, _ = there.ticket()
    said = await knock(here.ticket()[0].port, handshake(foreign.token))
    assert said.startswith(b"HTTP/1.1 403 ")


async def test_a_ticket_of_a_lease_that_is_over_is_refused(replica: Start):
    there = await replica(echo)
    ticket, grant = there.ticket()
    there.listener.end(grant)
    assert (await knock(ticket.port, handshake(ticket.token))).startswith(b"HTTP/1.1 403 ")


async def test_a_ticket_that_nobody_redeems_ends_its_lease(replica: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tickets, "REDEEM_S", 0.05)
    there = await replica(echo)
    _, grant = there.ticket()
    async with asyncio.timeout(5):
        await grant.over.wait()


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions", "/metrics", "/link/x", "/docs"])
async def test_there_is_nothing_but_the_link(replica: Start, path: str):
    there = await replica(echo)
    ticket, grant = there.ticket()
    said = await knock(ticket.port, handshake(ticket.token, path))
    assert said.startswith(b"HTTP/1.1 404 ")
    assert not grant.redeemed


async def test_another_protocol_is_refused(replica: Start):
    there = await replica(echo)
    ticket, _ = there.ticket()
    assert (await knock(ticket.port, handshake(ticket.token, upgrade="websocket"))).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("noise", ["\x00\x01\x02", "GET /link\n\n", "x" * 100_000])
async def test_noise_is_hung_up_on(replica: Start, noise: str):
    there = await replica(echo)
    ticket, _ = there.ticket()
    said = await asyncio.gather(knock(ticket.port, noise + "\n\n"), return_exceptions=True)
    assert said[0] == b"" or isinstance(said[0], ConnectionError)


async def test_who_says_nothing_is_hung_up_on(replica: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "HANDSHAKE_S", 0.05)
    there = await replica(echo)
    ticket, _ = there.ticket()
    said = await asyncio.gather(knock(ticket.port, ""), return_exceptions=True)
    assert said[0] == b"" or isinstance(said[0], ConnectionError)


@pytest.mark.parametrize(
    "frames",
    [
        HEADER.pack(MAX_PAYLOAD + 1, 1, 0, Kind.REQUEST),
        frame(Kind.REQUEST, 1, b"\xff"),
        frame(Kind.REQUEST, 1, CALL) + frame(Kind.TAKEN, 1, b"\x00"),
        frame(Kind.HEAD, 1, b""),
    ],
    ids=["too long", "no request", "no count", "wrong way"],
)
async def test_frames_that_no_gateway_sends_end_the_link(replica: Start, frames: bytes):
    there = await replica(echo)
    ticket, grant = there.ticket()
    said = await asyncio.gather(knock(ticket.port, handshake(ticket.token), frames), return_exceptions=True)
    if isinstance(said[0], bytes):
        assert said[0].startswith(b"HTTP/1.1 101 ")
        assert said[0].endswith(b"\r\n\r\n")
    async with asyncio.timeout(5):
        await grant.over.wait()


async def test_a_link_adopts_leases_and_gives_them_back_one_by_one(replica: Start):
    there = await replica(echo)
    first, first_grant = there.ticket()
    second, second_grant = there.ticket()
    link = await Link.connect(first)
    link.adopt(second.token)
    link.adopt("guessed")
    await until(lambda: second_grant.redeemed)
    link.release(first.token)
    await until(first_grant.over.is_set)
    assert not second_grant.over.is_set()
    assert b"still" in b"".join([chunk async for chunk in link.send(request(b"still"))])
    link.close()
    await until(second_grant.over.is_set)
