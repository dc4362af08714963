"""OpenAI's SDK, and a function that it can be asked to call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai

from tests.support.gateway import Gateway

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
"""A function, as chats and runs take it."""


@asynccontextmanager
async def sdk_of(gateway: Gateway, key: str | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK for a gateway, with the admin's key or another."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key or gateway.key, max_retries=0) as client:
        yield client
