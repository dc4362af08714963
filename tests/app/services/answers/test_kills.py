"""A gateway that is killed just before the model begins, and when it has said all and nothing of it is stored yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.domain.user import ADMIN_ID, User
from app.storage.database import Database
from tests.support.chats import PATH, Person, asking, chunks_of, text_of, whole_frames
from tests.support.gateway import running_gateway
from tests.support.gateway_process import FAST, NO_LONGER_SLOW, SLOW, GatewayProcesses
from tests.support.mongo import MongoServer, black_hole
from tests.support.people import bearer
from tests.support.response_events import valid_events
from tests.support.responses import until_over
from tests.support.switch import Switch, switch

ADMIN = User(ADMIN_ID, "admin", "Admin", 0)
RESPONSES = "/v1/responses"
TOKENS = 10

DIES_OF_STORED_CHATS = """
import os
from app.storage.stored_chats import StoredChats
begin = StoredChats.begin
async def begin_and_die(*args, **fields):
    await begin(*args, **fields)
    os.kill(os.getpid(), 9)
StoredChats.begin = begin_and_die
"""


@asynccontextmanager
async def gateway_behind(database: Switch, folder: Path, name: str) -> AsyncGenerator[GatewayProcesses]:
    """A gateway in a process of its own, whose way to its database the test can cut."""
    uri = f"{database.url.replace('http', 'mongodb')}/?directConnection=true"
    gateways = GatewayProcesses(1, folder, uri, name)
    # It asks its database before it answers, and that goes through here.
    await asyncio.to_thread(gateways.__enter__)
    try:
        yield gateways
    finally:
        await asyncio.to_thread(gateways.__exit__, None, None, None)


class Reader:
    """Somebody who reads a stream.

    Attributes:
        seen: What came by now.
    """

    def __init__(self, parts: AsyncIterator[str]) -> None:
        self.seen = ""
        self._parts = parts

    async def until(self, mark: str, count: int = 1) -> None:
        """Read on until this was seen so often."""
        while self.seen.count(mark) < count:
            self.seen += await anext(self._parts)


async def test_what_was_seen_whole_and_was_not_stored_yet_is_stored_once(
    mongodb: MongoServer, tmp_path: Path, database_name: str
):
    async with switch() as database, black_hole() as nowhere:
        database.to(f"http://127.0.0.1:{mongodb.port}")
        async with gateway_behind(database, tmp_path, database_name) as gateways:
            key = bearer(gateways.key)
            async with httpx.AsyncClient(base_url=gateways.urls[0], headers=key, timeout=60, verify=False) as client:
                one = Person(ADMIN, client)
                chat, response = [await one.begin("One?", model=FAST) for _ in range(2)]
                asked = asking("Two?", model=SLOW, conversation=chat, store=True, stream=True, max_tokens=TOKENS)
                wanted = {"model": SLOW, "input": "Two?", "conversation": response, "stream": True}
                async with (
                    client.stream("POST", PATH, json=asked) as chatting,
                    client.stream("POST", RESPONSES, json=wanted | {"max_output_tokens": TOKENS}) as responding,
                ):
                    chatted, responded = Reader(chatting.aiter_text()), Reader(responding.aiter_text())
                    await asyncio.gather(chatted.until("data: ", 3), responded.until("output_text.delta", 3))
                    # From here on nothing can be stored.
                    database.to(f"http://127.0.0.1:{nowhere}")
                    await asyncio.gather(
                        chatted.until('"finish_reason":"length"'), responded.until("event: response.output_item.done")
                    )
                    await asyncio.to_thread(gateways.kill, 0)
    said, events = chunks_of(whole_frames(chatted.seen)), valid_events(whole_frames(responded.seen))
    assert "[DONE]" not in chatted.seen
    assert events[-1]["type"] == "response.output_item.done"
    async with (
        running_gateway(tmp_path / "0", mongodb.uri, database_name, NO_LONGER_SLOW) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=key, timeout=60, verify=False) as client,
    ):
        one = Person(ADMIN, client)
        over = await until_over(client, events[0]["response"]["id"])
        item = events[-1]["item"]
        assert (over["status"], over["output"]) == ("incomplete", [item])
        assert (await one.items(response))[3:] == [item]
        async with asyncio.timeout(20):
            while not (stored := (await client.get(f"{PATH}/{said[0]['id']}"))).is_success:
                await asyncio.sleep(0.05)
        assert stored.json()["choices"][0]["message"]["content"] == text_of(said)
        assert (await one.said(chat))[3:] == [("assistant", "incomplete", text_of(said))]
        assert len((await client.get(PATH)).json()["data"]) == 1


async def test_of_a_chat_that_was_noted_and_never_asked_nothing_is_left(
    mongodb: MongoServer, tmp_path: Path, database: Database, database_name: str
):
    with GatewayProcesses(1, tmp_path, mongodb.uri, database_name, first=DIES_OF_STORED_CHATS) as gateways:
        key = bearer(gateways.key)
        async with httpx.AsyncClient(base_url=gateways.urls[0], headers=key, timeout=60, verify=False) as client:
            with pytest.raises(httpx.HTTPError):
                await client.post(PATH, json=asking("Noted?", model=FAST, store=True))
    chats = database.collection("stored_chats")
    assert await chats.count_documents({"status": "in_progress"}) == 1
    async with running_gateway(tmp_path / "0", mongodb.uri, database_name, NO_LONGER_SLOW), asyncio.timeout(20):
        while await chats.count_documents({}):
            await asyncio.sleep(0.05)
