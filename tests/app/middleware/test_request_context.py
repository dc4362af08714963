from __future__ import annotations

import asyncio
import logging
import re

import pytest

from app.middleware.request_context import RequestContextMiddleware
from tests.support.access_log import access_line
from tests.support.asgi import App, ok
from tests.support.gateway import CHAT, Gateway

HELLO = {"model": "chat-alias", "messages": [{"role": "user", "content": "Hello"}]}
REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "manta")


async def test_every_answer_carries_an_id_and_the_time_it_took():
    app = App(RequestContextMiddleware, *ok())
    await app.handle()
    id_ = app.headers[b"x-request-id"].decode()
    assert REQUEST_ID.fullmatch(id_)
    assert app.scope["state"]["request_id"] == id_
    assert app.headers[b"openai-processing-ms"].isdigit()


async def test_no_client_chooses_its_id(gateway: Gateway):
    responses = [await gateway.client.get("/health", headers={"x-request-id": "mine"}) for _ in range(2)]
    ids = {response.headers["x-request-id"] for response in responses}
    assert len(ids) == 2
    assert all(REQUEST_ID.fullmatch(id_) for id_ in ids)


@pytest.mark.parametrize(
    ("path", "seen"), [("/", "/"), ("/x/", "/x"), ("/x//", "/x"), ("//", "/"), ("/x", "/x"), ("/x/y/", "/x/y")]
)
async def test_a_trailing_slash_means_nothing(path: str, seen: str):
    app = App(RequestContextMiddleware, *ok())
    await app.handle(path)
    assert app.scope["path"] == seen


async def test_a_trailing_slash_redirects_nobody(gateway: Gateway):
    for path in ("/v1/models", "/health", f"/v1/models/{CHAT}", "/docs"):
        response = await gateway.client.get(path + "/")
        assert response.status_code == 200, path
    assert (await gateway.client.post("/v1/chat/completions/", json=HELLO)).status_code == 200


async def test_one_line_is_logged_for_each_request(gateway: Gateway, caplog: pytest.LogCaptureFixture):
    response = await gateway.client.post("/v1/chat/completions/", json=HELLO)
    line = await access_line(caplog)
    assert line.getMessage() == "POST /v1/chat/completions 200"
    assert (line.request_id, line.method, line.path, line.status, line.subject, line.model) == (
        response.headers["x-request-id"],
        "POST",
        "/v1/chat/completions",
        200,
        "user_admin",
        CHAT,
    )
    assert line.elapsed_ms > 0


async def test_the_line_of_a_refused_request_says_what_is_known(gateway: Gateway, caplog: pytest.LogCaptureFixture):
    await gateway.anonymous.post("/v1/chat/completions", content=b"{")
    line = await access_line(caplog)
    assert (line.status, line.subject, line.model) == (400, "ip:127.0.0.1", None)


async def test_the_log_holds_neither_key_nor_query_nor_prompt(gateway: Gateway, caplog: pytest.LogCaptureFixture):
    secret = {"model": CHAT, "messages": [{"role": "user", "content": "my-own-words"}]}
    await gateway.client.post("/v1/chat/completions?user=my-own-name", json=secret)
    await access_line(caplog)
    text = str([record.__dict__ for record in caplog.records])
    for word in (gateway.key, "my-own-words", "my-own-name"):
        assert word not in text


@pytest.mark.parametrize("path", ["/v1/%0aGET%20/admin%20200", "/" + "x" * 5000])
async def test_a_path_cannot_forge_or_flood_the_log(gateway: Gateway, caplog: pytest.LogCaptureFixture, path: str):
    await gateway.client.get(path)
    line = await access_line(caplog)
    assert "\n" not in line.getMessage()
    assert len(line.getMessage()) < 600


async def test_a_client_that_leaves_before_the_answer_is_logged_as_499(caplog: pytest.LogCaptureFixture):
    app = App(RequestContextMiddleware)
    await app.handle()
    line = await access_line(caplog)
    assert line.status == 499
    assert line.getMessage() == "GET /x 499"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
):
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await writer.wait_closed()
    assert (await access_line(caplog)).status == 499
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_other_kinds_of_connections_pass():
    app = App(RequestContextMiddleware)
    await RequestContextMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert app.scope == {"type": "lifespan"}
