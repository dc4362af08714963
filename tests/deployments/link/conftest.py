"""A listener in front of an application that does what the test says, and links to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from app.services.asgi_call import Message, Receive, Scope, Send
from app.services.backend import EngineRequest
from deployments.link.link import Link
from deployments.link.listener import Listener
from deployments.link.tickets import Grant, Ticket
from deployments.slate.slate import Line

REPLICA = "a" * 32
Behaviour = Callable[[Scope, Receive, Send], Awaitable[None]]


def request(body: bytes = b"{}", path: str = "/v1/completions") -> EngineRequest:
    return EngineRequest(path, body, "id", "alias")


async def start(send: Send, status: int = 200, content_type: bytes = b"text/event-stream") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Type", content_type)]})


async def body(send: Send, data: bytes, *, more: bool = True) -> None:
    message: Message = {"type": "http.response.body", "body": data, "more_body": more}
    await send(message)


@dataclass
class Replica:
    """A replica's door.

    Attributes:
        behaviour: What its application does.
        running: Calls of the application that have not ended.
        orphans: What lost gateways left.
    """

    behaviour: Behaviour
    running: int = 0
    links: list[Link] = field(default_factory=list[Link])
    orphans: list[Line] = field(default_factory=list[Line])

    def __post_init__(self) -> None:
        self.listener = Listener(self._app, REPLICA, "127.0.0.1", 64, self.orphans.extend)

    @property
    def unwritten(self) -> int:
        """How many calls it keeps that no gateway has on record."""
        return len(self.listener._unwritten)  # pyright: ignore[reportPrivateUsage]

    def ticket(self) -> tuple[Ticket, Grant]:
        return self.listener.grant()

    async def link(self) -> Link:
        link = await Link.connect(self.ticket()[0])
        self.links.append(link)
        return link

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        try:
            await self.behaviour(scope, receive, send)
        finally:
            self.running -= 1


@pytest.fixture
async def replica() -> AsyncIterator[Callable[[Behaviour], Awaitable[Replica]]]:
    """Starts replicas; ends them."""
    made: list[Replica] = []

    async def start_replica(behaviour: Behaviour) -> Replica:
        made.append(replica := Replica(behaviour))
        await replica.listener.start()
        return replica

    yield start_replica
    for each in made:
        await each.listener.stop()
        for link in each.links:
            link.close()
    await asyncio.sleep(0.01)
    assert [each.running for each in made] == [0] * len(made), "a call of the application was left over"
