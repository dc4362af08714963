"""What is kept when the database, or the gateway, goes in the middle of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.model_state import ModelState
from app.domain.user import ADMIN_ID, User
from app.services.answers.keeper import Keeper
from app.services.catalog import CatalogEntry
from tests.support.chats import PATH, Person, asking, chunks_of, person, read_on, read_some, text_of, whole_frames
from tests.support.gateway import Gateway, running_gateway, scripted
from tests.support.gateway_process import FAST, NO_LONGER_SLOW, SLOW, GatewayProcesses
from tests.support.mongo import MongoServer
from tests.support.people import bearer
from tests.test_error_shape import assert_error

PACED = CatalogEntry(
    scripted(engine_args={"tokens_per_s": 10, "max_model_len": 2048}), ModelState("ready", max_model_len=2048)
)

ADMIN = User(ADMIN_ID, "admin", "Admin", 0)
KEY = {"idempotency-key": "k"}


@asynccontextmanager
async def gateway_over(server: MongoServer, folder: Path, **settings: Any) -> AsyncGenerator[Gateway]:
    """A gateway that notices soon when its database is away."""
    options: dict[str, Any] = {"mongodb_timeout_s": 1, "limits_timeout_s": 0.25, **settings}
    async with running_gateway(folder, server.uri, "outages", [PACED], **options) as gateway:
        yield gateway


async def until_said(one: Person, conversation: str, count: int) -> list[tuple[str, str, str]]:
    """All that was said in a conversation, once that is so much."""
    async with asyncio.timeout(20):
        while True:
            response = await one.client.get(f"/v1/conversations/{conversation}/items")
            if response.status_code == 200 and len(response.json()["data"]) >= count:
                return await one.said(conversation)
            await asyncio.sleep(0.1)


async def test_an_answer_outlives_a_database_that_goes_in_the_middle(own_mongodb: MongoServer, tmp_path: Path):
    async with gateway_over(own_mongodb, tmp_path) as gateway, person(gateway) as one:
        conversation = await one.begin("One?", max_tokens=1)
        body = asking("Two?", conversation=conversation, stream=True)
        async with one.client.stream("POST", PATH, json=body) as response:
            parts = response.aiter_text()
            seen = await read_some(parts, 3)
            await asyncio.to_thread(own_mongodb.stop)
            asked = len(gateway.backend.requests)
            # What is not kept goes on, and what has to be is refused before the engine begins.
            plain = await gateway.anonymous.post(PATH, json=asking("Plainly?", max_tokens=1))
            assert plain.status_code == 200
            kept: list[dict[str, Any]] = [{"conversation": conversation}, {"store": True}]
            for fields in kept:
                refused = await one.client.post(PATH, json=asking("Three?", **fields))
                assert_error(refused, 503, "database_unavailable")
            assert len(gateway.backend.requests) == asked + 1
            seen += await read_on(parts)
        assert seen.endswith("data: [DONE]\n\n")
        await asyncio.to_thread(own_mongodb.start)
        said = await until_said(one, conversation, 4)
        assert said[-1] == ("assistant", "completed", text_of(chunks_of(seen)))


@pytest.mark.parametrize("stream", [False, True])
async def test_between_the_answer_and_its_keeping_the_database_may_go(
    own_mongodb: MongoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
):
    keep, gone = Keeper.keep, asyncio.Event()

    async def stop_and_keep(self: Keeper, *what: Any) -> None:
        if not gone.is_set():
            gone.set()
            await asyncio.to_thread(own_mongodb.stop)
        await keep(self, *what)

    async with gateway_over(own_mongodb, tmp_path) as gateway, person(gateway) as one:
        conversation = await one.begin("One?", max_tokens=1)
        monkeypatch.setattr(Keeper, "keep", stop_and_keep)
        body = asking("Two?", conversation=conversation, stream=stream, max_tokens=3)
        response = await one.client.post(PATH, json=body, headers=KEY)
        assert response.status_code == 200, response.text
        text = text_of(chunks_of(response.text)) if stream else response.json()["choices"][0]["message"]["content"]
        await asyncio.to_thread(own_mongodb.start)
        assert (await until_said(one, conversation, 4))[-1] == ("assistant", "incomplete", text)
        async with asyncio.timeout(10):
            while gateway.services.answers.journal.pending:
                await asyncio.sleep(0.05)
        again = await one.client.post(PATH, json=body, headers=KEY)
        assert again.content == response.content
        assert len(await one.items(conversation)) == 4


async def test_what_a_killed_gateway_sent_is_what_is_stored_once(
    mongodb: MongoServer, tmp_path: Path, database_name: str
):
    gateways = GatewayProcesses(1, tmp_path, mongodb.uri, database_name)
    await asyncio.to_thread(gateways.__enter__)
    try:
        key = bearer(gateways.key)
        async with httpx.AsyncClient(base_url=gateways.urls[0], headers=key, timeout=60) as client:
            one = Person(ADMIN, client)
            conversation = await one.begin("One?", model=FAST)
            body = asking("Two?", model=SLOW, conversation=conversation, stream=True, store=True)
            async with client.stream("POST", PATH, json=body, headers=KEY) as response:
                seen = chunks_of(whole_frames(await read_some(response.aiter_text(), 4)))
                await asyncio.to_thread(gateways.kill, 0)
    finally:
        await asyncio.to_thread(gateways.__exit__, None, None, None)
    # The others of its node share its folder.
    async with (
        running_gateway(tmp_path / "0", mongodb.uri, database_name, NO_LONGER_SLOW) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=key, timeout=60) as client,
    ):
        one = Person(ADMIN, client)
        said = await until_said(one, conversation, 4)
        told = seen[0]["metadata"]
        assert said[2:] == [("user", "completed", "Two?"), ("assistant", "incomplete", text_of(seen))]
        assert [item["id"] for item in await one.items(conversation)][2:] == [
            told["ask_item_id"],
            told["completion_item_id"],
        ]
        assert await stored(client) == {seen[0]["id"]: text_of(seen)}
        # A client that asks again under the same key gets the whole answer in its place.
        again = chunks_of((await client.post(PATH, json=body, headers=KEY)).text)
        assert again[0]["metadata"] == told
        assert await one.said(conversation) == [*said[:3], ("assistant", "completed", text_of(again))]
        assert await stored(client) == {seen[0]["id"]: text_of(again)}


async def stored(client: httpx.AsyncClient) -> dict[str, str]:
    """What all stored chat completions say, by id."""
    chats = (await client.get(PATH)).json()["data"]
    return {chat["id"]: chat["choices"][0]["message"]["content"] for chat in chats}
