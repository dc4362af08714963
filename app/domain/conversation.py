"""Conversations: what was said in one, under a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.domain.ids import new_id

PREFIX: Final = "conv"

TITLE_LENGTH: Final = 60
"""Characters at the most of a title that is made from a text."""

OrderBy = Literal["created_at", "updated_at"]

_EMPTY: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One of them.

    Attributes:
        metadata: What its owner wrote on it.
        turns: How many there have been; the next one has this number.
        number: Its place among its owner's by creation: the storage gives it.
        touched: Its place among them by its last change: the storage gives it.
        title_given: Whether somebody chose the title.
        tool_resources: What threads show of it.
    """

    id: str
    owner: str
    created_at_ms: int
    updated_at_ms: int
    title: str | None = None
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    turns: int = 0
    number: int = -1
    touched: int = -1
    title_given: bool = False
    tool_resources: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's conversation object, and what we know besides."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at_ms // 1000,
            "updated_at": self.updated_at_ms // 1000,
            "title": self.title,
            "model": self.model,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations; what is left out lets all through.

    Attributes:
        words: All of which are in the conversation or its title.
        since_ms: The earliest time of what the list is ordered by.
        until_ms: The time before which it is.
        order_by: What the list is ordered by.
    """

    words: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    order_by: OrderBy = "created_at"

    def lets_through(self, time_ms: int) -> bool:
        """Whether this time is one of those."""
        return (self.since_ms is None or time_ms >= self.since_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )


EVERY_CONVERSATION: Final = ConversationFilter()


def new_conversation(owner: str, now_ms: int, id_: str | None = None, **fields: Any) -> Conversation:
    """One that begins."""
    return Conversation(id_ or new_id(PREFIX), owner, now_ms, now_ms, **fields)


def title_of(text: str) -> str | None:
    """A title from what was said first: its first line, cut at a word. None if there is nothing to read in it."""
    line = next((line for line in map(_plain, text.splitlines()) if line), "")
    if len(line) <= TITLE_LENGTH:
        return line or None
    cut = line[:TITLE_LENGTH]
    # The last word is whole if a blank follows it.
    at_word = cut if line[TITLE_LENGTH] == " " else cut.rpartition(" ")[0]
    return at_word.rstrip() or cut


def first_title(texts: Iterable[str]) -> str | None:
    """A title from the first of some texts that has anything to read in it."""
    return next((title for text in texts if (title := title_of(text)) is not None), None)


def _plain(line: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in line)
    return " ".join(printable.split())
