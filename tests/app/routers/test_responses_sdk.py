"""Responses as OpenAI's SDK asks for them: made, streamed, parsed, kept, continued, worked on in the background."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from deployments.engines.scripted.script import REASONING, REFUSAL
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_user, scripted
from tests.support.openai_schema import validate
from tests.support.people import key_of
from tests.support.response_events import Event, valid_events
from tests.support.sdk import sdk_of

TOOLS: Any = [
    {
        "type": "function",
        "name": name,
        "description": "Tell it.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "London"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    for name in ("get_weather", "get_time")
]
PATIENCE_S = 20


class Verdict(BaseModel):
    """What a structured answer is parsed into."""

    city: Literal["Paris", "London"]
    certain: bool


@pytest_asyncio.fixture(loop_scope="session")
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has nothing yet."""
    headers = await key_of(gateway, await new_user(gateway.services))
    async with httpx.AsyncClient(base_url=f"{gateway.url}/v1", headers=headers, timeout=60, verify=False) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def sdk(gateway: Gateway, http: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK with the same person's key."""
    key = http.headers["authorization"].removeprefix("Bearer ")
    async with sdk_of(gateway, key) as made:
        yield made


async def told(http: httpx.AsyncClient, **body: Any) -> list[Event]:
    """The events of a stream, each of them valid."""
    answer = await http.post("/responses", json={"model": CHAT, "input": "Hello", "stream": True} | body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return valid_events(answer.content)


async def kept(http: httpx.AsyncClient, id_: str) -> dict[str, Any]:
    """A response as it is kept."""
    answer = await http.get(f"/responses/{id_}")
    assert answer.status_code == 200, answer.text
    validate("Response", answer.json())
    return answer.json()


async def until_over(sdk: openai.AsyncOpenAI, id_: str) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while (response := await sdk.responses.retrieve(id_)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
        return response


async def test_a_question_is_answered_and_the_answer_is_kept(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    answer = await sdk.responses.create(
        model="chat-alias", input="Hello", instructions="Be brief.", metadata={"a": "b"}, temperature=0
    )
    validate("Response", answer.to_dict())
    assert answer.output_text
    assert (answer.status, answer.model, answer.metadata) == ("completed", "chat-alias", {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert await kept(http, answer.id) == answer.to_dict()


async def test_the_whole_answer_says_what_the_stream_does(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    whole = await sdk.responses.create(model=CHAT, input="Hello")
    events = await told(http)
    last = events[-1]["response"]
    assert last["output"][0]["content"] == [part.to_dict() for part in whole.output[0].content]  # type: ignore[union-attr]
    assert last["usage"] == whole.usage.to_dict()  # type: ignore[union-attr]
    assert await kept(http, last["id"]) == last


async def test_the_stream_helper_puts_the_answer_together(sdk: openai.AsyncOpenAI) -> None:
    async with sdk.responses.stream(model=CHAT, input="Hello") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert len(deltas) > 3
    assert "".join(deltas) == final.output_text


async def test_a_structured_answer_is_parsed_whole_and_streamed(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.parse(model=CHAT, input="Where?", text_format=Verdict)
    assert isinstance(answer.output_parsed, Verdict)
    async with sdk.responses.stream(model=CHAT, input="Where?", text_format=Verdict) as stream:
        final = await stream.get_final_response()
    assert final.output_parsed == answer.output_parsed


async def test_calls_are_made_answered_and_taken_up_in_what_follows(sdk: openai.AsyncOpenAI) -> None:
    first = await sdk.responses.create(model=CHAT, input="call get_weather and call get_time", tools=TOOLS)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert all(json.loads(call.arguments)["city"] for call in calls)
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"the result {at}"}
        for at, call in enumerate(calls)
    ]
    second = await sdk.responses.create(
        model=CHAT, input=results, previous_response_id=first.id, tools=TOOLS, tool_choice="none"
    )
    assert second.output_text
    listed = [item async for item in sdk.responses.input_items.list(second.id, order="asc")]
    assert [item.type for item in listed] == ["function_call_output"] * 2


async def test_an_output_can_be_sent_back_as_it_came(sdk: openai.AsyncOpenAI) -> None:
    first = await sdk.responses.create(model=CHAT, input="[think] call get_weather", tools=TOOLS, store=False)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    call: Any = first.output[1]
    talk: Any = [
        {"role": "user", "content": "call get_weather"},
        *first.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": [{"type": "input_text", "text": "sunny"}]},
    ]
    again = await sdk.responses.create(model=CHAT, input=talk, tools=TOOLS, tool_choice="none")
    assert again.output_text
    parsed = await sdk.responses.parse(model=CHAT, input="Where?", text_format=Verdict)
    more: Any = [*parsed.output, {"role": "user", "content": "And?"}]
    assert (await sdk.responses.create(model=CHAT, input=more)).output_text


async def test_a_call_is_parsed_by_the_helper(sdk: openai.AsyncOpenAI) -> None:
    class GetWeather(BaseModel):
        """Tell the weather."""

        city: Literal["Paris", "London"]

    tool = openai.pydantic_function_tool(GetWeather)
    flat: Any = {"type": "function", **tool["function"]}
    async with sdk.responses.stream(
        model=CHAT, input="call GetWeather", tools=[flat], tool_choice={"type": "function", "name": "GetWeather"}
    ) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    [call] = final.output
    assert call.type == "function_call"
    assert isinstance(call.parsed_arguments, dict)


async def test_a_refusal_and_thoughts_are_told_as_such(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    refused: Any = (await sdk.responses.create(model=CHAT, input="[refuse]")).output[0]
    assert [part.to_dict() for part in refused.content] == [{"type": "refusal", "refusal": REFUSAL}]
    events = await told(http, input="[think] about it")
    kinds = [event["type"] for event in events]
    assert kinds.index("response.reasoning_text.done") < kinds.index("response.output_text.delta")
    thought, said = events[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": REASONING}]
    assert said["type"] == "message"
    assert events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


async def test_log_probabilities_come_where_they_are_included(sdk: openai.AsyncOpenAI) -> None:
    answer: Any = await sdk.responses.create(
        model=CHAT, input="Hello", include=["message.output_text.logprobs"], top_logprobs=2
    )
    [part] = answer.output[0].content
    assert "".join(row.token for row in part.logprobs) == part.text
    assert all(len(row.top_logprobs) == 2 for row in part.logprobs)


async def test_an_answer_that_is_cut_off_is_incomplete(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    answer = await sdk.responses.create(model=CHAT, input="Hello", max_output_tokens=3)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    events = await told(http, max_output_tokens=3)
    assert events[-1]["type"] == "response.incomplete"
    assert (await kept(http, events[-1]["response"]["id"]))["status"] == "incomplete"


async def test_an_error_in_mid_stream_is_told_and_kept(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    events = await told(http, input="[error]")
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    response = await kept(http, events[-1]["response"]["id"])
    assert response["status"] == "failed"
    assert response["output"][0]["status"] == "incomplete"
    with pytest.raises(openai.InternalServerError):
        await sdk.responses.create(model=CHAT, input="[error]")


async def test_a_response_is_listed_by_its_inputs_both_ways_and_deleted(sdk: openai.AsyncOpenAI) -> None:
    talk: Any = [{"role": "user", "content": f"number {number}"} for number in range(5)]
    answer = await sdk.responses.create(model=CHAT, input=talk)

    async def numbers(**page: Any) -> list[str]:
        items: list[Any] = [item async for item in sdk.responses.input_items.list(answer.id, **page)]
        return [item.content[0].text.removeprefix("number ") for item in items]

    assert await numbers(order="asc", limit=2) == ["0", "1", "2", "3", "4"]
    assert await numbers(limit=3) == ["4", "3", "2", "1", "0"]
    first = (await sdk.responses.input_items.list(answer.id, order="asc", limit=1)).data[0]
    assert await numbers(order="asc", after=first.id) == ["1", "2", "3", "4"]
    await sdk.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.create(model=CHAT, input="Hello", previous_response_id=answer.id)


async def test_what_is_not_to_be_kept_is_not(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.create(model=CHAT, input="Hello", store=False)
    assert answer.output_text
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(answer.id)


async def test_a_conversation_gains_question_and_answer(sdk: openai.AsyncOpenAI) -> None:
    conversation = await sdk.conversations.create(
        items=[{"type": "message", "role": "user", "content": "My name is Ann."}]
    )
    answer = await sdk.responses.create(model=CHAT, input="Who am I?", conversation=conversation.id)
    assert answer.conversation is not None
    assert answer.conversation.id == conversation.id
    items: list[Any] = [item async for item in sdk.conversations.items.list(conversation.id, order="asc")]
    assert [item.content[0].text for item in items] == ["My name is Ann.", "Who am I?", answer.output_text]
    assert items[2].id == answer.output[0].id
    assert answer.usage is not None
    alone = await sdk.responses.create(model=CHAT, input="Who am I?")
    assert alone.usage is not None
    assert answer.usage.input_tokens > alone.usage.input_tokens


async def test_tokens_of_an_input_are_those_that_it_takes(sdk: openai.AsyncOpenAI) -> None:
    counted = await sdk.responses.input_tokens.count(model=CHAT, input="Hello there", instructions="Be brief.")
    answer = await sdk.responses.create(model=CHAT, input="Hello there", instructions="Be brief.")
    assert answer.usage is not None
    assert counted.input_tokens == answer.usage.input_tokens


async def test_only_work_in_the_background_can_be_cancelled(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.create(model=CHAT, input="Hello")
    with pytest.raises(openai.BadRequestError):
        await sdk.responses.cancel(answer.id)


async def test_work_in_the_background_comes_to_its_end(sdk: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    begun = await sdk.responses.create(model=CHAT, input="Hello", background=True)
    validate("Response", begun.to_dict())
    assert begun.status in ("queued", "in_progress", "completed")
    over = await until_over(sdk, begun.id)
    assert over.status == "completed"
    assert over.output_text
    assert over.background is True
    assert await kept(http, begun.id) == over.to_dict()


async def test_a_stream_from_the_background_can_be_taken_up_anywhere(
    sdk: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    events = await told(http, background=True)
    id_ = events[0]["response"]["id"]
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    again = await http.get(f"/responses/{id_}", params={"stream": "true"})
    assert valid_events(again.content) == events
    rest = await http.get(f"/responses/{id_}", params={"stream": "true", "starting_after": 5})
    assert valid_events(rest.content) == events[6:]
    async with sdk.responses.stream(response_id=id_, starting_after=5) as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(6, len(events)))
    assert final.output_text == events[-1]["response"]["output"][0]["content"][0]["text"]


async def test_work_in_the_background_is_cancelled(new_gateway: GatewayFactory) -> None:
    slow = scripted(engine_args={"tokens_per_s": 20, "default_tokens": 4000, "max_model_len": 8000})
    async with (
        new_gateway([CatalogEntry(slow, ModelState("ready", replicas=1, max_model_len=8000))]) as gateway,
        sdk_of(gateway) as sdk,
    ):
        async with await sdk.responses.create(model=CHAT, input="Hello", background=True, stream=True) as stream:
            async for event in stream:
                if event.type == "response.created":
                    id_ = event.response.id
                if event.type == "response.output_text.delta":
                    break
        cancelled = await sdk.responses.cancel(id_)
        assert cancelled.status == "cancelled"
        validate("Response", cancelled.to_dict())
        again = await sdk.responses.cancel(id_)
        assert again.status == "cancelled"
        assert (await sdk.responses.retrieve(id_)).status == "cancelled"
        rest = await gateway.client.get(f"/v1/responses/{id_}", params={"stream": "true"})
        last = valid_events(rest.content)[-1]
        assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
