"""The one text that a chat becomes before it is cut into tokens: its chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from app.errors import InvalidRequest
from deployments.engines.scripted import tokens
from deployments.engines.scripted.requests import Json, TokenIds

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def of_chat(messages: Sequence[Json], tools: Sequence[Json] | None = None) -> str:
    """The prompt of a chat.

    Raises:
        InvalidRequest: A message has no role, or no content that is text.
    """
    told = f"<|tools|>\n{_json(tools)}\n" if tools else ""
    return told + "".join(map(_turn, range(len(messages)), messages)) + "<|assistant|>\n"


def last_user_text(messages: Sequence[Json]) -> str:
    """What the user said last."""
    return next((text_of(message.get("content")) for message in reversed(messages) if message["role"] == "user"), "")


def text_of(content: Any) -> str:
    """The text in a message's content, OpenAI's or Anthropic's: a string, parts, or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(_part(part) for part in cast("list[Any]", content))


def several(given: str | list[str | int | TokenIds], param: str) -> list[str]:
    """The texts of a ``prompt`` or ``input``: a string, strings, the ids of one text, or of several.

    Raises:
        InvalidRequest: There are none, or ids that cannot be.
    """
    if isinstance(given, str):
        return [given]
    if not given:
        raise InvalidRequest(f"{param} is empty.", param=param)
    if all(isinstance(one, int) for one in given):
        return [tokens.decode(cast("TokenIds", given))]
    if any(isinstance(one, int) for one in given):
        raise InvalidRequest(f"{param} mixes token ids with texts.", param=param)
    return [one if isinstance(one, str) else tokens.decode(cast("TokenIds", one)) for one in given]


def count_all(texts: Iterable[str]) -> int:
    """Tokens of all texts together."""
    return sum(map(tokens.count, texts))


def _turn(index: int, message: Json) -> str:
    role = message.get("role")
    if role not in ROLES:
        shown = f"messages[{index}].role"
        raise InvalidRequest(f"{shown} has to be one of {', '.join(ROLES)}.", param=shown)
    calls = message.get("tool_calls")
    if "content" not in message and not calls:
        shown = f"messages[{index}].content"
        raise InvalidRequest(f"{shown} is missing.", param=shown)
    return f"<|{role}|>\n{text_of(message.get('content'))}{_json(calls) if calls else ''}\n"


def _part(part: Any) -> str:
    match part:
        case {"text": str(text)} | {"refusal": str(text)} | {"thinking": str(text)}:
            return text
        case {"type": "tool_result", "content": content}:
            return text_of(content)
        case _:
            # Images and the like count for what they take in the request.
            return _json(part)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
