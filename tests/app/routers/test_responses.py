"""Responses that their callers wait for, and those that are kept: over the gateway and its scripted engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import NotFoundError

from app.domain.ids import new_id
from app.errors import ServiceUnavailable
from app.services.backend import EngineResponse
from tests.support.chats import person
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_key, new_user
from tests.support.openai_schema import validate
from tests.support.response_events import valid_events
from tests.support.responses import create, get, post, sent, slow, text_of, until_over
from tests.support.sdk import sdk_of

TOOL: dict[str, Any] = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def says(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


async def client_of_somebody(gateway: Gateway) -> httpx.AsyncClient:
    key = await new_key(gateway.services, owner=(await new_user(gateway.services)).id)
    return httpx.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, verify=False)


async def refused(response: httpx.Response, status: int, param: str | None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["param"] == param, error
    return error


async def test_one_is_kept_as_it_was_answered(gateway: Gateway):
    answer = await create(gateway.client, metadata={"topic": "$set"}, instructions="Be brief.")
    assert answer["status"] == "completed"
    assert answer["metadata"] == {"topic": "$set"}
    assert sent(gateway) == [says("system", "Be brief."), says("user", "Say something.")]
    assert await get(gateway.client, answer["id"]) == answer
    include = await gateway.client.get(f"/v1/responses/{answer['id']}?include[]=reasoning.encrypted_content")
    assert include.json() == answer


async def test_a_streams_last_event_is_what_is_kept(gateway: Gateway):
    events = valid_events((await post(gateway.client, stream=True)).text)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert await get(gateway.client, events[-1]["response"]["id"]) == events[-1]["response"]


@pytest.mark.parametrize("path", ["/responses", "/api/v1/responses"])
async def test_every_prefix_has_them(gateway: Gateway, path: str):
    made = await gateway.client.post(path, json={"model": CHAT, "input": "Say."})
    assert (await gateway.client.get(f"{path}/{made.json()['id']}")).json() == made.json()


async def test_one_is_deleted_with_all_that_is_of_it(gateway: Gateway):
    answer = await create(gateway.client)
    deleted = await gateway.client.delete(f"/v1/responses/{answer['id']}")
    assert deleted.json() == {"id": answer["id"], "object": "response.deleted", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        response = await gateway.client.request(method, f"/v1/responses/{answer['id']}{path}")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "response_not_found"
    items = gateway.services.database.collection("items")
    assert await items.find_one({"response": answer["id"]}) is None


async def test_what_went_in_is_listed_in_both_directions(gateway: Gateway):
    asked = [says("user", f"number {number}") for number in range(5)]
    answer = await create(gateway.client, input=asked)
    path = f"/v1/responses/{answer['id']}/input_items"
    newest = (await gateway.client.get(path)).json()
    validate("ResponseItemList", newest)
    texts = [item["content"][0]["text"] for item in newest["data"]]
    assert texts == [f"number {number}" for number in range(4, -1, -1)]
    ids = [item["id"] for item in newest["data"]]

    page = (await gateway.client.get(path, params={"limit": 2, "after": ids[1]})).json()
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (ids[2:4], True)
    page = (await gateway.client.get(path, params={"limit": 2, "order": "asc", "after": ids[3]})).json()
    assert [item["id"] for item in page["data"]] == [ids[2], ids[1]]
    page = (await gateway.client.get(path, params={"limit": 2, "before": ids[4]})).json()
    assert [item["id"] for item in page["data"]] == ids[2:4]
    other = await create(gateway.client)
    foreign = await gateway.client.get(f"/v1/responses/{other['id']}/input_items", params={"after": ids[0]})
    await refused(foreign, 400, "after")


async def test_turns_follow_each_other_and_instructions_do_not(gateway: Gateway):
    first = await create(gateway.client, input="one", instructions="Only now.")
    second = await create(gateway.client, input="two", previous_response_id=first["id"])
    third = await create(gateway.client, input="three", previous_response_id=second["id"], instructions="Now too.")
    assert sent(gateway) == [
        says("system", "Now too."),
        says("user", "one"),
        says("assistant", text_of(first)),
        says("user", "two"),
        says("assistant", text_of(second)),
        says("user", "three"),
    ]
    assert third["previous_response_id"] == second["id"]


async def test_one_branches_from_the_middle(gateway: Gateway):
    first = await create(gateway.client, input="one")
    await create(gateway.client, input="two", previous_response_id=first["id"])
    await create(gateway.client, input="another", previous_response_id=first["id"])
    assert [message["content"] for message in sent(gateway)] == ["one", text_of(first), "another"]


async def test_calls_survive_the_way_there_and_back(gateway: Gateway):
    first = await create(gateway.client, input="What is the weather?", tools=[TOOL], tool_choice="required")
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    second = await create(gateway.client, input=[output], previous_response_id=first["id"], tools=[TOOL])
    await create(gateway.client, input="And tomorrow?", previous_response_id=second["id"])
    function = {"name": "get_weather", "arguments": call["arguments"]}
    assert sent(gateway) == [
        says("user", "What is the weather?"),
        {
            "role": "assistant",
            "tool_calls": [{"id": call["call_id"], "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call["call_id"], "content": "sunny"},
        *([says("assistant", text_of(second))] if text_of(second) else []),
        says("user", "And tomorrow?"),
    ]
    items = (await gateway.client.get(f"/v1/responses/{second['id']}/input_items")).json()
    validate("ResponseItemList", items)
    assert items["data"][0]["output"] == "sunny"


async def test_a_result_of_no_call_is_refused(gateway: Gateway):
    output = {"type": "function_call_output", "call_id": "call_of_nobody", "output": "sunny"}
    await refused(await post(gateway.client, input=[says("user", "Hi."), output]), 400, "input[1].call_id")


async def test_a_long_line_is_read_to_its_beginning(new_gateway: GatewayFactory):
    async with new_gateway() as gateway:
        previous = (await create(gateway.client, input="the first", max_output_tokens=1))["id"]
        for number in range(70):
            # What a model says is not what this is about.
            fields: dict[str, Any] = {"previous_response_id": previous, "max_output_tokens": 1}
            previous = (await post(gateway.client, input=f"{number}", **fields)).json()["id"]
        await create(gateway.client, input="the last", previous_response_id=previous)
        said = [message["content"] for message in sent(gateway) if message["role"] == "user"]
        assert said == ["the first", *map(str, range(70)), "the last"]


async def test_a_circle_is_refused(gateway: Gateway):
    first = await create(gateway.client)
    second = await create(gateway.client, previous_response_id=first["id"])
    responses = gateway.services.database.collection("responses")
    for change in (
        {"previous": second["id"]},
        {"previous": first["id"]},
        {"previous": second["id"], "ancestors": [second["id"]]},
        {"ancestors": [first["id"]]},
    ):
        await responses.update_one({"_id": first["id"]}, {"$set": change})
        error = await refused(
            await post(gateway.client, previous_response_id=second["id"]), 400, "previous_response_id"
        )
        assert "circle" in error["message"]


async def test_what_is_gone_cannot_be_continued(gateway: Gateway):
    first = await create(gateway.client)
    second = await create(gateway.client, previous_response_id=first["id"])
    await gateway.client.delete(f"/v1/responses/{first['id']}")
    for gone in (first["id"], second["id"], new_id("resp")):
        error = await refused(await post(gateway.client, previous_response_id=gone), 404, "previous_response_id")
        assert error["code"] == "previous_response_not_found"


async def test_what_is_anothers_is_nothing(gateway: Gateway):
    mine = await create(gateway.client)
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    item = (await gateway.client.get(f"/v1/responses/{mine['id']}/input_items")).json()["data"][0]["id"]
    async with await client_of_somebody(gateway) as other:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            assert (await other.request(method, f"/v1/responses/{mine['id']}{path}")).status_code == 404
        await refused(await post(other, previous_response_id=mine["id"]), 404, "previous_response_id")
        await refused(await post(other, conversation=conversation), 404, "conversation")
        reference = {"type": "item_reference", "id": item}
        await refused(await post(other, input=[reference]), 404, "input[0].id")
        theirs = await create(other)
        page = await other.get(f"/v1/responses/{theirs['id']}/input_items", params={"after": item})
        await refused(page, 400, "after")
    assert await get(gateway.client, mine["id"]) == mine


async def test_an_item_can_be_referred_to(gateway: Gateway):
    first = await create(gateway.client, input="Remember the reef.")
    item = (await gateway.client.get(f"/v1/responses/{first['id']}/input_items")).json()["data"][0]["id"]
    answer = first["output"][0]["id"]
    references = [{"type": "item_reference", "id": item}, {"id": answer}]
    second = await create(gateway.client, input=[*references, says("user", "And now?")])
    assert [message["content"] for message in sent(gateway)] == ["Remember the reef.", text_of(first), "And now?"]
    copied = (await gateway.client.get(f"/v1/responses/{second['id']}/input_items?order=asc")).json()["data"]
    assert [each["content"][0]["text"] for each in copied[:2]] == ["Remember the reef.", text_of(first)]
    assert not {item, answer} & {each["id"] for each in copied}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [None, False])
async def test_in_a_conversation_it_is_a_turn(gateway: Gateway, stream: bool, store: bool | None):
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    fields: dict[str, Any] = {"conversation": {"id": conversation}, "stream": stream, "store": store}
    first = await post(gateway.client, input="one", **fields)
    answer = valid_events(first.text)[-1]["response"] if stream else first.json()
    validate("Response", answer)
    assert answer["conversation"] == {"id": conversation}
    second = await post(gateway.client, input="two", **fields)
    assert second.status_code == 200
    assert [message["content"] for message in sent(gateway)] == ["one", text_of(answer), "two"]
    items = (await gateway.client.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]
    assert items[1] == answer["output"][0]
    got = await gateway.client.get(f"/v1/responses/{answer['id']}")
    assert got.status_code == (404 if store is False else 200)
    shown = (await gateway.client.get(f"/v1/conversations/{conversation}")).json()
    assert (shown["title"], shown["model"]) == ("one", CHAT)


async def test_those_who_write_to_one_conversation_at_once_keep_question_and_answer_together(gateway: Gateway):
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    asked = (create(gateway.client, input=f"number {number}", conversation=conversation) for number in range(8))
    answers = {answer["output"][0]["id"]: number for number, answer in enumerate(await asyncio.gather(*asked))}
    items = (await gateway.client.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"] * 8
    for question, answer in zip(items[::2], items[1::2], strict=True):
        assert question["content"][0]["text"] == f"number {answers.pop(answer['id'])}"
    assert not answers


async def test_its_items_stay_in_the_conversation_when_it_is_deleted(gateway: Gateway):
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    answer = await create(gateway.client, conversation=conversation)
    await gateway.client.delete(f"/v1/responses/{answer['id']}")
    items = (await gateway.client.get(f"/v1/conversations/{conversation}/items")).json()["data"]
    assert len(items) == 2


async def test_one_continues_a_turn_of_a_conversation_without_being_in_it(gateway: Gateway):
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    await create(gateway.client, input="one", conversation=conversation)
    second = await create(gateway.client, input="two", conversation=conversation)
    await create(gateway.client, input="three", conversation=conversation)
    branch = await create(gateway.client, input="another", previous_response_id=second["id"])
    said = [message["content"] for message in sent(gateway) if message["role"] == "user"]
    assert said == ["one", "two", "another"]
    assert branch["conversation"] is None


async def test_nothing_is_kept_of_what_is_not_to_be(gateway: Gateway):
    first = await create(gateway.client)
    answer = await create(gateway.client, store=False, previous_response_id=first["id"], input="And?")
    assert answer["store"] is False
    assert [message["content"] for message in sent(gateway)] == ["Say something.", text_of(first), "And?"]
    assert (await gateway.client.get(f"/v1/responses/{answer['id']}")).status_code == 404
    items = gateway.services.database.collection("items")
    assert await items.find_one({"response": answer["id"]}) is None


async def test_nothing_is_kept_for_those_whom_nobody_knows(gateway: Gateway):
    answer = await create(gateway.anonymous)
    assert answer["store"] is False
    assert (await gateway.client.get(f"/v1/responses/{answer['id']}")).status_code == 404
    kept: list[dict[str, Any]] = [
        {"store": True},
        {"background": True},
        {"conversation": new_id("conv")},
        {"previous_response_id": new_id("resp")},
        {"input": [{"type": "item_reference", "id": new_id("msg")}]},
    ]
    for fields in kept:
        error = await refused(await post(gateway.anonymous, **fields), 401, None)
        assert error["code"] == "missing_credentials"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": new_id("conv")}, "previous_response_id"),
        ({"previous_response_id": "resp_"}, "previous_response_id"),
        ({"conversation": new_id("resp")}, "conversation"),
        ({"conversation": {"id": "x"}}, "conversation"),
        ({"conversation": new_id("conv"), "previous_response_id": new_id("resp")}, "previous_response_id"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": []}, "input"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"background": True, "store": False}, "store"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "word " * 3000}, "input"),
        ({"max_output_tokens": 513}, "max_output_tokens"),
        ({"$set": 1}, "$set"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_is_kept(gateway: Gateway, fields: dict[str, Any], param: str):
    responses = gateway.services.database.collection("responses")
    before = await responses.count_documents({})
    for stream in (False, True):
        await refused(await post(gateway.client, **fields, stream=stream), 400, param)
    assert await responses.count_documents({}) == before


async def test_paths_with_other_ids_lead_nowhere(gateway: Gateway):
    for id_ in ("x", new_id("conv"), "$set", "resp_" + "0" * 400):
        assert (await gateway.client.get(f"/v1/responses/{id_}")).status_code == 404
    answer = await create(gateway.client)
    for query in ("starting_after=x", "stream=true", "stream=true&starting_after=3"):
        assert (await gateway.client.get(f"/v1/responses/{answer['id']}?{query}")).status_code == 400
    cancelled = await gateway.client.post(f"/v1/responses/{answer['id']}/cancel")
    assert cancelled.status_code == 400


async def test_tokens_are_counted_with_all_that_goes_before(gateway: Gateway):
    async def count(**fields: Any) -> int:
        response = await gateway.client.post("/v1/responses/input_tokens", json={"model": CHAT, **fields})
        assert response.status_code == 200, response.text
        validate("TokenCountsResource", response.json())
        return response.json()["input_tokens"]

    first = await create(gateway.client, input="one two three")
    alone = await count(input="four")
    assert await count(input="four five six") > alone
    assert await count(input="four", previous_response_id=first["id"]) > alone
    assert await count(input="four", instructions="Be brief.") > alone
    for body in ({"model": CHAT}, {"model": CHAT, "input": "x", "temperature": 1}, {"input": "x"}):
        assert (await gateway.client.post("/v1/responses/input_tokens", json=body)).status_code == 400


async def test_what_outgrows_the_context_loses_whole_turns_or_is_refused(gateway: Gateway):
    first = await create(gateway.client, input="word " * 1500)
    fields: dict[str, Any] = {"previous_response_id": first["id"], "input": "more " * 700}
    error = await refused(await post(gateway.client, **fields), 400, "input")
    assert error["code"] == "context_length_exceeded"
    await create(gateway.client, **fields, truncation="auto")
    assert [message["role"] for message in sent(gateway)] == ["user"]


async def test_an_engine_that_fails_fails_the_response(gateway: Gateway):
    whole = await post(gateway.client, input="[error]")
    assert (whole.status_code, whole.json()["error"]["code"]) == (500, "internal_error")
    events = valid_events((await post(gateway.client, input="[error]", stream=True)).text)
    assert events[-1]["type"] == "response.failed"
    kept = await get(gateway.client, events[-1]["response"]["id"])
    assert kept == events[-1]["response"]
    assert kept["error"]["code"] == "server_error"
    assert text_of(kept)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_engine_says_in_the_middle_is_told_in_its_own_words(gateway: Gateway, stream: bool):
    async def failing(*_: Any) -> EngineResponse:
        return Failing()

    with gateway.backend.replaced(failing):
        response = await post(gateway.client, stream=stream)
    if stream:
        error = valid_events(response.text)[-2]
    else:
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        error = response.json()["error"]
    assert (error["code"], error["message"]) == ("kv_cache_full", "No room for more.")


class Failing:
    """An engine that begins, and then has no room."""

    status = 200
    content_type = "text/event-stream"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Well"}}]}\n\n'
        error = {"message": "No room for more.", "type": "service_unavailable_error", "code": "kv_cache_full"}
        yield b"data: " + json.dumps({"error": {**error, "param": None}}).encode() + b"\n\n"

    async def aclose(self) -> None:
        """Nothing to do."""


async def test_one_whose_caller_left_is_incomplete_with_what_was_sent(new_gateway: GatewayFactory):
    async with slow(new_gateway) as gateway:
        body = {"model": CHAT, "input": "Say.", "stream": True, "max_output_tokens": 500}
        seen = b""
        async with gateway.client.stream("POST", "/v1/responses", json=body) as response:
            async for chunk in response.aiter_raw():
                seen += chunk
                if seen.count(b"output_text.delta") > 3:
                    break
        id_ = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
        kept = await until_over(gateway.client, id_)
        assert kept["status"] == "incomplete"
        mark = b'data: {"type":"response.output_text.delta"'
        deltas = [json.loads(line[6:])["delta"] for line in seen.split(b"\n") if line.startswith(mark)]
        assert text_of(kept).startswith("".join(deltas))
        # It is a beginning that can be continued.
        await create(gateway.client, previous_response_id=id_, max_output_tokens=1)


async def kept_of(gateway: Gateway) -> int:
    return await gateway.services.database.collection("responses").count_documents({})


async def test_a_stream_that_waits_in_vain_ends_as_one_that_failed(new_gateway: GatewayFactory):
    async with slow(new_gateway, stream_keepalive_s=0.05) as gateway:

        async def overloaded(*_: Any) -> Any:
            await asyncio.sleep(0.2)
            raise ServiceUnavailable("The queue is full.")

        with gateway.backend.replaced(overloaded):
            stream = (await post(gateway.client, stream=True)).text
            whole = await post(gateway.client)
        assert stream.startswith(": waiting")
        events = valid_events(stream)
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "error",
            "response.failed",
        ]
        assert "queue is full" in events[-1]["response"]["error"]["message"]
        assert (whole.status_code, whole.json()["error"]["code"]) == (503, "overloaded")
        await until_none_is_kept(gateway)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_engine_refuses_is_told_as_it_is_and_leaves_nothing(new_gateway: GatewayFactory, stream: bool):
    async with slow(new_gateway) as gateway:
        with gateway.backend.replaced(refusing):
            response = await post(gateway.client, stream=stream)
        await refused(response, 400, "tools")
        await until_none_is_kept(gateway)
        conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
        for store in (False, True):
            with gateway.backend.replaced(refusing):
                response = await post(gateway.client, stream=stream, conversation=conversation, store=store)
            await refused(response, 400, "tools")
            await until_none_is_kept(gateway)
        with gateway.backend.replaced(refusing):
            queued = await create(gateway.client, background=True)
            over = await until_over(gateway.client, queued["id"])
        assert (over["status"], over["error"]["message"]) == ("failed", "No tools here.")


async def refusing(*_: Any) -> EngineResponse:
    return Refusal()


class Refusal:
    """An engine's no."""

    status = 400
    content_type = "application/json"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        error = {"message": "No tools here.", "type": "invalid_request_error", "param": "tools", "code": None}
        yield json.dumps({"error": error}).encode()

    async def aclose(self) -> None:
        """Nothing to do."""


