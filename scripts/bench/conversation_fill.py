"""Many conversations, and many items in one, as they are stored when they come one by one; only written faster."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.conversation import Conversation, new_conversation
from app.domain.ids import new_tail
from app.domain.item import ANSWER, Item, position
from app.domain.words import words_of
from app.services import Services
from app.storage.conversation_words import words_document
from app.storage.conversations import document_of
from app.storage.counters import Counters

EVERY_MS = 1_000
"""Between two conversations, in their own time."""

BEGAN_MS = 1_700_000_000_000
COMMON, RARE = "weather", "zyzzyva"
PER_INSERT = 100
VOCABULARY = 5_000
WORDS = 8
"""Of a text."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What there is of one size.

    Attributes:
        ids: Of the conversations, the oldest first.
        long: The conversation with as many items.
        items: Of that one, the oldest first.
    """

    owner: str
    ids: Sequence[str]
    long: str
    items: Sequence[str]


async def fill(services: Services, owner: str, size: int) -> Filled:
    """So many conversations of somebody's, and one of somebody else's with so many items."""
    chance = random.Random(size)
    ids = await _conversations(services, owner, size, chance)
    long, items = await _items(services, f"{owner}_long", size, chance)
    return Filled(owner, ids, long, items)


def _text(number: int, size: int, chance: random.Random) -> str:
    """Half of them have the common word, and three the rare one."""
    words = [f"word{int(chance.paretovariate(0.5)) % VOCABULARY}" for _ in range(WORDS)]
    if number % 2 == 0:
        words.append(COMMON)
    if number in (size // 10, size // 2, size * 9 // 10):
        words.append(RARE)
    return " ".join(words)


async def _conversations(services: Services, owner: str, size: int, chance: random.Random) -> list[str]:
    counters = Counters(services.database)
    first, touched = await counters.next(owner, "created", size), await counters.next(owner, "touched", size)
    ids: list[str] = []
    for part in _parts(size):
        documents: list[dict[str, Any]] = []
        words: list[dict[str, Any]] = []
        for number in part:
            made = _conversation(owner, number)
            documents.append(document_of(made) | {"number": first + number, "touched": touched + number})
            said = words_of(_text(number, size, chance), 100)
            words.append(words_document(owner, made.id, first + number, said))
            ids.append(made.id)
        await services.database.collection("conversations").insert_many(documents, ordered=False)
        await services.database.collection("conversation_words").insert_many(words, ordered=False)
    return ids


def _conversation(owner: str, number: int) -> Conversation:
    at_ms = BEGAN_MS + number * EVERY_MS
    id_ = f"conv_{at_ms:012x}{new_tail()[12:]}"
    return new_conversation(owner, at_ms, id_, title=f"Talk {number}", metadata={"number": str(number)})


async def _items(services: Services, owner: str, size: int, chance: random.Random) -> tuple[str, list[str]]:
    turns = (size + 1) // 2
    made = await services.stores.conversations.insert(new_conversation(owner, BEGAN_MS, turns=turns))
    ids: list[str] = []
    for part in _parts(size):
        items = [_item(made.id, number, _text(number, size, chance)) for number in part]
        await services.stores.items.put(owner, items)
        ids += [item.id for item in items]
    return made.id, ids


def _item(conversation: str, number: int, text: str) -> Item:
    """Questions and answers in turn."""
    is_answer = number % 2 == 1
    id_ = f"msg_{new_tail()}"
    part: dict[str, Any] = {"type": "input_text", "text": text}
    if is_answer:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    role = "assistant" if is_answer else "user"
    body = {"type": "message", "id": id_, "status": "completed", "role": role, "content": [part]}
    place = position(number // 2, ANSWER if is_answer else 0)
    return Item(id_, body, place, BEGAN_MS + number, conversation)


def _parts(size: int) -> Iterator[range]:
    for at in range(0, size, PER_INSERT):
        yield range(at, min(at + PER_INSERT, size))
