"""The messages of a thread: those items of its conversation that people and models said."""

from __future__ import annotations

from dataclasses import replace

from app.domain.conversation import Conversation, title_of
from app.domain.ids import is_id
from app.domain.item import Item, position
from app.domain.page import Page, PageRequest
from app.domain.thread import is_message, thread_id
from app.errors import InvalidRequest, NotFound
from app.schemas.threads import ChangeMessageRequest, CreateMessageRequest
from app.services.threads.message_items import check_message, item_of, said
from app.storage.stores import Stores
from app.storage.users import now_ms
from app.storage.windows import page_of


class MessageService:
    """Writes messages into threads and shows them. Whoever calls has made sure that the thread is its owner's."""

    def __init__(self, stores: Stores) -> None:
        self._conversations = stores.conversations
        self._items = stores.items
        self._runs = stores.runs
        self._steps = stores.run_steps

    async def create(self, conversation: Conversation, wanted: CreateMessageRequest, tail: str) -> Item:
        """Write one at the end; a second time under the same tail it changes nothing.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: It cannot be, or a run is at work in the thread.
            NotFound: The thread was deleted meanwhile.
        """
        check_message(wanted)
        owner, id_ = conversation.owner, f"msg_{tail}"
        if (stored := await self._items.get(owner, conversation.id, id_)) is not None:
            return stored
        await self.check_idle(conversation)
        turn = await self._conversations.begin_turn(owner, conversation.id)
        if turn is None:
            raise NotFound("No thread of yours has this id.", code="thread_not_found")
        item = item_of(wanted, conversation.id, position(turn, 0), now_ms(), id_)
        await self._items.put(owner, [item])
        if turn == 0 and (title := title_of(said(wanted))) is not None:
            await self._conversations.title_if_none(owner, conversation.id, title)
        return item

    async def check_idle(self, conversation: Conversation) -> None:
        """Return if nothing is at work in a thread.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: A run is.
        """
        thread = thread_id(conversation.id)
        run = await self._runs.active(thread)
        if run is not None and run.expires_at_ms > now_ms():
            raise InvalidRequest(f"No message can be added to {thread} while its run {run.id} is not over.")

    async def list(self, conversation: Conversation, page: PageRequest, run: str | None = None) -> Page[Item]:
        """The messages of a thread, or those that one of its runs made.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a message that is not in the list.
        """
        if run is not None:
            return await self._of_run(conversation, page, run)
        backwards = page.before is not None and page.after is None
        wanted, found, more = page.limit, list[Item](), True
        while more and len(found) <= wanted:
            part = await self._items.list(conversation.owner, conversation.id, page, conversation.turns)
            said = [item for item in part.items if is_message(item)]
            found = [*said, *found] if backwards else [*found, *said]
            more = part.has_more
            if more:
                page = replace(page, before=part.items[0].id) if backwards else replace(page, after=part.items[-1].id)
        items = found[-wanted:] if backwards else found[:wanted]
        return Page(items, len(found) > wanted)

    async def get(self, conversation: Conversation, id_: str) -> Item:
        """One message of a thread.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in it.
        """
        item = await self._items.get(conversation.owner, conversation.id, id_) if is_id(id_, "msg") else None
        return _there(item if item is not None and is_message(item) else None)

    async def change(self, conversation: Conversation, id_: str, wanted: ChangeMessageRequest) -> Item:
        """Write on a message what was given; null takes it away.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in the thread.
        """
        item = await self.get(conversation, id_)
        if "metadata" not in wanted.model_fields_set:
            return item
        changed = replace(item, extra={**item.extra, "metadata": wanted.metadata or {}})
        return _there(changed if await self._items.set_extra(conversation.owner, changed) else None)

    async def delete(self, conversation: Conversation, id_: str) -> None:
        """Delete a message.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in the thread.
        """
        await self.get(conversation, id_)
        await self._items.delete(conversation.owner, conversation.id, id_)

    async def _of_run(self, conversation: Conversation, page: PageRequest, run: str) -> Page[Item]:
        owner = conversation.owner
        ids = await self._steps.said(owner, run) if is_id(run, "run") else ()
        found = [await self._items.get(owner, conversation.id, id_) for id_ in ids]
        items = sorted((item for item in found if item is not None), key=lambda item: item.position)
        return await page_of(items, page, lambda item: item.id)


def _there(item: Item | None) -> Item:
    if item is None:
        raise NotFound("No message of this thread has this id.", code="message_not_found")
    return item
