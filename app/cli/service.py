"""The running service, seen over HTTP like any caller sees it."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_S = 5.0
STATES_IN_WORDS = {"cold": "asleep, wakes for a request", "ready": "ready", "disabled": "disabled"}


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model, as ``GET /v1/models`` describes it."""

    id: str
    status: str
    phase: str | None
    progress: float | None
    detail: str | None
    replicas: int = 0
    queued: int = 0
    pull: dict[str, Any] | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From the model object."""
        return cls(
            str(values.get("id")),
            str(values.get("status")),
            values.get("phase"),
            values.get("progress"),
            values.get("detail"),
            values.get("replicas", 0),
            values.get("queued", 0),
            values.get("pull"),
        )

    @property
    def words(self) -> str:
        """What it is doing."""
        if self.status == "failed":
            return f"failed: {self.detail or 'no reason given'}"
        if known := STATES_IN_WORDS.get(self.status):
            return known
        doing = self.phase or self.status
        return f"{doing}: {self.detail}" if self.detail else doing


class Service:
    """A client of the service at one address."""

    def __init__(self, url: str) -> None:
        # a proxy of the environment is for the outside world, not for this machine
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._client.close()

    def answers(self) -> bool:
        """Whether the gateway is up."""
        try:
            return self._client.get("/health").is_success
        except httpx.HTTPError:
            return False

    def models(self) -> list[ModelView] | None:
        """Every model it knows; None while it cannot say."""
        try:
            answer = self._client.get("/v1/models")
            answer.raise_for_status()
            return [ModelView.of(model) for model in answer.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError):
            return None
