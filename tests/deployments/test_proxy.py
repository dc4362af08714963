from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.services.asgi_call import Message, Receive, Scope, Send
from deployments.proxy import STEERING, ProxyGuardMiddleware, middlewares


class Proxy:
    """Serve's proxy: answers what the test says and keeps what it saw."""

    def __init__(self, status: int, content_type: str, *bodies: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()):
        self.status = status
        self.headers = [(b"content-type", content_type.encode()), *headers]
        self.bodies = bodies
        self.seen: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen = {name.decode(): value.decode() for name, value in scope["headers"]}
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for body in self.bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def get(proxy: Proxy, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(ProxyGuardMiddleware(proxy))
    async with httpx.AsyncClient(transport=transport, base_url="http://manta") as client:
        return await client.get("/x", headers=headers)


@pytest.mark.parametrize("name", sorted(name.decode() for name in STEERING))
async def test_a_client_does_not_steer_serve(name: str):
    proxy = Proxy(200, "text/plain")
    await get(proxy, **{name: "1", name.upper(): "1", "x-serve-anything": "1", "authorization": "Bearer x"})
    assert not {header for header in proxy.seen if header.lower() == name or header.lower().startswith("x-serve-")}
    assert proxy.seen["authorization"] == "Bearer x"


@pytest.mark.parametrize(("in_replica", "unwatched"), [(True, "?1"), (False, None)])
async def test_serve_watches_for_a_client_that_leaves_only_where_nobody_else_does(
    in_replica: bool, unwatched: str | None
):
    proxy = Proxy(200, "text/plain")
    transport = httpx.ASGITransport(ProxyGuardMiddleware(proxy, in_replica=in_replica))
    async with httpx.AsyncClient(transport=transport, base_url="http://manta") as client:
        await client.get("/x", headers={"x-request-disconnect-disabled": "?0"})
    assert proxy.seen.get("x-request-disconnect-disabled") == unwatched


async def test_an_answer_passes_as_it_is():
    response = await get(Proxy(200, "text/event-stream", b"data: 1\n\n", b"data: 2\n\n"))
    assert (response.status_code, response.text) == (200, "data: 1\n\ndata: 2\n\n")
    assert response.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("status", [400, 401, 404, 503])
async def test_the_gateways_own_errors_pass_as_they_are(status: int):
    body = b'{"error": {}}'
    response = await get(Proxy(status, "application/json", body, headers=((b"retry-after", b"7"),)))
    assert (response.status_code, response.content, response.headers["retry-after"]) == (status, body, "7")


@pytest.mark.parametrize(
    ("status", "told"), [(404, 503), (408, 503), (429, 503), (503, 503), (500, 503), (502, 503), (504, 503)]
)
async def test_serves_own_errors_are_told_in_our_shape_and_none_of_their_text(status: int, told: int):
    response = await get(Proxy(status, "text/plain", b"Internal", b"Traceback"))
    assert response.status_code == told
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text


async def test_an_error_without_a_type_is_serves_own():
    proxy = Proxy(404, "")
    proxy.headers = []
    assert (await get(proxy)).json()["error"]["type"] == "service_unavailable_error"


@pytest.mark.parametrize(
    ("in_replica", "told"),
    [(False, ("service_unavailable_error", "gateway_crashed")), (True, ("server_error", "internal_error"))],
)
async def test_a_failure_behind_the_proxy_is_the_gateways_death(in_replica: bool, told: tuple[str, str]):
    guard = ProxyGuardMiddleware(Proxy(500, "text/plain", b"Internal"), in_replica=in_replica)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://manta") as client:
        response = await client.get("/x")
    error = response.json()["error"]
    assert (error["type"], error["code"]) == told
    assert ("retry-after" in response.headers) is not in_replica


async def test_an_answer_carries_one_request_id_the_gateways():
    ids = ((b"x-request-id", b"req_ours"), (b"X-Request-ID", b"serves"))
    response = await get(Proxy(200, "application/json", b"{}", headers=ids))
    assert response.headers.get_list("x-request-id") == ["req_ours"]


async def test_other_kinds_of_connections_pass():
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def unused(*_: Any) -> Message:
        raise AssertionError

    await ProxyGuardMiddleware(app)({"type": "websocket"}, unused, unused)
    assert seen == ["websocket"]


def test_serve_is_given_the_guard():
    assert [middleware.cls for middleware in middlewares()] == [ProxyGuardMiddleware]
