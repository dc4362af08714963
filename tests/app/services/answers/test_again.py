"""Chats that are asked for twice under one ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from tests.support.chats import NEW, PATH, Person, asking, chunks_of, person, read_some, text_of, whole_frames
from tests.support.gateway import Gateway, GatewayFactory, scripted
from tests.test_error_shape import assert_error

KEY = {"idempotency-key": "once"}
SLOW = CatalogEntry(
    scripted(engine_args={"tokens_per_s": 20, "max_model_len": 2048}), ModelState("ready", max_model_len=2048)
)


async def send(one: Person, body: dict[str, Any], path: str = NEW) -> httpx.Response:
    return await one.client.post(path, json=body, headers=KEY)


async def until_answered(one: Person, body: dict[str, Any], path: str = NEW) -> httpx.Response:
    """What a client gets that does as it is told."""
    async with asyncio.timeout(20):
        while (response := await send(one, body, path)).status_code == 409:
            assert response.json()["error"]["code"] == "idempotency_in_progress"
            await asyncio.sleep(0.05)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "store": True, "metadata": {"a": "b"}}])
async def test_what_is_asked_twice_is_answered_once(gateway: Gateway, fields: dict[str, Any]):
    async with person(gateway) as one:
        first = await send(one, asking("Once?", **fields))
        asked = len(gateway.backend.requests)
        second = await send(one, asking("Once?", **fields))
        told = chunks_of(first.text)[0] if fields else first.json()
        items = await one.items(told["metadata"]["conversation_id"])
        conversations = (await one.client.get("/v1/conversations")).json()["data"]
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(gateway.backend.requests) == asked
    assert (len(items), len(conversations)) == (2, 1)


async def test_another_request_takes_another_key(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?")
        await send(one, asking("Once?", conversation=conversation), PATH)
        for body, path in ((asking("Twice?", conversation=conversation), PATH), (asking("Once?"), NEW)):
            refused = await send(one, body, path)
            assert_error(refused, 409, "idempotency_key_reused")
            assert refused.headers["x-should-retry"] == "false"
        assert len(await one.items(conversation)) == 4


async def test_a_key_is_its_owners_alone(gateway: Gateway):
    async with person(gateway) as one, person(gateway) as other:
        mine, theirs = [await send(each, asking("Once?")) for each in (one, other)]
    assert mine.json()["metadata"]["conversation_id"] != theirs.json()["metadata"]["conversation_id"]


async def test_one_that_is_under_way_is_asked_for_later(new_gateway: GatewayFactory):
    async with new_gateway([SLOW]) as gateway, person(gateway) as one:
        conversation = await one.begin("One?", max_tokens=1)
        body = asking("Two?", conversation=conversation)
        first = asyncio.create_task(send(one, body, PATH))
        asked = len(gateway.backend.requests)
        while len(gateway.backend.requests) == asked:
            await asyncio.sleep(0.01)
        refused = await send(one, body, PATH)
        assert_error(refused, 409, "idempotency_in_progress")
        assert refused.headers["retry-after"] == "1"
        assert "x-should-retry" not in refused.headers
        second = await until_answered(one, body, PATH)
        assert second.content == (await first).content
        assert len(await one.items(conversation)) == 4


async def test_who_left_in_the_middle_and_asks_again_finds_one_answer(new_gateway: GatewayFactory):
    async with new_gateway([SLOW]) as gateway, person(gateway) as one:
        body = asking("Once?", stream=True, store=True)
        async with one.client.stream("POST", NEW, json=body, headers=KEY) as response:
            seen = chunks_of(whole_frames(await read_some(response.aiter_text(), 4)))
        second = chunks_of((await until_answered(one, body)).text)
        told = second[0]["metadata"]
        assert {**told, "conversation_created": "true"} == seen[0]["metadata"]
        assert seen[0]["id"] == second[0]["id"]
        assert await one.said(told["conversation_id"]) == [
            ("user", "completed", "Once?"),
            ("assistant", "completed", text_of(second)),
        ]
        stored = (await one.client.get(PATH)).json()["data"]
        assert [chat["choices"][0]["message"]["content"] for chat in stored] == [text_of(second)]
        assert len((await one.client.get("/v1/conversations")).json()["data"]) == 1


async def test_who_left_before_the_answer_began_finds_one_question(gateway: Gateway):
    arrived, never = asyncio.Event(), asyncio.Event()

    async def wait(*_: Any) -> Any:
        arrived.set()
        await never.wait()

    async with person(gateway) as one:
        conversation = await one.begin("One?")
        body = asking("Two?", conversation=conversation)
        with gateway.backend.replaced(wait):
            first = asyncio.create_task(send(one, body, PATH))
            await arrived.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        await until_answered(one, body, PATH)
        assert [role for role, _, _ in await one.said(conversation)] == ["user", "assistant"] * 2


async def test_what_was_refused_does_not_take_the_key(gateway: Gateway):
    async with person(gateway) as one:
        assert (await send(one, asking("Once?", max_tokens=10**6))).status_code == 400
        assert (await send(one, asking("Once?"))).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_none_is_refused(gateway: Gateway, key: str):
    async with person(gateway) as one:
        refused = await one.client.post(NEW, json=asking("Once?"), headers={"idempotency-key": key})
        assert_error(refused, 400)