async def until_none_is_kept(gateway: Gateway) -> None:
    items = gateway.services.database.collection("items")
    while await kept_of(gateway) or await items.count_documents({}):
        await asyncio.sleep(0.02)


async def test_one_that_is_deleted_under_way_is_gone_when_it_is_over(new_gateway: GatewayFactory):
    async with slow(new_gateway) as gateway:
        body = {"model": CHAT, "input": "Say.", "stream": True}
        async with gateway.client.stream("POST", "/v1/responses", json=body) as response:
            lines = response.aiter_lines()
            data = await anext(line async for line in lines if line.startswith("data: "))
            deleted = await gateway.client.delete(f"/v1/responses/{json.loads(data[6:])['response']['id']}")
            assert deleted.status_code == 200
            last = [line async for line in lines if line.startswith("event: ")][-1]
        assert last == "event: response.completed"
        await until_none_is_kept(gateway)


async def test_a_model_that_cannot_be_had_leaves_nothing(gateway: Gateway):
    responses = gateway.services.database.collection("responses")
    before = await responses.count_documents({})
    for model, status in (("broken-model", 503), ("nobody", 404), ("org/embedder", 400)):
        assert (await post(gateway.client, model=model)).status_code == status
    assert await responses.count_documents({}) == before


async def test_asked_twice_under_one_key_it_happens_once(gateway: Gateway):
    for stream in (False, True):
        key = new_id("key")
        first = await post(gateway.client, key=key, stream=stream)
        count = len(gateway.backend.requests)
        again = await post(gateway.client, key=key, stream=stream)
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.text, again.headers["content-type"]) == (first.text, first.headers["content-type"])
        assert len(gateway.backend.requests) == count
        other = await post(gateway.client, key=key, stream=stream, input="Else.")
        assert other.status_code == 409


