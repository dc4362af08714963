"""The door at which a replica of the running service waits for gateways: it opens to a fresh ticket, once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from tests.support.inside import Inside
from tests.support.live import SCRIPTED, Live

pytestmark = pytest.mark.live

UPGRADE = "Upgrade: manta-link/3\r\nConnection: upgrade\r\n"
POST = "Content-Type: application/json\r\nContent-Length: 2\r\n"


@pytest.fixture(scope="module")
def spec(live: Live) -> ModelSpec:
    """The model whose door it is."""
    return next(spec for spec in load_models(",".join(map(str, live.models))) if spec.id == SCRIPTED)


@pytest.fixture(scope="module")
def inside(live: Live) -> Iterator[Inside]:
    """Who can ask for tickets."""
    with Inside(live.ray_address) as inside:
        yield inside


def knock(ticket: dict[str, Any], begun: str) -> int:
    """The status that the door answers with."""
    with socket.create_connection((ticket["host"], ticket["port"]), timeout=10) as door:
        door.sendall(f"{begun}\r\n".encode())
        return int(door.recv(64).split()[1])


def with_token(token: str, path: str = "/link") -> str:
    """A request for a link."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{UPGRADE}Authorization: Ticket {token}\r\n"


def test_a_ticket_opens_the_door_once_and_nothing_else_does(live: Live, inside: Inside, spec: ModelSpec) -> None:
    """No ticket, a guessed one, another one's key, one that was used: 403. Another path: 404, whatever is shown."""
    ticket = inside.ticket(spec)
    assert knock(ticket, f"GET /link HTTP/1.1\r\nHost: x\r\n{UPGRADE}") == 403
    assert knock(ticket, with_token("a" * len(ticket["token"]))) == 403
    assert knock(ticket, with_token(live.api_key)) == 403
    for path in ("/", "/v1/chat/completions", "/link/", "/docs"):
        assert knock(ticket, with_token(ticket["token"], path)) == 404
    assert knock(ticket, f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{POST}\r\n{{}}") == 404
    assert knock(ticket, with_token(ticket["token"])) == 101
    assert knock(ticket, with_token(ticket["token"])) == 403


def test_the_door_is_open_to_this_machine_alone(live: Live, inside: Inside, spec: ModelSpec) -> None:
    """It listens on loopback, as the whole local service does."""
    port = inside.ticket(spec)["port"]
    below = psutil.Process(live.pid).children(recursive=True)
    (address,) = {
        each.laddr.ip
        for process in below
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }
    assert address == "127.0.0.1"
