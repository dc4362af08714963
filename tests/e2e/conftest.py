"""Clients of the live service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx
import openai
import pytest

from tests.support.live import Live


@pytest.fixture(scope="session")
def http(live: Live) -> Iterator[httpx.Client]:
    """Plain HTTP, with the key."""
    with httpx.Client(base_url=live.url, headers=live.auth, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def client(live: Live) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK, as a user sets it up; a failure is seen at once."""
    with openai.OpenAI(base_url=live.openai_url, api_key=live.api_key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
async def async_client(live: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    """The same for asyncio."""
    async with openai.AsyncOpenAI(base_url=live.openai_url, api_key=live.api_key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def claude(live: Live) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK: it adds ``/v1/messages`` itself and sends the key as ``X-API-Key``."""
    with anthropic.Anthropic(base_url=live.url, api_key=live.api_key, max_retries=0) as client:
        yield client
