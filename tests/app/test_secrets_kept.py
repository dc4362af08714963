"""What opens something is shown to whom it is for, once: it is in no log, no document and no later answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from app.services.backend import EngineRequest, EngineResponse
from tests.support.gateway import CHAT, Gateway, GatewayFactory
from tests.support.people import bearer

ASK = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}


async def use_everything(gateway: Gateway) -> list[str]:
    """Come in, make a key, use all of it well and badly; every secret that was given out."""
    send = gateway.anonymous.request
    pair = (await send("POST", "/v1/auth/guest-login")).json()
    following = (await send("POST", "/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]})).json()
    user = (await send("POST", "/v1/admin/users", json={"name": "x"}, headers=bearer(gateway.key))).json()
    body = {"owner": user["id"], "name": "x"}
    made = (await send("POST", "/v1/admin/api-keys", json=body, headers=bearer(gateway.key))).json()
    secrets = [gateway.key, made["key"]]
    secrets += [each[name] for each in (pair, following) for name in ("access_token", "refresh_token")]
    for secret in secrets:
        for headers in (bearer(secret), {"x-api-key": secret}, {"cookie": f"manta_access={secret}"}):
            await send("POST", "/v1/chat/completions", json=ASK, headers=headers)
            await send("GET", "/v1/admin/users", headers=headers)
            await send("POST", "/v1/user/api-keys", json={"name": secret, "key": secret}, headers=headers)
        await send("POST", "/v1/chat/completions", json=ASK, headers=bearer(secret[:-1]))

    async def fail(spec: Any, request: EngineRequest) -> EngineResponse:
        raise ZeroDivisionError

    with gateway.backend.replaced(fail):
        assert (await send("POST", "/v1/chat/completions", json=ASK, headers=bearer(made["key"]))).status_code == 500
    await send("POST", "/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    await send("POST", "/v1/auth/logout", json={"refresh_token": following["refresh_token"]})
    await gateway.services.audit.close()
    return secrets


async def test_no_secret_is_in_a_log_or_a_document_or_shown_again(
    new_gateway: GatewayFactory, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    async with new_gateway() as gateway:
        secrets = await use_everything(gateway)
        # The client's own logs are not the service's.
        records = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        told = [repr(record.__dict__) + caplog.handler.format(record) for record in records]
        kept: list[str] = []
        for name in ("users", "api_keys", "sessions", "audit_log"):
            documents = await gateway.services.database.collection(name).find({}).to_list(1000)
            assert documents
            kept += map(repr, documents)
        shown = [
            (await gateway.client.get(path, params={"limit": 100})).text
            for path in ("/v1/admin/users", "/v1/admin/api-keys", "/v1/admin/audit-log", "/v1/status")
        ]
    assert len(told) > 50
    for secret in secrets:
        # What of it is guessed hardest: the ends may be shown, to recognise it by.
        core = secret[-40:-12]
        assert not [text[:300] for text in (*told, *kept, *shown) if core in text]


async def test_answers_that_hold_a_secret_are_kept_by_no_cache(gateway: Gateway):
    pair = await gateway.anonymous.post("/v1/auth/guest-login")
    following = await gateway.anonymous.get("/v1/auth/refresh-token", headers=bearer(pair.json()["refresh_token"]))
    made = await gateway.client.post("/v1/user/api-keys", json={"name": "x"})
    await gateway.client.delete(f"/v1/user/api-keys/{made.json()['id']}")
    for answer in (pair, following, made):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
