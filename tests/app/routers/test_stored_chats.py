from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai import NotFoundError

from tests.support.chats import PATH, Person, asking, chunks_of, person, text_of
from tests.support.gateway import CHAT, Gateway
from tests.support.openai_schema import needs_openai_schema, validate
from tests.support.sdk import sdk_of
from tests.test_error_shape import assert_error


@pytest_asyncio.fixture
async def one(gateway: Gateway) -> AsyncIterator[Person]:
    async with person(gateway) as somebody:
        yield somebody


async def ids(one: Person, **query: Any) -> list[str]:
    response = await one.client.get(PATH, params=query)
    assert response.status_code == 200, response.text
    return [chat["id"] for chat in response.json()["data"]]


@needs_openai_schema
@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_answered_is_what_is_stored(one: Person, stream: bool):
    body = asking("Keep this", store=True, stream=stream, metadata={"topic": "rays"}, logprobs=True)
    response = await one.client.post(PATH, json=body)
    answer = chunks_of(response.text)[0] if stream else response.json()
    stored = (await one.client.get(f"{PATH}/{answer['id']}")).json()
    validate("CreateChatCompletionResponse", stored)
    assert answer["metadata"] == stored["metadata"] == {"topic": "rays"}
    if stream:
        assert stored["choices"][0]["message"]["content"] == text_of(chunks_of(response.text))
        assert len(stored["choices"][0]["logprobs"]["content"]) == 16
    else:
        assert stored == answer


@pytest.mark.parametrize("fields", [{}, {"store": False}, {"store": None}, {"metadata": {"a": "b"}}])
async def test_what_nobody_asked_to_store_is_not(one: Person, fields: dict[str, Any]):
    answer = await one.ask("Forget this", **fields)
    assert_error(await one.client.get(f"{PATH}/{answer['id']}"), 404, "chat_completion_not_found")
    assert await ids(one) == []


async def test_several_choices_and_calls_are_stored_whole(one: Person):
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    asked: list[dict[str, Any]] = [{"n": 2}, {"tools": [tool], "tool_choice": "required"}]
    for fields in asked:
        body = asking("Both", store=True, stream=True, **fields)
        id_ = chunks_of((await one.client.post(PATH, json=body)).text)[0]["id"]
        stored = (await one.client.get(f"{PATH}/{id_}")).json()
        whole = await one.ask("Both", **fields)
        for choice, same in zip(stored["choices"], whole["choices"], strict=True):
            assert choice["message"].get("content") == same["message"].get("content")
            assert [call["function"] for call in choice["message"].get("tool_calls", ())] == [
                call["function"] for call in same["message"].get("tool_calls", ())
            ]


@needs_openai_schema
async def test_lists_are_read_in_both_directions_and_by_what_is_written(one: Person):
    made = [(await one.ask(str(n), store=True, metadata={"n": str(n % 2), "all": "yes"}))["id"] for n in range(5)]
    validate("ChatCompletionList", (await one.client.get(PATH)).json())
    assert await ids(one) == made
    assert await ids(one, order="desc") == made[::-1]
    assert await ids(one, limit=2, after=made[1]) == made[2:4]
    assert await ids(one, limit=2, before=made[4]) == made[2:4]
    assert await ids(one, limit=2, after=made[3], order="desc") == [made[2], made[1]]
    assert await ids(one, model=CHAT, **{"metadata[n]": "1"}) == [made[1], made[3]]
    assert await ids(one, **{"metadata[n]": "0", "metadata[all]": "yes"}) == made[::2]
    assert await ids(one, **{"metadata[n]": "0", "metadata[all]": "no"}) == []
    assert await ids(one, model="another") == []
    page = (await one.client.get(PATH, params={"limit": 2})).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[0], made[1], True)


@needs_openai_schema
async def test_an_empty_list_is_one(one: Person):
    validate("ChatCompletionList", (await one.client.get(PATH)).json())


@pytest.mark.parametrize(
    ("param", "value"),
    [("after", "chatcmpl-no"), ("before", "$ne"), ("limit", "0"), ("limit", "101"), ("order", "up")],
)
async def test_what_names_nothing_in_the_list_is_named(one: Person, param: str, value: str):
    assert_error(await one.client.get(PATH, params={param: value}), 400, None, param)


