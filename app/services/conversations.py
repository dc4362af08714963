"""Conversations as their owners handle them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.domain.conversation import PREFIX, Conversation, ConversationFilter, first_title, new_conversation
from app.domain.ids import ITEM_PREFIXES, is_id, new_tail
from app.domain.item import Item, position, stored_body, text_of
from app.domain.page import Page, PageRequest
from app.errors import NotFound
from app.schemas.conversations import CreateConversationRequest
from app.schemas.items import shown_items
from app.services.conversation_purge import ConversationPurge
from app.storage.stores import Stores
from app.storage.users import now_ms


class ConversationService:
    """Everything takes the owner: what is another's is not there.

    Args:
        purge: Deletes what was in conversations that are gone.
    """

    def __init__(self, stores: Stores, purge: ConversationPurge) -> None:
        self._conversations = stores.conversations
        self._items = stores.items
        self.purge = purge

    async def create(self, owner: str, wanted: CreateConversationRequest, tail: str | None = None) -> Conversation:
        """Begin a conversation, with items perhaps.

        Args:
            tail: What all ids that this makes end with, if it was chosen already: what is stored stays as it is.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        bodies, tail = shown_items(wanted.items or ()), tail or new_tail()
        begun = new_conversation(
            owner,
            now_ms(),
            f"{PREFIX}_{tail}",
            title=wanted.title or title_from(bodies),
            title_given=wanted.title is not None,
            model=wanted.model,
            metadata=wanted.metadata or {},
            turns=1 if bodies else 0,
        )
        conversation = await self._conversations.insert(begun)
        await self._items.put(owner, new_items(conversation.id, 0, bodies, tail))
        return conversation

    async def get(self, owner: str, id_: str) -> Conversation:
        """One of somebody's.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        found = await self._conversations.get(owner, id_) if is_id(id_, PREFIX) else None
        return _found(found)

    async def list(self, owner: str, page: PageRequest, wanted: ConversationFilter) -> Page[Conversation]:
        """Those of somebody's that the filter lets through.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on one that is not in the list.
        """
        return await self._conversations.list(owner, page, wanted)

    async def change(self, owner: str, id_: str, fields: Mapping[str, Any]) -> Conversation:
        """Set ``title``, ``model`` or ``metadata``.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        if not fields or not is_id(id_, PREFIX):
            return await self.get(owner, id_)
        return _found(await self._conversations.change(owner, id_, **fields))

    async def delete(self, owner: str, id_: str) -> None:
        """Delete one of somebody's: nobody sees it any more, and what is in it goes soon.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        if not await self._delete(owner, id_):
            raise no_conversation()

    async def delete_each(self, owner: str, ids: Iterable[str]) -> tuple[list[str], list[str]]:
        """Delete some; the ids of those that were deleted, and of those that they do not have.

        Raises:
            DatabaseUnavailable: The database did not answer; some may be deleted.
        """
        deleted: list[str] = []
        missing: list[str] = []
        for id_ in dict.fromkeys(ids):
            (deleted if await self._delete(owner, id_) else missing).append(id_)
        return deleted, missing

    async def delete_all(self, owner: str) -> int:
        """Delete all of somebody's; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer; some may be deleted.
        """
        count = await self._conversations.delete_all(owner)
        self.purge.soon()
        return count

    async def add_items(
        self, owner: str, id_: str, bodies: Sequence[Mapping[str, Any]], tail: str | None = None
    ) -> Sequence[Item]:
        """Add items to the end, all of them together; the items as they are stored.

        Args:
            tail: What their ids have in common, if it was chosen already: those that are stored stay where they are.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have no such conversation.
        """
        turn = await self._conversations.begin_turn(owner, id_) if is_id(id_, PREFIX) else None
        if turn is None:
            raise no_conversation()
        items = new_items(id_, turn, bodies, tail or new_tail())
        await self._items.put(owner, items)
        if turn == 0 and (title := title_from(bodies)) is not None:
            await self._conversations.title_if_none(owner, id_, title)
        return items

    async def list_items(self, owner: str, id_: str, page: PageRequest) -> Page[Item]:
        """A part of what is in a conversation.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an item that is not in it.
            NotFound: They have no such conversation.
        """
        conversation = await self.get(owner, id_)
        return await self._items.list(owner, id_, page, conversation.turns)

    async def newest(self, conversation: Conversation, page: PageRequest) -> Page[Item]:
        """The end of a conversation, in the order that things were said in.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found = await self._items.list(conversation.owner, conversation.id, page, conversation.turns)
        return Page(found.items[::-1], found.has_more)

    async def get_item(self, owner: str, id_: str, item_id: str) -> Item:
        """One item of a conversation.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have no such conversation, or it has no such item.
        """
        await self.get(owner, id_)
        item = await self._items.get(owner, id_, item_id)
        if item is None:
            raise _no_item()
        return item

    async def delete_item(self, owner: str, id_: str, item_id: str) -> Conversation:
        """Delete one item; the conversation that it was in.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have no such conversation, or it has no such item.
        """
        conversation = await self.get(owner, id_)
        if not await self._items.delete(owner, id_, item_id):
            raise _no_item()
        self.purge.reword(conversation)
        return conversation

    async def _delete(self, owner: str, id_: str) -> bool:
        if not is_id(id_, PREFIX) or not await self._conversations.delete(owner, id_):
            return False
        self.purge.soon((owner, id_))
        return True


def new_items(conversation: str, turn: int, bodies: Sequence[Mapping[str, Any]], tail: str) -> list[Item]:
    """Items of a turn, under ids that were made as one."""
    now, items = now_ms(), list[Item]()
    for index, body in enumerate(bodies):
        id_ = f"{ITEM_PREFIXES[body['type']]}_{tail}{index:02x}"
        items.append(Item(id_, stored_body(body, id_), position(turn, index), now, conversation))
    return items


def title_from(bodies: Iterable[Mapping[str, Any]]) -> str | None:
    """A title from what a person says first in these items."""
    return first_title(text_of(body) for body in bodies if body.get("role") == "user")


def no_conversation(param: str | None = None) -> NotFound:
    """What is said to those who name a conversation that they do not have."""
    return NotFound("You have no such conversation.", param=param, code="conversation_not_found")


def _found(conversation: Conversation | None) -> Conversation:
    if conversation is None:
        raise no_conversation()
    return conversation


def _no_item() -> NotFound:
    return NotFound("This conversation has no such item.", code="item_not_found")
