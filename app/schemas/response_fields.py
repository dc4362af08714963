"""The fields of a response's request, OpenAI's, and of the question how many tokens its input has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.schemas.common import (
    MAX_TOP_LOGPROBS,
    NonEmpty,
    Penalty,
    ReasoningEffort,
    Share,
    Strict,
    TokenCount,
    example,
    kind_of,
)
from app.schemas.conversation_reference import ConversationField
from app.schemas.extras import VendorExtras
from app.schemas.items import Items
from app.schemas.metadata import StoredMetadata
from app.schemas.request import Request
from app.schemas.response_tools import FunctionTools, ResponseToolChoice, TextOptions

LOGPROBS = "message.output_text.logprobs"
"""What ``include`` says where log probabilities are wanted."""

Json = dict[str, Any]
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class ReasoningOptions(Strict):
    """For models that reason."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = Field(default=None, description="Accepted and ignored.")
    generate_summary: Literal["auto", "concise", "detailed"] | None = Field(
        default=None, description="Accepted and ignored."
    )
    context: Literal["auto", "current_turn", "all_turns"] | None = Field(
        default=None, description="Accepted and ignored."
    )
    mode: str | None = Field(default=None, description="Accepted and ignored.")


class ResponseStreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_obfuscation: bool | None = Field(default=None, description="Accepted and ignored: nothing is padded.")


Input = Annotated[
    Annotated[NonEmpty, Tag("~string")] | Annotated[Items, Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message="a string or an array of items"),
]


class ResponseBasis(Strict):
    """What the engine is told: of a response, and of a question how many tokens one would take."""

    input: Input | None = Field(default=None, description="A text, or items: messages, calls, their results.")
    instructions: str | None = Field(default=None, description="For this response alone; said before all else.")
    previous_response_id: str | None = Field(default=None, description="What is continued; or give a conversation.")
    conversation: ConversationField | None = Field(
        default=None, description="What is continued and added to; or give previous_response_id."
    )
    tools: FunctionTools | None = Field(default=None, description="Functions that the model may call, at most 128.")
    tool_choice: ResponseToolChoice | None = Field(
        default=None, description="Whether a call is made, and of which function."
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Whether several calls may be made at once.")
    text: TextOptions | None = Field(default=None, description="The form of the answer.")
    reasoning: ReasoningOptions | None = Field(default=None, description="For models that reason.")
    truncation: Literal["auto", "disabled"] | None = Field(
        default=None, description="`auto`: the oldest turns are left out where all would not fit."
    )


class ResponseRequest(ResponseBasis, VendorExtras, Request):
    """Items to answer."""

    model_config = example({"model": "smollm2-135m-instruct", "input": "What is the capital of France?"})

    max_output_tokens: TokenCount | None = Field(default=None, description="Most tokens to generate.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="0 is deterministic.")
    top_p: Share | None = Field(default=None, description="Sample from the likeliest tokens up to this probability.")
    presence_penalty: Penalty | None = Field(default=None, description="-2 to 2.")
    frequency_penalty: Penalty | None = Field(default=None, description="-2 to 2.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        default=None, description=f"Likeliest tokens to list at each position; include {LOGPROBS} to get them."
    )
    include: Annotated[list[Include], Field(max_length=64, fail_fast=True)] | None = Field(
        default=None, description=f"`{LOGPROBS}`; the others are accepted and change nothing."
    )
    store: bool | None = Field(default=None, description="Keep the response, so that it can be got and continued.")
    background: bool | None = Field(default=None, description="Answer at once and work on it without the caller.")
    stream: bool | None = Field(default=None, description="Answer in server-sent events as tokens are made.")
    stream_options: ResponseStreamOptions | None = Field(default=None, description="Only with stream: true.")
    metadata: StoredMetadata | None = Field(default=None, description="16 pairs of strings, kept with the response.")
    max_tool_calls: TokenCount | None = Field(
        default=None, description="Accepted and ignored: it bounds tools that run here, of which there are none."
    )
    user: str | None = Field(default=None, description="Accepted and ignored.")
    safety_identifier: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Accepted and ignored."
    )
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = Field(
        default=None, description="Accepted and ignored."
    )
    prompt_cache_key: str | None = Field(default=None, description="Accepted and ignored.")
    prompt_cache_options: Json | None = Field(default=None, description="Accepted and ignored.")
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = Field(
        default=None, description="Accepted and ignored."
    )
    access_programs: Json | None = Field(default=None, description="Accepted and ignored.")
    background_options: Json | None = Field(default=None, description="Accepted and ignored.")
    image: Json | None = Field(default=None, description="Accepted and ignored.")


class InputTokensRequest(ResponseBasis, Request):
    """Items to count the tokens of."""

    model_config = example({"model": "smollm2-135m-instruct", "input": "What is the capital of France?"})

    personality: str | None = Field(default=None, description="Accepted and ignored.")
