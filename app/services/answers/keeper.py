"""What becomes of an answer that is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from app.domain.completion import Completion, of_body, of_stream, output_items
from app.domain.conversation import first_title
from app.domain.item import ANSWER, Item, position, text_of
from app.services.answers.keeping import Keeping
from app.storage.stores import Stores

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of an answer that is kept as it is: the database takes twice as many at once."""

Place = Literal["completion_id", "response", "run", "attempt"]
"""Where an answer is kept besides in items: the field of its ``Keeping`` that says so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is over, and all that is known of it.

    Attributes:
        raw: The engine's bytes, as far as they came.
        completion: What they say.
        items: The output items that they are.
        heir: Whose it is, if it is not its owner's any more, as far as it was handed over.
    """

    keeping: Keeping
    raw: bytes
    completion: Completion
    items: tuple[Item, ...]
    heir: str | None = None

    @property
    def owners(self) -> tuple[str, ...]:
        """Under whom it may be found, in order: what is not the first one's any more is the last's."""
        return (self.keeping.owner,) if self.heir is None else (self.keeping.owner, self.heir)


Keep = Callable[[Answer], Awaitable[None]]
"""Keeps an answer in one place. It may be asked more than once, with more of the answer or less."""


class Keeper:
    """Keeps answers: their items here, and the rest by whoever said that it is theirs to keep."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._places: dict[Place, Keep] = {}

    def add(self, place: Place, keep: Keep) -> None:
        """Have ``keep`` called for every answer that has a place there; in the order in which they were added."""
        self._places[place] = keep

    async def keep(self, keeping: Keeping, raw: bytes) -> None:
        """Keep an answer; a second time it changes nothing.

        Raises:
            DatabaseUnavailable: The database did not answer: some of it may be kept.
        """
        # A guest may have signed in meanwhile.
        heir = await self._stores.ownership.heir_of(keeping.owner) if keeping.guest else None
        answer = replace(answer_of(keeping, raw), heir=heir)
        await self._keep_items(answer)
        for place, keep in self._places.items():
            if getattr(keeping, place) is not None:
                await keep(answer)

    async def _keep_items(self, answer: Answer) -> None:
        keeping, items = answer.keeping, answer.items
        if not items or (keeping.conversation is None and keeping.response is None):
            return
        if keeping.response is not None and await self._was_begun_anew(keeping.response, keeping.created_at_ms):
            return
        conversations, owner = self._stores.conversations, answer.owners[-1]
        if keeping.conversation is not None:
            owner = await self._owner_of(keeping.conversation, answer.owners)
            if owner is None:
                # It was deleted meanwhile, and what would have been in it is too.
                return
            if keeping.untitled and (title := first_title(text_of(item.body) for item in items)) is not None:
                await conversations.title_if_none(owner, keeping.conversation, title)
        await self._stores.items.put(owner, items)

    async def _owner_of(self, conversation: str, owners: tuple[str, ...]) -> str | None:
        for owner in owners:
            if await self._stores.conversations.get(owner, conversation) is not None:
                return owner
        return None

    async def _was_begun_anew(self, response: str, created_at_ms: int) -> bool:
        """Whether a response of this id is another try's by now, whose items have the same ids."""
        stored = await self._stores.responses.find(response)
        return stored is not None and stored.created_at_ms != created_at_ms


def answer_of(keeping: Keeping, raw: bytes) -> Answer:
    """What an engine's bytes came to; of very many, without the log probabilities, which are most of them."""
    completion = of_stream(raw) if keeping.stream else of_body(raw)
    if len(raw) > MOST_BYTES:
        for choice in completion.choices:
            choice.logprobs = None
    items = [
        Item(
            id=body["id"],
            body=body,
            position=position(keeping.turn, ANSWER + index),
            created_at_ms=keeping.created_at_ms,
            conversation=keeping.conversation,
            response=keeping.response,
            side="output",
            extra=keeping.extra,
        )
        for index, body in enumerate(output_items(completion, keeping.tail))
    ]
    return Answer(keeping, raw, completion, tuple(items))
