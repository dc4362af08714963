from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from tests.support.gateway import Gateway, new_user
from tests.support.people import key_of
from tests.support.sdk import sdk_of
from tests.support.threads import said, whole
from tests.test_error_shape import assert_error

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
HELLO = {"role": "user", "content": "Hello"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_of(gateway) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def thread(gateway: Gateway) -> dict[str, Any]:
    """A thread with one message."""
    return whole("ThreadObject", await gateway.client.post("/v1/threads", json={"messages": [HELLO]}))


async def write(gateway: Gateway, thread: dict[str, Any], **message: Any) -> httpx.Response:
    return await gateway.client.post(f"/v1/threads/{thread['id']}/messages", json={**HELLO, **message})


async def ids_of(gateway: Gateway, thread: dict[str, Any], **query: Any) -> list[str]:
    answer = await gateway.client.get(f"/v1/threads/{thread['id']}/messages", params=query)
    return [message["id"] for message in whole("ListMessagesResponse", answer)["data"]]


# threads


async def test_a_thread_is_made_shown_changed_and_deleted(gateway: Gateway, client: openai.AsyncOpenAI):
    threads = client.beta.threads
    made = await threads.create(metadata={"topic": "geography"})
    assert made.metadata == {"topic": "geography"}
    assert (await threads.retrieve(made.id)).to_dict() == made.to_dict()
    changed = await threads.update(made.id, metadata={"topic": "history"})
    assert changed.metadata == {"topic": "history"}
    deleted = await threads.delete(made.id)
    assert deleted.to_dict() == {"id": made.id, "object": "thread.deleted", "deleted": True}
    for path in ("", "/messages", "/runs"):
        assert_error(await gateway.client.get(f"/v1/threads/{made.id}{path}"), 404, "thread_not_found")
    assert_error(await gateway.client.delete(f"/v1/threads/{made.id}"), 404, "thread_not_found")


async def test_what_jan_sends_is_kept_and_shown(gateway: Gateway):
    assistants = [
        {"assistant_id": "jan", "assistant_name": "Jan", "model": {"id": "*", "settings": {"$set": 1, "a.b": 2}}}
    ]
    made = whole(
        "ThreadObject", await gateway.client.post("/threads", json={"title": "Reefs", "assistants": assistants})
    )
    assert (made["title"], made["assistants"]) == ("Reefs", assistants)
    changed = await gateway.client.patch(f"/threads/{made['id']}", json={"title": "Rays"})
    assert whole("ThreadObject", changed) | {"title": "Reefs", "updated_at": made["updated_at"]} == made
    emptied = await gateway.client.patch(f"/threads/{made['id']}", json={"assistants": None, "tool_resources": {}})
    assert whole("ThreadObject", emptied)["assistants"] == []


async def test_threads_are_listed_as_conversations_are(gateway: Gateway):
    headers = await key_of(gateway, await new_user(gateway.services))

    async def get(path: str, **query: Any) -> list[str]:
        answer = await gateway.anonymous.get(path, params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    for _ in range(3):
        await gateway.anonymous.post("/v1/threads", json={}, headers=headers)
    ids = await get("/v1/threads", order="asc")
    assert len(ids) == 3
    assert await get("/v1/threads", after=ids[2]) == [ids[1], ids[0]]
    assert await get("/v1/threads", order="asc", before=ids[2], limit=1) == [ids[1]]
    assert await get("/v1/conversations", order="asc") == [id_.replace("thread_", "conv_") for id_ in ids]
    answer = await gateway.anonymous.get("/v1/threads", params={"after": "conv_1"}, headers=headers)
    assert_error(answer, 400, None, "after")


async def test_a_thread_is_a_conversation_and_the_other_way_round(gateway: Gateway, thread: dict[str, Any]):
    conversation = thread["id"].replace("thread_", "conv_")
    shown = whole("ConversationResource", await gateway.client.get(f"/v1/conversations/{conversation}"))
    assert shown["title"] == thread["title"] == "Hello"
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "Good day"},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    ]
    added = await gateway.client.post(f"/v1/conversations/{conversation}/items", json={"items": items})
    assert added.status_code == 200, added.text
    messages = (await gateway.client.get(f"/v1/threads/{thread['id']}/messages?order=asc")).json()["data"]
    # Who instructs, and who calls, says nothing in a thread.
    assert [(message["role"], said(message)) for message in messages] == [("user", "Hello"), ("assistant", "Good day")]
    written = whole("MessageObject", await write(gateway, thread, content="And you?"))
    found = await gateway.client.get(f"/v1/conversations/{conversation}/items?limit=1&order=desc")
    assert found.json()["data"][0]["id"] == written["id"]


