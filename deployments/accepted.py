"""Who wants to know that a request has found its replica: a queue that counts, an event that is waited for."""

from __future__ import annotations

from typing import Protocol


class Accepted(Protocol):
    """Wants to know when a request has found its replica."""

    def set(self) -> None:
        """It has."""
        ...
