"""Everything of somebody's as one JSON document, written as it is read: little of it is in memory at any time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from app.domain.conversation import Conversation
from app.domain.page import Page, PageRequest
from app.errors import InvalidRequest
from app.storage.stores import Stores

T = TypeVar("T")

AT_ONCE = 20
"""How many things are read at once: each may have megabytes."""

Section = Callable[[str], AsyncIterator[Mapping[str, Any]]]
"""All of one kind that an owner has, as the API shows each."""


class Export:
    """Writes such documents.

    Args:
        sections: What there is besides conversations, by its name in the document.
    """

    def __init__(self, stores: Stores, sections: Mapping[str, Section]) -> None:
        self._conversations = stores.conversations
        self._items = stores.items
        self._sections = dict(sections)

    async def document(self, owner: str, profile: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The document, piece by piece. One that breaks off is no JSON: nobody takes it for the whole.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        head = msgspec.json.encode({"object": "export", "created_at": int(time.time()), "profile": profile})
        yield head[:-1] + b',"conversations":['
        first = True
        async for conversation in pages(self._conversations.list, owner):
            yield b"" if first else b","
            first = False
            async for piece in self._conversation(conversation):
                yield piece
        for name, section in self._sections.items():
            yield b"]," + msgspec.json.encode(name) + b":["
            first = True
            async for each in section(owner):
                yield (b"" if first else b",") + msgspec.json.encode(each)
                first = False
        yield b"]}"

    async def _conversation(self, conversation: Conversation) -> AsyncIterator[bytes]:
        async def listed(owner: str, page: PageRequest) -> Page[Any]:
            return await self._items.list(owner, conversation.id, page, conversation.turns)

        yield msgspec.json.encode(conversation.to_dict())[:-1] + b',"items":['
        first = True
        async for item in pages(listed, conversation.owner):
            yield (b"" if first else b",") + msgspec.json.encode(item.to_dict())
            first = False
        yield b"]}"


async def pages(
    listed: Callable[[str, PageRequest], Awaitable[Page[T]]], owner: str, at_once: int = AT_ONCE
) -> AsyncIterator[T]:
    """All that a list of somebody's has, the oldest first."""
    anchors: list[str | None] = [None]
    while True:
        found: Page[Any] = await _behind_one(listed, owner, anchors, at_once)
        for each in found.items:
            yield each
        if not found.has_more:
            return
        anchors = [each.id for each in found.items[::-1]]


async def _behind_one(
    listed: Callable[[str, PageRequest], Awaitable[Page[T]]], owner: str, anchors: Sequence[str | None], at_once: int
) -> Page[T]:
    """What is behind the first of these that is still there: what was shown may be deleted meanwhile."""
    *others, last = anchors
    for after in others:
        with contextlib.suppress(InvalidRequest):
            return await listed(owner, PageRequest(at_once, after=after, order="asc"))
    return await listed(owner, PageRequest(at_once, after=last, order="asc"))


def paged(listed: Callable[[str, PageRequest], Awaitable[Page[T]]], show: Callable[[T], Mapping[str, Any]]) -> Section:
    """A section of what there is a list of."""

    async def section(owner: str) -> AsyncIterator[Mapping[str, Any]]:
        async for each in pages(listed, owner):
            yield show(each)

    return section


def by_ids(
    stores: Stores,
    collection: str,
    find: Callable[[str, list[str]], Awaitable[Mapping[str, T]]],
    show: Callable[[T], Mapping[str, Any]],
) -> Section:
    """A section of what there is no list of, in the order of its ids."""

    async def section(owner: str) -> AsyncIterator[Mapping[str, Any]]:
        async for ids in stores.ownership.ids(collection, owner, AT_ONCE):
            found = await find(owner, ids)
            for id_ in ids:
                # What was deleted meanwhile is no more.
                if id_ in found:
                    yield show(found[id_])

    return section
