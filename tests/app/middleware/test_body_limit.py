from __future__ import annotations

import asyncio

import pytest

from app.middleware.body_limit import BodyLimitMiddleware
from app.services.asgi_call import Message, Receive, Scope, Send
from tests.support.gateway import Gateway, GatewayFactory

LIMIT = 1000


async def reached(headers: list[tuple[bytes, bytes]], *parts: bytes) -> tuple[list[Message], bytes | None]:
    """What was sent, and the body as it came to the application (None: it did not)."""
    sent: list[Message] = []
    got: list[bytes] = []
    came = False
    messages = [
        {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)} for index, part in enumerate(parts)
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal came
        came = True
        for _ in parts:
            got.append((await receive())["body"])

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await BodyLimitMiddleware(app, LIMIT)({"type": "http", "headers": headers}, receive, send)
    return sent, b"".join(got) if came else None


@pytest.mark.parametrize("length", [b"0", b"1000"])
async def test_a_body_up_to_the_limit_passes(length: bytes):
    body = b"x" * int(length)
    assert await reached([(b"content-length", length)], body) == ([], body)


@pytest.mark.parametrize("length", [b"1001", b"99999999999999999999999999", b"9" * 4000])
async def test_a_longer_one_is_refused_by_its_length_before_it_is_read(length: bytes):
    sent, body = await reached([(b"content-length", length)], b"x" * 1001)
    assert body is None
    assert sent[0]["status"] == 413
    assert b"1000 bytes" in sent[1]["body"]


async def test_a_longer_one_without_a_length_is_refused_when_it_is_seen_to_be_longer():
    with pytest.raises(Exception, match="over the limit of 1000 bytes"):
        await reached([(b"transfer-encoding", b"chunked")], b"x" * 600, b"x" * 401)
    assert await reached([(b"transfer-encoding", b"chunked")], b"x" * 600, b"x" * 400) == ([], b"x" * 1000)


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"br", b"identity, gzip"])
async def test_a_compressed_body_is_refused(encoding: bytes):
    sent, body = await reached([(b"content-encoding", encoding)], b"x")
    assert body is None
    assert sent[0]["status"] == 415


@pytest.mark.parametrize("encoding", [b"identity", b"Identity"])
async def test_a_body_that_says_it_is_not_compressed_passes(encoding: bytes):
    assert await reached([(b"content-encoding", encoding)], b"x") == ([], b"x")


async def test_other_kinds_of_connections_pass():
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        raise AssertionError

    async def swallow(message: Message) -> None:
        raise AssertionError

    await BodyLimitMiddleware(app, LIMIT)({"type": "lifespan"}, nothing, swallow)
    assert seen == ["lifespan"]


async def test_the_limit_is_the_settings(new_gateway: GatewayFactory):
    async with new_gateway(max_body_bytes=2048) as gateway:
        for size, status in ((2048, 400), (2049, 413)):
            response = await gateway.client.post("/v1/chat/completions", content=b"x" * size)
            assert response.status_code == status, size


async def test_an_endless_body_is_refused_before_its_end(gateway: Gateway):
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(5):
        writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
    try:
        async with asyncio.timeout(60):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    finally:
        writer.close()
        await writer.wait_closed()
