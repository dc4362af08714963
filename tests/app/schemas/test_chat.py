"""Chat completions: what passes, what is dropped on the way, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import UnsupportedParameter
from app.schemas import chat
from app.schemas.keep import ToKeep
from tests.app.schemas.bodies import CALL, QUESTION, WEATHER, chat_body, parse_chat, refusal


def payload(**changes: Any) -> dict[str, Any]:
    return parse_chat(chat_body(**changes)).payload


def test_an_ordinary_request_goes_on_as_it_came() -> None:
    body = chat_body(max_tokens=100, temperature=0.7, top_p=0.9, seed=1, stop=["a"], n=2, presence_penalty=-1)
    parsed = chat.parse(body)
    assert parsed.payload == body
    assert (parsed.model, parsed.stream, parsed.include_usage) == ("smollm2-135m-instruct", False, False)


def test_the_callers_body_is_not_changed() -> None:
    body = chat_body(user="me", messages=[{"role": "developer", "content": "x"}])
    parsed = chat.parse(body)
    parsed.payload["model"] = "another"
    assert body == chat_body(user="me", messages=[{"role": "developer", "content": "x"}])


def test_a_prompt_is_one_message_of_the_user() -> None:
    parsed = chat.parse({"model": "text-bison-001", "prompt": "Hello, world!", "max_tokens": 10})
    assert parsed.payload == {
        "model": "text-bison-001",
        "messages": [{"role": "user", "content": "Hello, world!"}],
        "max_tokens": 10,
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": None}, "messages"),
        ({"model": "m", "prompt": "x", "messages": [QUESTION]}, "prompt"),
        ({"model": "m", "prompt": ["x"]}, "prompt"),
        ({"model": "m", "prompt": ""}, "prompt"),
    ],
)
def test_either_messages_or_a_prompt_is_given(body: dict[str, Any], param: str) -> None:
    assert refusal(parse_chat, body).param == param


def test_the_model_is_required() -> None:
    assert refusal(parse_chat, {"messages": [QUESTION]}).param == "model"


def test_nulls_count_as_absent() -> None:
    names = chat.ChatRequest.known - {"model", "messages"} | set(chat.REFUSED)
    assert payload(**dict.fromkeys(names)) == chat_body()


def test_what_cannot_change_the_answer_is_checked_and_dropped() -> None:
    ignored = {
        "metadata": {"a": "b"},
        "modalities": ["text"],
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "implicit"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "service_tier": "auto",
        "user": "me",
        "verbosity": "low",
    }
    assert ignored.keys() == chat.IGNORED
    assert payload(**ignored) == chat_body()
    for name in ignored:
        assert (refusal(parse_chat, chat_body(**{name: 3.5})).param or "").startswith(name)


CONVERSATION = "conv_" + "0" * 32


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"store": True}, ToKeep(store=True)),
        ({"store": True, "metadata": {"a": "b"}}, ToKeep(store=True, metadata={"a": "b"})),
        ({"conversation": CONVERSATION}, ToKeep(converses=True, conversation=CONVERSATION)),
        ({"conversation": {"id": CONVERSATION}}, ToKeep(converses=True, conversation=CONVERSATION)),
        (
            {"conversation_id": CONVERSATION, "truncation": "disabled"},
            ToKeep(converses=True, conversation=CONVERSATION, truncation="disabled"),
        ),
        ({"store": False}, None),
        ({"store": None, "conversation": None, "metadata": {"$a": "b"}}, None),
    ],
)
def test_what_is_to_be_kept_is_no_business_of_the_engines(said: dict[str, Any], kept: ToKeep | None) -> None:
    parsed = parse_chat(chat_body(**said))
    assert parsed.payload == chat_body()
    assert parsed.keep == kept


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"conversation": "resp_" + "0" * 32}, "conversation"),
        ({"conversation": "conv_x"}, "conversation"),
        ({"conversation": ""}, "conversation"),
        ({"conversation": {"id": "thread_" + "0" * 32}}, "conversation.id"),
        ({"conversation": {"id": CONVERSATION, "more": 1}}, "conversation.more"),
        ({"conversation": {}}, "conversation.id"),
        ({"conversation": 7}, "conversation"),
        ({"conversation": [CONVERSATION]}, "conversation"),
        ({"conversation_id": {"id": CONVERSATION}}, "conversation_id"),
        ({"conversation_id": "$ne"}, "conversation_id"),
        ({"conversation": CONVERSATION, "conversation_id": CONVERSATION}, "conversation_id"),
        ({"conversation": CONVERSATION, "n": 2}, "n"),
        ({"conversation": CONVERSATION, "truncation": "middle"}, "truncation"),
        ({"truncation": "auto"}, "truncation"),
        ({"store": "yes"}, "store"),
        ({"store": True, "metadata": {"$set": "x"}}, "metadata.$set"),
        ({"store": True, "metadata": {"a.b": "x"}}, "metadata.a.b"),
        ({"store": True, "metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"store": True, "metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ],
)
def test_what_cannot_be_kept_so_is_named(said: dict[str, Any], param: str) -> None:
    assert refusal(parse_chat, chat_body(**said)).param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
        ({"mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ({"prompt_embeds": "x"}, "prompt_embeds"),
        ({"kv_transfer_params": {}}, "kv_transfer_params"),
        ({"structured_outputs": {"regex": ".*"}}, "structured_outputs"),
        ({"stop_token_ids": [1]}, "stop_token_ids"),
        ({"allowed_token_ids": [1]}, "allowed_token_ids"),
        ({"vllm_xargs": {}}, "vllm_xargs"),
        ({"cache_salt": "x"}, "cache_salt"),
        ({"priority": 1}, "priority"),
        ({"request_id": "x"}, "request_id"),
        ({"use_beam_search": True}, "use_beam_search"),
    ],
)
def test_what_we_cannot_or_will_not_do_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    error = refusal(parse_chat, chat_body(**changes))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == param
    assert f"`{param}`" in error.message


def test_two_thousand_and_forty_eight_messages_are_the_most() -> None:
    assert len(payload(messages=[QUESTION] * 2048)["messages"]) == 2048
    assert refusal(parse_chat, chat_body(messages=[QUESTION] * 2049)).param == "messages"


def test_top_logprobs_need_logprobs() -> None:
    assert payload(logprobs=True, top_logprobs=20)["top_logprobs"] == 20
    assert payload(top_logprobs=0)["top_logprobs"] == 0
    assert refusal(parse_chat, chat_body(top_logprobs=2)).param == "top_logprobs"
    assert refusal(parse_chat, chat_body(logprobs=True, top_logprobs=21)).param == "top_logprobs"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_most_tokens_are_at_least_one_and_min_tokens_at_most_those(name: str) -> None:
    assert payload(**{name: 1})[name] == 1
    assert payload(min_tokens=5, **{name: 5})["min_tokens"] == 5
    assert refusal(parse_chat, chat_body(**{name: 0})).param == name
    assert refusal(parse_chat, chat_body(**{name: 2**31})).param == name
    assert refusal(parse_chat, chat_body(min_tokens=6, **{name: 5})).param == "min_tokens"


def test_functions_become_tools() -> None:
    old = payload(functions=[WEATHER["function"]], function_call={"name": "get_weather"})
    assert old == payload(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}})
    assert payload(functions=[WEATHER["function"]], function_call="none")["tool_choice"] == "none"


def test_function_messages_become_tool_messages() -> None:
    history = [
        QUESTION,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "get_weather", "content": "Rain."},
    ]
    assert payload(messages=history)["messages"][1:] == [
        {"role": "assistant", "tool_calls": [CALL | {"id": "call_1"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"functions": [WEATHER["function"]], "tools": [WEATHER]}, "functions"),
        ({"function_call": "auto", "tools": [WEATHER]}, "function_call"),
        ({"functions": [WEATHER["function"]], "function_call": {"name": "other"}}, "tool_choice.function.name"),
        ({"functions": []}, "functions"),
    ],
)
def test_the_older_form_of_tools_stands_alone(changes: dict[str, Any], param: str) -> None:
    assert refusal(parse_chat, chat_body(**changes)).param == param
