"""What is in an export besides conversations: each kind has one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.assistant import Assistant
from app.domain.page import Page, PageRequest
from app.domain.run import Run
from app.domain.stored_chat import StoredChat, StoredChatFilter
from app.services.export import Section, by_ids, paged
from app.storage.stores import Stores


def sections(stores: Stores) -> dict[str, Section]:
    """The sections of an export, by their names."""

    async def chats(owner: str, page: PageRequest) -> Page[StoredChat]:
        return await stores.stored_chats.list(owner, page, StoredChatFilter())

    async def runs(owner: str, ids: Sequence[str]) -> dict[str, Run]:
        found = [await stores.runs.by_id(id_) for id_ in ids]
        return {run.id: run for run in found if run is not None and run.owner == owner}

    return {
        "chat_completions": paged(chats, _chat),
        "responses": by_ids(stores, "responses", stores.responses.by_ids, lambda response: response.body),
        "assistants": paged(stores.assistants.list, Assistant.to_dict),
        "runs": by_ids(stores, "runs", runs, Run.to_dict),
    }


def _chat(chat: StoredChat) -> Mapping[str, Any]:
    return {**chat.to_dict(), "messages": chat.message_list()}
