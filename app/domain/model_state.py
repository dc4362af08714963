"""What a model is doing now, as users see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

ModelStatus = Literal["cold", "starting", "ready", "draining", "failed", "disabled"]
StartPhase = Literal["allocating", "fetching", "loading", "warming"]


@dataclass(frozen=True, slots=True)
class StartTimes:
    """Where the seconds of a start went.

    Attributes:
        allocate_s: From the wish for a replica until its process was there.
        process_s: Until that process could begin: Python, Ray.
        fetch_s: For the weights to be on the node.
        load_s: For the engine to be up: its imports and processes, weights, cache.
        warm_s: For its API and a first answer.
    """

    allocate_s: float = 0.0
    process_s: float = 0.0
    fetch_s: float = 0.0
    load_s: float = 0.0
    warm_s: float = 0.0

    @property
    def total_s(self) -> float:
        """From the wish to the first answer."""
        return sum(getattr(self, field.name) for field in fields(self))

    def to_dict(self) -> dict[str, float]:
        """As the API shows it."""
        return {name: round(value, 2) for name, value in asdict(self).items()} | {"total_s": round(self.total_s, 2)}


@dataclass(frozen=True, slots=True)
class PullState:
    """How fetching a model's weights ahead of any start is doing.

    Attributes:
        progress: Share that is done, 0 to 1, where it can be known.
        detail: The step in words, or why it failed.
    """

    status: Literal["running", "done", "failed"]
    progress: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model's state: the truth, never a hope.

    Attributes:
        status: ``cold`` has no replica and wakes for a request; ``ready`` has at least one that answers.
        phase: While starting, what the furthest replica is at.
        progress: Share of the phase that is done, 0 to 1, where it can be known.
        detail: The phase in words, or why the model failed, or what becomes of a change to it.
        replicas: Replicas that answer now.
        queued: Requests that wait for a replica.
        max_model_len: Longest sequence in tokens, known once a replica has loaded.
        start: What the last start took, for ``Retry-After``.
        started_at: Unix seconds at which the start under way began.
        retry_at: Unix seconds at which a model that failed is tried again.
        pull: The last wish to fetch its weights.
    """

    status: ModelStatus = "cold"
    phase: StartPhase | None = None
    progress: float | None = None
    detail: str | None = None
    replicas: int = 0
    queued: int = 0
    max_model_len: int | None = None
    start: StartTimes | None = None
    started_at: float | None = None
    retry_at: float | None = None
    pull: PullState | None = None
