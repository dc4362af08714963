from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from app.domain.ids import new_id, new_tail
from app.schemas.conversations import parse_added
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_user, running_gateway
from tests.support.mongo import MongoServer
from tests.support.openai_schema import needs_openai_schema, validate
from tests.support.people import client_of, key_of
from tests.support.sdk import sdk_of
from tests.test_error_shape import assert_error

HELLO = {"type": "message", "role": "user", "content": "Hello there"}
EVERY_KIND: list[dict[str, Any]] = [
    {"role": "user", "content": "What is in this picture?"},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "this one"},
            {"type": "input_image", "image_url": "https://example.com/cat.png"},
        ],
    },
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a cat"}]},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "cat"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "grey"},
    {"type": "message", "role": "assistant", "content": "A grey cat."},
]


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has nothing yet."""
    user = await new_user(gateway.services)
    async with httpx.AsyncClient(
        base_url=f"{gateway.url}/v1", headers=await key_of(gateway, user), timeout=60, verify=False
    ) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def sdk(gateway: Gateway, client: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK with the same person's key."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    async with sdk_of(gateway, key) as made:
        yield made


async def created(client: httpx.AsyncClient, prefix: str = "", **body: Any) -> dict[str, Any]:
    answer = await client.post(f"{prefix}/conversations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(client: httpx.AsyncClient, **params: Any) -> list[str]:
    return [each["id"] for each in (await get(client, "/conversations", **params))["data"]]


def texts(listed: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in listed["data"]]


@needs_openai_schema
async def test_items_of_every_kind_come_back_as_the_api_shows_them(client: httpx.AsyncClient):
    made = await created(client, items=EVERY_KIND, metadata={"topic": "cats"})
    validate("ConversationResource", made)
    listed = await get(client, f"/conversations/{made['id']}/items", order="asc")
    validate("ConversationItemList", listed)
    kinds = ["message", "message", "reasoning", "function_call", "function_call_output", "message"]
    assert [item["type"] for item in listed["data"]] == kinds
    assert [item["id"].partition("_")[0] for item in listed["data"]] == ["msg", "msg", "rs", "fc", "fco", "msg"]
    for item in listed["data"]:
        found = await get(client, f"/conversations/{made['id']}/items/{item['id']}")
        validate("ConversationItem", found)
        assert found == item
    validate("ConversationItemList", await get(client, f"/conversations/{(await created(client))['id']}/items"))


async def test_the_sdk_does_all_of_it(sdk: openai.AsyncOpenAI):
    conversation = await sdk.conversations.create(metadata={"topic": "demo"}, items=[HELLO])  # type: ignore[list-item]
    assert (await sdk.conversations.retrieve(conversation.id)).metadata == {"topic": "demo"}
    changed = await sdk.conversations.update(conversation.id, metadata={"topic": "other"})
    assert changed.metadata == {"topic": "other"}
    added = await sdk.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user", "content": f"{n}"} for n in range(7)]
    )
    assert [item.type for item in added.data] == ["message"] * 7
    forwards = [item.id or "" async for item in sdk.conversations.items.list(conversation.id, limit=3, order="asc")]
    backwards = [item.id async for item in sdk.conversations.items.list(conversation.id, limit=3)]
    assert len(forwards) == 8
    assert backwards == forwards[::-1]
    item: Any = await sdk.conversations.items.retrieve(forwards[1], conversation_id=conversation.id)
    assert item.content[0].text == "0"
    left = await sdk.conversations.items.delete(forwards[1], conversation_id=conversation.id)
    assert (left.id, left.object) == (conversation.id, "conversation")
    with pytest.raises(openai.NotFoundError):
        await sdk.conversations.items.retrieve(forwards[1], conversation_id=conversation.id)
    deleted = await sdk.conversations.delete(conversation.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (conversation.id, True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError, match="You have no such conversation"):
        await sdk.conversations.retrieve(conversation.id)


async def test_a_conversation_shows_the_end_of_its_history(client: httpx.AsyncClient):
    made = await created(client, title="Ours", model="jan-v1-4b")
    for n in range(12):
        items = [{"role": "user", "content": f"{n}.{m}"} for m in range(10)]
        assert (await client.post(f"/conversations/{made['id']}/items", json={"items": items})).status_code == 200
    found = await get(client, f"/conversations/{made['id']}")
    assert (found["title"], found["model"]) == ("Ours", "jan-v1-4b")
    assert found["updated_at"] >= found["created_at"]
    assert texts(found["items"]) == [f"{n}.{m}" for n in range(2, 12) for m in range(10)]
    assert found["items"]["has_more"]


@pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])
async def test_it_is_there_under_every_prefix(gateway: Gateway, client: httpx.AsyncClient, prefix: str):
    answer = await client.get(f"{gateway.url}{prefix}/conversations")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize("path", ["/conversations", "/threads"])
async def test_one_begins_without_a_word(client: httpx.AsyncClient, path: str):
    made = await client.post(path)
    assert (made.status_code, made.json().get("metadata")) == (200, {})


async def test_a_conversation_without_a_title_gets_one_from_what_is_said_first(client: httpx.AsyncClient):
    first = await created(client, items=[HELLO])
    assert first["title"] == "Hello there"
    later = await created(client)
    assert later["title"] is None
    await client.post(f"/conversations/{later['id']}/items", json={"items": [HELLO]})
    assert (await get(client, f"/conversations/{later['id']}"))["title"] == "Hello there"
    given = await created(client, title="Mine", items=[HELLO])
    assert given["title"] == "Mine"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_conversation_is_changed(client: httpx.AsyncClient, method: str):
    made = await created(client, title="One", model="m", metadata={"a": "b"})
    path = f"/conversations/{made['id']}"
    changed = (await client.request(method, path, json={"title": "Two"})).json()
    assert (changed["title"], changed["model"], changed["metadata"]) == ("Two", "m", {"a": "b"})
    changed = (await client.request(method, path, json={"title": None, "model": None, "metadata": None})).json()
    assert (changed["title"], changed["model"], changed["metadata"]) == (None, None, {})
    assert (await client.request(method, path, json={})).status_code == 200


async def test_lists_are_searched(client: httpx.AsyncClient):
    fox = await created(client, items=[{"role": "user", "content": "The quick brown Fox"}])
    cafe = await created(client, title="Café in Zürich")
    await created(client, items=[{"role": "assistant", "content": "slow fox"}])
    assert await ids(client, search="quick FOX") == [fox["id"]]
    assert await ids(client, search="zurich, cafe!") == [cafe["id"]]
    assert await ids(client, search="quick zurich") == []
    assert len(await ids(client, search="fox")) == 2
    assert_error(await client.get("/conversations", params={"search": "?!"}), 400, param="search")


async def test_what_a_deleted_item_said_is_found_no_more(gateway: Gateway, client: httpx.AsyncClient):
    made = await created(client, items=[{"role": "user", "content": "a secret"}, {"role": "user", "content": "a plan"}])
    listed = await get(client, f"/conversations/{made['id']}/items", order="asc")
    await client.patch(f"/conversations/{made['id']}", json={"title": "other"})
    answer = await client.delete(f"/conversations/{made['id']}/items/{listed['first_id']}")
    assert answer.json()["id"] == made["id"]
    async with asyncio.timeout(10):
        while await ids(client, search="secret"):
            await asyncio.sleep(0.01)
    await gateway.services.conversations.purge.idle()
    assert await ids(client, search="plan") == [made["id"]]
    assert await ids(client, search="other") == [made["id"]]


async def test_lists_are_bounded_by_time(client: httpx.AsyncClient):
    made = await created(client)
    at = made["created_at"]
    assert await ids(client, created_after=at - 1, created_before=at + 1) == [made["id"]]
    assert await ids(client, created_after=at) == await ids(client, created_before=at) == []
    assert await ids(client, updated_after=at - 1) == [made["id"]]
    assert await ids(client, updated_before=at, order_by="updated_at") == []
    for params in (
        {"created_after": 1, "updated_after": 1},
        {"order_by": "updated_at", "created_before": 1},
        {"order_by": "updated_at", "search": "x"},
        {"order_by": "title"},
        {"created_after": "yesterday"},
        {"created_after": -1},
    ):
        assert_error(await client.get("/conversations", params=params), 400)


async def test_several_are_deleted_when_they_are_named_or_all_are_meant(client: httpx.AsyncClient):
    made = [(await created(client))["id"] for _ in range(4)]
    other = new_id("conv")
    for params in (
        {},
        {"ids": ""},
        {"all": "false"},
        {"all": "true", "ids": made[0]},
        {"ids": ",".join(["conv_1"] * 101)},
    ):
        assert_error(await client.delete("/conversations", params=params), 400)
    assert len(await ids(client)) == 4
    answer = (await client.delete("/conversations", params={"ids": f"{made[0]},{other},{made[1]},nonsense"})).json()
    assert (answer["ids"], answer["not_found"], answer["count"]) == (made[:2], [other, "nonsense"], 2)
    assert await ids(client) == made[2:][::-1]
    answer = (await client.delete("/conversations", params={"all": "true"})).json()
    assert (answer["deleted"], answer["count"]) == (True, 2)
    assert await ids(client) == []


def routes(conversation: str, item: str) -> list[tuple[str, str, Any]]:
    path = f"/conversations/{conversation}"
    return [
        ("GET", path, None),
        ("POST", path, {"title": "x"}),
        ("PATCH", path, {"metadata": {"x": "y"}}),
        ("PATCH", path, {}),
        ("DELETE", path, None),
        ("GET", f"{path}/items", None),
        ("POST", f"{path}/items", {"items": [HELLO]}),
        ("GET", f"{path}/items/{item}", None),
        ("DELETE", f"{path}/items/{item}", None),
    ]


async def test_anothers_conversation_is_not_there(gateway: Gateway, client: httpx.AsyncClient):
    made = await created(client, title="mine", items=[HELLO])
    item = (await get(client, f"/conversations/{made['id']}/items"))["first_id"]
    before = await get(client, f"/conversations/{made['id']}")
    _, stranger = await client_of(gateway)
    async with stranger:
        for method, path, body in routes(made["id"], item):
            answer = await stranger.request(method, f"/v1{path}", json=body)
            assert_error(answer, 404, code="conversation_not_found")
        theirs = (await stranger.post("/v1/conversations", json={})).json()["id"]
        for method in ("GET", "DELETE"):
            answer = await stranger.request(method, f"/v1/conversations/{theirs}/items/{item}")
            assert_error(answer, 404, code="item_not_found")
        for path, param in (("/v1/conversations", made["id"]), (f"/v1/conversations/{theirs}/items", item)):
            for name in ("after", "before"):
                assert_error(await stranger.get(path, params={name: param}), 400, param=name)
        assert (await stranger.get("/v1/conversations", params={"search": "hello mine"})).json()["data"] == []
        answer = (await stranger.delete("/v1/conversations", params={"ids": made["id"]})).json()
        assert (answer["count"], answer["not_found"]) == (0, [made["id"]])
        await stranger.delete("/v1/conversations", params={"all": "true"})
    assert await get(client, f"/conversations/{made['id']}") == before


@pytest.mark.parametrize(
    "id_", ["123", "conv_1", "thread_" + "a" * 32, "conv_" + "g" * 32, "%00", "conv_%F0%9F", "$ne"]
)
async def test_what_is_no_id_of_a_conversation_is_not_there(client: httpx.AsyncClient, id_: str):
    for method, path, body in routes(id_, "msg_1"):
        assert_error(await client.request(method, path, json=body), 404, code="conversation_not_found")


async def test_the_anonymous_have_none(gateway: Gateway):
    assert_error(await gateway.anonymous.post("/v1/conversations", json={}), 401, code="missing_credentials")
    assert_error(await gateway.anonymous.get("/v1/conversations"), 401, code="missing_credentials")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [{"type": "telepathy"}]}, "items[0].type"),
        ({"items": [HELLO, {"type": "message", "role": "user"}]}, "items[1].content"),
        ({"items": [{"role": "nobody", "content": "x"}]}, "items[0].role"),
        ({"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0]"),
        ({"items": [HELLO] * 21}, "items"),
        ({"items": "hello"}, "items"),
        ({"items": [HELLO | {"$set": 1}]}, "items[0].$set"),
        ({"metadata": {"$set": "x"}}, "metadata.$set"),
        ({"metadata": {"a.b": "x"}}, "metadata.a.b"),
        ({"metadata": {"a\0b": "x"}}, "metadata.a\0b"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"title": ""}, "title"),
        ({"title": "x" * 257}, "title"),
        ({"title": {"$ne": 1}}, "title"),
        ({"model": ""}, "model"),
        ({"owner": "user_1"}, "owner"),
        ({"id": "conv_1"}, "id"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(
    client: httpx.AsyncClient, body: dict[str, Any], param: str
):
    assert_error(await client.post("/conversations", json=body), 400, param=param)
    assert await ids(client) == []


async def test_what_is_wrong_changes_nothing(client: httpx.AsyncClient):
    made = await created(client, metadata={"a": "b"}, items=[HELLO])
    path = f"/conversations/{made['id']}"
    before = await get(client, path)
    for body in ({"metadata": {"$set": "x"}}, {"metadata": {"a.b": "c"}}, {"title": 1}, {"turns": 5}):
        assert_error(await client.patch(path, json=body), 400)
    for items in ([], None, [HELLO, {"type": "x"}], [HELLO] * 21):
        assert_error(await client.post(f"{path}/items", json={"items": items}), 400)
    assert await get(client, path) == before


async def test_no_bytes_make_it_fail(client: httpx.AsyncClient):
    half = rb'{"items": [{"role": "user", "content": "\ud800"}]}'
    for raw in (half, b"{", b"[]", b'"x"', b'{"title": "\xff"}', b"[" * 70000):
        answer = await client.post("/conversations", content=raw, headers={"content-type": "application/json"})
        assert_error(answer, 400)
    big = json.dumps({"items": [{"role": "user", "content": "x" * 16_000_000}]})
    answer = await client.post("/conversations", content=big, headers={"content-type": "application/json"})
    assert_error(answer, 413)
    assert "4194304 bytes (MANTA_MAX_BODY_BYTES)" in answer.json()["error"]["message"]
    assert await ids(client) == []


async def test_an_item_that_no_database_takes_is_named_whatever_bodies_may_hold(new_gateway: GatewayFactory):
    long = {"role": "user", "content": [{"type": "text", "text": "é" * 2_000_000}] * 4}
    said = [{"role": "user", "content": "x"}, long]
    async with new_gateway(max_body_bytes=64 * 1024 * 1024) as gateway:
        client = gateway.client
        made = (await client.post("/v1/conversations", json={})).json()["id"]
        asked: list[tuple[str, str, Any]] = [
            ("items[1]", "/v1/conversations", {"items": said}),
            ("items[1]", f"/v1/conversations/{made}/items", {"items": said}),
            ("input[1]", "/v1/responses", {"input": said}),
            ("input[1]", "/v1/responses", {"input": said, "conversation": made}),
            ("input", "/v1/responses", {"input": "é" * 8_000_000}),
            ("messages[1]", "/v1/chat/completions", {"messages": said, "conversation": made}),
            ("messages[1]", "/v1/conv/chat/completions", {"messages": said}),
        ]
        for param, path, body in asked:
            named = {} if path.startswith("/v1/conversations") else {"model": CHAT}
            refused = await client.post(path, json=named | body)
            assert_error(refused, 400, param=param)
            assert "10485760" in refused.text, path
        database = gateway.services.database
        stored = {name: await database.collection(name).count_documents({}) for name in ("conversations", "items")}
        assert stored == {"conversations": 1, "items": 0}
        assert await database.collection("responses").count_documents({}) == 0


async def test_the_largest_items_are_stored(client: httpx.AsyncClient):
    text = "é\n" * 1_000_000
    made = await created(client, items=[{"role": "user", "content": text}])
    assert texts((await get(client, f"/conversations/{made['id']}"))["items"]) == [text]


@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_cursor_that_is_in_no_list_is_named(client: httpx.AsyncClient, name: str):
    made = await created(client, items=[HELLO])
    for value in ("nonsense", new_id("conv"), new_id("msg"), "$ne"):
        assert_error(await client.get("/conversations", params={name: value}), 400, param=name)
        answer = await client.get(f"/conversations/{made['id']}/items", params={name: value})
        assert_error(answer, 400, param=name)
    for limit in (0, 101, "x"):
        assert_error(await client.get("/conversations", params={"limit": limit}), 400, param="limit")


async def test_writers_side_by_side_keep_their_items_together_and_lose_none(client: httpx.AsyncClient):
    made = await created(client)
    path = f"/conversations/{made['id']}/items"

    async def write(name: int) -> None:
        for n in range(4):
            items = [{"role": "user", "content": f"{name}.{n}.{m}"} for m in range(3)]
            assert (await client.post(path, json={"items": items})).status_code == 200

    await asyncio.gather(*map(write, range(5)))
    said = texts(await get(client, path, order="asc", limit=100))
    assert len(said) == len(set(said)) == 60
    for at in range(0, 60, 3):
        assert [text.rpartition(".")[0] for text in said[at : at + 3]] == [said[at].rpartition(".")[0]] * 3
    for name in range(5):
        mine = [text for text in said if text.startswith(f"{name}.")]
        assert mine == sorted(mine)


async def test_what_is_sent_twice_under_one_key_happens_once(client: httpx.AsyncClient):
    key = {"idempotency-key": "once"}
    body = {"title": "Ours", "items": [HELLO]}
    first, second = [await client.post("/conversations", json=body, headers=key) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    path = f"/conversations/{first.json()['id']}/items"
    first, second = [await client.post(path, json={"items": [HELLO]}, headers={"idempotency-key": "x"}) for _ in "ab"]
    assert first.json() == second.json()
    assert len(await ids(client)) == 1
    assert len((await get(client, path))["data"]) == 2


async def test_what_was_cut_short_is_completed_by_the_next_try(gateway: Gateway, client: httpx.AsyncClient):
    made = await created(client)
    owner = (await gateway.services.stores.conversations._conversations.find_one({"_id": made["id"]}))["owner"]  # type: ignore[reportPrivateUsage]
    service, tail, bodies = gateway.services.conversations, new_tail(), parse_added({"items": [HELLO, HELLO]})
    whole = await service.add_items(owner, made["id"], bodies, tail)
    await gateway.services.stores.items.delete(owner, made["id"], whole[1].id)
    await service.add_items(owner, made["id"], bodies, tail)
    listed = await get(client, f"/conversations/{made['id']}/items", order="asc")
    assert [item["id"] for item in listed["data"]] == [item.id for item in whole]


async def test_a_read_key_reads_and_changes_nothing(gateway: Gateway):
    user = await new_user(gateway.services)
    writes, reads = await key_of(gateway, user), await key_of(gateway, user, "read")
    made = (await gateway.anonymous.post("/v1/conversations", json={}, headers=writes)).json()
    for method, path, body in routes(made["id"], "msg_1"):
        answer = await gateway.anonymous.request(method, f"/v1{path}", json=body, headers=reads)
        if method == "GET":
            assert answer.status_code in (200, 404)
        else:
            assert_error(answer, 403)


async def test_guests_have_conversations(gateway: Gateway):
    _, guest = await client_of(gateway, "guest")
    async with guest:
        made = (await guest.post("/v1/conversations", json={"title": "Mine"})).json()
        assert [each["id"] for each in (await guest.get("/v1/conversations")).json()["data"]] == [made["id"]]


async def test_a_database_that_is_away_is_told_and_nothing_hangs(own_mongodb: MongoServer, tmp_path: Path):
    async with running_gateway(tmp_path, own_mongodb.uri, "away", mongodb_timeout_s=1, limits_timeout_s=1) as gateway:
        made = await created(gateway.client, "/v1", items=[HELLO])
        own_mongodb.stop()
        asked = [
            ("GET", "/conversations", None),
            ("POST", "/conversations", {}),
            ("DELETE", "/conversations?all=true", None),
            ("GET", "/export", None),
            *routes(made["id"], "msg_1"),
        ]
        # At once: each takes as long as the database is waited for.
        requests = (gateway.client.request(method, f"/v1{path}", json=body) for method, path, body in asked)
        for answer in await asyncio.gather(*requests):
            assert_error(answer, 503, code="database_unavailable")
        own_mongodb.start()
