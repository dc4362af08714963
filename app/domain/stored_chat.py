"""Chat completions that are stored, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

StoredChatStatus = Literal["in_progress", "incomplete", "completed"]


@dataclass(frozen=True, slots=True)
class StoredChat:
    """One of them.

    Attributes:
        model: The name that was asked for.
        messages: What was sent.
        body: The answer, as it was given; empty for as long as there is none.
        number: Its place among its owner's: the storage gives it.
    """

    id: str
    owner: str
    model: str
    created_at_ms: int
    metadata: Mapping[str, str]
    messages: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any]
    status: StoredChatStatus = "in_progress"
    number: int = -1

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's chat completion, with what its owner wrote on it."""
        return {**self.body, "id": self.id, "metadata": dict(self.metadata)}

    def message_list(self) -> list[dict[str, Any]]:
        """What was sent, as OpenAI lists it."""
        return [_listed(f"{self.id}-{index}", message) for index, message in enumerate(self.messages)]


@dataclass(frozen=True, slots=True)
class StoredChatFilter:
    """Which of them; what is left out lets all through.

    Attributes:
        metadata: Pairs that are all written on it.
    """

    model: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


def _listed(id_: str, message: Mapping[str, Any]) -> dict[str, Any]:
    content: str | list[dict[str, Any]] | None = message.get("content")
    listed = {name: value for name, value in message.items() if name != "reasoning"}
    listed |= {"id": id_, "refusal": None, "content_parts": None, "content": content}
    if not isinstance(content, str) and content is not None:
        listed["content"] = "\n".join(part.get("text") or part.get("refusal") or "" for part in content)
        listed["content_parts"] = content
    return listed
