"""Turns an engine's whole answers and errors into the published shapes.

vLLM's own answers are close to OpenAI's, but carry ``null`` where a field must be absent, and fields of its own. Here
each object keeps the fields that its published schema knows (and ``reasoning`` and ``stop_reason`` when they say
something), once per answer. Chunks of a stream never pass through here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.errors import (
    ApiError,
    InvalidJson,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    ServerError,
    ServiceUnavailable,
    UnsupportedMediaType,
)

Json = dict[str, Any]

_FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
_NO_FINGERPRINT = "unknown"
_MAX_MESSAGE = 1000
_TOO_LONG = re.compile(r"maximum context length|cannot be greater than max_model_len|exceeds .{0,40}max_model_len")
_VALUE_SUFFIX = re.compile(r" \((?:parameter=[^)]*|value=).*\)\Z", re.DOTALL)
_PYDANTIC = re.compile(
    r"\A\d+ validation errors? for [^\n]*\n(?P<place>[^\n]+)\n\s+(?P<complaint>[^\n]+?)(?: \[type=|\n|\Z)"
)
_TYPE_NAME = re.compile(r"(?:^|\.)[A-Z]\w*")
_PATH = re.compile(r"(?<![\w/])(?:/[\w.~+-]+){2,}")


def answer(path: str, body: Json) -> Json:
    """A whole 200 answer in its published shape.

    Args:
        path: The route that was asked, one of ``base.ROUTES``.
        body: The engine's answer.
    """
    return _SHAPES[path](body)


def error(path: str, status: int, body: Mapping[str, Any]) -> ApiError:
    """The error that an engine's error body stands for.

    Args:
        path: The route that was asked.
        status: The HTTP status that the engine gave.
        body: ``{"error": {"message", "type", "param", "code": <int>}}``, or Anthropic's form of it.
    """
    detail: Mapping[str, Any] = body.get("error") or {}
    message = clean(str(detail.get("message") or ""))
    param = detail.get("param")
    if param in ("input_text", "input_tokens"):
        param = _INPUTS.get(path)
    if status == 404:
        kind = ModelNotFound if "model" in message else NotFound
        return kind(message or "There is no such resource.", param=param)
    if status == 503:
        return ServiceUnavailable("The model has more requests than it can take. Try again in a moment.")
    if status == 415:
        return UnsupportedMediaType(message)
    if status == 501:
        return InvalidRequest(message or "This model does not support that.", code="unsupported_capability")
    if 400 <= status < 500:
        code = "context_length_exceeded" if _TOO_LONG.search(message) else None
        return InvalidRequest(message or "The engine refused the request.", param=param, code=code)
    return ServerError("The engine failed while working on this request.")


def invalid_body(errors: Sequence[Any], body: Any) -> ApiError:
    """The error for a body that does not fit its request model.

    Args:
        errors: Pydantic's error list.
        body: The body, parsed; it tells field names from pydantic's own words in a location.
    """
    found = [each for each in errors if isinstance(each, dict)]
    if not found:
        return InvalidRequest("The request is not valid.")
    if any(each["type"] == "json_invalid" for each in found):
        return InvalidJson("The body is not valid JSON.")
    # Every branch of a union reports: the deepest one is the branch that was meant.
    best = max(found, key=lambda each: len(_place(each, body)))
    place = _place(best, body)
    cause = best.get("ctx", {}).get("error")
    param = getattr(cause, "parameter", None) or place or None
    message = clean(str(best["msg"]).removeprefix("Value error, ")).rstrip(".")
    return InvalidRequest(f"{place}: {message}." if place else f"{message}.", param=param)


def clean(message: str) -> str:
    """An engine's message without what no caller should see: paths, values repeated, pydantic's own account."""
    message = _VALUE_SUFFIX.sub("", message.strip())
    if found := _PYDANTIC.match(message):
        message = f"{_TYPE_NAME.sub('', found['place']).strip('.')}: {found['complaint']}"
    message = _PATH.sub("a file of the model", message.replace("<path>", "a file of the model"))
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "..."


def _place(each: Mapping[str, Any], body: Any) -> str:
    place, node = "", body
    location: tuple[Any, ...] = tuple(each.get("loc", ()))[1:]
    for at, step in enumerate(location):
        if isinstance(step, int):
            if isinstance(node, list) and step < len(node):
                place, node = f"{place}[{step}]", node[step]
        elif isinstance(node, dict):
            missing = each["type"] == "missing" and at == len(location) - 1
            if step in node or missing:
                place, node = f"{place}.{step}" if place else str(step), node.get(step)
    return place


def _chat(body: Json) -> Json:
    return _generated(body, [_chat_choice(choice) for choice in body["choices"]])


def _completion(body: Json) -> Json:
    choices = [
        {
            "index": choice["index"],
            "text": choice["text"],
            "logprobs": choice.get("logprobs"),
            "finish_reason": _finish_reason(choice),
        }
        | _present(choice, "stop_reason")
        for choice in body["choices"]
    ]
    return _generated(body, choices)


def _generated(body: Json, choices: list[Json]) -> Json:
    return {
        **_present(body, "id", "object", "created", "model"),
        "choices": choices,
        "usage": _usage(body["usage"]),
        "system_fingerprint": body.get("system_fingerprint") or _NO_FINGERPRINT,
        **_present(body, "service_tier"),
    }


def _chat_choice(choice: Json) -> Json:
    message: Json = choice["message"]
    logprobs: Json | None = choice.get("logprobs")
    return {
        "index": choice["index"],
        "message": {
            "role": "assistant",
            "content": message.get("content"),
            "refusal": message.get("refusal"),
            **_present(message, "reasoning"),
            **({"tool_calls": calls} if (calls := message.get("tool_calls")) else {}),
        },
        "logprobs": logprobs and {"content": logprobs.get("content"), "refusal": logprobs.get("refusal")},
        "finish_reason": _finish_reason(choice),
        **_present(choice, "stop_reason"),
    }


def _finish_reason(choice: Json) -> str:
    reason = choice.get("finish_reason")
    return reason if reason in _FINISH_REASONS else "stop"


def _usage(usage: Json) -> Json:
    kept: Json = {name: usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if prompt := usage.get("prompt_tokens_details"):
        kept["prompt_tokens_details"] = {"cached_tokens": prompt.get("cached_tokens") or 0}
    if completion := usage.get("completion_tokens_details"):
        kept["completion_tokens_details"] = _present(completion, *completion)
    return kept


def _embeddings(body: Json) -> Json:
    data = [_present(item, "object", "index", "embedding") for item in body["data"]]
    return {"object": "list", "data": data, "model": body["model"], "usage": _input_usage(body["usage"])}


def _score(body: Json) -> Json:
    return body | {"usage": _input_usage(body["usage"])}


def _rerank(body: Json) -> Json:
    results = [result | {"document": _present(result["document"], "text")} for result in body["results"]]
    return body | {"results": results, "usage": _input_usage(body["usage"])}


def _input_usage(usage: Json) -> Json:
    return {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["total_tokens"]}


def _without_nulls(body: Json) -> Json:
    return _present(body, *body)


def _message(body: Json) -> Json:
    usage: Json = body["usage"]
    return {
        **_present(body, "id", "type", "role", "content", "model"),
        "stop_reason": body.get("stop_reason") or "end_turn",
        "stop_sequence": body.get("stop_sequence"),
        "usage": {
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "cache_creation_input_tokens": usage.get("cache_creation_input_tokens") or 0,
            "cache_read_input_tokens": usage.get("cache_read_input_tokens") or 0,
        },
    }


def _token_count(body: Json) -> Json:
    return {"input_tokens": body["input_tokens"]}


def _present(source: Mapping[str, Any], *names: str) -> Json:
    return {name: value for name in names if (value := source.get(name)) is not None}


_INPUTS: Mapping[str, str] = {
    "/v1/chat/completions": "messages",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
}
"""Where the text stands that an engine only knows as its input."""

_SHAPES: Mapping[str, Callable[[Json], Json]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/embeddings": _embeddings,
    "/v1/messages": _message,
    "/v1/messages/count_tokens": _token_count,
    "/tokenize": _without_nulls,
    "/detokenize": _without_nulls,
    "/rerank": _rerank,
    "/score": _score,
}
