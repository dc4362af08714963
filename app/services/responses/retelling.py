"""The stream of a response that is over, for whoever missed it."""

from __future__ import annotations

from typing import Any

from app.domain.stored_response import StoredResponse
from app.services.responses.events import TERMINAL, EventWriter


def stream_of(response: StoredResponse) -> bytes:
    """How it began, each thing that came of it as a whole, and how it ended."""
    events, body = EventWriter(), response.body
    began: dict[str, Any] = {**body, "status": "in_progress", "output": [], "completed_at": None, "error": None}
    parts = [events.event(kind, response=began) for kind in ("response.created", "response.in_progress")]
    for index, item in enumerate(body["output"]):
        opened = {**item, "status": "in_progress"}
        parts.append(events.event("response.output_item.added", output_index=index, item=opened))
        parts.append(events.event("response.output_item.done", output_index=index, item=item))
    return b"".join([*parts, events.event(TERMINAL[response.status], response=body)])
