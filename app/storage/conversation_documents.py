"""Conversations as documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.domain.conversation import Conversation
from app.storage.database import Document
from app.storage.written import json_text, pairs


def conversation_of(document: Document) -> Conversation:
    """What a document stands for."""
    resources = document.get("tool_resources")
    return Conversation(
        id=document["_id"],
        owner=document["owner"],
        created_at_ms=document["created_at_ms"],
        updated_at_ms=document["updated_at_ms"],
        title=document.get("title"),
        model=document.get("model"),
        metadata=dict(document.get("metadata") or ()),
        turns=document["turns"],
        number=document["number"],
        touched=document["touched"],
        title_given=document["title_given"],
        tool_resources=None if resources is None else msgspec.json.decode(resources),
    )


def document_of(conversation: Conversation) -> Document:
    """The document of a conversation, but for its numbers."""
    return {
        "_id": conversation.id,
        "owner": conversation.owner,
        "created_at_ms": conversation.created_at_ms,
        "updated_at_ms": conversation.updated_at_ms,
        "turns": conversation.turns,
        **as_stored(
            {
                "title": conversation.title,
                "title_given": conversation.title_given,
                "model": conversation.model,
                "metadata": conversation.metadata,
                "tool_resources": conversation.tool_resources,
            }
        ),
    }


def as_stored(fields: Mapping[str, Any]) -> Document:
    """Fields of a conversation as its document has them."""
    values = dict(fields)
    if "metadata" in values:
        values["metadata"] = pairs(values["metadata"] or {})
    if values.get("tool_resources") is not None:
        values["tool_resources"] = json_text(values["tool_resources"])
    return values