async def test_an_empty_list_is_one(gateway: Gateway):
    headers = await key_of(gateway, await new_user(gateway.services))
    made = whole("ThreadObject", await gateway.anonymous.post("/v1/threads", json={}, headers=headers))
    for name, path in (
        ("ListAssistantsResponse", "assistants"),
        ("ListMessagesResponse", f"threads/{made['id']}/messages"),
        ("ListRunsResponse", f"threads/{made['id']}/runs"),
    ):
        assert whole(name, await gateway.anonymous.get(f"/v1/{path}", headers=headers))["data"] == []


# messages


async def test_a_message_is_made_shown_changed_and_deleted(
    gateway: Gateway, client: openai.AsyncOpenAI, thread: dict[str, Any]
):
    messages = client.beta.threads.messages
    made = await messages.create(thread["id"], role="user", content="What is a ray?", metadata={"mood": "curious"})
    assert (said(made), made.role, made.status, made.metadata) == (
        "What is a ray?",
        "user",
        "completed",
        {"mood": "curious"},
    )
    assert (await messages.retrieve(made.id, thread_id=thread["id"])).to_dict() == made.to_dict()
    changed = await messages.update(made.id, thread_id=thread["id"], metadata={"mood": "bored"})
    assert changed.to_dict() == made.to_dict() | {"metadata": {"mood": "bored"}}
    path = f"/v1/threads/{thread['id']}/messages/{made.id}"
    assert whole("MessageObject", await gateway.client.patch(path, json={"metadata": None}))["metadata"] == {}
    deleted = await messages.delete(made.id, thread_id=thread["id"])
    assert deleted.to_dict() == {"id": made.id, "object": "thread.message.deleted", "deleted": True}
    assert_error(await gateway.client.get(path), 404, "message_not_found")
    assert len(await ids_of(gateway, thread)) == 1


async def test_pictures_are_kept_and_what_is_shown_can_be_sent_back(gateway: Gateway, thread: dict[str, Any]):
    file = {"type": "image_file", "image_file": {"file_id": "file_1", "detail": "auto"}}
    content = [{"type": "text", "text": "What is this?"}, PICTURE, file]
    made = whole("MessageObject", await write(gateway, thread, content=content))
    assert made["content"][1:] == [PICTURE, file]
    again = whole("MessageObject", await write(gateway, thread, content=made["content"]))
    assert again["content"] == made["content"]


async def test_messages_are_listed_in_both_directions_past_what_is_no_message(
    gateway: Gateway, client: openai.AsyncOpenAI, thread: dict[str, Any]
):
    conversation = thread["id"].replace("thread_", "conv_")
    calls = [
        {"type": "function_call", "call_id": f"call_{each}", "name": "look", "arguments": "{}"} for each in range(7)
    ]
    for number in range(4):
        await write(gateway, thread, content=str(number))
        await gateway.client.post(f"/v1/conversations/{conversation}/items", json={"items": calls})
    ids = await ids_of(gateway, thread, order="asc")
    assert len(ids) == 5
    assert await ids_of(gateway, thread) == ids[::-1]
    assert await ids_of(gateway, thread, order="asc", limit=2, after=ids[0]) == ids[1:3]
    assert await ids_of(gateway, thread, order="asc", limit=2, before=ids[4]) == ids[2:4]
    assert await ids_of(gateway, thread, limit=2, before=ids[0]) == [ids[2], ids[1]]
    listed = [message.id async for message in client.beta.threads.messages.list(thread["id"], limit=2, order="asc")]
    assert listed == ids
    first = await gateway.client.get(f"/v1/threads/{thread['id']}/messages?limit=5")
    assert first.json()["has_more"] is False


