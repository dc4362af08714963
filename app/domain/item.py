"""Items: what conversations and responses are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Side = Literal["input", "output"]

TURN_BITS: Final = 20
ANSWER: Final = 1 << 19
"""The index in a turn that its answer begins at: what was asked comes before it, however late it was written."""

OPEN: Final = frozenset(("in_progress", "incomplete"))
"""What an item is that may yet be replaced by what came of it."""

_EMPTY: Final[Mapping[str, Any]] = {}


def position(turn: int, index: int) -> int:
    """Where an item stands in its conversation."""
    return turn << TURN_BITS | index


def turn_of(place: int) -> int:
    """The turn that a position is in."""
    return place >> TURN_BITS


@dataclass(frozen=True, slots=True)
class Item:
    """One of them.

    Attributes:
        body: As the API shows it, with its type, id and status.
        position: In its conversation, or in its response.
        conversation: The conversation that it is in; None for what is of a response alone.
        response: The response that it was an input or the output of.
        extra: What threads alone show: ``assistant_id``, ``run_id``, ``metadata``, ``attachments`` and
            ``completed_at_ms``.
    """

    id: str
    body: Mapping[str, Any]
    position: int
    created_at_ms: int
    conversation: str | None
    response: str | None = None
    side: Side = "input"
    extra: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    @property
    def status(self) -> str:
        """``in_progress``, ``completed`` or ``incomplete``."""
        return self.body.get("status") or "completed"

    def to_dict(self) -> dict[str, Any]:
        """The item as the API shows it."""
        return dict(self.body)


def text_of(body: Mapping[str, Any]) -> str:
    """What there is to read in an item: what was said, and what functions answered; no reasoning."""
    content = body.get("content") if body.get("type") == "message" else body.get("output")
    if isinstance(content, str):
        return content
    return "\n".join(_texts(content or ()))


def text_part(role: str, text: str) -> dict[str, Any]:
    """A text as the content of somebody's message has it."""
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def stored_body(item: Mapping[str, Any], id_: str) -> dict[str, Any]:
    """An item that a caller sent, as it is stored and shown: under an id of ours.

    Args:
        item: In the shape that the API shows: ``shown_items`` brings checked ones into it.
        id_: Its id here. Whatever id it came with is another's word.
    """
    rest = {name: value for name, value in item.items() if name not in ("type", "id")}
    return {"type": item["type"], "id": id_, **rest}


def _texts(parts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for part in parts:
        if text := part.get("text") or part.get("refusal"):
            yield text
