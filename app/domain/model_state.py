"""What a model is doing now, as users see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

ModelStatus = Literal["cold", "starting", "ready", "draining", "failed", "disabled"]
StartPhase = Literal["allocating", "fetching", "loading", "warming"]


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model's state: the truth, never a hope.

    Attributes:
        status: ``cold`` has no replica and wakes for a request; ``ready`` has at least one that answers.
        phase: While starting, what the furthest replica is at.
        progress: Share of the phase that is done, 0 to 1, where it can be known.
        detail: The phase in words, or why the model failed.
        replicas: Replicas that answer now.
        max_model_len: Longest sequence in tokens, known once a replica has loaded.
        start_s: Seconds that the last start took, for ``Retry-After``.
    """

    status: ModelStatus = "cold"
    phase: StartPhase | None = None
    progress: float | None = None
    detail: str | None = None
    replicas: int = 0
    max_model_len: int | None = None
    start_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, to cross a process boundary."""
        return asdict(self)
