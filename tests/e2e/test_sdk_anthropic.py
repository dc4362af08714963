"""Anthropic's Python SDK against the real model, its answers checked strictly against its own types."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.support.live import CHAT, CHAT_ALIAS, EMBEDDINGS, SCRIPTED
from tests.support.openai_schema import data_events

pytestmark = pytest.mark.live

CAPITAL: Any = [{"role": "user", "content": "What is the capital of France?"}]
EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tell the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
GREEDY = {"temperature": 0}
"""This SDK has no argument for it any more; the API has."""

EVERY_MODEL = pytest.mark.parametrize("model", [CHAT, SCRIPTED])


def test_a_question_is_answered(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model=CHAT_ALIAS, max_tokens=32, extra_body=GREEDY, messages=CAPITAL)
    [block] = message.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert message.model == CHAT_ALIAS
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_a_system_prompt_is_part_of_the_question(claude: anthropic.Anthropic) -> None:
    system = "You are a helpful assistant who answers in one word."
    with_it = claude.messages.count_tokens(model=CHAT, messages=CAPITAL, system=system)
    assert with_it.input_tokens != claude.messages.count_tokens(model=CHAT, messages=CAPITAL).input_tokens
    assert claude.messages.create(model=CHAT, max_tokens=8, messages=CAPITAL, system=system).content


def test_an_answer_that_is_cut_off_says_so(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model=CHAT, max_tokens=2, messages=CAPITAL)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 2


def test_a_stop_sequence_is_named(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=CHAT, max_tokens=32, extra_body=GREEDY, messages=CAPITAL, stop_sequences=[" Paris"]
    )
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == " Paris"


def test_the_stream_helper_puts_the_answer_together(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model=CHAT, max_tokens=32, extra_body=GREEDY, messages=CAPITAL) as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Paris" in told
    assert final.content[0].type == "text"
    assert final.content[0].text == told
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


def test_a_demanded_tool_is_called(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=CHAT,
        max_tokens=64,
        extra_body=GREEDY,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
    )
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "get_weather"
    assert isinstance(call.input["city"], str)


def test_tokens_are_counted_as_they_are_billed(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model=CHAT, messages=CAPITAL)
    message = claude.messages.create(model=CHAT, max_tokens=1, messages=CAPITAL)
    assert counted.input_tokens == message.usage.input_tokens > 0


@EVERY_MODEL
def test_whole_answers_fit_anthropic_s_types_strictly(http: httpx.Client, model: str) -> None:
    body = {"model": model, "max_tokens": 8, "messages": CAPITAL}
    answer = http.post("/v1/messages", json=body)
    Message.model_validate_json(answer.content, strict=True)
    assert set(answer.json()) <= set(Message.model_fields)
    assert set(answer.json()["usage"]) >= {"cache_creation_input_tokens", "cache_read_input_tokens"}
    count = http.post("/v1/messages/count_tokens", json={"model": model, "messages": CAPITAL})
    MessageTokensCount.model_validate_json(count.content, strict=True)


@EVERY_MODEL
def test_every_event_of_a_stream_fits_anthropic_s_types_strictly(http: httpx.Client, model: str) -> None:
    body = {"model": model, "max_tokens": 8, "messages": CAPITAL, "stream": True}
    text = http.post("/v1/messages", json=body).text
    events = [EVENT.validate_json(event, strict=True) for event in data_events(text)]
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    named = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert named == kinds


def test_failures_are_the_sdk_s_own(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="none", max_tokens=8, messages=CAPITAL)
    assert (missing.value.request_id or "").startswith("req_")
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model=EMBEDDINGS, max_tokens=8, messages=CAPITAL)
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="sk-wrong").messages.create(model=SCRIPTED, max_tokens=8, messages=CAPITAL)


async def test_it_answers_in_asyncio(claude: anthropic.Anthropic) -> None:
    async with anthropic.AsyncAnthropic(base_url=str(claude.base_url), api_key=claude.api_key) as client:
        message = await client.messages.create(model=CHAT, max_tokens=32, extra_body=GREEDY, messages=CAPITAL)
    assert message.content[0].type == "text"
    assert "Paris" in message.content[0].text
