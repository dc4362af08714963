"""OpenAI's Python SDK against the real model: chat completions."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.support.live import CHAT, CHAT_ALIAS, SCRIPTED
from tests.support.sdk import WEATHER

pytestmark = pytest.mark.live

CAPITAL: Any = [{"role": "user", "content": "What is the capital of France?"}]
CLOCK: Any = {"type": "function", "function": {"name": "get_time", "description": "Tell the time."}}


class Verdict(BaseModel):
    """What a structured answer is parsed into."""

    city: Literal["Paris", "London"]
    certain: bool


def test_a_question_is_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_completion_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == CHAT
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_question_is_answered_in_asyncio(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


async def test_many_questions_at_once_are_each_answered_their_own(async_client: openai.AsyncOpenAI) -> None:
    """The scripted model's answer depends on the prompt: two callers' answers that were swapped would show."""

    async def ask(number: int) -> str | None:
        messages: Any = [{"role": "user", "content": f"Question {number}"}]
        answer = await async_client.chat.completions.create(model=SCRIPTED, messages=messages)
        return answer.choices[0].message.content

    alone = [await ask(number) for number in range(16)]
    together = await asyncio.gather(*(ask(number) for number in range(16)))
    assert together == alone


def test_a_stream_tells_the_same_as_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=24)
    with client.chat.completions.create(
        model=CHAT_ALIAS,
        messages=CAPITAL,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert told == whole.choices[0].message.content
    assert {chunk.model for chunk in chunks} == {CHAT_ALIAS}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


async def test_a_stream_is_told_in_asyncio(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model=CHAT, messages=CAPITAL, temperature=0, max_tokens=24, stream=True
    )
    async with stream:
        told = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "Paris" in told


def test_the_stream_helper_puts_the_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=24) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(deltas) > 1
    assert "".join(deltas) == final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        # OpenAI's own answers say "stop" where the caller named the tool: nothing was left to decide.
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
        ("required", "tool_calls"),
    ],
)
def test_a_demanded_tool_is_called_with_arguments_that_fit(client: openai.OpenAI, choice: Any, reason: str) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(
        model=CHAT, messages=messages, tools=[WEATHER], tool_choice=choice, temperature=0, max_tokens=64
    )
    assert answer.choices[0].finish_reason == reason
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    assert call.id


def test_a_tool_call_is_streamed_and_put_together_by_the_helper(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    with client.chat.completions.stream(
        model=CHAT,
        messages=messages,
        tools=[WEATHER | {"function": WEATHER["function"] | {"strict": True}}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=64,
    ) as stream:
        events = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in events
    [call] = final.choices[0].message.tool_calls or []
    assert call.function.name == "get_weather"
    assert isinstance(call.function.parsed_arguments, dict)
    assert set(call.function.parsed_arguments) == {"city"}


def test_a_tool_result_is_taken_up(client: openai.OpenAI) -> None:
    """The whole loop: call, result, answer."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages: Any = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 21 degrees."},
    ]
    answer = client.chat.completions.create(
        model=CHAT, messages=messages, tools=[WEATHER, CLOCK], tool_choice="none", temperature=0, max_tokens=48
    )
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls


def test_a_structured_answer_is_parsed_by_the_helper(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=CHAT, messages=CAPITAL, response_format=Verdict, temperature=0, max_tokens=64
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_a_structured_answer_is_streamed_and_parsed_by_the_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=CHAT, messages=CAPITAL, response_format=Verdict, temperature=0, max_tokens=64
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Verdict)


def test_log_probabilities_come_for_each_token(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=CAPITAL, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        # greedy: the chosen one is the likeliest
        assert token.logprob == pytest.approx(max(top.logprob for top in token.top_logprobs), abs=1e-3)


def test_several_answers_can_be_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, n=3, max_tokens=8, seed=1)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2]


def test_a_stop_text_ends_the_answer_before_itself(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=32, stop=[" Paris"])
    assert answer.choices[0].finish_reason == "stop"
    assert "Paris" not in (answer.choices[0].message.content or "")


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    def ask() -> str | None:
        answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=1.5, max_tokens=16, seed=7)
        return answer.choices[0].message.content

    assert ask() == ask()


def test_a_refusal_is_told_as_one(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "[refuse] Tell me."}]
    answer = client.chat.completions.create(model=SCRIPTED, messages=messages)
    assert answer.choices[0].message.refusal
    assert answer.choices[0].message.content is None


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="The capital of France is", temperature=0, max_tokens=8)
    assert "Paris" in answer.choices[0].text


def test_a_text_is_continued_in_a_stream(client: openai.OpenAI) -> None:
    with client.completions.create(
        model=CHAT, prompt="The capital of France is", temperature=0, max_tokens=8, stream=True
    ) as stream:
        assert "Paris" in "".join(chunk.choices[0].text for chunk in stream)
