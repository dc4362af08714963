"""Chat completions in conversations, through the gateway as it is deployed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.ids import new_id
from app.domain.model_state import ModelState
from app.errors import DatabaseUnavailable, EngineCrashed, ModelStarting
from app.services.backend import EngineResponse
from app.services.catalog import CatalogEntry
from tests.support.chats import NEW, PATH, asking, chunks_of, person, read_on, read_some, text_of, whole_frames
from tests.support.gateway import CHAT, Gateway, GatewayFactory, scripted
from tests.support.openai_schema import needs_openai_schema, validate, validate_stream
from tests.test_error_shape import assert_error

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"in": {"const": "Rome"}}}},
}
SLOW = CatalogEntry(
    scripted(engine_args={"tokens_per_s": 20, "max_model_len": 2048}), ModelState("ready", max_model_len=2048)
)


def messages_sent(gateway: Gateway) -> list[dict[str, Any]]:
    return json.loads(gateway.backend.requests[-1].body)["messages"]


async def until(condition: Any, seconds: float = 10) -> Any:
    """What ``condition`` comes to be, once it is anything."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def everything(gateway: Gateway, owner: str) -> dict[str, int]:
    names = ("conversations", "items", "stored_chats", "idempotency")
    database = gateway.services.database
    counts = {name: await database.collection(name).count_documents({"owner": owner}) for name in names}
    return {name: count for name, count in counts.items() if count}


async def test_a_conversation_begins_with_its_first_question(gateway: Gateway):
    async with person(gateway) as one:
        answer = await one.begin_with("What is a manta?\nTell me.")
        told = answer["metadata"]
        conversation = (await one.client.get(f"/v1/conversations/{told['conversation_id']}")).json()
        items = await one.items(told["conversation_id"])
    assert (told["conversation_created"], told["conversation_title"]) == ("true", "What is a manta?")
    assert (conversation["title"], conversation["model"]) == ("What is a manta?", CHAT)
    assert [item["id"] for item in items] == [told["ask_item_id"], told["completion_item_id"]]
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert items[1]["content"][0]["text"] == answer["choices"][0]["message"]["content"]


async def test_a_conversation_has_the_model_that_answers_first_in_it(gateway: Gateway):
    async with person(gateway) as one:
        shown: list[tuple[str, str]] = []
        for named in (None, "ours"):
            made = (await one.client.post("/v1/conversations", json={"model": named})).json()
            for model in ("chat-alias", CHAT):
                await one.ask("One?", conversation=made["id"], model=model)
                shown.append((model, (await one.client.get(f"/v1/conversations/{made['id']}")).json()["model"]))
    assert shown == [("chat-alias", "chat-alias"), (CHAT, "chat-alias"), ("chat-alias", "ours"), (CHAT, "ours")]


async def test_it_goes_on_with_what_was_said(gateway: Gateway):
    async with person(gateway) as one:
        first = await one.begin_with("One?")
        conversation = first["metadata"]["conversation_id"]
        second = await one.ask("Two?", conversation={"id": conversation})
        await one.ask("Three?", conversation_id=conversation)
    said = [each["choices"][0]["message"]["content"] for each in (first, second)]
    assert second["metadata"]["conversation_created"] == "false"
    assert messages_sent(gateway) == [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": said[0]},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": said[1]},
        {"role": "user", "content": "Three?"},
    ]


