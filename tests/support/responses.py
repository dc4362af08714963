"""What tests of responses share: asking, waiting, and reading streams as OpenAI's schema has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx

from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from tests.support.gateway import CHAT, Gateway, GatewayFactory, scripted
from tests.support.openai_schema import validate

Json = dict[str, Any]
OVER = ("completed", "incomplete", "failed", "cancelled")


async def post(client: httpx.AsyncClient, *, key: str | None = None, **fields: Any) -> httpx.Response:
    """Ask for a response; ``key`` is an ``Idempotency-Key``."""
    headers = {} if key is None else {"idempotency-key": key}
    body = {"model": CHAT, "input": "Say something.", **fields}
    return await client.post("/v1/responses", json=body, headers=headers)


async def create(client: httpx.AsyncClient, **fields: Any) -> Json:
    """Ask for a response, and have it be a valid one."""
    response = await post(client, **fields)
    assert response.status_code == 200, response.text
    validate("Response", response.json())
    return response.json()


async def get(client: httpx.AsyncClient, id_: str) -> Json:
    """A response as it is kept."""
    response = await client.get(f"/v1/responses/{id_}")
    assert response.status_code == 200, response.text
    validate("Response", response.json())
    return response.json()


async def until_over(client: httpx.AsyncClient, id_: str, tries: int = 600) -> Json:
    """A response as it is kept, once nothing more becomes of it."""
    for _ in range(tries):
        response = await client.get(f"/v1/responses/{id_}")
        if response.status_code == 200 and response.json()["status"] in OVER:
            validate("Response", response.json())
            return response.json()
        await asyncio.sleep(0.05)
    raise AssertionError(f"{id_} is not over")


def text_of(response: Json) -> str:
    """What a response says."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for message in messages for part in message["content"])


def sent(gateway: Gateway) -> list[Json]:
    """The messages that the engine was sent last."""
    return json.loads(gateway.backend.requests[-1].body)["messages"]


def slow(new_gateway: GatewayFactory, **settings: Any) -> contextlib.AbstractAsyncContextManager[Gateway]:
    """A gateway whose model takes its time."""
    spec = scripted(CHAT, engine_args={"tokens_per_s": 50, "max_model_len": 4096})
    return new_gateway([CatalogEntry(spec, ModelState("ready", replicas=1, max_model_len=4096))], **settings)
