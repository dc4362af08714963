"""Tools and the schemas of structured answers, OpenAI's form.

Schemas become grammars inside the engine, where compiling has no deadline: hence their caps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import AfterValidator, Discriminator, Field, Tag

from app.errors import InvalidRequest
from app.schemas.common import MAX_TOOLS, Strict, ToolName, kind_of, tagged_by
from app.schemas.json_body import is_object, too_deep
from app.schemas.problem import wrong

MAX_SCHEMA_BYTES = 32 * 1024
MAX_SCHEMA_DEPTH = 16


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    if too_deep(schema, MAX_SCHEMA_DEPTH):
        raise wrong(f"nests arrays and objects more than {MAX_SCHEMA_DEPTH} deep; use `$defs` to flatten it")
    encoded = msgspec.json.encode(schema)
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise wrong(f"has {len(encoded)} bytes as JSON; at most {MAX_SCHEMA_BYTES} are allowed")
    if b"\\u0000" in encoded:
        raise wrong("holds a NUL character, which no grammar can")
    return schema


JsonSchema = Annotated[dict[str, Any], AfterValidator(_bounded)]


class Function(Strict):
    """A function the model may call; the caller runs it."""

    name: ToolName = Field(description="Letters, digits, `_` and `-`; at most 64.")
    description: str | None = Field(default=None, description="What it does: the model chooses by this.")
    parameters: JsonSchema | None = Field(default=None, description="JSON Schema of the arguments, at most 32 KB.")
    strict: bool | None = Field(default=None, description="Decode arguments under the schema.")


class Tool(Strict):
    """A tool; functions are the only kind."""

    supported: ClassVar[str | None] = "function"

    type: Literal["function"]
    function: Function


Tools = Annotated[list[Tool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class ToolReference(Strict):
    """The name of a function."""

    name: str


class NamedTool(Strict):
    """One tool, by name."""

    supported: ClassVar[str | None] = "function"

    type: Literal["function"]
    function: ToolReference


class AllowedToolList(Strict):
    """A part of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class AllowedTools(Strict):
    """The tools of this turn."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolList


AnyChoice = Annotated[Literal["none", "auto", "required"], Tag("~string")]
CHOICE_BY_KIND = Discriminator(
    kind_of,
    custom_error_type="kind",
    custom_error_message="'none', 'auto', 'required' or an object naming a function",
)
CHOICE_BY_TYPE = Discriminator(
    tagged_by("type"),
    custom_error_type="unsupported_choice",
    custom_error_message="type: 'function' or 'allowed_tools'",
)
"""How choices of tools are told apart, whatever the API writes their objects like."""

ToolChoice = Annotated[
    AnyChoice
    | Annotated[
        Annotated[NamedTool, Tag("~function")] | Annotated[AllowedTools, Tag("~allowed_tools")],
        CHOICE_BY_TYPE,
        Tag("~object"),
    ],
    CHOICE_BY_KIND,
]

FunctionChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("~string")] | Annotated[ToolReference, Tag("~object")],
    Discriminator(
        kind_of, custom_error_type="kind", custom_error_message="'none', 'auto' or an object naming a function"
    ),
]


class NamedSchema(Strict):
    """The schema of a structured answer."""

    name: ToolName
    description: str | None = None
    schema_: JsonSchema = Field(alias="schema", description="JSON Schema of the answer, at most 32 KB.")
    strict: bool | None = None


class TextFormat(Strict):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(Strict):
    """JSON that obeys a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


FORMAT_BY_TYPE = Discriminator(
    tagged_by("type"),
    custom_error_type="choice",
    custom_error_message="type: 'text', 'json_object' or 'json_schema'",
)
ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("~text")]
    | Annotated[JsonObjectFormat, Tag("~json_object")]
    | Annotated[JsonSchemaFormat, Tag("~json_schema")],
    FORMAT_BY_TYPE,
]


def choose_tools(tools: list[dict[str, Any]], choice: Any) -> tuple[list[dict[str, Any]], Any]:
    """The tools and the choice as vLLM takes them: ``allowed_tools``, which it lacks, becomes fewer tools.

    Args:
        tools: The caller's tools, checked; empty when there are none.
        choice: The caller's ``tool_choice``, checked, or None.

    Raises:
        InvalidRequest: A call is demanded without tools, or of a tool that is not among them.
    """
    if not tools:
        if choice in (None, "none", "auto"):
            return [], None
        raise InvalidRequest("`tool_choice` demands a call, but there are no `tools`.", param="tool_choice")
    if not is_object(choice):
        return tools, choice
    names = {tool["function"]["name"] for tool in tools}
    if "function" in choice:
        require_tool(choice["function"]["name"], names, "tool_choice.function.name")
        return tools, choice
    allowed = choice["allowed_tools"]
    for index, tool in enumerate(allowed["tools"]):
        param = f"tool_choice.allowed_tools.tools[{index}].function.name"
        require_tool(tool["function"]["name"], names, param)
    kept = {tool["function"]["name"] for tool in allowed["tools"]}
    return [tool for tool in tools if tool["function"]["name"] in kept], allowed["mode"]


def require_tool(name: str, names: set[str], param: str) -> None:
    """Refuse a name that is not among the tools.

    Raises:
        InvalidRequest: It is not.
    """
    if name not in names:
        known = ", ".join(sorted(names)[:8])
        raise InvalidRequest(f"`{param}` must name one of `tools` ({known}), not {name[:64]!r}.", param=param)
