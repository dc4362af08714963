"""What a chat completion says of where it is to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from app.domain.conversation import PREFIX
from app.domain.ids import is_id
from app.errors import InvalidRequest
from app.schemas.conversation_reference import ConversationReference
from app.schemas.stored_chats import parse_change

Truncation = Literal["auto", "disabled"]

KEPT: Final = frozenset({"conversation", "conversation_id", "store", "truncation"})
"""The fields that say so: for the gateway, none of the engine's business."""


@dataclass(frozen=True, slots=True)
class ToKeep:
    """Where an answer is to be kept.

    Attributes:
        converses: Whether it is part of a conversation.
        conversation: Which one; None for one that begins with it.
        truncation: Whether what does not fit into the model's context may be left out.
        store: Whether it is to be a stored chat completion.
        metadata: What is to be written on that.
    """

    converses: bool = False
    conversation: str | None = None
    truncation: Truncation = "auto"
    store: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class Keepable(Protocol):
    """The fields of a request that say where it is to be kept."""

    conversation: str | ConversationReference | None
    conversation_id: str | None
    truncation: Truncation | None
    store: bool | None
    metadata: dict[str, str] | None
    n: int | None


def to_keep(request: Keepable, fields: Mapping[str, Any], *, converses: bool) -> ToKeep | None:
    """Where a request wants its answer kept; None for nowhere.

    Args:
        fields: Those that the caller gave.
        converses: Whether it is part of a conversation in any case.

    Raises:
        InvalidRequest: It names what is no conversation, or asks for what conversations cannot have.
    """
    conversation = _conversation(request)
    converses = converses or conversation is not None
    if "truncation" in fields and not converses:
        raise InvalidRequest("`truncation` needs a `conversation`.", param="truncation")
    if not converses and not request.store:
        return None
    if converses and (request.n or 1) > 1:
        raise InvalidRequest("`n` must be 1 in a conversation: it goes on with one answer.", param="n")
    metadata: Mapping[str, str] = parse_change({"metadata": request.metadata}) if request.store else {}
    return ToKeep(converses, conversation, request.truncation or "auto", bool(request.store), metadata)


def _conversation(request: Keepable) -> str | None:
    if request.conversation is not None and request.conversation_id is not None:
        raise InvalidRequest("Give either `conversation` or `conversation_id`.", param="conversation_id")
    if (id_ := request.conversation_id) is not None:
        param = "conversation_id"
    else:
        given = request.conversation
        id_, param = (given, "conversation") if isinstance(given, str) else (given and given.id, "conversation.id")
    if id_ is not None and not is_id(id_, PREFIX):
        raise InvalidRequest(f"`{param}` must be the id of a conversation, which begins with 'conv_'.", param=param)
    return id_
