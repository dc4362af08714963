"""How the contract tests talk to an engine: through its ASGI application, as a replica does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from app.services.asgi_call import ASGIApp, AsgiCall
from tests.support.openai_schema import data_events

REQUEST_ID = "req-0123456789abcdef"
MODEL = "the-name-that-the-caller-used"


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The parsed events of a stream, without ``[DONE]``."""
        return [json.loads(event) for event in data_events(self.body) if event != "[DONE]"]


def call(app: ASGIApp, path: str, body: Any, *, request_id: str = REQUEST_ID, model: str = MODEL) -> AsgiCall:
    """A request that is not sent yet; a body of bytes goes as it is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AsgiCall(app, path, raw, [(b"x-request-id", request_id.encode()), (b"x-manta-model", model.encode())])


async def post(app: ASGIApp, path: str, body: Any, **headers: str) -> Reply:
    """Send a request and read its whole answer."""
    request = call(app, path, body, **headers)
    await request.start()
    return Reply(request.status, request.content_type, b"".join([chunk async for chunk in request]))


async def request(app: ASGIApp, method: str, path: str) -> Reply:
    """A request with any method and no body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "", "headers": []}
    scope |= {"client": None, "server": ("engine", 80)}
    await app(scope, receive, send)
    headers = {bytes(name): bytes(value) for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(sent[0]["status"], headers[b"content-type"].decode(), body)


def user(text: str) -> list[dict[str, str]]:
    """A chat of one message."""
    return [{"role": "user", "content": text}]


def assert_error(reply: Reply, status: int, type_: str, code: str | None = None) -> dict[str, Any]:
    """Fail unless the reply is an error in THE shape: four keys, strings or null."""
    assert reply.status == status, reply.body
    assert reply.content_type == "application/json"
    assert list(reply.json) == ["error"]
    error = reply.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert all(error[key] is None or isinstance(error[key], str) for key in ("param", "code"))
    assert error["type"] == type_
    if code is not None:
        assert error["code"] == code
    return error
