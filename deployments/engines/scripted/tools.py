"""Which tool a request makes the model call, and with which arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import InvalidRequest
from deployments.engines.scripted.values import json_for

Json = dict[str, Any]
Choice = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called.

    Attributes:
        name: What it is called by.
        schema: Of its arguments.
        param: Where in the request the schema is.
    """

    name: str
    schema: Any
    param: str

    def arguments(self) -> str:
        """Arguments that obey the schema, as JSON.

        Raises:
            InvalidRequest: None can be made.
        """
        return json_for(self.schema, self.param)


def of_openai(given: Sequence[Json] | None) -> list[Tool]:
    """The tools of a chat completion.

    Raises:
        InvalidRequest: One is no function, or has no name.
    """
    tools: list[Tool] = []
    for index, tool in enumerate(given or ()):
        match tool:
            case {"type": "function", "function": {"name": str(name), **function}}:
                schema = function.get("parameters") or {"type": "object"}
                tools.append(Tool(name, schema, f"tools[{index}].function.parameters"))
            case _:
                shown = f"tools[{index}]"
                raise InvalidRequest(f"{shown} has to be a function with a name.", param=shown)
    return tools


def of_anthropic(given: Sequence[Json] | None) -> list[Tool]:
    """The tools of a message.

    Raises:
        InvalidRequest: One has no name or schema.
    """
    tools: list[Tool] = []
    for index, tool in enumerate(given or ()):
        match tool:
            case {"name": str(name), "input_schema": dict(schema)}:
                tools.append(Tool(name, {"type": "object"} | schema, f"tools[{index}].input_schema"))
            case _:
                shown = f"tools[{index}]"
                raise InvalidRequest(f"{shown} needs a name and an input_schema.", param=shown)
    return tools


def choose(tools: list[Tool], choice: Choice, name: str | None, last_user_text: str) -> Tool | None:
    """The tool to call: the one named, else one that the user asks for (``call get_weather``), else any if need be.

    Raises:
        InvalidRequest: The one named is not among the tools, or there are none.
    """
    if name is not None:
        for tool in tools:
            if tool.name == name:
                return tool
        raise InvalidRequest(f"tool_choice names {name[:64]!r}, which is not among the tools.", param="tool_choice")
    if choice == "none":
        return None
    if choice == "required" and not tools:
        raise InvalidRequest("tool_choice asks for a tool call, and there are no tools.", param="tool_choice")
    asked = next((tool for tool in tools if f"call {tool.name}" in last_user_text), None)
    return asked or (tools[0] if choice == "required" else None)


def all_asked(tools: list[Tool], chosen: Tool, last_user_text: str) -> list[Tool]:
    """The chosen tool, and after it the others that the user asks for as well."""
    return [chosen, *(tool for tool in tools if tool is not chosen and f"call {tool.name}" in last_user_text)]
