from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.domain.limit_table import LimitTable
from app.domain.model_state import ModelState
from app.domain.user import ADMIN_ID
from app.errors import InvalidRequest
from app.services.catalog import CatalogEntry
from app.services.inference import check_output_cap
from tests.support.gateway import CHAT, EMBEDDER, Gateway, GatewayFactory, scripted
from tests.support.people import bearer, signed_in

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
HELLO: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}]}


def entry(max_output_tokens: int | None, max_model_len: int | None) -> CatalogEntry:
    return CatalogEntry(
        scripted(limits={"max_output_tokens": max_output_tokens}), ModelState("ready", max_model_len=max_model_len)
    )


@pytest.mark.parametrize(
    ("limit", "max_model_len", "asked", "allowed"),
    [
        (100, 2048, 100, True),
        (100, 2048, 101, False),
        (None, 2048, 2048, True),
        (None, 2048, 2049, False),
        (None, None, 10**9, True),
        (100, None, 101, False),
    ],
)
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_has_at_most_the_models_tokens(
    limit: int | None, max_model_len: int | None, asked: int, allowed: bool, name: str
):
    model = entry(limit, max_model_len)
    if allowed:
        check_output_cap(model, {name: asked})
        return
    with pytest.raises(InvalidRequest, match=f"{name} is {asked}") as refusal:
        check_output_cap(model, {name: asked})
    assert refusal.value.param == name


def test_a_request_that_asks_for_no_number_is_under_every_cap():
    check_output_cap(entry(100, 2048), {})


async def sent(gateway: Gateway, path: str, body: dict[str, Any]) -> tuple[httpx.Response, dict[str, Any]]:
    before = len(gateway.backend.requests)
    response = await gateway.client.post(path, json=body)
    assert len(gateway.backend.requests) == before + 1, response.text
    return response, json.loads(gateway.backend.requests[-1].body)


@pytest.mark.parametrize("cap", [{}, {"max_tokens": None}, {"max_completion_tokens": None}])
async def test_who_asks_for_no_number_gets_the_models_cap(gateway: Gateway, cap: dict[str, Any]):
    _, body = await sent(gateway, "/v1/chat/completions", {**HELLO, **cap})
    assert body["max_tokens"] == 512


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/v1/chat/completions", HELLO, 7),
        ("/v1/chat/completions", {**HELLO, "max_tokens": 9}, 9),
        ("/v1/completions", {"model": CHAT, "prompt": "Hello"}, 16),
    ],
)
async def test_a_chat_that_asks_for_no_number_gets_the_models_default(
    new_gateway: GatewayFactory, path: str, body: dict[str, Any], tokens: int
):
    model = CatalogEntry(scripted(limits={"default_output_tokens": 7}), ModelState("ready", max_model_len=4096))
    async with new_gateway([model]) as gateway:
        response, _ = await sent(gateway, path, body)
        assert response.json()["usage"]["completion_tokens"] == tokens


async def test_who_asks_for_a_number_gets_it(gateway: Gateway):
    response, body = await sent(gateway, "/v1/chat/completions", {**HELLO, "max_completion_tokens": 5})
    assert "max_tokens" not in body or body["max_tokens"] == 5
    assert response.json()["usage"]["completion_tokens"] == 5


async def test_counting_tokens_is_not_told_of_caps(gateway: Gateway):
    _, body = await sent(gateway, "/v1/messages/count_tokens", HELLO)
    assert "max_tokens" not in body


async def test_embedding_is_not_told_of_caps(gateway: Gateway):
    _, body = await sent(gateway, "/v1/embeddings", {"model": EMBEDDER, "input": "x"})
    assert set(body) == {"model", "input"}


async def test_the_engine_knows_its_model_by_id_and_the_answer_names_it_as_the_caller_did(gateway: Gateway):
    response, body = await sent(gateway, "/v1/chat/completions", {**HELLO, "model": "vendor/chat"})
    assert body["model"] == CHAT
    assert gateway.backend.requests[-1].model == "vendor/chat"
    assert response.json()["model"] == "vendor/chat"


@pytest.mark.parametrize(
    ("path", "body", "first"),
    [
        ("/v1/chat/completions", {"temperature": 0, **HELLO}, ["messages"]),
        ("/v1/chat/completions", {"seed": 1, **HELLO, "tools": TOOLS}, ["tools", "messages"]),
        ("/v1/completions", {"model": CHAT, "max_tokens": 2, "prompt": "x"}, ["prompt"]),
        ("/v1/messages", {"max_tokens": 2, **HELLO, "system": "Be brief."}, ["system", "messages"]),
    ],
)
async def test_the_prompt_stands_first_in_the_body_wherever_the_caller_wrote_it(
    gateway: Gateway, path: str, body: dict[str, Any], first: list[str]
):
    _, found = await sent(gateway, path, body)
    assert list(found)[: len(first)] == first
    assert set(body) <= set(found)


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/v1/chat/completions", HELLO, 512),
        ("/v1/chat/completions", {**HELLO, "max_tokens": 7}, 7),
        ("/v1/chat/completions", {**HELLO, "max_completion_tokens": 7, "n": 2}, 14),
        ("/v1/embeddings", {"model": EMBEDDER, "input": "Hello"}, 0),
    ],
)
async def test_what_waits_is_counted_for_its_caller(
    new_gateway: GatewayFactory, path: str, body: dict[str, Any], tokens: int
):
    # The run's gateway knows its tokenizer better by now than at first.
    async with new_gateway() as gateway:
        await sent(gateway, path, body)
        asked = gateway.backend.requests[-1]
    assert asked.share.tenant == ADMIN_ID
    assert asked.share.input_tokens > len(asked.body) / 4
    assert asked.share.output_tokens == tokens


async def test_the_answers_id_is_the_requests(gateway: Gateway):
    response, _ = await sent(gateway, "/v1/chat/completions", HELLO)
    assert response.headers["x-request-id"] == f"req_{gateway.backend.requests[-1].request_id}"
    assert response.json()["id"].startswith("chatcmpl-")
    assert gateway.backend.requests[-1].request_id in response.json()["id"]


async def test_a_model_without_a_cap_is_bounded_by_its_context(new_gateway: GatewayFactory):
    state = ModelState("ready", max_model_len=64)
    async with new_gateway([CatalogEntry(scripted(engine_args={"max_model_len": 64}), state)]) as gateway:
        _, body = await sent(gateway, "/v1/chat/completions", HELLO)
        assert "max_tokens" not in body
        response = await gateway.client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 65})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "max_tokens"


@pytest.mark.parametrize("status", ["cold", "starting", "draining", "ready"])
async def test_a_model_in_any_state_that_passes_is_asked(new_gateway: GatewayFactory, status: Any):
    async with new_gateway([CatalogEntry(scripted(), ModelState(status))]) as gateway:
        response, _ = await sent(gateway, "/v1/chat/completions", HELLO)
        assert response.status_code == 200


async def test_a_plan_decides_about_its_users_place_in_a_queue(new_gateway: GatewayFactory):
    limits = LimitTable.model_validate({"plans": {"pro": {"weight": 4, "priority": 2}}})
    async with new_gateway(limits=limits) as gateway:
        user, pair = await signed_in(gateway, plan="pro")
        await gateway.anonymous.post("/v1/chat/completions", json=HELLO, headers=bearer(pair.access_token))
        share = gateway.backend.requests[-1].share
    assert (share.tenant, share.weight, share.priority) == (user.id, 4, 2)
