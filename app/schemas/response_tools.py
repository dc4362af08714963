"""Tools and formats of answers as the Responses API has them, and what chat completions call the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag

from app.errors import InvalidRequest
from app.schemas.common import MAX_TOOLS, Strict
from app.schemas.tools import (
    CHOICE_BY_KIND,
    CHOICE_BY_TYPE,
    FORMAT_BY_TYPE,
    AnyChoice,
    Function,
    JsonObjectFormat,
    NamedSchema,
    TextFormat,
    require_tool,
)

Json = dict[str, Any]


class FunctionTool(Function):
    """A function the model may call; the caller runs it."""

    supported: ClassVar[str | None] = "function"

    type: Literal["function"]
    defer_loading: bool | None = Field(default=None, description="Accepted and ignored.")
    allowed_callers: list[str] | None = Field(default=None, description="Accepted and ignored.")
    output_schema: Json | None = Field(default=None, description="Accepted and ignored.")

    def shown(self) -> Json:
        """As a response repeats it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict,
        }

    def for_chat(self) -> Json:
        """As a chat completion has it."""
        optional = {"description": self.description, "parameters": self.parameters, "strict": self.strict}
        given = {name: value for name, value in optional.items() if value is not None}
        return {"type": "function", "function": {"name": self.name, **given}}


FunctionTools = Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


class ChosenFunction(Strict):
    """One function, by name."""

    supported: ClassVar[str | None] = "function"

    type: Literal["function"]
    name: str


class AllowedFunctions(Strict):
    """The functions of this turn, and whether one of them must be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenFunction], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


ResponseToolChoice = Annotated[
    AnyChoice
    | Annotated[
        Annotated[ChosenFunction, Tag("~function")] | Annotated[AllowedFunctions, Tag("~allowed_tools")],
        CHOICE_BY_TYPE,
        Tag("~object"),
    ],
    CHOICE_BY_KIND,
]


class SchemaFormat(NamedSchema):
    """JSON that obeys a schema."""

    type: Literal["json_schema"]


AnswerFormat = Annotated[
    Annotated[TextFormat, Tag("~text")]
    | Annotated[JsonObjectFormat, Tag("~json_object")]
    | Annotated[SchemaFormat, Tag("~json_schema")],
    FORMAT_BY_TYPE,
]


class TextOptions(Strict):
    """The form of the answer's text."""

    format: AnswerFormat | None = Field(default=None, description="Text, any JSON object, or a schema.")
    verbosity: Literal["low", "medium", "high"] | None = Field(default=None, description="Accepted and ignored.")

    def shown(self) -> Json:
        """As a response repeats it."""
        form = self.format.model_dump(exclude_none=True) if self.format else {"type": "text"}
        return {"format": form, "verbosity": self.verbosity or "medium"}

    def for_chat(self) -> Json | None:
        """As a chat completion's ``response_format``."""
        if self.format is None or isinstance(self.format, TextFormat):
            return None
        form = self.format.model_dump(exclude_none=True)
        kind = form.pop("type")
        return {"type": kind, "json_schema": form} if kind == "json_schema" else {"type": kind}


def choice_for_chat(choice: Any, tools: Sequence[FunctionTool]) -> Any:
    """A checked ``tool_choice`` as a chat completion has it.

    Raises:
        InvalidRequest: A call is demanded without tools, or of one that is not among them.
    """
    if not tools and choice not in (None, "none", "auto"):
        raise InvalidRequest("`tool_choice` demands a call, but there are no `tools`.", param="tool_choice")
    names = {tool.name for tool in tools}
    match choice:
        case ChosenFunction(name=name):
            require_tool(name, names, "tool_choice.name")
            return {"type": "function", "function": {"name": name}}
        case AllowedFunctions(mode=mode, tools=allowed):
            for index, tool in enumerate(allowed):
                require_tool(tool.name, names, f"tool_choice.tools[{index}].name")
            chosen = [{"type": "function", "function": {"name": tool.name}} for tool in allowed]
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": chosen}}
        case _:
            return choice
