"""Responses as they are kept: the object that callers see, and what is known of it besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.domain.response import Status

OPEN: Final = ("queued", "in_progress")
"""What a response is that is not over."""

MAX_ANCESTORS: Final = 64
"""How many of those that it continues a response names: so many are read at once."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One of them.

    Attributes:
        body: The object that callers see; of one that is under way, as it began.
        model: The model's id.
        previous: The response that it continues.
        ancestors: Those that it continues, the newest of them, the oldest first.
        conversation: The conversation that it is a turn of.
        turn: Its turn there; 0 elsewhere.
        background: Whether it is worked on without its caller.
        streams: Whether its events are kept, so that they can be read while and after it is worked on.
        attempt: How often work on it was begun anew.
        runner: The process that works on it.
        task: Of one in the background: what is to be done, for whoever does it.
        cancel: Whether somebody asked for its end.
    """

    id: str
    owner: str
    status: Status
    created_at_ms: int
    body: Mapping[str, Any]
    previous: str | None = None
    ancestors: Sequence[str] = ()
    conversation: str | None = None
    turn: int = 0
    background: bool = False
    streams: bool = False
    attempt: int = 0
    runner: str | None = None
    task: Mapping[str, Any] | None = None
    cancel: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status not in OPEN

    @property
    def is_answered(self) -> bool:
        """Whether it came to the end that its model gave it."""
        return self.status == "completed" or bool(self.body.get("incomplete_details"))

    @property
    def line(self) -> tuple[str, ...]:
        """What one that continues this one names as its ancestors."""
        return (*self.ancestors, self.id)[-MAX_ANCESTORS:]
