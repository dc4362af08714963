"""Conversations in the order of their numbers: pages of them, by time and by their words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.conversation import Conversation, ConversationFilter, OrderBy
from app.domain.page import Page, PageRequest
from app.storage.conversation_documents import conversation_of
from app.storage.conversation_words import ConversationWords
from app.storage.counters import CounterName, Counters
from app.storage.database import Collection, Database, Document, find_each
from app.storage.windows import Place, Windowed

SLACK: Final = 32
"""Numbers around a time that may belong to the other side of it: clocks differ, and numbers are drawn before."""

SEARCH_WIDTH: Final = 3.0
SEARCH_WIDEST: Final = 16_384
SEARCH_FASTER: Final = 8
"""Few conversations have a word that was not found so far, so the windows of searches soon are wide."""


@dataclass(frozen=True, slots=True)
class _Order:
    counter: CounterName
    number: str
    time: str


_ORDERS: Final[dict[OrderBy, _Order]] = {
    "created_at": _Order("created", "number", "created_at_ms"),
    "updated_at": _Order("touched", "touched", "updated_at_ms"),
}


class OrderedConversations:
    """Reads lists of conversations."""

    def __init__(self, database: Database, counters: Counters, words: ConversationWords) -> None:
        self._database = database
        self._counters = counters
        self._words = words
        self._conversations: Collection = database.collection("conversations")

    async def page(self, owner: str, page: PageRequest, wanted: ConversationFilter) -> Page[Conversation]:
        """A part of the conversations that the filter lets through.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on one that is not in the list.
        """
        order = _ORDERS[wanted.order_by]
        end = await self._counters.end(owner, order.counter)
        start = 0
        if wanted.since_ms is not None:
            start = max(0, await self._bisected(owner, order, wanted.since_ms, end) - SLACK)
        if wanted.until_ms is not None:
            end = min(end, await self._bisected(owner, order, wanted.until_ms, end) + SLACK)
        if wanted.words:
            return await self._search(owner, page, wanted, start, end)
        return await self._list(owner, order, wanted, start, end).page(page)

    async def first_since(self, owner: str, order_by: OrderBy, time_ms: int) -> int | None:
        """The number of the first conversation since a time, nearly; None if there is none.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        order = _ORDERS[order_by]
        end = await self._counters.end(owner, order.counter)
        found = await self._bisected(owner, order, time_ms, end)
        return found if found < end else None

    async def _bisected(self, owner: str, order: _Order, time_ms: int, end: int) -> int:
        every = self._list(owner, order, ConversationFilter(), 0, end)
        low, high = 0, end
        while low < high:
            middle = (low + high) // 2
            # All that have a number: what came over from somebody else shares it with what it comes before.
            found = await every.fetch(middle, middle + 1)
            if not found and (next_ := await every.read(1, ascending=True, low=(middle + 1, ""), high=(high, ""))):
                number = getattr(next_[0], order.number)
                found = await every.fetch(number, number + 1)
            if found and all(getattr(each, order.time) < time_ms for each in found):
                low = getattr(found[0], order.number) + 1
            else:
                high = middle
        return low

    def _list(
        self, owner: str, order: _Order, wanted: ConversationFilter, start: int, end: int
    ) -> Windowed[Conversation]:
        async def fetch(low: int, high: int) -> Sequence[Conversation]:
            where = {"owner": owner, order.number: {"$gte": low, "$lt": high}}
            async with self._database.operation():
                documents = await self._conversations.find(where).to_list(None)
            found = map(conversation_of, documents)
            return [conversation for conversation in found if wanted.lets_through(getattr(conversation, order.time))]

        def place(conversation: Conversation) -> Place:
            return getattr(conversation, order.number), conversation.id

        return Windowed(fetch, place, self._finder(owner, order), end, start)

    async def _search(
        self, owner: str, page: PageRequest, wanted: ConversationFilter, start: int, end: int
    ) -> Page[Conversation]:
        order, search = _ORDERS["created_at"], self._words.search(owner, wanted.words)

        async def fetch(low: int, high: int) -> Sequence[Conversation]:
            places = await search.find(low, high)
            async with self._database.operation():
                found = await find_each(self._conversations, (id_ for _, id_ in places), self._of(owner))
            return [each for each in found.values() if each is not None and wanted.lets_through(each.created_at_ms)]

        def place(conversation: Conversation) -> Place:
            return conversation.number, conversation.id

        found = Windowed(
            fetch,
            place,
            self._finder(owner, order),
            end,
            start,
            width=SEARCH_WIDTH,
            widest=SEARCH_WIDEST,
            faster=SEARCH_FASTER,
        )
        return await found.page(page)

    def _of(self, owner: str) -> Callable[[Document], Conversation | None]:
        def build(document: Document) -> Conversation | None:
            is_theirs = document["owner"] == owner and document.get("gone_at_ms") is None
            return conversation_of(document) if is_theirs else None

        return build

    def _finder(self, owner: str, order: _Order) -> Callable[[str], Awaitable[Place | None]]:
        async def find(id_: str) -> Place | None:
            async with self._database.operation():
                document = await self._conversations.find_one(
                    {"_id": id_, "owner": owner, "gone_at_ms": None}, {order.number: True}
                )
            return None if document is None else (document[order.number], id_)

        return find
