from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from app.domain.page import PageRequest
from app.errors import DatabaseUnavailable
from app.services.export import AT_ONCE
from tests.support.gateway import CHAT, Gateway, new_user
from tests.support.people import client_of, key_of
from tests.test_error_shape import assert_error


async def exported(client: httpx.AsyncClient, path: str = "/v1/export") -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r'attachment; filename="manta-export-[\d-]+\.json"', answer.headers["content-disposition"])
    return answer.json()


async def test_everything_of_ones_own_is_one_document(gateway: Gateway):
    user, client = await client_of(gateway)
    async with client:
        made: dict[str, list[str]] = {}
        for number in range(3):
            items = [{"role": "user", "content": f"é {number}.{n}"} for n in range(20)]
            answer = await client.post("/v1/conversations", json={"title": "Ours", "items": items})
            id_ = answer.json()["id"]
            await client.post(f"/v1/conversations/{id_}/items", json={"items": items[: 5 * number + 1]})
            listed = (await client.get(f"/v1/conversations/{id_}/items", params={"order": "asc", "limit": 100})).json()
            made[id_] = [item["id"] for item in listed["data"]]
            assert len(made[id_]) > AT_ONCE
        ask = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        chat = (await client.post("/v1/chat/completions", json={**ask, "store": True})).json()
        asked = {"model": CHAT, "input": "Hello", "max_output_tokens": 16}
        response = (await client.post("/v1/responses", json=asked)).json()
        assistant = (await client.post("/v1/assistants", json={"model": CHAT, "name": "Helper"})).json()
        thread = (await client.post("/v1/threads", json={})).json()
        run = await client.post(f"/v1/threads/{thread['id']}/runs", json={"assistant_id": assistant["id"]})
        document = await exported(client)
    found_runs = {each["id"]: each["assistant_id"] for each in document["runs"]}
    assert found_runs == {run.json()["id"]: assistant["id"]}
    assert [each["id"] for each in document["assistants"]] == [assistant["id"]]
    made["conv_" + thread["id"].removeprefix("thread_")] = []
    assert document["object"] == "export"
    assert document["profile"]["id"] == user.id
    found = {each["id"]: [item["id"] for item in each["items"]] for each in document["conversations"]}
    found["conv_" + thread["id"].removeprefix("thread_")] = []  # its run may have said something by now
    assert found == made
    assert list(found) == list(made)
    assert document["conversations"][0]["title"] == "Ours"
    assert [each["id"] for each in document["chat_completions"]] == [chat["id"]]
    assert [each["id"] for each in document["responses"]] == [response["id"]]


@pytest.mark.parametrize("path", ["/export", "/v1/export", "/api/v1/export"])
async def test_whoever_has_nothing_gets_a_document_without_anything(gateway: Gateway, path: str):
    _, client = await client_of(gateway, "guest")
    async with client:
        document = await exported(client, path)
    assert not any(value for value in document.values() if isinstance(value, list))


async def test_nothing_of_anybody_elses_is_in_it(gateway: Gateway):
    one, other = await new_user(gateway.services), await new_user(gateway.services)
    theirs = await key_of(gateway, one)
    answer = await gateway.anonymous.post("/v1/conversations", json={"title": "theirs alone"}, headers=theirs)
    assert answer.status_code == 200
    mine = await gateway.anonymous.get("/v1/export", headers=await key_of(gateway, other))
    assert "theirs alone" not in mine.text
    assert one.id not in mine.text
    assert_error(await gateway.anonymous.get("/v1/export"), 401, code="missing_credentials")


async def test_a_document_that_breaks_off_is_not_taken_for_the_whole(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    user, client = await client_of(gateway)
    items = gateway.services.stores.items
    listed = items.list

    async def fail(owner: str, conversation: str, page: PageRequest, turns: int) -> Any:
        if owner == user.id:
            raise DatabaseUnavailable("away")
        return await listed(owner, conversation, page, turns)

    async with client:
        await client.post("/v1/conversations", json={"title": "Ours"})
        monkeypatch.setattr(items, "list", fail)
        got: list[bytes] = []

        async def read() -> None:
            async with client.stream("GET", "/v1/export") as answer:
                async for piece in answer.aiter_bytes():
                    got.append(piece)

        with pytest.raises(httpx.RemoteProtocolError):
            await read()
        with pytest.raises(json.JSONDecodeError):
            json.loads(b"".join(got))