async def test_many_who_write_at_once_are_all_read(gateway: Gateway, thread: dict[str, Any]):
    answers = await asyncio.gather(*(write(gateway, thread, content=str(number)) for number in range(20)))
    written = {whole("MessageObject", answer)["id"] for answer in answers}
    assert set(await ids_of(gateway, thread, limit=100)) > written


async def test_a_message_that_is_sent_twice_under_one_key_is_one(gateway: Gateway, thread: dict[str, Any]):
    path, headers = f"/v1/threads/{thread['id']}/messages", {"idempotency-key": f"one of {thread['id']}"}
    answers = [await gateway.client.post(path, json=HELLO, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(await ids_of(gateway, thread)) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"role": "system"}, "role"),
        ({"role": None}, "role"),
        ({"content": ""}, "content"),
        ({"content": []}, "content"),
        ({"content": 1}, "content"),
        ({"content": [{"type": "audio"}]}, "content[0].type"),
        ({"content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}, "content[0].image_url.url"),
        ({"role": "assistant", "content": [PICTURE]}, "content[0].type"),
        ({"content": "x" * 256_001}, "content"),
        ({"attachments": [{"file_id": "file_1", "tools": []}]}, "attachments"),
        ({"metadata": {"a.b": "x"}}, "metadata.a.b"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_said_is_refused_by_name_and_not_kept(
    gateway: Gateway, thread: dict[str, Any], body: dict[str, Any], param: str
):
    assert_error(await write(gateway, thread, **body), 400, param=param)
    assert len(await ids_of(gateway, thread)) == 1
    in_thread = await gateway.client.post("/v1/threads", json={"messages": [HELLO, {**HELLO, **body}]})
    assert_error(in_thread, 400, param=f"messages[1].{param}")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"title": "x" * 257}, "title"),
        ({"assistants": [1]}, "assistants[0]"),
        ({"assistants": [{"x": "y" * 70_000}]}, "assistants"),
        ({"messages": [HELLO] * 129}, "messages"),
        (
            {"tool_resources": {"code_interpreter": {"file_ids": ["file_1"]}}},
            "tool_resources.code_interpreter.file_ids",
        ),
        ({"metadata": {"": "x"}}, None),
    ],
)
async def test_a_thread_that_cannot_be_is_refused_by_name(gateway: Gateway, body: dict[str, Any], param: str | None):
    answer = await gateway.client.post("/v1/threads", json=body)
    assert_error(answer, 400)
    assert param is None or answer.json()["error"]["param"] == param


async def test_a_half_of_a_surrogate_pair_is_no_text(gateway: Gateway, thread: dict[str, Any]):
    body = b'{"role": "user", "content": "\\ud800"}'
    answer = await gateway.client.post(
        f"/v1/threads/{thread['id']}/messages", content=body, headers={"content-type": "application/json"}
    )
    assert_error(answer, 400)
    assert len(await ids_of(gateway, thread)) == 1


@pytest.mark.parametrize("id_", ["conv_", "thread_1", "thread_" + "0" * 32, "$ne", "%00", "x" * 500])
async def test_an_id_of_another_kind_names_nothing(gateway: Gateway, thread: dict[str, Any], id_: str):
    for path in (id_, f"{id_}/messages", f"{id_}/runs"):
        assert_error(await gateway.client.get(f"/v1/threads/{path}"), 404, "thread_not_found")
    for kind, code in (("messages", "message_not_found"), ("runs", "run_not_found")):
        assert_error(await gateway.client.get(f"/v1/threads/{thread['id']}/{kind}/{id_}"), 404, code)
