"""What a scripted engine says is decided by the request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.completion import Choice, of_body, of_stream
from app.services.asgi_call import ASGIApp
from deployments.engines.scripted.args import DEFAULT_TEXT
from deployments.engines.scripted.script import REASONING, REFUSAL
from tests.contract.calls import Reply, assert_error, post, user
from tests.deployments.engines.scripted_support import scripted
from tests.support.openai_schema import validate, validate_stream

CHAT = "/v1/chat/completions"
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"x": {"const": 1}}}},
    }
    for name in ("get_time", "get_weather")
]


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[ASGIApp]:
    engine = scripted(default_tokens=12, max_model_len=300)
    await engine.start(lambda *_: None)
    yield engine.app()
    await engine.stop()


async def chat(app: ASGIApp, text: str = "Hello", **fields: Any) -> Reply:
    return await post(app, CHAT, {"messages": user(text), **fields})


async def choice(app: ASGIApp, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    reply = await chat(app, text, **fields)
    assert reply.status == 200, reply.body
    validate("CreateChatCompletionResponse", reply.json)
    return reply.json["choices"][0]


async def says(app: ASGIApp, text: str = "Hello", **fields: Any) -> str:
    return (await choice(app, text, **fields))["message"]["content"]


async def test_the_same_request_gets_the_same_answer(app: ASGIApp) -> None:
    assert await says(app) == await says(app)


async def test_another_request_seed_or_choice_gets_another_answer(app: ASGIApp) -> None:
    choices = (await chat(app, n=2)).json["choices"]
    told = [await says(app), await says(app, "Good day"), await says(app, seed=1), choices[1]["message"]["content"]]
    assert len(set(told)) == 4
    assert choices[0]["message"]["content"] == told[0]


async def test_an_answer_is_words_of_the_text_one_token_each(app: ASGIApp) -> None:
    reply = await chat(app)
    words = reply.json["choices"][0]["message"]["content"].split(" ")
    assert set(words) <= set(DEFAULT_TEXT.split())
    assert len(words) == reply.json["usage"]["completion_tokens"] == 12


async def test_an_answer_ends_by_itself_after_its_default_length(app: ASGIApp) -> None:
    assert (await choice(app))["finish_reason"] == "stop"
    assert (await choice(app, max_tokens=100))["finish_reason"] == "stop"
    assert (await choice(app, max_tokens=5))["finish_reason"] == "length"


async def test_load_tests_can_ask_for_an_exact_length(app: ASGIApp) -> None:
    exact = await chat(app, max_tokens=40, ignore_eos=True)
    assert exact.json["usage"]["completion_tokens"] == 40
    at_least = await chat(app, max_tokens=40, min_tokens=30)
    assert at_least.json["usage"]["completion_tokens"] == 30


async def test_the_context_bounds_answer_and_prompt(app: ASGIApp) -> None:
    filled = (await chat(app, ignore_eos=True)).json["usage"]
    assert filled["total_tokens"] == 300
    assert (await chat(app, max_tokens=filled["completion_tokens"])).status == 200
    too_many = await chat(app, max_tokens=filled["completion_tokens"] + 1)
    assert_error(too_many, 400, "invalid_request_error", "context_length_exceeded")


async def test_the_stop_text_that_ends_first_wins_and_its_tokens_count(app: ASGIApp) -> None:
    first, second, third, *_ = (await says(app)).split(" ")
    reply = await chat(app, stop=[f" {third}", f"{second} {third}", "never"])
    assert reply.json["choices"][0]["message"]["content"] == f"{first} "
    assert reply.json["choices"][0]["stop_reason"] == f"{second} {third}"
    assert reply.json["usage"]["completion_tokens"] == 3
    kept = await says(app, stop=[f" {second}"], include_stop_str_in_output=True)
    assert kept == f"{first} {second}"


async def test_a_tool_is_called_when_the_user_says_so(app: ASGIApp) -> None:
    called = await choice(app, "Please call get_weather now", tools=TOOLS)
    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["content"] is None
    (call,) = called["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"x": 1})
    assert "tool_calls" not in (await choice(app, "What time is it?", tools=TOOLS))["message"]
    assert "tool_calls" not in (await choice(app, "call get_weather", tools=TOOLS, tool_choice="none"))["message"]


async def test_a_required_call_is_the_one_asked_for_or_the_first(app: ASGIApp) -> None:
    first = await choice(app, tools=TOOLS, tool_choice="required")
    asked = await choice(app, "call get_weather", tools=TOOLS, tool_choice="required")
    names = [one["message"]["tool_calls"][0]["function"]["name"] for one in (first, asked)]
    assert names == ["get_time", "get_weather"]


async def test_a_tool_without_parameters_is_called_with_an_object(app: ASGIApp) -> None:
    tools = [{"type": "function", "function": {"name": "ping"}}]
    called = await choice(app, tools=tools, tool_choice="required")
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == {}


async def test_a_schema_that_cannot_be_satisfied_is_named(app: ASGIApp) -> None:
    tools = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "not": {}}}}]
    error = assert_error(await chat(app, tools=tools, tool_choice="required"), 400, "invalid_request_error")
    assert error["param"] == "tools[0].function.parameters"


@pytest.mark.parametrize("format_", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "any"}}])
async def test_any_json_object_will_do(app: ASGIApp, format_: Any) -> None:
    assert isinstance(json.loads(await says(app, response_format=format_)), dict)


async def test_json_may_be_null(app: ASGIApp) -> None:
    schema = {"name": "nothing", "schema": {"type": "null"}}
    assert await says(app, response_format={"type": "json_schema", "json_schema": schema}) == "null"


async def test_json_that_is_cut_off_says_so(app: ASGIApp) -> None:
    cut = await choice(app, response_format={"type": "json_object"}, max_tokens=2)
    assert cut["finish_reason"] == "length"


async def test_a_refusal_is_told_as_one(app: ASGIApp) -> None:
    refused = await choice(app, "Now [refuse]!", logprobs=True)
    assert refused["message"] == {"role": "assistant", "content": None, "refusal": REFUSAL}
    assert refused["logprobs"]["content"] is None
    assert "".join(entry["token"] for entry in refused["logprobs"]["refusal"]) == REFUSAL
    reply = await chat(app, "Now [refuse]!", stream=True)
    chunks = validate_stream("CreateChatCompletionStreamResponse", reply.body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("refusal", "") for delta in deltas) == REFUSAL
    assert not any(delta.get("content") for delta in deltas)
    message = await post(app, "/v1/messages", {"messages": user("[refuse]"), "max_tokens": 50})
    assert message.json["stop_reason"] == "refusal"


async def test_logprobs_spell_the_answer_the_likeliest_first(app: ASGIApp) -> None:
    told = await choice(app, logprobs=True, top_logprobs=5)
    entries = told["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == told["message"]["content"]
    for entry in entries:
        likeliest = entry["top_logprobs"]
        assert likeliest[0]["token"] == entry["token"]
        assert [one["logprob"] for one in likeliest] == sorted((one["logprob"] for one in likeliest), reverse=True)
        assert len({one["token"] for one in likeliest}) == 5
        assert bytes(entry["bytes"]).decode() == entry["token"]


async def test_completions_of_nothing_echo_the_prompt(app: ASGIApp) -> None:
    body = {"prompt": "just this", "max_tokens": 0, "echo": True, "logprobs": 1}
    reply = await post(app, "/v1/completions", body)
    assert reply.json["choices"][0]["text"] == "just this"
    assert reply.json["usage"]["completion_tokens"] == 0
    stream = await post(app, "/v1/completions", body | {"stream": True})
    assert "".join(chunk["choices"][0]["text"] for chunk in stream.chunks) == "just this"


async def test_streamed_logprobs_know_where_their_token_stands(app: ASGIApp) -> None:
    body = {"prompt": "just this", "echo": True, "logprobs": 1, "stream": True}
    chunks = (await post(app, "/v1/completions", body)).chunks
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    for chunk in chunks:
        logprobs = chunk["choices"][0]["logprobs"] or {"tokens": [], "text_offset": []}
        for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
            assert text[offset : offset + len(token)] == token


async def test_names_that_look_like_templates_break_no_stream(app: ASGIApp) -> None:
    name = "\u0001text \u0001extra \\u0001text"
    reply = await post(app, CHAT, {"messages": user("x"), "stream": True, "logprobs": True}, model=name)
    chunks = validate_stream("CreateChatCompletionStreamResponse", reply.body)
    assert {chunk["model"] for chunk in chunks} == {name}


async def test_text_of_any_language_streams_unharmed() -> None:
    engine = scripted(text='Größe "東京" \\ 🐟', default_tokens=40)
    reply = await post(engine.app(), CHAT, {"messages": user("x"), "stream": True})
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in reply.chunks)
    whole = (await post(engine.app(), CHAT, {"messages": user("x")})).json
    assert streamed == whole["choices"][0]["message"]["content"]
    assert {'"東京"', "\\"} <= set(streamed.split(" "))


async def test_the_engines_own_text_is_told() -> None:
    engine = scripted(text="only this", default_tokens=4)
    assert set((await says(engine.app())).split()) == {"only", "this"}


async def test_without_headers_an_answer_still_has_a_name_and_an_id() -> None:
    engine = scripted()
    reply = await post(engine.app(), CHAT, {"messages": user("x")}, request_id="", model="")
    assert reply.json["model"] == "scripted"
    assert len(reply.json["id"]) > len("chatcmpl-")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("[think] well", {}),
        ("[think] well", {"max_tokens": 20}),
        ("[think] [refuse]", {}),
        ("[think] call get_time", {"tools": TOOLS}),
        ("call get_time, call get_weather", {"tools": TOOLS}),
        ("[think] call get_time, call get_weather", {"tools": TOOLS, "n": 2}),
        ("call get_time, call get_weather", {"tools": TOOLS, "max_tokens": 3}),
    ],
)
async def test_thoughts_and_several_calls_are_told_alike_whole_and_as_a_stream(
    app: ASGIApp, text: str, fields: dict[str, Any]
) -> None:
    whole = await chat(app, text, **fields)
    streamed = await chat(app, text, stream=True, stream_options={"include_usage": True}, **fields)
    ours, theirs = of_body(whole.body), of_stream(streamed.body)
    assert theirs.usage == ours.usage
    assert [told(choice) for choice in theirs.choices] == [told(choice) for choice in ours.choices]


def told(choice: Choice) -> dict[str, Any]:
    shown = choice.to_dict()
    shown["message"]["content"] = shown["message"]["content"] or None
    return shown


async def test_what_is_thought_is_told_apart_and_counted(app: ASGIApp) -> None:
    reply = await chat(app, "[think] well")
    assert reply.json["choices"][0]["message"]["reasoning"] == REASONING
    assert reply.json["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert reply.json["choices"][0]["message"]["content"]


async def test_all_tools_that_are_asked_for_are_called_unless_one_at_a_time_is_wanted(app: ASGIApp) -> None:
    asked = "call get_time and call get_weather"
    calls = (await choice(app, asked, tools=TOOLS))["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_time", "get_weather"]
    assert len({call["id"] for call in calls}) == 2
    one = await choice(app, asked, tools=TOOLS, parallel_tool_calls=False)
    assert len(one["message"]["tool_calls"]) == 1