async def test_what_failed_under_a_key_is_done_anew_as_the_same(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    items_of = gateway.services.stores.items
    delete = items_of.delete

    async def take_time(*which: Any) -> bool:
        # What is left of the first try goes before the second may begin, however slowly.
        await asyncio.sleep(0.2)
        return await delete(*which)

    monkeypatch.setattr(items_of, "delete", take_time)
    conversation = (await gateway.client.post("/v1/conversations", json={})).json()["id"]
    key = new_id("key")
    fields: dict[str, Any] = {"key": key, "conversation": conversation, "input": "Once."}

    async def failing(*_: Any) -> Any:
        raise RuntimeError("the way to the engine is broken")

    with gateway.backend.replaced(failing):
        assert (await post(gateway.client, **fields)).status_code == 500
    answer = await post(gateway.client, **fields)
    assert answer.status_code == 200
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("discard")))
    items = (await gateway.client.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert await get(gateway.client, answer.json()["id"]) == answer.json()


@pytest.mark.parametrize("stream", [False, True])
async def test_what_could_not_say_that_it_is_done_is_told_again(gateway: Gateway, stream: bool):
    key = new_id("key")
    first = await post(gateway.client, key=key, stream=stream)
    answer = valid_events(first.text)[-1]["response"] if stream else first.json()
    tried = gateway.services.database.collection("idempotency")
    changed = await tried.update_many({"status": "done"}, {"$set": {"status": "failed"}, "$unset": {"answer": ""}})
    assert changed.modified_count
    count = len(gateway.backend.requests)
    again = await post(gateway.client, key=key, stream=stream)
    assert (valid_events(again.text)[-1]["response"] if stream else again.json()) == answer
    assert len(gateway.backend.requests) == count


async def test_many_at_once_are_kept_apart(gateway: Gateway):
    answers = await asyncio.gather(*(create(gateway.client, input=f"number {number}") for number in range(20)))
    for number, answer in enumerate(answers):
        items = (await gateway.client.get(f"/v1/responses/{answer['id']}/input_items")).json()["data"]
        assert items[0]["content"][0]["text"] == f"number {number}"


async def test_the_official_sdk_gets_along(gateway: Gateway):
    async with sdk_of(gateway) as client:
        first = await client.responses.create(model=CHAT, input="one")
        assert first.output_text
        assert (await client.responses.retrieve(first.id)).output_text == first.output_text
        async with client.responses.stream(model=CHAT, input="two", previous_response_id=first.id) as stream:
            kinds = [event.type async for event in stream]
            second = await stream.get_final_response()
        assert kinds[0] == "response.created"
        assert second.previous_response_id == first.id
        assert [item.type async for item in client.responses.input_items.list(second.id, limit=1)] == ["message"]
        queued = await client.responses.create(model=CHAT, input="three", background=True)
        assert (await client.responses.cancel(queued.id)).status in ("cancelled", "completed")
        events = await client.responses.create(model=CHAT, input="four", background=True, stream=True)
        seen = [event async for event in events]
        number = seen[4].sequence_number
        assert seen[0].type == "response.created"
        resumed = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=number)
        assert [event.type async for event in resumed] == [event.type for event in seen[5:]]
        counted = await client.responses.input_tokens.count(model=CHAT, input="five")
        assert counted.input_tokens > 0
        await client.responses.delete(first.id)
        with pytest.raises(NotFoundError):
            await client.responses.retrieve(first.id)


@pytest.mark.parametrize("converses", [False, True])
async def test_a_guest_who_signs_in_meanwhile_finds_the_response_in_their_account(
    new_gateway: GatewayFactory, converses: bool
):
    async with slow(new_gateway) as gateway, person(gateway, role="guest") as guest, person(gateway) as account:
        body: dict[str, Any] = {"model": CHAT, "input": "Say.", "stream": True, "max_output_tokens": 20}
        if converses:
            body["conversation"] = (await guest.client.post("/v1/conversations", json={})).json()["id"]
        async with guest.client.stream("POST", "/v1/responses", json=body) as response:
            parts = response.aiter_text()
            seen = await anext(parts)
            await gateway.services.stores.ownership.move(guest.user.id, account.user.id)
            seen += "".join([part async for part in parts])
        told = valid_events(seen)[-1]["response"]
        assert await get(account.client, told["id"]) == told
        next_: dict[str, Any] = {"input": "Again.", "max_output_tokens": 1}
        if converses:
            assert (await account.items(body["conversation"]))[1] == told["output"][0]
            await create(account.client, **next_, conversation=body["conversation"])
        else:
            await create(account.client, **next_, previous_response_id=told["id"])
        assert text_of(told) in [message["content"] for message in sent(gateway)]
