"""What was said before: in the responses that one continues, or in its conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from app.domain.conversation import Conversation
from app.domain.item import position
from app.domain.stored_response import StoredResponse
from app.errors import InvalidRequest, NotFound
from app.services.history import Turn, read_back, turns_of
from app.storage.stores import Stores

PREVIOUS: Final = "previous_response_id"


@dataclass(slots=True)
class Before:
    """Turns that are read from the newest backwards.

    Attributes:
        room: How many bytes more there is any use for.
        turns: The oldest first.
    """

    room: int
    turns: list[Turn] = field(default_factory=list[Turn])

    @property
    def is_enough(self) -> bool:
        """Whether what is older cannot have room in any model's context."""
        return self.room < 0

    def put(self, older: Sequence[Turn]) -> None:
        """Put older turns before those that are there."""
        self.turns[:0] = [turn for turn in older if turn]
        self.room -= len(msgspec.json.encode(older))


async def before_response(stores: Stores, owner: str, previous: StoredResponse, most_bytes: int) -> list[Turn]:
    """What went into a response and all that it continues, and what came of them; the oldest first.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: They continue each other in a circle.
        NotFound: One of them is not there any more.
    """
    before, seen = Before(most_bytes), set[str]()
    newest = previous
    while True:
        line = list(newest.line)
        if len(set(line)) < len(line) or not seen.isdisjoint(line):
            raise InvalidRequest(
                "The responses that are continued here continue each other in a circle.", param=PREVIOUS
            )
        seen.update(line)
        older = await stores.responses.by_ids(owner, newest.ancestors)
        for id_ in newest.ancestors:
            if id_ not in older:
                raise _missing(id_)
        items = await stores.items.of_responses(owner, line)
        before.put([[item.body for item in items[id_]] for id_ in line])
        oldest = older.get(line[0], newest)
        if oldest.conversation is not None:
            await _add_conversation(stores, owner, oldest.conversation, oldest.turn, before)
        if oldest.previous is None or before.is_enough:
            return before.turns
        newest = await found(stores, owner, oldest.previous)


async def before_turn(stores: Stores, conversation: Conversation, most_bytes: int) -> list[Turn]:
    """What was said in a conversation; of a long one, the end.

    Raises:
        DatabaseUnavailable: The database did not answer.
    """
    before = Before(most_bytes)
    await _add_conversation(stores, conversation.owner, conversation.id, conversation.turns, before)
    return before.turns


async def found(stores: Stores, owner: str, id_: str) -> StoredResponse:
    """A response that is continued.

    Raises:
        DatabaseUnavailable: The database did not answer.
        NotFound: There is none such.
    """
    response = await stores.responses.get(owner, id_)
    if response is None:
        raise _missing(id_)
    return response


async def _add_conversation(stores: Stores, owner: str, conversation: str, turns: int, before: Before) -> None:
    """Read what there is in a conversation before a turn."""
    items, _ = await read_back(
        stores.items, owner, conversation, turns=turns, below=position(turns, 0), most_bytes=before.room
    )
    before.put(turns_of(items))


def _missing(id_: str) -> NotFound:
    return NotFound(
        f"You have no response {id_}, which is continued here; it may have been deleted.",
        param=PREVIOUS,
        code="previous_response_not_found",
    )