async def test_instructions_are_those_of_the_request_and_of_the_conversation(gateway: Gateway):
    system = {"role": "system", "content": "Be brief."}
    async with person(gateway) as one:
        made = await one.client.post(
            "/v1/conversations", json={"items": [{"type": "message", "role": "developer", "content": "Be kind."}]}
        )
        conversation = made.json()["id"]
        body = {"model": CHAT, "messages": [system, {"role": "user", "content": "One?"}], "conversation": conversation}
        assert (await one.client.post(PATH, json=body)).status_code == 200
        assert messages_sent(gateway)[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
        await one.ask("Two?", conversation=conversation)
        assert messages_sent(gateway)[0] == {"role": "system", "content": "Be kind."}
        assert [item["role"] for item in await one.items(conversation)][:2] == ["developer", "user"]


@needs_openai_schema
async def test_a_stream_names_what_is_stored_in_its_first_chunk(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?")
        body = asking("Two?", conversation=conversation, stream=True, stream_options={"include_usage": True})
        response = await one.client.post(PATH, json=body)
        # It is there before the stream ends.
        said = await one.said(conversation)
        items = await one.items(conversation)
    first, *others = validate_stream("CreateChatCompletionStreamResponse", response.text)
    assert not any("metadata" in chunk for chunk in others)
    assert items[-2]["id"] == first["metadata"]["ask_item_id"]
    assert items[-1]["id"] == first["metadata"]["completion_item_id"]
    assert said[-1] == ("assistant", "completed", text_of([first, *others]))


@needs_openai_schema
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_and_its_result_survive_the_round_trip(gateway: Gateway, stream: bool):
    async with person(gateway) as one:
        body = {**asking("call weather"), "tools": [WEATHER], "stream": stream}
        response = await one.client.post(NEW, json=body)
        told = (chunks_of(response.text)[0] if stream else response.json())["metadata"]
        conversation = told["conversation_id"]
        _, call = await one.items(conversation)
        result = {"role": "tool", "tool_call_id": call["call_id"], "content": "Sunny"}
        body = {"model": CHAT, "messages": [result], "conversation": conversation}
        assert (await one.client.post(PATH, json=body)).status_code == 200
        items = await one.items(conversation)
    called = {"name": "weather", "arguments": '{"in":"Rome"}'}
    assert call == {**call, "type": "function_call", **called}
    assert messages_sent(gateway) == [
        {"role": "user", "content": "call weather"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call["call_id"], "type": "function", "function": called}],
        },
        result,
    ]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
    for item in items:
        validate("ConversationItem", item)


