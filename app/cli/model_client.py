"""The models API, as the command line calls it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.cli.errors import CliError
from app.cli.run_file import RunFile
from app.cli.service import ModelView
from app.settings import Settings

TIMEOUT_S = 40.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_URL = "http://127.0.0.1:8080"


class ModelClient:
    """A client with an admin's key.

    Args:
        url: The service, without a path.
        key: An admin's API key, or None.
    """

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # a proxy of the environment is for the outside world, not for what we serve
        self._client = httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self._url = url

    @classmethod
    def of(cls, url: str | None, key: str | None, settings: Settings) -> Self:
        """The service named, or the one that runs from this state folder, with the key named or the first one.

        The first key goes to this machine alone.
        """
        run = RunFile.below(settings.state_dir).read()
        url = (url or (run.url if run else DEFAULT_URL)).rstrip("/").removesuffix("/v1")
        first = settings.state_dir / "api-key"
        ours = (run is not None and url == run.url) or httpx.URL(url).host in LOOPBACK
        if key is None and ours and first.exists():
            key = first.read_text().strip()
        return cls(url, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._client.close()

    def list(self) -> list[ModelView]:
        """Every model."""
        return [ModelView.of(model) for model in self._ask("GET", "/models")["data"]]

    def get(self, name: str) -> ModelView:
        """One model."""
        return ModelView.of(self._ask("GET", f"/models/{quote(name)}"))

    def add(self, spec: dict[str, Any]) -> ModelView:
        """Add a model."""
        return ModelView.of(self._ask("POST", "/models", spec))

    def remove(self, name: str) -> None:
        """Remove a model."""
        self._ask("DELETE", f"/models/{quote(name)}")

    def start(self, name: str) -> ModelView:
        """Let a model run, and bring it up."""
        return ModelView.of(self._ask("POST", "/models/start", {"model": name}))

    def stop(self, name: str) -> ModelView:
        """Let a model run no more."""
        return ModelView.of(self._ask("POST", "/models/stop", {"model": name}))

    def pull(self, name: str) -> ModelView:
        """Begin to fetch a model's weights."""
        return ModelView.of(self._ask("POST", "/models/pull", {"model": name}))

    def logs(self, name: str, lines: int) -> dict[str, list[str]]:
        """The last lines of each replica, by its id."""
        found = self._ask("GET", f"/models/{quote(name)}/logs?lines={lines}")["data"]
        return {log["replica"]: log["lines"] for log in found}

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CliError(f"{self._url} does not answer ({error}). Is it running? Another address: --url.") from None
        if response.is_success:
            return response.json()
        raise CliError(_message(response))


def _message(response: httpx.Response) -> str:
    try:
        return response.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return f"The service answered {response.status_code}: is that Manta?"
