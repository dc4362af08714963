"""Requests to the provider, each bounded: in time, in size, and to the address that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx

from app.errors import InvalidJson
from app.schemas.json_body import parse_json_object

DEADLINE_S = 5.0
"""Of a whole request, its answer included."""

MAX_BYTES = 256 * 1024
PLAIN = {
    "accept": "application/json",
    # Compressed answers could unpack to any size.
    "accept-encoding": "identity",
}


class ProviderTrouble(Exception):
    """The provider does not do its part; says how, for the log, and holds nothing that the provider sent."""


class Fetcher:
    """An HTTP client for one provider. It follows no redirects and keeps no cookies."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, what: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object.

        Args:
            what: What it is called in the log.

        Raises:
            ProviderTrouble: There was none.
        """
        response = await self.send("GET", url, what, headers or {})
        if response.status_code != 200:
            raise ProviderTrouble(f"{what} was answered with {response.status_code}")
        try:
            return parse_json_object(response.content)
        except InvalidJson:
            raise ProviderTrouble(f"{what} is no JSON object") from None

    async def send(
        self, method: str, url: str, what: str, headers: Mapping[str, str], content: str | None = None
    ) -> httpx.Response:
        """The whole answer, whatever its status.

        Raises:
            ProviderTrouble: There was none in time, or one beyond the bounds.
        """
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._open().stream(method, url, headers={**PLAIN, **headers}, content=content) as response,
            ):
                body = await _bounded(response, what)
        except TimeoutError:
            raise ProviderTrouble(f"{what} took longer than {DEADLINE_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise ProviderTrouble(f"{what} could not be had: {type(error).__name__}") from None
        return httpx.Response(response.status_code, content=body, request=response.request)

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        # Made at the first use: it reads every certificate of the machine, and most processes never sign anybody in.
        if self._client is None:
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=DEADLINE_S)
            # What the provider sets for one person must not go along with the next.
            self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return self._client


async def _bounded(response: httpx.Response, what: str) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProviderTrouble(f"{what} came compressed, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ProviderTrouble(f"{what} is over {MAX_BYTES} bytes")
    return bytes(body)
