"""OpenAI's Python SDK against the whole service: responses and their state, on the real model and the scripted one."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.support.live import CHAT, CHAT_ALIAS, SCRIPTED, SLOW
from tests.support.openai_schema import validate
from tests.support.response_events import valid_events
from tests.support.sdk import WEATHER as AS_CHATS_HAVE_IT

pytestmark = pytest.mark.live

CAPITAL = "What is the capital of France?"
WEATHER: Any = {"type": "function", **AS_CHATS_HAVE_IT["function"], "strict": True}
PATIENCE_S = 60
BOTH = pytest.mark.parametrize("model", [CHAT, SCRIPTED])


class Verdict(BaseModel):
    """What a structured answer is parsed into."""

    city: Literal["Paris", "London"]
    certain: bool


def until_over(client: openai.OpenAI, id_: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while (response := client.responses.retrieve(id_)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return response


def test_a_question_is_answered(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=CHAT_ALIAS, input=CAPITAL, temperature=0, max_output_tokens=32)
    validate("Response", answer.to_dict())
    assert "Paris" in answer.output_text
    assert (answer.status, answer.model) == ("completed", CHAT_ALIAS)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert client.responses.retrieve(answer.id) == answer


@BOTH
def test_the_events_are_openais_and_what_they_told_is_kept(http: httpx.Client, model: str) -> None:
    body = {"model": model, "input": CAPITAL, "temperature": 0, "max_output_tokens": 32, "stream": True}
    events = valid_events(http.post("/v1/responses", json=body).content)
    assert events[-1]["type"] == "response.completed"
    response = events[-1]["response"]
    told = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert told == response["output"][0]["content"][0]["text"]
    assert http.get(f"/v1/responses/{response['id']}").json() == response


@BOTH
def test_the_stream_helper_puts_the_answer_together(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=CAPITAL, temperature=0, max_output_tokens=24) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(deltas) > 1
    assert "".join(deltas) == final.output_text


@BOTH
def test_a_structured_answer_is_parsed(client: openai.OpenAI, model: str) -> None:
    answer = client.responses.parse(
        model=model, input=CAPITAL, text_format=Verdict, temperature=0, max_output_tokens=64
    )
    assert isinstance(answer.output_parsed, Verdict)


@BOTH
@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_a_demanded_call_survives_the_round_trip(client: openai.OpenAI, model: str, choice: Any) -> None:
    """The whole loop: call, result, answer; by the id of the response, and once more by its output."""
    question = "What is the weather in Paris?"
    first = client.responses.create(
        model=model, input=question, tools=[WEATHER], tool_choice=choice, temperature=0, max_output_tokens=64
    )
    [call] = first.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("get_weather", "completed")
    assert isinstance(json.loads(call.arguments)["city"], str)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 21 degrees."}
    asked: Any = {"model": model, "tools": [WEATHER], "tool_choice": "none", "temperature": 0, "max_output_tokens": 32}
    by_id = client.responses.create(previous_response_id=first.id, input=[result], **asked)
    by_output = client.responses.create(input=[{"role": "user", "content": question}, call, result], **asked)
    assert by_id.output_text == by_output.output_text
    assert by_id.output_text


def test_a_call_is_streamed(http: httpx.Client) -> None:
    body = {"model": CHAT, "input": "What is the weather in Paris?", "tools": [WEATHER], "stream": True}
    body |= {"tool_choice": {"type": "function", "name": "get_weather"}, "temperature": 0, "max_output_tokens": 64}
    events = valid_events(http.post("/v1/responses", json=body).content)
    [call] = events[-1]["response"]["output"]
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call["arguments"]


def test_log_probabilities_come_for_each_token(client: openai.OpenAI) -> None:
    answer: Any = client.responses.create(
        model=CHAT,
        input=CAPITAL,
        temperature=0,
        max_output_tokens=5,
        include=["message.output_text.logprobs"],
        top_logprobs=3,
    )
    [part] = answer.output[0].content
    assert "".join(row.token for row in part.logprobs) == part.text
    assert all(len(row.top_logprobs) == 3 for row in part.logprobs)
    assert answer.incomplete_details.reason == "max_output_tokens"


@BOTH
def test_what_was_said_is_known_in_a_conversation_and_in_what_continues(client: openai.OpenAI, model: str) -> None:
    conversation = client.conversations.create()
    asked: Any = {"model": model, "temperature": 0, "max_output_tokens": 24}
    first = client.responses.create(input="My name is Ann.", conversation=conversation.id, **asked)
    second = client.responses.create(input="Who am I?", conversation=conversation.id, **asked)
    items: list[Any] = list(client.conversations.items.list(conversation.id, order="asc"))
    texts = [item.content[0].text for item in items]
    assert texts == ["My name is Ann.", first.output_text, "Who am I?", second.output_text]
    alone = client.responses.create(input="My name is Ann.", **asked)
    continued = client.responses.create(input="Who am I?", previous_response_id=alone.id, **asked)
    assert continued.output_text == second.output_text
    client.conversations.delete(conversation.id)


@BOTH
def test_tokens_are_counted_as_the_engine_counts_them(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "input": CAPITAL, "instructions": "Be brief.", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(**asked)
    answer = client.responses.create(**asked, max_output_tokens=1)
    assert answer.usage is not None
    assert counted.input_tokens == answer.usage.input_tokens


@BOTH
def test_work_in_the_background_goes_on_without_its_caller(client: openai.OpenAI, model: str) -> None:
    begun = client.responses.create(model=model, input=CAPITAL, temperature=0, max_output_tokens=32, background=True)
    over = until_over(client, begun.id)
    assert over.status == "completed"
    assert over.output_text


def test_a_stream_that_was_left_is_taken_up_again(client: openai.OpenAI) -> None:
    with client.responses.create(
        model=SLOW, input="Hello", max_output_tokens=40, background=True, stream=True
    ) as stream:
        id_, seen = "", 0
        for event in stream:
            if event.type == "response.created":
                id_ = event.response.id
            seen = event.sequence_number
            if event.type == "response.output_text.delta":
                break
    with client.responses.retrieve(id_, stream=True, starting_after=seen) as rest:
        numbers = [event.sequence_number for event in rest]
    assert numbers == list(range(seen + 1, seen + 1 + len(numbers)))
    assert client.responses.retrieve(id_).status in ("completed", "incomplete")


def test_work_in_the_background_is_cancelled(client: openai.OpenAI) -> None:
    begun = client.responses.create(model=SLOW, input="Hello", background=True, max_output_tokens=4000)
    cancelled = client.responses.cancel(begun.id)
    assert cancelled.status == "cancelled"
    assert until_over(client, begun.id).status == "cancelled"


def test_a_refusal_and_an_error_are_told_as_such(client: openai.OpenAI) -> None:
    refused: Any = client.responses.create(model=SCRIPTED, input="[refuse] Tell me.").output[0]
    assert refused.content[0].type == "refusal"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no-such-model", input="Hello")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.responses.create(model=SCRIPTED, input=[{"type": "web_search_call"}])  # type: ignore[list-item]
    assert wrong.value.param == "input[0].type"