async def test_a_call_that_nobody_answered_is_not_told_again(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("call weather", tools=[WEATHER])
        await one.ask("Never mind.", conversation=conversation)
    assert [message["content"] for message in messages_sent(gateway)] == ["call weather", "Never mind."]


@needs_openai_schema
async def test_log_probabilities_are_kept(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("Probably?", logprobs=True, top_logprobs=2)
        item = (await one.items(conversation))[-1]
    validate("ConversationItem", item)
    assert len(item["content"][0]["logprobs"]) == 16
    assert len(item["content"][0]["logprobs"][0]["top_logprobs"]) == 2


async def test_a_refusal_is_kept_as_one(gateway: Gateway):
    async with person(gateway) as one:
        item = (await one.items(await one.begin("[refuse]")))[-1]
    assert item["content"][0]["type"] == "refusal"


async def test_an_answer_that_was_bounded_is_incomplete(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?", max_tokens=3)
        assert (await one.said(conversation))[-1][1] == "incomplete"


# trimming


def small(context: int) -> list[CatalogEntry]:
    state = ModelState("ready", max_model_len=context)
    return [CatalogEntry(scripted(engine_args={"max_model_len": context, "default_tokens": 4}), state)]


async def test_a_history_that_outgrows_the_context_loses_whole_turns(new_gateway: GatewayFactory):
    async with new_gateway(small(100)) as gateway, person(gateway) as one:
        system = {"role": "system", "content": "Stay."}
        body: dict[str, Any] = {"model": CHAT, "max_tokens": 20}
        answers: list[Any] = []
        conversation = ""
        for number in range(8):
            question = {"role": "user", "content": f"{number} is this number"}
            body |= {"messages": [system, question]} | ({"conversation": conversation} if number else {})
            response = await one.client.post(NEW, json=body)
            assert response.status_code == 200, response.text
            answers.append(response.json())
            conversation = answers[-1]["metadata"]["conversation_id"]
        sent = messages_sent(gateway)
        turns = (len(sent) - 2) // 2
        assert sent[0] == system
        assert [message["content"] for message in sent[1::2]] == [
            f"{number} is this number" for number in range(7 - turns, 8)
        ]
        assert 0 < turns < 7
        assert answers[-1]["metadata"]["dropped_items"] == str(2 * (7 - turns))
        assert "dropped_items" not in answers[0]["metadata"]
        # No turn more was left out than had to be.
        assert answers[-1]["usage"]["prompt_tokens"] <= 80
        more = [*sent[:1], *sent[1:3], *sent[1:]]
        one_more = await one.client.post("/tokenize", json={"model": CHAT, "messages": more})
        assert one_more.json()["count"] > 80
        # Everything is still there.
        assert len(await one.items(conversation)) == 16


async def test_where_nothing_may_be_left_out_the_numbers_are_told(new_gateway: GatewayFactory):
    async with new_gateway(small(40)) as gateway, person(gateway) as one:
        conversation = await one.begin("The first of them")
        await one.ask("The second of them", conversation=conversation)
        items = await one.items(conversation)
        body = asking("The third of them", conversation=conversation, truncation="disabled", max_tokens=20)
        refused = await one.client.post(PATH, json=body)
        assert_error(refused, 400, "context_length_exceeded", "messages")
        message = refused.json()["error"]["message"]
        assert "context is 40 tokens" in message
        assert "asks for up to 20 more" in message
        assert await one.items(conversation) == items


async def test_a_question_that_is_too_long_by_itself_is_refused(new_gateway: GatewayFactory):
    async with new_gateway(small(40)) as gateway, person(gateway) as one:
        conversation = await one.begin("Short")
        refused = await one.client.post(PATH, json=asking("much too long " * 20, conversation=conversation))
        assert_error(refused, 400, "context_length_exceeded", "messages")
        assert len(await one.items(conversation)) == 2


# several at once, and those that do not come to their end


async def test_of_writers_at_once_each_keeps_question_and_answer_together(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("Who begins?")
        texts = [f"writer {number}?" for number in range(8)]
        answers = await asyncio.gather(*(one.ask(text, conversation=conversation) for text in texts))
        items = await one.items(conversation)
    said = {text: answer["choices"][0]["message"]["content"] for text, answer in zip(texts, answers, strict=True)}
    pairs = [(items[at], items[at + 1]) for at in range(2, len(items), 2)]
    assert len(pairs) == 8
    assert {ask["content"][0]["text"]: reply["content"][0]["text"] for ask, reply in pairs} == said


async def test_of_a_client_that_leaves_is_kept_what_it_was_sent(new_gateway: GatewayFactory):
    async with new_gateway([SLOW]) as gateway, person(gateway) as one:
        conversation = await one.begin("One?", max_tokens=1)
        async with one.client.stream(
            "POST", PATH, json=asking("Two?", conversation=conversation, stream=True)
        ) as response:
            seen = text_of(chunks_of(whole_frames(await read_some(response.aiter_text(), 4))))

        async def kept() -> Any:
            said = await one.said(conversation)
            return said if len(said) == 4 else None

        role, status, text = (await until(kept))[-1]
    assert (role, status) == ("assistant", "incomplete")
    assert text.startswith(seen)
    assert seen


async def test_what_came_before_an_engine_failed_is_kept(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?")
        response = await one.client.post(PATH, json=asking("[error]", conversation=conversation, stream=True))
        *chunks, error = chunks_of(response.text)
        assert "error" in error
        assert (await one.said(conversation))[-1] == ("assistant", "incomplete", text_of(chunks))
        assert text_of(chunks)


class Dying:
    """An engine's answer that ends with its engine."""

    def __init__(self, inner: EngineResponse) -> None:
        self.status, self.content_type = inner.status, inner.content_type
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        answer = b"".join([chunk async for chunk in self._inner])
        frames = answer.split(b"\n\n")
        yield b"\n\n".join(frames[:4])[:-10]
        raise EngineCrashed("The engine died.")

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("stream", [True, False])
async def test_what_came_before_an_engine_died_is_kept(gateway: Gateway, stream: bool):
    async def die(*what: Any) -> Any:
        return Dying(await gateway.backend.inner.send(*what))

    async with person(gateway) as one:
        conversation = await one.begin("One?")
        with gateway.backend.replaced(die):
            response = await one.client.post(PATH, json=asking("Two?", conversation=conversation, stream=stream))
        said = await one.said(conversation)
    if not stream:
        # Of a whole answer nothing was seen: it is as if nobody had asked.
        assert_error(response, 500, "engine_crashed")
        assert len(said) == 2
        return
    assert '"code":"engine_crashed"' in response.text
    role, status, text = said[-1]
    assert (role, status, len(said)) == ("assistant", "incomplete", 4)
    assert len(text.split()) == 2
    assert all(f'{word}"' in response.text for word in text.split())


async def test_of_an_attempt_that_was_not_answered_nothing_remains(gateway: Gateway):
    async def starting(*_: Any) -> Any:
        raise ModelStarting("not yet")

    async with person(gateway) as one:
        conversation = await one.begin("One?")
        before = await everything(gateway, one.user.id)
        for fields in ({"conversation": conversation}, {"conversation": conversation, "stream": True, "store": True}):
            with gateway.backend.replaced(starting):
                response = await one.client.post(PATH, json=asking("Two?", **fields), headers={"idempotency-key": "k"})
            assert_error(response, 503, "model_starting")
            assert await everything(gateway, one.user.id) == before
        with gateway.backend.replaced(starting):
            assert_error(await one.client.post(NEW, json=asking("Two?")), 503, "model_starting")
        assert (await one.client.get("/v1/conversations")).json()["data"][0]["id"] == conversation
        assert len((await one.client.get("/v1/conversations")).json()["data"]) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_one_whose_caller_leaves_while_it_is_taken_back_may_be_asked_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, stream: bool
):
    left, stored_chats = asyncio.Event(), gateway.services.stores.stored_chats

    async def starting(*_: Any) -> Any:
        raise ModelStarting("not yet")

    async def leaving(*_: Any) -> None:
        left.set()
        await asyncio.Event().wait()

    async with person(gateway) as one:
        asked: dict[str, Any] = {"json": asking("One?", stream=stream, store=True), "headers": {"idempotency-key": "k"}}
        with gateway.backend.replaced(starting), monkeypatch.context() as patch:
            patch.setattr(stored_chats, "forget", leaving)
            first = asyncio.create_task(one.client.post(PATH, **asked))
            await left.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

        async def answered() -> bool:
            return (await one.client.post(PATH, **asked)).status_code == 200

        assert await until(answered)


@pytest.mark.parametrize("during", ["forget", "begin"])
async def test_what_cannot_be_taken_back_at_once_goes_later(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, during: str
):
    stored_chats = gateway.services.stores.stored_chats
    begin = stored_chats.begin

    async def starting(*_: Any) -> Any:
        raise ModelStarting("not yet")

    async def going_away(*args: Any, **fields: Any) -> None:
        monkeypatch.undo()
        if during == "begin":
            # It is stored, and the word of that is lost.
            await begin(*args, **fields)
        raise DatabaseUnavailable("away")

    async with person(gateway) as one:
        monkeypatch.setattr(stored_chats, during, going_away)
        with gateway.backend.replaced(starting):
            assert (await one.client.post(PATH, json=asking("One?", store=True))).status_code == 503

        async def gone() -> bool:
            return await everything(gateway, one.user.id) == {}

        assert await until(gone)


async def test_of_one_that_could_not_be_begun_no_chat_is_left(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?")
        conversations = gateway.services.stores.conversations
        begin_turn = conversations.begin_turn

        async def deleting(owner: str, id_: str, **fields: Any) -> int | None:
            await conversations.delete(owner, id_)
            return await begin_turn(owner, id_, **fields)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conversations, "begin_turn", deleting)
            refused = await one.client.post(PATH, json=asking("Two?", conversation=conversation, store=True))
        assert_error(refused, 404, "conversation_not_found")
        assert "stored_chats" not in await everything(gateway, one.user.id)


async def test_a_question_that_the_engine_refuses_is_not_kept(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("One?")
        # The gateway leaves it to engines what schemas they can follow.
        schema = {"type": "string", "pattern": "(?=a)b"}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        response = await one.client.post(PATH, json=asking("Two?", conversation=conversation, response_format=form))
        assert response.status_code == 400, response.text
        assert len(await one.items(conversation)) == 2


# whose it is


async def test_a_conversation_of_another_is_none(gateway: Gateway):
    async with person(gateway) as one, person(gateway) as other:
        conversation = await one.begin("Mine?")
        asked = len(gateway.backend.requests)
        for fields in ({}, {"stream": True}, {"store": True}):
            refused = await other.client.post(PATH, json=asking("Yours?", conversation=conversation, **fields))
            missing = await other.client.post(PATH, json=asking("Yours?", conversation=new_id("conv"), **fields))
            assert refused.json() == missing.json()
            assert_error(refused, 404, "conversation_not_found", "conversation")
        assert len(gateway.backend.requests) == asked
        assert len(await one.items(conversation)) == 2
        assert await everything(gateway, other.user.id) == {}


async def test_one_that_was_deleted_is_none(gateway: Gateway):
    async with person(gateway) as one:
        conversation = await one.begin("Mine?")
        await one.client.delete(f"/v1/conversations/{conversation}")
        refused = await one.client.post(PATH, json=asking("Still?", conversation=conversation))
        assert_error(refused, 404, "conversation_not_found", "conversation")


@pytest.mark.parametrize(
    ("path", "fields"),
    [(PATH, {"conversation": "conv_" + "0" * 32}), (PATH, {"store": True}), (NEW, {})],
)
async def test_nothing_is_kept_of_the_anonymous(gateway: Gateway, path: str, fields: dict[str, Any]):
    refused = await gateway.anonymous.post(path, json=asking("Who?", **fields))
    assert_error(refused, 401, "missing_credentials")


@pytest.mark.parametrize("fields", [{}, {"store": False}, {"metadata": {"a": "b"}}, {"stream": True}])
async def test_a_plain_answer_is_no_business_of_the_journals(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
):
    def never(*_: Any) -> Any:
        raise AssertionError("nothing is kept of it")

    monkeypatch.setattr(gateway.services.answers.journal, "open", never)
    monkeypatch.setattr(gateway.services.answers.journal, "check_room", never)
    response = await gateway.client.post(PATH, json=asking("Plainly?", **fields), headers={"idempotency-key": "k"})
    assert response.status_code == 200
    assert "metadata" not in response.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "system", "content": "Be."}]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "n": 2}, "n"),
        ({"messages": [{"role": "user", "content": "x"}], "conversation": "asst_" + "0" * 32}, "conversation"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "no-such"}, "model"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5000}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x"}], "store": True, "metadata": {"$set": "y"}}, "metadata.$set"),
    ],
)
async def test_of_what_is_refused_nothing_is_stored(gateway: Gateway, body: dict[str, Any], param: str):
    async with person(gateway) as one:
        refused = await one.client.post(NEW, json={"model": CHAT, **body})
        assert refused.status_code in (400, 404)
        assert refused.json()["error"]["param"] == param
        assert await everything(gateway, one.user.id) == {}


async def test_a_guest_who_signs_in_meanwhile_finds_the_answer_in_their_account(new_gateway: GatewayFactory):
    async with new_gateway([SLOW]) as gateway, person(gateway, role="guest") as guest, person(gateway) as account:
        conversation = await guest.begin("One?", max_tokens=1)
        body = asking("Two?", conversation=conversation, stream=True, store=True)
        async with guest.client.stream("POST", PATH, json=body) as response:
            parts = response.aiter_text()
            seen = await read_some(parts, 3)
            await gateway.services.stores.ownership.move(guest.user.id, account.user.id)
            seen += await read_on(parts)
        said = await account.said(conversation)
        stored = (await account.client.get(PATH)).json()["data"]
    text = text_of(chunks_of(seen))
    assert said[-1] == ("assistant", "completed", text)
    assert [chat["choices"][0]["message"]["content"] for chat in stored] == [text]