@needs_openai_schema
async def test_the_messages_are_what_was_sent(one: Person):
    parts = [{"type": "text", "text": "Look"}, {"type": "text", "text": "here"}]
    messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": parts, "name": "Ray"}]
    answer = (await one.client.post(PATH, json={"model": CHAT, "messages": messages, "store": True})).json()
    listed = (await one.client.get(f"{PATH}/{answer['id']}/messages")).json()
    # OpenAI's document says that the role is always the assistant's, and its example that it is not.
    like_it = {**listed, "data": [{**message, "role": "assistant"} for message in listed["data"]]}
    validate("ChatCompletionMessageList", like_it)
    assert [(message["role"], message["content"]) for message in listed["data"]] == [
        ("system", "Be."),
        ("user", "Look\nhere"),
    ]
    assert (listed["data"][1]["content_parts"], listed["data"][1]["name"]) == (parts, "Ray")
    first, second = (message["id"] for message in listed["data"])
    for query, found in (
        ({"limit": 1}, [first]),
        ({"after": first}, [second]),
        ({"before": second}, [first]),
        ({"order": "desc"}, [second, first]),
    ):
        page = (await one.client.get(f"{PATH}/{answer['id']}/messages", params=query)).json()
        assert [message["id"] for message in page["data"]] == found
    refused = await one.client.get(f"{PATH}/{answer['id']}/messages", params={"after": "no"})
    assert_error(refused, 400, None, "after")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_written_on_it_changes(one: Person, method: str):
    id_ = (await one.ask("Keep", store=True, metadata={"a": "b"}))["id"]
    changed = await one.client.request(method, f"{PATH}/{id_}", json={"metadata": {"c": "d"}})
    assert changed.json()["metadata"] == {"c": "d"}
    assert await ids(one, **{"metadata[a]": "b"}) == []
    assert await ids(one, **{"metadata[c]": "d"}) == [id_]
    refusals: list[tuple[dict[str, Any], str]] = [
        ({}, "metadata"),
        ({"metadata": {"$set": "x"}}, "metadata.$set"),
        ({"metadata": {"a.b": "x"}}, "metadata.a.b"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {}, "model": "m"}, "model"),
    ]
    for body, param in refusals:
        refused = await one.client.request(method, f"{PATH}/{id_}", json=body)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param
    assert (await one.client.get(f"{PATH}/{id_}")).json()["metadata"] == {"c": "d"}


@needs_openai_schema
async def test_one_that_is_deleted_is_gone(one: Person):
    id_ = (await one.ask("Keep", store=True))["id"]
    deleted = (await one.client.delete(f"{PATH}/{id_}")).json()
    validate("ChatCompletionDeleted", deleted)
    assert deleted == {"id": id_, "object": "chat.completion.deleted", "deleted": True}
    for path in (f"{PATH}/{id_}", f"{PATH}/{id_}/messages"):
        assert_error(await one.client.get(path), 404, "chat_completion_not_found")
    assert_error(await one.client.delete(f"{PATH}/{id_}"), 404, "chat_completion_not_found")


async def test_one_under_way_is_not_shown(gateway: Gateway, one: Person):
    seen: list[Any] = []

    async def look(*_: Any) -> Any:
        seen.append(await ids(one))
        gateway.backend.sender = None
        return await gateway.backend.inner.send(_[0], _[1])

    with gateway.backend.replaced(look):
        id_ = (await one.ask("Keep", store=True))["id"]
    assert seen == [[]]
    assert await ids(one) == [id_]


async def test_an_answer_that_broke_off_is_kept_as_far_as_it_came(one: Person):
    response = await one.client.post(PATH, json=asking("[error]", store=True, stream=True))
    *chunks, _ = chunks_of(response.text)
    stored = (await one.client.get(f"{PATH}/{chunks[0]['id']}")).json()
    assert stored["choices"][0]["message"]["content"] == text_of(chunks)
    assert stored["choices"][0]["finish_reason"] == "length"


async def test_what_a_conversation_answers_can_be_stored_too(one: Person):
    conversation = await one.begin("One?")
    answer = await one.ask("Two?", conversation=conversation, store=True, metadata={"a": "b"})
    assert answer["metadata"]["conversation_id"] == conversation
    assert answer["metadata"]["a"] == "b"
    stored = (await one.client.get(f"{PATH}/{answer['id']}/messages")).json()
    assert [message["content"] for message in stored["data"]] == ["Two?"]
    assert len(await one.items(conversation)) == 4


async def test_the_sdk_finds_its_way(gateway: Gateway, one: Person):
    key = one.client.headers["authorization"].removeprefix("Bearer ")
    async with sdk_of(gateway, key) as sdk:
        completions = sdk.chat.completions
        question: Any = [{"role": "user", "content": "Keep this"}]
        made = await completions.create(model=CHAT, messages=question, store=True, metadata={"a": "b"})
        stream = await completions.create(model=CHAT, messages=question, store=True, stream=True)
        streamed = {chunk.id async for chunk in stream}.pop()
        listed = [chat.id async for chat in completions.list(limit=1)]
        assert listed == [made.id, streamed]
        assert [chat.id async for chat in completions.list(metadata={"a": "b"}, model=CHAT)] == [made.id]
        got = await completions.retrieve(made.id)
        assert got.choices == made.choices
        assert (await completions.update(made.id, metadata={"c": "d"})).metadata == {"c": "d"}
        sent = [message async for message in completions.messages.list(made.id)]
        assert [(message.role, message.content) for message in sent] == [("user", "Keep this")]
        assert (await completions.delete(made.id)).deleted
        with pytest.raises(NotFoundError):
            await completions.retrieve(made.id)
        conversation = await sdk.conversations.create()
        talk = await completions.create(model=CHAT, messages=question, extra_body={"conversation": conversation.id})
        assert json.loads(talk.to_json())["metadata"]["conversation_id"] == conversation.id
        items = [item async for item in sdk.conversations.items.list(conversation.id)]
        assert json.loads(items[0].to_json())["role"] == "assistant"
