"""Somebody who chats, and what of it is kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.user import User
from tests.support.gateway import CHAT, Gateway, new_user
from tests.support.openai_schema import data_events
from tests.support.people import key_of

PATH = "/v1/chat/completions"
NEW = "/v1/conv/chat/completions"


def asking(text: str, **fields: Any) -> dict[str, Any]:
    """A request with one question, of the usual model unless another is named."""
    return {"model": CHAT, "messages": [{"role": "user", "content": text}], **fields}


@dataclass
class Person:
    """A user with a client."""

    user: User
    client: httpx.AsyncClient

    async def ask(self, text: str, **fields: Any) -> Any:
        """The answer to one question."""
        return await self._answer(PATH, asking(text, **fields))

    async def begin_with(self, text: str, **fields: Any) -> Any:
        """The answer to the first question of a conversation."""
        return await self._answer(NEW, asking(text, **fields))

    async def _answer(self, path: str, body: dict[str, Any]) -> Any:
        response = await self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def begin(self, text: str, **fields: Any) -> str:
        """A conversation that begins with a question; its id."""
        return (await self.begin_with(text, **fields))["metadata"]["conversation_id"]

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
async def person(gateway: Gateway, **fields: Any) -> AsyncGenerator[Person]:
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


async def read_some(parts: AsyncIterator[str], frames: int) -> str:
    """The beginning of a stream: so many frames at least."""
    seen = ""
    async for part in parts:
        seen += part
        if seen.count("\n\n") >= frames:
            break
    return seen


async def read_on(parts: AsyncIterator[str]) -> str:
    """The rest of a stream."""
    return "".join([part async for part in parts])


def whole_frames(seen: str) -> str:
    """What was seen of a stream, without the frame that was cut off."""
    return seen[: seen.rindex("\n\n") + 2]
