"""Anthropic's messages and tools. Text, tool calls and their results; no pictures, documents or server tools."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from app.schemas.common import MAX_MESSAGES, MAX_TOOLS, NonEmpty, Strict, kind_of, tagged_by
from app.schemas.tools import JsonSchema

_CONTENT = "a string or an array of content blocks"

AnthropicToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


class _Block(Strict):
    cache_control: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")


class TextBlock(_Block):
    """A piece of text."""

    supported: ClassVar[str | None] = "text"

    type: Literal["text"]
    text: NonEmpty
    citations: list[Any] | None = Field(default=None, description="Accepted and ignored.")


class ToolUseBlock(_Block):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, Any]
    caller: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")


class ThinkingBlock(Strict):
    """Reasoning that came with an earlier answer."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Strict):
    """Reasoning that cannot be read; it is left out."""

    type: Literal["redacted_thinking"]
    data: str


ResultText = Annotated[
    Annotated[str, Tag("~string")] | Annotated[list[TextBlock], Field(fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
]


class ToolResultBlock(_Block):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: NonEmpty
    content: ResultText | None = None
    is_error: bool | None = None


UserBlock = Annotated[
    Annotated[TextBlock, Tag("~text")] | Annotated[ToolResultBlock, Tag("~tool_result")],
    Discriminator(
        tagged_by("type"), custom_error_type="unsupported_choice", custom_error_message="type: 'text' or 'tool_result'"
    ),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("~text")]
    | Annotated[ToolUseBlock, Tag("~tool_use")]
    | Annotated[ThinkingBlock, Tag("~thinking")]
    | Annotated[RedactedThinkingBlock, Tag("~redacted_thinking")],
    Discriminator(
        tagged_by("type"),
        custom_error_type="unsupported_choice",
        custom_error_message="type: 'text', 'tool_use', 'thinking' or 'redacted_thinking'",
    ),
]
SystemText = Annotated[
    Annotated[NonEmpty, Tag("~string")]
    | Annotated[list[TextBlock], Field(min_length=1, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
]


class AnthropicUserMessage(Strict):
    """What the person said, and what tools answered."""

    role: Literal["user"]
    content: Annotated[
        Annotated[NonEmpty, Tag("~string")]
        | Annotated[list[UserBlock], Field(min_length=1, fail_fast=True), Tag("~array")],
        Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
    ]


class AnthropicAssistantMessage(Strict):
    """What the model said before. Answers of this API can be sent back as they came."""

    role: Literal["assistant"]
    content: Annotated[
        Annotated[NonEmpty, Tag("~string")]
        | Annotated[list[AssistantBlock], Field(min_length=1, fail_fast=True), Tag("~array")],
        Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
    ]


class AnthropicSystemMessage(Strict):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: SystemText


AnthropicMessage = Annotated[
    Annotated[AnthropicUserMessage, Tag("~user")]
    | Annotated[AnthropicAssistantMessage, Tag("~assistant")]
    | Annotated[AnthropicSystemMessage, Tag("~system")],
    Discriminator(
        tagged_by("role"), custom_error_type="choice", custom_error_message="role: 'user', 'assistant' or 'system'"
    ),
]
AnthropicMessages = Annotated[list[AnthropicMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


class AnthropicTool(_Block):
    """A tool that the caller runs."""

    supported: ClassVar[str | None] = "custom"

    type: Literal["custom"] | None = None
    name: AnthropicToolName
    description: str | None = None
    input_schema: JsonSchema = Field(description="JSON Schema of the input, at most 32 KB.")
    strict: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = Field(default=None, description="Only direct calls.")
    defer_loading: Literal[False] | None = Field(default=None, description="Must be false: all tools are shown.")
    eager_input_streaming: bool | None = Field(default=None, description="Accepted and ignored.")
    input_examples: list[Any] | None = Field(default=None, description="Accepted and ignored.")


AnthropicTools = Annotated[list[AnthropicTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


class AnthropicToolChoice(Strict):
    """Whether a call is made, and of which tool."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = Field(default=None, description="With type `tool`: which.")
    disable_parallel_tool_use: bool | None = None
