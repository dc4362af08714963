"""Somebody who chats, and what of it is kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.user import User
from tests.support.gateway import CHAT, Gateway, new_user
from tests.support.openai_schema import data_events
from tests.support.people import key_of

PATH = "/v1/chat/completions"
NEW = "/v1/conv/chat/completions"


def asking(text: str, model: str = CHAT, **fields: Any) -> dict[str, Any]:
    """A request with one question."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@dataclass
class Person:
    """A user with a client."""

    user: User
    client: httpx.AsyncClient

    async def ask(self, text: str, path: str = PATH, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """The answer to one question."""
        response = await self.client.post(path, json=asking(text, **fields), headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def begin(self, text: str, **fields: Any) -> str:
        """A conversation that begins with a question; its id."""
        return (await self.ask(text, NEW, **fields))["metadata"]["conversation_id"]

    async def items(self, conversation: str) -> list[dict[str, Any]]:
        """All that is in a conversation, the oldest first."""
        path = f"/v1/conversations/{conversation}/items"
        response = await self.client.get(path, params={"order": "asc", "limit": 100})
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def said(self, conversation: str) -> list[tuple[str, str, str]]:
        """Role, status and text of each message."""
        return [
            (item["role"], item["status"], "".join(part["text"] for part in item["content"]))
            for item in await self.items(conversation)
        ]


@contextlib.asynccontextmanager
async def person(gateway: Gateway, **fields: Any) -> AsyncIterator[Person]:
    """Somebody new."""
    user = await new_user(gateway.services, **fields)
    headers = await key_of(gateway, user)
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60, verify=False) as client:
        yield Person(user, client)


def chunks_of(stream: str | bytes) -> list[dict[str, Any]]:
    """The chunks of a stream, up to its end."""
    return [json.loads(event) for event in data_events(stream) if event != "[DONE]"]


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What a stream says."""
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


async def read_some(response: httpx.Response, frames: int) -> str:
    """The beginning of a stream: so many whole frames at least."""
    seen = ""
    async for part in response.aiter_text():
        seen += part
        if seen.count("\n\n") >= frames:
            break
    return seen[: seen.rindex("\n\n") + 2]
