"""Anthropic's messages, and the count of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.errors import InvalidRequest
from app.schemas.anthropic_content import AnthropicMessages, AnthropicToolChoice, AnthropicTools, SystemText
from app.schemas.common import INT32_MAX, MAX_STOPS, NonEmpty, Share, Strict, TokenCount, example, tagged_by
from app.schemas.request import ParsedRequest, Request, accept, without
from app.schemas.tools import JsonSchema, require_tool

IGNORED = frozenset(
    {"cache_control", "diagnostics", "metadata", "service_tier", "speed", "user_profile_id", "workspace_id"}
)
"""Anthropic's parameters that cannot change the answer of a model served here: checked, then dropped."""

REFUSED = {
    "container": "nothing runs code here. Remove it.",
    "context_management": "conversations are not edited here. Remove it.",
    "inference_geo": "this installation runs in one place. Remove it.",
    "mcp_servers": "tools are run by the caller. Remove it.",
}
"""Anthropic's parameters, some of them beta, that ask for what we cannot do."""

_EXAMPLE = {
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


class ThinkingEnabled(Strict):
    """Reason for at most so many tokens."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024, le=INT32_MAX)]
    display: Literal["summarized", "omitted", "updates"] | None = Field(default=None, description="Ignored.")


class ThinkingDisabled(Strict):
    """Do not reason."""

    type: Literal["disabled"]


class ThinkingAdaptive(Strict):
    """Reason as the model sees fit."""

    type: Literal["adaptive"]
    display: Literal["summarized", "omitted", "updates"] | None = Field(default=None, description="Ignored.")


Thinking = Annotated[
    Annotated[ThinkingEnabled, Tag("~enabled")]
    | Annotated[ThinkingDisabled, Tag("~disabled")]
    | Annotated[ThinkingAdaptive, Tag("~adaptive")],
    Discriminator(
        tagged_by("type"),
        custom_error_type="unsupported_choice",
        custom_error_message="type: 'enabled', 'disabled' or 'adaptive'",
    ),
]


class OutputFormat(Strict):
    """JSON that obeys a schema."""

    type: Literal["json_schema"]
    schema_: JsonSchema = Field(alias="schema", description="JSON Schema of the answer, at most 32 KB.")


class OutputConfig(Strict):
    """How hard to try, and in which form to answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class AnthropicMetadata(Strict):
    """Who the request is for."""

    user_id: str | None = None


class CountTokensRequest(Request):
    """A conversation whose tokens are counted."""

    model_config = example(_EXAMPLE)

    messages: AnthropicMessages = Field(description="The conversation so far, at most 2048 messages.")
    system: SystemText | None = Field(default=None, description="Instructions.")
    tools: AnthropicTools | None = Field(default=None, description="Tools that the model may call, at most 128.")
    tool_choice: AnthropicToolChoice | None = Field(default=None, description="Whether a call is made, and of what.")
    thinking: Thinking | None = Field(default=None, description="For models that reason.")
    output_config: OutputConfig | None = Field(default=None, description="Effort, and the form of the answer.")
    cache_control: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")
    speed: Literal["standard", "fast"] | None = Field(default=None, description="Accepted and ignored.")
    user_profile_id: str | None = Field(default=None, description="Accepted and ignored.")
    workspace_id: str | None = Field(default=None, description="Accepted and ignored.")


class MessagesRequest(CountTokensRequest):
    """A conversation to continue."""

    model_config = example(_EXAMPLE | {"max_tokens": 32})

    max_tokens: TokenCount = Field(description="Most tokens to generate.")
    stop_sequences: Annotated[list[NonEmpty], Field(max_length=MAX_STOPS, fail_fast=True)] | None = Field(
        default=None, description="Up to 4 strings that end the answer."
    )
    stream: bool | None = Field(default=None, description="Answer in server-sent events as tokens are made.")
    temperature: Share | None = Field(default=None, description="0 is deterministic.")
    top_k: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = Field(
        default=None, description="Sample from so many tokens; 0 means all."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Sample from the likeliest tokens up to this probability."
    )
    metadata: AnthropicMetadata | None = Field(default=None, description="Accepted and ignored.")
    service_tier: Literal["auto", "standard_only"] | None = Field(default=None, description="Accepted and ignored.")
    diagnostics: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")


def parse(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a message request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(MessagesRequest, body, refused=REFUSED)
    thinking = request.thinking
    if isinstance(thinking, ThinkingEnabled) and thinking.budget_tokens >= request.max_tokens:
        raise InvalidRequest(
            f"`thinking.budget_tokens` must be less than `max_tokens` ({request.max_tokens}).",
            param="thinking.budget_tokens",
        )
    payload = _payload(request, fields)
    return ParsedRequest(request.model, payload, stream=bool(request.stream), include_usage=bool(request.stream))


def parse_count_tokens(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a token count's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(CountTokensRequest, body, refused=REFUSED)
    return ParsedRequest(request.model, _payload(request, fields))


def _payload(request: CountTokensRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
    payload = without(fields, IGNORED)
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.type in ("any", "tool"):
            raise InvalidRequest("`tool_choice` demands a call, but there are no `tools`.", param="tool_choice")
        payload.pop("tools", None)
        payload.pop("tool_choice", None)
    elif choice is not None and choice.type == "tool":
        if choice.name is None:
            raise InvalidRequest("`tool_choice.name` is required with type 'tool'.", param="tool_choice.name")
        require_tool(choice.name, {tool.name for tool in request.tools}, "tool_choice.name")
    return payload
