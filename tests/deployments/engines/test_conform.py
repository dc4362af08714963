"""Whole answers and errors of vLLM, as they come, against the shapes that were published."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount

from app.errors import InvalidJson, InvalidRequest, ModelNotFound, ServerError, ServiceUnavailable
from deployments.engines import conform
from tests.support.openai_schema import needs_openai_schema, validate

CHAT = "/v1/chat/completions"
USAGE = {
    "prompt_tokens": 3,
    "total_tokens": 5,
    "completion_tokens": 2,
    "prompt_tokens_details": None,
    "completion_tokens_details": None,
}
VLLM_EXTRAS = {
    "service_tier": None,
    "prompt_logprobs": None,
    "prompt_token_ids": None,
    "prompt_text": None,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "metrics": None,
}


def chat_answer(message: dict[str, Any] | None = None, **choice: Any) -> dict[str, Any]:
    """A chat answer as vLLM 0.32 dumps it."""
    raw = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": None, "audio": None}
    raw |= {"function_call": None, "reasoning": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": raw | (message or {}), "logprobs": None, "finish_reason": "stop"}
            | {"stop_reason": None, "token_ids": None, "routed_experts": None}
            | choice
        ],
        "system_fingerprint": "vllm-0",
        "usage": USAGE,
        **VLLM_EXTRAS,
    }


@needs_openai_schema
def test_a_chat_answer_is_openais_in_full() -> None:
    logprob = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    raw = chat_answer(logprobs={"content": [logprob | {"top_logprobs": [logprob]}]})
    validate("CreateChatCompletionResponse", conform.answer(CHAT, raw))


def test_a_chat_answer_carries_no_null_but_the_promised_ones() -> None:
    answer = conform.answer(CHAT, chat_answer())
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    (choice,) = answer["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_the_fingerprint_is_always_a_string() -> None:
    answer = conform.answer(CHAT, chat_answer() | {"system_fingerprint": None})
    assert isinstance(answer["system_fingerprint"], str)


def test_reasoning_and_stop_reason_stay_when_they_say_something() -> None:
    answer = conform.answer(CHAT, chat_answer({"reasoning": "Hm."}, stop_reason="END"))
    (choice,) = answer["choices"]
    assert choice["message"]["reasoning"] == "Hm."
    assert choice["stop_reason"] == "END"


@needs_openai_schema
def test_tool_calls_stay_and_an_empty_list_of_them_goes() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with_call = conform.answer(CHAT, chat_answer({"tool_calls": [call], "content": None}, finish_reason="tool_calls"))
    validate("CreateChatCompletionResponse", with_call)
    assert with_call["choices"][0]["message"]["tool_calls"] == [call]
    assert "tool_calls" not in conform.answer(CHAT, chat_answer({"tool_calls": []}))["choices"][0]["message"]


@needs_openai_schema
def test_usage_details_keep_openais_numbers() -> None:
    details = {"cached_tokens": 2, "created_cache_tokens": 1, "multimodal_tokens": None}
    usage = USAGE | {"prompt_tokens_details": details, "completion_tokens_details": {"reasoning_tokens": 4}}
    answer = conform.answer(CHAT, chat_answer() | {"usage": usage})
    validate("CreateChatCompletionResponse", answer)
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_a_finish_reason_that_openai_does_not_know_becomes_stop() -> None:
    answer = conform.answer(CHAT, chat_answer(finish_reason="repetition"))
    assert answer["choices"][0]["finish_reason"] == "stop"


@needs_openai_schema
def test_a_completion_is_openais() -> None:
    choice = {"index": 0, "text": "a", "logprobs": None, "finish_reason": "length", "stop_reason": None}
    choice |= {"token_ids": None, "prompt_logprobs": None, "prompt_token_ids": None, "routed_experts": None}
    raw = chat_answer() | {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}
    answer = conform.answer("/v1/completions", raw)
    validate("CreateCompletionResponse", answer)
    assert answer["choices"] == [{"index": 0, "text": "a", "logprobs": None, "finish_reason": "length"}]


@needs_openai_schema
def test_embeddings_are_openais() -> None:
    item = {"index": 0, "object": "embedding", "embedding": [0.5, -0.5]}
    raw = {"id": "embd-1", "object": "list", "created": 1, "model": "m", "data": [item], "usage": USAGE}
    answer = conform.answer("/v1/embeddings", raw)
    validate("CreateEmbeddingResponse", answer)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 5}


def test_rerank_and_score_lose_their_nulls() -> None:
    result = {"index": 0, "document": {"text": "a", "multi_modal": None}, "relevance_score": 0.5}
    reranked = conform.answer("/rerank", {"id": "r", "model": "m", "usage": USAGE, "results": [result]})
    assert reranked["results"][0]["document"] == {"text": "a"}
    scored = conform.answer("/score", {"id": "s", "model": "m", "usage": USAGE, "data": []})
    assert reranked["usage"] == scored["usage"] == {"prompt_tokens": 3, "total_tokens": 5}


def test_tokens_come_without_their_strings_unless_asked() -> None:
    raw = {"count": 1, "max_model_len": 8, "tokens": [4], "token_strs": None}
    assert conform.answer("/tokenize", raw) == {"count": 1, "max_model_len": 8, "tokens": [4]}
    assert conform.answer("/tokenize", raw | {"token_strs": ["a"]})["token_strs"] == ["a"]


def test_a_message_is_anthropics() -> None:
    raw = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi"}],
        "model": "m",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    answer = conform.answer("/v1/messages", raw)
    message = Message.model_validate(answer)
    assert message.usage.cache_read_input_tokens == message.usage.cache_creation_input_tokens == 0
    assert answer["stop_sequence"] is None


def test_a_token_count_is_anthropics() -> None:
    raw = {"input_tokens": 3, "context_management": {"original_input_tokens": 3}}
    answer = conform.answer("/v1/messages/count_tokens", raw)
    assert MessageTokensCount.model_validate(answer).input_tokens == 3
    assert set(answer) == {"input_tokens"}


def vllm_error(message: str, param: str | None = None, code: int = 400) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "message", "kind", "code"),
    [
        (400, "temperature must be non-negative", InvalidRequest, None),
        (400, "This model's maximum context length is 8 tokens.", InvalidRequest, "context_length_exceeded"),
        (400, "max_tokens=9 cannot be greater than max_model_len=8.", InvalidRequest, "context_length_exceeded"),
        (422, "could not fetch the image", InvalidRequest, None),
        (404, "The model `x` does not exist.", ModelNotFound, "model_not_found"),
        (501, "The model does not support Embeddings API", InvalidRequest, "unsupported_capability"),
        (503, "The engine is currently busy", ServiceUnavailable, "overloaded"),
        (500, "IndexError: list index out of range", ServerError, "internal_error"),
    ],
)
def test_errors_become_ours(status: int, message: str, kind: type[Exception], code: str | None) -> None:
    error = conform.error(CHAT, status, vllm_error(message, code=status))
    assert isinstance(error, kind)
    assert error.code == code


@needs_openai_schema
def test_an_error_is_openais() -> None:
    validate("ErrorResponse", conform.error(CHAT, 400, vllm_error("no", "top_p")).body())


def test_a_crash_tells_nothing_of_its_inside() -> None:
    error = conform.error(CHAT, 500, vllm_error('File "/srv/a/b.py", line 3, in f', code=500))
    assert "/srv" not in error.message
    assert "line" not in error.message


def test_an_error_repeats_no_value_and_no_path() -> None:
    error = conform.error(CHAT, 400, vllm_error("top_p is wrong (parameter=top_p, value=7)", "top_p"))
    assert (error.message, error.param) == ("top_p is wrong", "top_p")
    assert "/var/models" not in conform.clean("No such file: /var/models/secret/x.json")


@pytest.mark.parametrize(("path", "param"), [(CHAT, "messages"), ("/v1/completions", "prompt")])
def test_a_text_too_long_is_blamed_on_the_callers_field(path: str, param: str) -> None:
    assert conform.error(path, 400, vllm_error("maximum context length", "input_tokens")).param == param


def test_an_anthropic_error_is_read_too() -> None:
    raw = {"type": "error", "error": {"type": "BadRequestError", "message": "no"}}
    assert conform.error("/v1/messages", 400, raw).body()["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_pydantics_own_account_is_shortened() -> None:
    told = (
        "2 validation errors for ValidatorIterator\n0.ChatCompletionContentPartTextParam.text\n"
        "  Field required [type=missing, input_value={'type': 'text'}, input_type=dict]\n    For further information"
    )
    assert conform.clean(told) == "0.text: Field required"


def test_a_body_that_is_no_json_is_invalid_json() -> None:
    error = conform.invalid_body([{"type": "json_invalid", "loc": ("body", 3), "msg": "JSON decode error"}], None)
    assert isinstance(error, InvalidJson)


def test_a_wrong_field_is_named_as_the_caller_writes_it() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}
    place = ("body", "function-wrap[x()]", "messages", 0, "UserParam", "content", 0, "TextParam", "text")
    errors = [
        {"type": "string_type", "loc": ("body", "messages"), "msg": "Input should be a valid string"},
        {"type": "string_type", "loc": place, "msg": "Input should be a valid string"},
    ]
    error = conform.invalid_body(errors, body)
    assert error.param == "messages[0].content[0].text"
    assert error.message == "messages[0].content[0].text: Input should be a valid string."


def test_a_missing_field_is_named() -> None:
    error = conform.invalid_body([{"type": "missing", "loc": ("body", "messages"), "msg": "Field required"}], {})
    assert (error.param, error.message) == ("messages", "messages: Field required.")
