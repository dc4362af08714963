"""A running service, as the command line calls it: where it is, with which key, and what it says when it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.cli.errors import CliError
from app.cli.run_file import RunFile
from app.settings import Settings

TIMEOUT_S = 40.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_URL = "http://127.0.0.1:8080"
PAGE = 100


class ApiClient:
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

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> dict[str, Any]:
        """What the service answers.

        Raises:
            CliError: It does not answer, or refuses; in its words.
        """
        return self._send(method, path, body, query).json()

    def text(self, method: str, path: str, query: Mapping[str, str | int] | None = None) -> str:
        """What the service answers, as it stands.

        Raises:
            CliError: It does not answer, or refuses; in its words.
        """
        return self._send(method, path, None, query).text

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str | int] | None
    ) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise CliError(f"{self._url} does not answer ({error}). Is it running? Another address: --url.") from None
        if response.is_success:
            return response
        raise CliError(_message(response))

    def every(self, path: str, query: Mapping[str, str | int] | None = None) -> Iterator[dict[str, Any]]:
        """Everything that a list has, however many pages that is.

        Raises:
            CliError: The service does not answer, or refuses; in its words.
        """
        wanted = {**(query or {}), "limit": PAGE}
        while True:
            page = self.ask("GET", path, query=wanted)
            yield from page["data"]
            if not page["has_more"]:
                return
            wanted["after"] = page["last_id"]


def step(text: str) -> str:
    """An id as one step of a path, whatever is in it."""
    return quote(text, safe="")


def _message(response: httpx.Response) -> str:
    try:
        return response.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return f"The service answered {response.status_code}: is that Manta?"
