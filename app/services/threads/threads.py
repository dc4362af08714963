"""People's threads: their conversations, under another name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.domain.conversation import PREFIX as CONVERSATION
from app.domain.conversation import Conversation, first_title, new_conversation
from app.domain.ids import is_id
from app.domain.item import position
from app.domain.page import Page, PageRequest
from app.domain.thread import PREFIX, assistants_of, conversation_id, kept_of_thread, resources_of
from app.errors import NotFound
from app.schemas.threads import ChangeThreadRequest, CreateThreadRequest, ThreadFields
from app.services.conversation_purge import ConversationPurge
from app.services.threads.message_items import check_messages, item_of, said
from app.storage.stores import Stores
from app.storage.users import now_ms


class ThreadService:
    """Makes and keeps threads; everything of another owner's is not there."""

    def __init__(self, stores: Stores, purge: ConversationPurge) -> None:
        self._conversations = stores.conversations
        self._items = stores.items
        self._purge = purge

    async def create(self, owner: str, wanted: CreateThreadRequest, tail: str) -> Conversation:
        """Make one, with what it begins with; a second time under the same tail it changes nothing.

        Args:
            owner: Whose.
            wanted: What it is to be.
            tail: What its id ends with, and begin those of its messages.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: One of the messages cannot be.
        """
        messages = wanted.messages or ()
        check_messages(messages, "messages")
        now = now_ms()
        title = wanted.title or first_title(map(said, messages))
        kept = kept_of_thread(_resources(wanted), wanted.assistants or ())
        conversation = new_conversation(
            owner,
            now,
            f"{CONVERSATION}_{tail}",
            title=title,
            title_given=wanted.title is not None,
            metadata=wanted.metadata or {},
            turns=len(messages),
            tool_resources=kept,
        )
        # What is in a thread before it is seen is there when it is.
        items = [
            item_of(message, conversation.id, position(turn, 0), now, f"msg_{tail}{turn:02x}")
            for turn, message in enumerate(messages)
        ]
        stored = await self._conversations.insert(conversation)
        await self._items.put(owner, items)
        return stored

    async def list(self, owner: str, page: PageRequest) -> Page[Conversation]:
        """Somebody's, in the order in which they were made.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a thread that is not in the list.
        """
        page = replace(page, after=_anchor(page.after), before=_anchor(page.before))
        return await self._conversations.list(owner, page)

    async def get(self, owner: str, id_: str) -> Conversation:
        """One of somebody's.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        if not is_id(id_, PREFIX):
            return _there(None)
        return _there(await self._conversations.get(owner, conversation_id(id_)))

    async def change(self, owner: str, id_: str, wanted: ChangeThreadRequest) -> Conversation:
        """Set what was given; null takes a value away.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        current = await self.get(owner, id_)
        given = wanted.model_fields_set
        fields: dict[str, Any] = {}
        if "title" in given:
            fields["title"] = wanted.title
        if "metadata" in given:
            fields["metadata"] = wanted.metadata or {}
        if given & {"tool_resources", "assistants"}:
            resources = _resources(wanted) if "tool_resources" in given else resources_of(current)
            assistants: Sequence[dict[str, Any]] = assistants_of(current)
            if "assistants" in given:
                assistants = wanted.assistants or ()
            fields["tool_resources"] = kept_of_thread(resources, assistants)
        if not fields:
            return current
        return _there(await self._conversations.change(owner, current.id, **fields))

    async def delete(self, owner: str, id_: str) -> None:
        """Take a thread out of sight; with it goes all that is in it, and its runs.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        conversation = conversation_id(id_)
        if not is_id(id_, PREFIX) or not await self._conversations.delete(owner, conversation):
            _there(None)
        self._purge.soon((owner, conversation))


def _there(conversation: Conversation | None) -> Conversation:
    if conversation is None:
        raise NotFound("No thread of yours has this id.", code="thread_not_found")
    return conversation


def _anchor(id_: str | None) -> str | None:
    # Another kind's id names nothing in a list of threads.
    return id_ and (conversation_id(id_) if is_id(id_, PREFIX) else "")


def _resources(wanted: ThreadFields) -> dict[str, Any]:
    return {} if wanted.tool_resources is None else wanted.tool_resources.model_dump(exclude_none=True)
