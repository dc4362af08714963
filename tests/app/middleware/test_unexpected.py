from __future__ import annotations

import logging

import pytest

from app.middleware.request_context import RequestContextMiddleware
from app.middleware.unexpected import UnexpectedErrorMiddleware
from app.services.asgi_call import ASGIApp
from app.services.catalog import StaticCatalog
from tests.support.access_log import access_line
from tests.support.asgi import App, ok
from tests.support.gateway import Gateway


def within_context(app: ASGIApp) -> ASGIApp:
    return RequestContextMiddleware(UnexpectedErrorMiddleware(app))


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "manta")


async def test_an_exception_becomes_an_error_that_tells_nothing_but_the_id(caplog: pytest.LogCaptureFixture):
    app = App(within_context, ZeroDivisionError("/home/secret"))
    await app.handle()
    assert app.sent[0]["status"] == 500
    assert b"secret" not in app.sent[1]["body"]
    assert app.headers[b"x-request-id"] in app.sent[1]["body"]
    assert "ZeroDivisionError" in caplog.text
    assert (await access_line(caplog)).status == 500


async def test_an_exception_in_the_middle_of_an_answer_adds_nothing_to_it(caplog: pytest.LogCaptureFixture):
    start, body = ok()
    app = App(within_context, start, {**body, "more_body": True}, ZeroDivisionError())
    await app.handle()
    assert [message["type"] for message in app.sent] == ["http.response.start", "http.response.body"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_script_of_another_origin_may_read_the_error(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    def fails(_: StaticCatalog) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(StaticCatalog, "current", fails)
    response = await gateway.client.get("/v1/models", headers={"Origin": "https://elsewhere.example"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert response.headers["access-control-allow-origin"]
    assert response.headers["x-request-id"]


async def test_other_kinds_of_connections_pass():
    app = App(within_context)
    await UnexpectedErrorMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert app.scope == {"type": "lifespan"}
