"""The messages of a chat completion as items of a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.domain.ids import ITEM_PREFIXES, sibling
from app.domain.item import Item, position, text_part

Json = dict[str, Any]


def question_items(
    messages: Iterable[Mapping[str, Any]], conversation: str, turn: int, tail: str, now: int
) -> list[Item]:
    """What was asked, as items.

    Args:
        messages: As the engine takes them.
        tail: That of the answer: these are named after it, so that they have the same names in every try.
        now: In epoch milliseconds.
    """
    items: list[Item] = []
    for index, body in enumerate(body for message in messages for body in _bodies(message)):
        id_ = f"{ITEM_PREFIXES[body['type']]}_{sibling(tail, index)}"
        shown = {"type": body.pop("type"), "id": id_, "status": "completed", **body}
        items.append(Item(id_, shown, position(turn, index), now, conversation))
    return items


def _bodies(message: Mapping[str, Any]) -> Iterator[Json]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else "\n".join(part["text"] for part in content or ())
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}
        return
    if content is not None:
        yield {"type": "message", "role": role, "content": _parts(role, content)}
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    for call in calls:
        function = call["function"]
        called = {"name": function["name"], "arguments": function["arguments"]}
        yield {"type": "function_call", "call_id": call["id"], **called}


def _parts(role: str, content: str | Sequence[Mapping[str, Any]]) -> list[Json]:
    parts: Sequence[Mapping[str, Any]] = [{"text": content}] if isinstance(content, str) else content
    return [_part(role, part) for part in parts]


def _part(role: str, part: Mapping[str, Any]) -> Json:
    if "refusal" in part:
        return {"type": "refusal", "refusal": part["refusal"]}
    return text_part(role, part["text"])
