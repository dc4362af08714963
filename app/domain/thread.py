"""Threads and their messages: other words for conversations, and for what people and models say in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from app.domain.conversation import PREFIX as CONVERSATION
from app.domain.conversation import Conversation
from app.domain.ids import with_prefix
from app.domain.item import Item
from app.domain.run import seconds

PREFIX: Final = "thread"
ROLES: Final = frozenset(("user", "assistant"))
"""Who speaks in threads. What systems and developers say in the conversation is no message of the thread."""

Reason = Literal["max_tokens", "run_cancelled", "run_expired", "run_failed"]
"""Why a message is incomplete, as far as it may be here."""

Json = dict[str, Any]


def thread_id(conversation: str) -> str:
    """The thread that a conversation is."""
    return with_prefix(conversation, PREFIX)


def conversation_id(thread: str) -> str:
    """The conversation that a thread is."""
    return with_prefix(thread, CONVERSATION)


def thread_of(conversation: Conversation) -> Json:
    """OpenAI's thread object, and what Jan's has besides."""
    resources, assistants = _kept(conversation)
    return {
        "id": thread_id(conversation.id),
        "object": "thread",
        "created_at": conversation.created_at_ms // 1000,
        "updated_at": conversation.updated_at_ms // 1000,
        "title": conversation.title,
        "assistants": assistants,
        "tool_resources": resources,
        "metadata": dict(conversation.metadata),
    }


def kept_of_thread(resources: Mapping[str, Any] | None, assistants: Sequence[Mapping[str, Any]]) -> Json:
    """What threads alone show, as a conversation keeps it."""
    return {"tool_resources": dict(resources or {}), "assistants": list(assistants)}


def assistants_of(conversation: Conversation) -> Sequence[Json]:
    """The assistants that a client of Jan's wrote on a thread."""
    return _kept(conversation)[1]


def resources_of(conversation: Conversation) -> Json:
    """The tool resources of a thread: they hold nothing."""
    return _kept(conversation)[0]


def _kept(conversation: Conversation) -> tuple[Json, list[Json]]:
    kept = conversation.tool_resources or {}
    return kept.get("tool_resources", {}), kept.get("assistants", [])


def is_message(item: Item) -> bool:
    """Whether an item of a conversation is a message of its thread."""
    return item.body.get("type") == "message" and item.body.get("role") in ROLES


def message_of(item: Item, thread: str) -> Json:
    """OpenAI's message object."""
    extra = item.extra
    status = item.status
    ended: int | None = extra.get("ended_at_ms", item.created_at_ms)
    reason: Reason = extra.get("reason", "run_failed")
    return {
        "id": item.id,
        "object": "thread.message",
        "created_at": item.created_at_ms // 1000,
        "thread_id": thread,
        "status": status,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "completed_at": seconds(ended) if status == "completed" else None,
        "incomplete_at": seconds(ended) if status == "incomplete" else None,
        "role": item.body["role"],
        "content": [shown for part in item.body["content"] if (shown := _shown_part(part)) is not None],
        "assistant_id": extra.get("assistant_id"),
        "run_id": extra.get("run_id"),
        "attachments": [],
        "metadata": extra.get("metadata", {}),
    }


def shown_text(value: str) -> Json:
    """A text as messages show it."""
    return {"type": "text", "text": {"value": value, "annotations": []}}


def _shown_part(part: Mapping[str, Any]) -> Json | None:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return shown_text(text)
        case {"type": "refusal", "refusal": str(refusal)}:
            return {"type": "refusal", "refusal": refusal}
        case {"type": "input_image", "image_url": str(url), **rest}:
            return {"type": "image_url", "image_url": {"url": url, "detail": _detail(rest)}}
        case {"type": "input_image", "file_id": str(file), **rest}:
            return {"type": "image_file", "image_file": {"file_id": file, "detail": _detail(rest)}}
        case _:
            return None


def _detail(part: Mapping[str, Any]) -> str:
    # Conversations know one more.
    detail = part.get("detail") or "auto"
    return detail if detail in ("auto", "low", "high") else "high"
