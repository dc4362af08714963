"""The events of a response's stream, numbered one after the other."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from app.errors import ApiError

Json = dict[str, Any]

TERMINAL: Final = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
    "failed": "response.failed",
}
"""By what became of a response, its last event. OpenAI has none for those that were cancelled: the status tells."""


class EventWriter:
    """Writes events.

    Attributes:
        number: Of the next one.
    """

    __slots__ = ("number",)

    def __init__(self, first: int = 0) -> None:
        self.number = first

    def event(self, kind: str, **fields: Any) -> bytes:
        """One event, as bytes."""
        data = msgspec.json.encode({"type": kind, **fields, "sequence_number": self.number})
        self.number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def error(self, error: ApiError) -> bytes:
        """The event that says what went wrong in full; the response itself knows fewer codes."""
        return self.event("error", code=error.code, message=error.message, param=error.param)
