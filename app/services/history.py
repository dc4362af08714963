"""What was said in a conversation: read back from its end, and as the messages that a chat template takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from app.domain.item import Item, turn_of
from app.errors import InvalidJson
from app.schemas.json_body import is_object, parse_json
from app.services.catalog import CatalogEntry
from app.services.inference import UNKNOWN_LENGTH
from app.storage.items import Items

Message = dict[str, Any]
Turn = Sequence[Mapping[str, Any]]
"""The bodies of the items of a turn: what was asked, and what was answered."""

READ_AT_ONCE = 100
BYTES_A_TOKEN = 16
"""Few tokens are so long, let alone all of a text."""

INSTRUCTS = frozenset(("system", "developer"))
NOT_SHOWN = "[image]"
"""What a model reads that reads text alone, where somebody once showed something."""


def readable_bytes(entry: CatalogEntry) -> int:
    """What is longer than this has no room in a model's context, so that it need not be read."""
    return BYTES_A_TOKEN * (entry.state.max_model_len or UNKNOWN_LENGTH)


async def read_back(  # noqa: PLR0913 - what of it, and how much
    items: Items,
    owner: str,
    conversation: str,
    *,
    turns: int,
    below: int | None = None,
    most_bytes: int,
    most_items: int | None = None,
) -> tuple[list[Item], bool]:
    """The end of a conversation, by whole turns, until it is more than anybody has use for; whether that is all.

    Args:
        turns: How many the conversation has had.
        below: The position that all of it is below; None for none.

    Raises:
        DatabaseUnavailable: The database did not answer.
    """
    found: list[Item] = []
    size = 0
    while size <= most_bytes and (most_items is None or len(found) < most_items):
        part = await items.newest(owner, conversation, turns, below, READ_AT_ONCE)
        found[:0] = part
        size += sum(len(msgspec.json.encode(item.body)) for item in part)
        if len(part) < READ_AT_ONCE:
            return found, True
        below = part[0].position
    return found, False


def turns_of(items: Iterable[Item]) -> list[Turn]:
    """Items of a conversation, in their order, by turns."""
    groups = groupby(items, key=lambda item: turn_of(item.position))
    return [[item.body for item in group] for _, group in groups]


def rendered(turns: Iterable[Turn], answers: Iterable[str] = ()) -> list[list[Message]]:
    """The messages of each turn.

    What the model thought is left out. So is a call that nobody answered, and an answer to no call: templates refuse
    both.

    Args:
        turns: The oldest first.
        answers: The ``call_id`` of calls that are answered beyond these turns.
    """
    listed = list(turns)
    asked = {body["call_id"] for turn in listed for body in turn if body.get("type") == "function_call"}
    answered = {body["call_id"] for turn in listed for body in turn if body.get("type") == "function_call_output"}
    whole = asked & (answered | set(answers))
    return [_turn(turn, whole) for turn in listed]


def _turn(turn: Turn, whole: set[str]) -> list[Message]:
    messages: list[Message] = []
    told: set[str] = set()
    for body in turn:
        match body.get("type"):
            case "message":
                messages += _message(body)
            case "function_call" if body["call_id"] in whole:
                _add_call(messages, body)
            case "function_call_output" if body["call_id"] in whole - told:
                # Of two who answered at once one counts.
                told.add(body["call_id"])
                output = body["output"]
                content = output if isinstance(output, str) else _text(output)
                messages.append({"role": "tool", "tool_call_id": body["call_id"], "content": content})
            case _:
                pass
    return messages


def _message(body: Mapping[str, Any]) -> list[Message]:
    role, text = body["role"], _text(body.get("content") or ())
    if role in INSTRUCTS:
        return [{"role": "system", "content": text}]
    if role == "assistant":
        # One that broke off before it said anything said nothing.
        return [{"role": "assistant", "content": text}] if text else []
    return [{"role": "user", "content": text}]


def _add_call(messages: list[Message], body: Mapping[str, Any]) -> None:
    """A call belongs to what the model said along with it, and to its other calls."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    call = {"name": body["name"], "arguments": _arguments(body["arguments"])}
    calls: list[Message] = messages[-1].setdefault("tool_calls", [])
    calls.append({"id": body["call_id"], "type": "function", "function": call})


def _arguments(text: str) -> str:
    """Arguments that an engine can read: a call that a model once wrote badly counts as one without arguments."""
    try:
        return text if is_object(parse_json(text, long_integers=True)) else "{}"
    except InvalidJson:
        return "{}"


def _text(content: str | Iterable[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or part.get("refusal") or NOT_SHOWN for part in content if _says(part))


def _says(part: Mapping[str, Any]) -> bool:
    text = part.get("text", part.get("refusal"))
    return text is None or text != ""
