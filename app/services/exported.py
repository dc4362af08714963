"""What is in an export besides conversations: each kind has one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.page import Page, PageRequest
from app.domain.stored_chat import StoredChat, StoredChatFilter
from app.services.export import Section, by_ids, paged
from app.storage.stores import Stores


def sections(stores: Stores) -> dict[str, Section]:
    """The sections of an export, by their names."""

    async def chats(owner: str, page: PageRequest) -> Page[StoredChat]:
        return await stores.stored_chats.list(owner, page, StoredChatFilter())

    return {
        "chat_completions": paged(chats, _chat),
        "responses": by_ids(stores, "responses", stores.responses.by_ids, lambda response: response.body),
    }


def _chat(chat: StoredChat) -> Mapping[str, Any]:
    return {**chat.to_dict(), "messages": chat.message_list()}
