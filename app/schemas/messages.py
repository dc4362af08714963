"""Chat messages: OpenAI's six roles on the way in, the four that chat templates know on the way to the engine.

Content is text only. Pictures, sound and files would make the engine fetch and decode what a stranger points it at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from app.errors import InvalidJson
from app.schemas.common import MAX_MESSAGES, MAX_TOOLS, NonEmpty, Strict, kind_of, tagged_by
from app.schemas.json_body import MAX_DEPTH, TooComplex, is_object, parse_json
from app.schemas.problem import wrong

_ROLES = "role: 'system', 'developer', 'user', 'assistant', 'tool' or 'function'"
_CONTENT = "a string or an array of content parts"


class TextPart(Strict):
    """A piece of text."""

    supported: ClassVar[str | None] = "text"

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = Field(default=None, description="Accepted and ignored.")


class RefusalPart(Strict):
    """A refusal that the assistant gave."""

    type: Literal["refusal"]
    refusal: str


Text = Annotated[
    Annotated[str, Tag("~string")] | Annotated[list[TextPart], Field(min_length=1, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
]
AssistantPart = Annotated[
    Annotated[TextPart, Tag("~text")] | Annotated[RefusalPart, Tag("~refusal")],
    Discriminator(
        tagged_by("type"), custom_error_type="unsupported_choice", custom_error_message="type: 'text' or 'refusal'"
    ),
]
AssistantText = Annotated[
    Annotated[str, Tag("~string")] | Annotated[list[AssistantPart], Field(min_length=1, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_CONTENT),
]
Name = Annotated[str, Field(max_length=256)]


def _arguments(text: str) -> str:
    """Arguments that an engine can read.

    A call that a model once wrote badly must not make the rest of its conversation impossible: it counts as a call
    without arguments. Depth is refused all the same, for engines read arguments with a recursive parser.
    """
    try:
        return text if is_object(parse_json(text, long_integers=True)) else "{}"
    except TooComplex:
        raise wrong(f"is too complex: at most {MAX_DEPTH} arrays and objects may stand inside each other") from None
    except InvalidJson:
        return "{}"


class FunctionCall(Strict):
    """A call that the model made."""

    name: Name
    arguments: Annotated[str, AfterValidator(_arguments)] = Field(description="JSON, as the model wrote it.")


class ToolCall(Strict):
    """A call that the model made, with the id that its result refers to."""

    supported: ClassVar[str | None] = "function"

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"]
    function: FunctionCall


class SystemMessage(Strict):
    """Instructions; `developer` is the newer word for `system`."""

    role: Literal["system", "developer"]
    content: Text
    name: Name | None = None


class UserMessage(Strict):
    """What the person said."""

    role: Literal["user"]
    content: Text
    name: Name | None = None


class AssistantMessage(Strict):
    """What the model said before. Answers of this API can be sent back as they came."""

    role: Literal["assistant"]
    content: AssistantText | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    function_call: FunctionCall | None = Field(default=None, description="Deprecated: see tool_calls.")
    reasoning: str | None = None
    reasoning_content: str | None = Field(default=None, description="Older name of reasoning.")
    annotations: list[Any] | None = Field(default=None, description="Accepted and ignored.")
    audio: Any = Field(default=None, description="Must be null.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.audio is not None:
            raise wrong("is not supported: models here read text only", field="audio", unsupported=True)
        if self.content is None and self.refusal is None and not (self.tool_calls or self.function_call):
            raise wrong("is required in an assistant's message without tool_calls", field="content")
        return self


class ToolMessage(Strict):
    """A tool's result."""

    role: Literal["tool"]
    content: Text
    tool_call_id: NonEmpty
    name: Name | None = None


class FunctionMessage(Strict):
    """A function's result. Deprecated: see the role tool."""

    role: Literal["function"]
    content: str | None
    name: Annotated[str, Field(min_length=1, max_length=256)]


def _role(value: Any) -> str | None:
    tag = _tag(value)
    return "~system" if tag == "~developer" else tag


_tag = tagged_by("role")


Message = Annotated[
    Annotated[SystemMessage, Tag("~system")]
    | Annotated[UserMessage, Tag("~user")]
    | Annotated[AssistantMessage, Tag("~assistant")]
    | Annotated[ToolMessage, Tag("~tool")]
    | Annotated[FunctionMessage, Tag("~function")],
    Discriminator(_role, custom_error_type="choice", custom_error_message=_ROLES),
]
Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


def for_engine(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages in the form that every chat template takes."""
    converted: list[dict[str, Any]] = []
    calls: dict[str, str] = {}
    for index, message in enumerate(messages):
        match message:
            case AssistantMessage():
                converted.append(_assistant(message, index, calls))
            case FunctionMessage():
                id_ = calls.get(message.name, f"call_{index}")
                converted.append({"role": "tool", "tool_call_id": id_, "content": message.content or ""})
            case ToolMessage():
                converted.append(_named("tool", message) | {"tool_call_id": message.tool_call_id})
            case UserMessage():
                converted.append(_named("user", message))
            case SystemMessage():
                converted.append(_named("system", message))
    return converted


def _named(role: str, message: SystemMessage | UserMessage | ToolMessage) -> dict[str, Any]:
    plain = {"role": role, "content": _plain(message.content)}
    return plain if message.name is None else plain | {"name": message.name}


def _assistant(message: AssistantMessage, index: int, calls: dict[str, str]) -> dict[str, Any]:
    """``calls`` gathers the ids given to calls of the deprecated form, which has none, by function name."""
    plain: dict[str, Any] = {"role": "assistant"}
    content = message.content if message.content is not None else message.refusal
    if content is not None:
        plain["content"] = _plain(content)
    if message.name is not None:
        plain["name"] = message.name
    if (reasoning := message.reasoning or message.reasoning_content) is not None:
        plain["reasoning"] = reasoning
    made = [_call(call.id, call.function) for call in message.tool_calls or ()]
    if message.function_call and not made:
        calls[message.function_call.name] = f"call_{index}"
        made = [_call(f"call_{index}", message.function_call)]
    if made:
        plain["tool_calls"] = made
    return plain


def _call(id_: str, function: FunctionCall) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": function.name, "arguments": function.arguments}}


def _plain(content: str | Iterable[TextPart | RefusalPart]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": part.type, "refusal": part.refusal}
        for part in content
    ]
