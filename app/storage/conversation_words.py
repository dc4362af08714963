"""The collection ``conversation_words``: what conversations are found by.

Beside each text that is stored, the words that its conversation has not had yet, in small documents. So what a search
reads of a conversation grows with its vocabulary, and not with its length.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING

from app.domain.words import words_of
from app.storage.database import Collection, Database, Document
from app.storage.windows import Place

MOST_OF_A_TEXT: Final = 2000
"""Words that count of one text: what is behind them is not found."""

PER_DOCUMENT: Final = 200
PER_DELETION: Final = 50
A_LOOK: Final = 25
"""How many documents are read in the time that it takes to look for one."""

KEPT: Final = 200_000
"""Words at the most that a process remembers of conversations."""


@dataclass(slots=True)
class _Known:
    number: int
    words: set[int]


class ConversationWords:
    """Writes and finds words; remembers which a conversation has, so that it is asked once a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._words: Collection = database.collection("conversation_words")
        self._conversations: Collection = database.collection("conversations")
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._kept = 0

    async def prepare(self) -> None:
        """Make the indexes that searches rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        by_word = [("owner", ASCENDING), ("words", ASCENDING), ("number", ASCENDING)]
        async with self._database.operation():
            await self._words.create_index(by_word, name="words")
            await self._words.create_index([("conversation", ASCENDING)], name="conversation")

    async def add(self, owner: str, conversation: str, texts: Iterable[str]) -> None:
        """Make a conversation be found by what is in these texts.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        said: dict[str, None] = {}
        for text in texts:
            said.update(dict.fromkeys(words_of(text, MOST_OF_A_TEXT)))
        if not said:
            return
        known = await self._remembered(owner, conversation)
        if known is None:
            return
        new = [word for word in said if hash(word) not in known.words]
        for part in (new[at : at + PER_DOCUMENT] for at in range(0, len(new), PER_DOCUMENT)):
            async with self._database.operation():
                await self._words.insert_one(words_document(owner, conversation, known.number, part))
            known.words.update(map(hash, part))
            self._kept += len(part)
        self._forget_oldest()

    async def set_title(self, owner: str, conversation: str, number: int, title: str | None) -> None:
        """Make a conversation be found by its title, and by no earlier one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document = words_document(owner, conversation, number, words_of(title or "", PER_DOCUMENT)) | {"title": True}
        async with self._database.operation():
            await self._words.replace_one({"_id": f"{conversation}:title"}, document, upsert=True)

    def search(self, owner: str, words: Sequence[str]) -> WordSearch:
        """A search for the conversations of somebody that have all of these words."""
        return WordSearch(self._database, owner, words)

    async def delete_all(self, owner: str, conversation: str, *, but_title: bool = False) -> None:
        """Let a conversation be found no more, or by its title alone.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the words may be deleted.
        """
        self._forget(owner, conversation)
        for part in await self._parts(owner, conversation, but_title=but_title):
            async with self._database.operation():
                await self._words.delete_many({"_id": {"$in": part}})
        # Whoever asked meanwhile was told of words that are gone by now.
        self._forget(owner, conversation)

    async def move_all(self, owner: str, conversation: str, to: str, number: int) -> None:
        """Make a conversation be found by somebody else, under another number; with those that are theirs already.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the words may be theirs.
        """
        for part in [*await self._parts(to, conversation), *await self._parts(owner, conversation)]:
            async with self._database.operation():
                await self._words.update_many({"_id": {"$in": part}}, {"$set": {"owner": to, "number": number}})

    async def _parts(self, owner: str, conversation: str, *, but_title: bool = False) -> Sequence[list[Any]]:
        where: Document = {"conversation": conversation, "owner": owner}
        if but_title:
            where["title"] = None
        async with self._database.operation():
            found = [document["_id"] for document in await self._words.find(where, {"_id": True}).to_list(None)]
        return [found[at : at + PER_DELETION] for at in range(0, len(found), PER_DELETION)]

    async def _remembered(self, owner: str, conversation: str) -> _Known | None:
        key = owner, conversation
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        where = {"_id": conversation, "owner": owner, "gone_at_ms": None}
        async with self._database.operation():
            document = await self._conversations.find_one(where, {"number": True})
        if document is None:
            return None
        of_it = {"conversation": conversation, "title": None}
        async with self._database.operation():
            stored = await self._words.find(of_it, {"words": True}).to_list(None)
        known = _Known(document["number"], {hash(word) for each in stored for word in each["words"]})
        self._known[key] = known
        self._kept += len(known.words)
        return known

    def _forget(self, owner: str, conversation: str) -> None:
        known = self._known.pop((owner, conversation), None)
        self._kept -= len(known.words) if known else 0

    def _forget_oldest(self) -> None:
        while self._kept > KEPT and len(self._known) > 1:
            _, known = self._known.popitem(last=False)
            self._kept -= len(known.words)


class WordSearch:
    """Looks for several words: first for those that were rare so far, so that the others are seldom looked for."""

    def __init__(self, database: Database, owner: str, words: Sequence[str]) -> None:
        self._database = database
        self._words: Collection = database.collection("conversation_words")
        self._owner = owner
        # How many have each, by number; at first each has to be looked for, among few.
        self._density = dict.fromkeys(words, 0.0)
        self._looked = False

    async def find(self, low: int, high: int) -> set[Place]:
        """The conversations with numbers from ``low`` on and below ``high`` that have all of the words.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found: set[Place] | None = None
        for word in sorted(self._density, key=lambda word: self._density[word]):
            if found is not None and len(found) * A_LOOK < self._density[word] * (high - low):
                found = {place for place in found if place in await self._having(word, place[0], place[0] + 1)}
            else:
                places = await self._having(word, low, high)
                self._density[word] = len(places) / (high - low)
                found = places if found is None else found & places
            if self._looked and not found:
                break
        self._looked = True
        return found or set()

    async def _having(self, word: str, low: int, high: int) -> set[Place]:
        where = {"owner": self._owner, "words": word, "number": {"$gte": low, "$lt": high}}
        async with self._database.operation():
            documents = await self._words.find(where, {"number": True, "conversation": True}).to_list(None)
        return {(document["number"], document["conversation"]) for document in documents}


def words_document(owner: str, conversation: str, number: int, words: Sequence[str]) -> Document:
    """A document with words of a conversation."""
    return {"owner": owner, "conversation": conversation, "number": number, "words": list(words)}
