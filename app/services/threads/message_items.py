"""Messages as callers write them into threads, and the items that conversations keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.item import Item, text_part
from app.errors import InvalidRequest
from app.schemas.threads import CreateMessageRequest, ImageFilePart, ImageUrlPart, Part, TextPart


def check_messages(messages: Sequence[CreateMessageRequest], param: str) -> None:
    """Refuse what a message can be by itself, and not by whom it is of.

    Raises:
        InvalidRequest: One shows an image as the assistant's.
    """
    for index, message in enumerate(messages):
        check_message(message, f"{param}[{index}].")


def check_message(message: CreateMessageRequest, param: str = "") -> None:
    """The same for one.

    Raises:
        InvalidRequest: It shows an image as the assistant's.
    """
    if message.role != "assistant" or isinstance(message.content, str):
        return
    for index, part in enumerate(message.content):
        if not isinstance(part, TextPart):
            where = f"{param}content[{index}].type"
            raise InvalidRequest(f"`{where}` must be 'text': assistants say nothing but text here.", param=where)


def said(message: CreateMessageRequest) -> str:
    """What there is to read in a message."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.value for part in message.content if isinstance(part, TextPart))


def item_of(message: CreateMessageRequest, conversation: str, place: int, now_ms: int, id_: str) -> Item:
    """The item that a message is kept as.

    Args:
        place: Its position in the conversation.
        id_: Its id.
    """
    if isinstance(message.content, str):
        content = [text_part(message.role, message.content)]
    else:
        content = [_kept_part(message.role, part) for part in message.content]
    body = {"type": "message", "id": id_, "status": "completed", "role": message.role, "content": content}
    extra = {"metadata": message.metadata} if message.metadata else {}
    return Item(id_, body, place, now_ms, conversation, extra=extra)


def _kept_part(role: str, part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return text_part(role, part.value)
        case ImageUrlPart():
            image = {"image_url": part.image_url.url, "file_id": None}
            return {"type": "input_image", "detail": part.image_url.detail, **image}
        case ImageFilePart():
            image = {"image_url": None, "file_id": part.image_file.file_id}
            return {"type": "input_image", "detail": part.image_file.detail, **image}
