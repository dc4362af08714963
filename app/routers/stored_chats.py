"""Chat completions that were asked for with ``store: true``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from app.domain.stored_chat import StoredChat, StoredChatFilter
from app.errors import InvalidRequest, NotFound
from app.openapi import request_body
from app.routers.dependencies import (
    IdentifiedReader,
    IdentifiedWriter,
    JsonBody,
    OldestFirstPageDep,
    ServicesDep,
)
from app.schemas.common import MAX_METADATA_PAIRS
from app.schemas.stored_chats import ChangeStoredChatRequest, parse_change
from app.storage.windows import page_of

BODIES = (ChangeStoredChatRequest,)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Stored chats"])
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


@router.get("/chat/completions")
async def list_stored_chats(
    request: Request,
    services: ServicesDep,
    caller: IdentifiedReader,
    page: OldestFirstPageDep,
    model: Annotated[str | None, Query(max_length=256)] = None,
) -> dict[str, Any]:
    """List your stored chat completions, the oldest first; `metadata[key]=value` finds those it is written on."""
    wanted = StoredChatFilter(model, _metadata_of(request))
    found = await services.stores.stored_chats.list(caller.subject, page, wanted)
    return found.to_list(StoredChat.to_dict, no_id="")


@router.get("/chat/completions/{completion_id}")
async def get_stored_chat(completion_id: str, services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Get a stored chat completion."""
    return _found(await services.stores.stored_chats.get(caller.subject, completion_id)).to_dict()


@router.post("/chat/completions/{completion_id}", openapi_extra=request_body(ChangeStoredChatRequest))
@router.patch("/chat/completions/{completion_id}", include_in_schema=False)
async def change_stored_chat(
    completion_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change what is written on a stored chat completion."""
    metadata = parse_change(body)
    chat = await services.stores.stored_chats.set_metadata(caller.subject, completion_id, metadata)
    return _found(chat).to_dict()


@router.delete("/chat/completions/{completion_id}")
async def delete_stored_chat(completion_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """Delete a stored chat completion."""
    if not await services.stores.stored_chats.delete(caller.subject, completion_id):
        raise _missing()
    return {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}


@router.get("/chat/completions/{completion_id}/messages")
async def list_stored_messages(
    completion_id: str, services: ServicesDep, caller: IdentifiedReader, page: OldestFirstPageDep
) -> dict[str, Any]:
    """List the messages that a stored chat completion answers."""
    chat = _found(await services.stores.stored_chats.get(caller.subject, completion_id))
    found = await page_of(chat.message_list(), page, lambda message: message["id"])
    return found.to_list(dict, no_id="")


def _metadata_of(request: Request) -> tuple[tuple[str, str], ...]:
    found = [
        (match[1], value) for name, value in request.query_params.multi_items() if (match := _METADATA.fullmatch(name))
    ]
    if len(found) > MAX_METADATA_PAIRS:
        raise InvalidRequest(f"metadata may have at most {MAX_METADATA_PAIRS} pairs.", param="metadata")
    return tuple(found)


def _found(chat: StoredChat | None) -> StoredChat:
    if chat is None:
        raise _missing()
    return chat


def _missing() -> NotFound:
    return NotFound("You have no such stored chat completion.", code="chat_completion_not_found")
