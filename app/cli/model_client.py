"""The models API, as the command line calls it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from app.cli.api_client import ApiClient
from app.cli.service import ModelView


class ModelClient(ApiClient):
    """Looks at models and changes them."""

    def list(self) -> list[ModelView]:
        """Every model."""
        return [ModelView.of(model) for model in self.ask("GET", "/models")["data"]]

    def get(self, name: str) -> ModelView:
        """One model."""
        return ModelView.of(self.ask("GET", f"/models/{quote(name)}"))

    def add(self, spec: dict[str, Any]) -> ModelView:
        """Add a model."""
        return ModelView.of(self.ask("POST", "/models", spec))

    def remove(self, name: str) -> None:
        """Remove a model."""
        self.ask("DELETE", f"/models/{quote(name)}")

    def start(self, name: str) -> ModelView:
        """Let a model run, and bring it up."""
        return ModelView.of(self.ask("POST", "/models/start", {"model": name}))

    def stop(self, name: str) -> ModelView:
        """Let a model run no more."""
        return ModelView.of(self.ask("POST", "/models/stop", {"model": name}))

    def pull(self, name: str) -> ModelView:
        """Begin to fetch a model's weights."""
        return ModelView.of(self.ask("POST", "/models/pull", {"model": name}))

    def logs(self, name: str, lines: int) -> dict[str, list[str]]:
        """The last lines of each replica, by its id."""
        found = self.ask("GET", f"/models/{quote(name)}/logs", query={"lines": lines})["data"]
        return {log["replica"]: log["lines"] for log in found}
