"""What a request needs of a replica: a lease, known to Serve, and the place that it gives."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from deployments.fairness import Charge
from deployments.link.link import Link

MAX_AGE_S = 5.0
"""How long after its beginning a lease is used again, or vouches for its replica's room."""

MEMORY_S = 60.0
"""How long after that it still vouches for the replica's being there."""


@dataclass(slots=True, eq=False)
class Lease:
    """One request's place on a replica, as Serve counts it."""

    link: Link
    token: str
    room: int
    messages: Any = field(repr=False)
    began: float = field(default_factory=time.monotonic)
    idle_since: float = 0.0

    @property
    def reachable(self) -> bool:
        """Whether its replica is there, and stays."""
        return self.link.alive and not self.link.retired

    @property
    def usable(self) -> bool:
        """Whether another request may go this way."""
        return self.reachable and time.monotonic() - self.began < MAX_AGE_S

    @property
    def remembered(self) -> bool:
        """Whether its replica is worth a try."""
        return self.reachable and time.monotonic() - self.began < MAX_AGE_S + MEMORY_S

    @property
    def trust(self) -> int:
        """How many requests may begin on its replica without a lease of their own."""
        return self.room if self.usable else min(self.room, 1)

    def end(self) -> None:
        """Give it back to Serve."""
        if self.link.alive:
            self.link.release(self.token)
        else:
            self.messages.cancel()


@dataclass(slots=True, eq=False)
class Place:
    """What a request holds while it runs.

    Attributes:
        link: The way to its replica.
        lease: What Serve knows it by; None as long as it runs on trust.
        charge: What its tenant was counted for it.
    """

    link: Link
    lease: Lease | None
    charge: Charge
