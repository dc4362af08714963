"""Chat completions: OpenAI's request, and the form with ``prompt`` in place of ``messages``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas.common import (
    MAX_TOOLS,
    MAX_TOP_LOGPROBS,
    Metadata,
    NonEmpty,
    ReasoningEffort,
    Strict,
    TokenCount,
    example,
)
from app.schemas.conversation_reference import ConversationField
from app.schemas.json_body import is_object
from app.schemas.keep import KEPT, Truncation, to_keep
from app.schemas.messages import Messages, Text, for_engine
from app.schemas.request import NO_EXTRAS, ParsedRequest, accept, exactly_one, without
from app.schemas.sampling import Sampling, check_min_tokens, finish
from app.schemas.tools import Function, FunctionChoice, ResponseFormat, ToolChoice, Tools, choose_tools

IGNORED = frozenset(
    {
        "metadata",
        "modalities",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
        "verbosity",
    }
)
"""OpenAI's parameters that cannot change the answer of a model served here: checked, then dropped."""

REFUSED = {
    "audio": "models here answer in text. Remove it.",
    "moderation": "answers are not moderated. Remove it.",
    "web_search_options": "models here cannot search the web. Remove it.",
}
"""OpenAI's parameters that would change the answer and that we cannot honour."""

_REPLACED = frozenset({"messages", "prompt", "tools", "tool_choice", "functions", "function_call"})
_TAKEN_OUT = IGNORED | KEPT | _REPLACED


class Prediction(Strict):
    """Text that the answer is expected to repeat."""

    type: Literal["content"]
    content: Text


class ChatRequest(Sampling):
    """A conversation to continue."""

    model_config = example(
        {
            "model": "smollm2-135m-instruct",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 32,
        }
    )

    messages: Messages | None = Field(default=None, description="The conversation so far, at most 2048 messages.")
    prompt: NonEmpty | None = Field(default=None, description="In place of messages: one message of the user.")
    max_completion_tokens: TokenCount | None = Field(default=None, description="Most tokens to generate.")
    max_tokens: TokenCount | None = Field(default=None, description="Older name of max_completion_tokens.")
    logprobs: bool | None = Field(default=None, description="Return the log probability of each token.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        default=None, description="Likeliest tokens to list at each position, at most 20; needs logprobs: true."
    )
    response_format: ResponseFormat | None = Field(default=None, description="Text, any JSON object, or a schema.")
    tools: Tools | None = Field(default=None, description="Functions that the model may call, at most 128.")
    tool_choice: ToolChoice | None = Field(default=None, description="Whether a call is made, and of which tool.")
    parallel_tool_calls: bool | None = Field(default=None, description="Whether several calls may be made at once.")
    functions: Annotated[list[Function], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)] | None = Field(
        default=None,
        json_schema_extra={"deprecated": True},
        description="Deprecated: see tools. Calls come back as tool_calls.",
    )
    function_call: FunctionChoice | None = Field(
        default=None, json_schema_extra={"deprecated": True}, description="See tool_choice."
    )
    reasoning_effort: ReasoningEffort | None = Field(default=None, description="For models that reason.")
    modalities: Annotated[list[Literal["text", "audio"]], Field(fail_fast=True)] | None = Field(
        default=None, description="Only text."
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(default=None, description="Accepted and ignored.")
    prediction: Prediction | None = Field(default=None, description="Accepted and ignored.")
    store: bool | None = Field(
        default=None, description="Keep the answer: it can be looked up, listed by its metadata, and deleted."
    )
    metadata: Metadata | None = Field(default=None, description="16 pairs of strings, written on what is stored.")
    conversation: ConversationField | None = Field(
        default=None,
        description="A conversation to go on with: what was said in it is read first, and question and answer are "
        "added to it. System messages that the request begins with are read and not added.",
    )
    conversation_id: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The same, in another form."
    )
    truncation: Truncation | None = Field(
        default=None,
        description="What becomes of a conversation that outgrows the model's context: `auto` leaves out its oldest "
        "turns, `disabled` refuses it.",
    )
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = Field(
        default=None, description="Accepted and ignored."
    )
    safety_identifier: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Accepted and ignored."
    )
    prompt_cache_key: str | None = Field(default=None, description="Accepted and ignored.")
    prompt_cache_options: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = Field(
        default=None, description="Accepted and ignored."
    )


def parse(body: Mapping[str, Any], *, extras: frozenset[str] = NO_EXTRAS, converses: bool = False) -> ParsedRequest:
    """Check a chat completion's body and make the engine's payload of it.

    Args:
        body: The caller's JSON object.
        extras: The vendor extras that this installation allows.
        converses: Whether it is part of a conversation, also where it names none.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(ChatRequest, body, extras=extras, refused=REFUSED)
    _check(request)
    payload = without(fields, _TAKEN_OUT)
    payload["messages"] = _messages(request, fields)
    tools, choice = choose_tools(*_tools(fields))
    if tools:
        payload["tools"] = tools
    if choice is not None:
        payload["tool_choice"] = choice
    parsed = finish(request, payload)
    if not converses and KEPT.isdisjoint(fields):
        return parsed
    return replace(parsed, keep=to_keep(request, fields, converses=converses))


def _check(request: ChatRequest) -> None:
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    if request.modalities and "audio" in request.modalities:
        raise UnsupportedParameter("`modalities` must be ['text']: models here answer in text.", param="modalities")
    check_min_tokens(request, request.max_tokens, "max_tokens")
    check_min_tokens(request, request.max_completion_tokens, "max_completion_tokens")


def _messages(request: ChatRequest, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = exactly_one(fields, ("messages", "prompt"), "Give either `messages` or a `prompt`")
    if source == "prompt":
        return [{"role": "user", "content": request.prompt}]
    return for_engine(request.messages or ())


def _tools(fields: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    """Tools and choice, those of the deprecated form brought into the present one."""
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if old in fields and ("tools" in fields or "tool_choice" in fields):
            raise InvalidRequest(f"`{old}` is the older form of `{new}`: use one form or the other.", param=old)
    if "functions" not in fields and "function_call" not in fields:
        return fields.get("tools", []), fields.get("tool_choice")
    choice = fields.get("function_call")
    if is_object(choice):
        choice = {"type": "function", "function": choice}
    return [{"type": "function", "function": function} for function in fields.get("functions", [])], choice
