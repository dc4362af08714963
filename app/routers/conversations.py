"""Conversations and their items: OpenAI's API, with titles, search and histories."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from app.domain.conversation import Conversation, ConversationFilter, OrderBy
from app.domain.item import Item
from app.domain.page import Page, PageRequest
from app.domain.words import wanted_words
from app.errors import InvalidRequest
from app.openapi import request_body
from app.routers.dependencies import (
    IdentifiedReader,
    IdentifiedWriter,
    JsonBody,
    OptionalJsonBody,
    PageDep,
    ServicesDep,
)
from app.routers.idempotent import once
from app.schemas.body import parse
from app.schemas.conversations import (
    AddItemsRequest,
    ChangeConversationRequest,
    CreateConversationRequest,
    parse_added,
    parse_change,
)
from app.schemas.usage_period import MAX_SECOND

BODIES = (CreateConversationRequest, ChangeConversationRequest, AddItemsRequest)
"""What the endpoints below take, for the API's description."""

MAX_DELETED = 100
MAX_WORDS = 16
HISTORY = 100
"""Items at the most that come with a conversation."""

router = APIRouter(tags=["Conversations"])
CHANGE = request_body(ChangeConversationRequest)

Second = Annotated[int | None, Query(ge=0, le=MAX_SECOND, description="Unix seconds; that second is not in the list.")]


async def _filter(  # noqa: PLR0913, PLR0917 - one for each parameter of the query
    search: Annotated[
        str | None, Query(max_length=256, description="Words, all of which are in a conversation or its title.")
    ] = None,
    created_after: Second = None,
    created_before: Second = None,
    updated_after: Second = None,
    updated_before: Second = None,
    order_by: Annotated[OrderBy | None, Query(description="Left out: by what is asked for.")] = None,
) -> ConversationFilter:
    created, updated = (created_after, created_before), (updated_after, updated_before)
    by: OrderBy = order_by or ("updated_at" if updated != (None, None) else "created_at")
    if (created if by == "updated_at" else updated) != (None, None):
        other = "created" if by == "updated_at" else "updated"
        raise InvalidRequest(f"A list by `{by}` cannot be bounded by `{other}_after` or `{other}_before`.")
    words = tuple(wanted_words(search or "", MAX_WORDS))
    if search is not None and not words:
        raise InvalidRequest("`search` holds no word to look for.", param="search")
    if words and by == "updated_at":
        raise InvalidRequest("What is searched for comes by `created_at`, not by `updated_at`.", param="order_by")
    after, before = updated if by == "updated_at" else created
    since_ms = None if after is None else (after + 1) * 1000
    return ConversationFilter(words, since_ms, None if before is None else before * 1000, by)


FilterDep = Annotated[ConversationFilter, Depends(_filter)]


@router.post("/conversations", openapi_extra=request_body(CreateConversationRequest, required=False))
async def create_conversation(
    request: Request, services: ServicesDep, caller: IdentifiedWriter, body: OptionalJsonBody
) -> Response:
    """Begin a conversation, empty or with up to twenty items."""
    wanted = parse(CreateConversationRequest, body)

    async def create(tail: str) -> dict[str, Any]:
        return (await services.conversations.create(caller.subject, wanted, tail)).to_dict()

    return await once(request, caller, body, create)


@router.get("/conversations")
async def list_conversations(
    services: ServicesDep, caller: IdentifiedReader, page: PageDep, wanted: FilterDep
) -> dict[str, Any]:
    """List your conversations, or those of a time, or with certain words."""
    found = await services.conversations.list(caller.subject, page, wanted)
    return found.to_list(lambda conversation: conversation.to_dict())


@router.delete("/conversations")
async def delete_conversations(
    services: ServicesDep,
    caller: IdentifiedWriter,
    ids: Annotated[list[str] | None, Query(description=f"Up to {MAX_DELETED}, split by commas.")] = None,
    all_: Annotated[Literal["true"] | None, Query(alias="all", description="Every one of yours.")] = None,
) -> dict[str, Any]:
    """Delete several of your conversations, or all of them; one of the two has to be said."""
    named = [id_ for value in ids or () for each in value.split(",") if (id_ := each.strip())]
    if bool(named) == (all_ is not None):
        raise InvalidRequest("Say either which to delete, with `ids=conv_..,conv_..`, or `all=true`.", param="ids")
    if len(named) > MAX_DELETED:
        raise InvalidRequest(f"`ids` may name at most {MAX_DELETED} conversations, not {len(named)}.", param="ids")
    answer: dict[str, Any] = {"object": "conversations.deleted", "deleted": True}
    if not named:
        return answer | {"count": await services.conversations.delete_all(caller.subject)}
    deleted, missing = await services.conversations.delete_each(caller.subject, named)
    return answer | {"count": len(deleted), "ids": deleted, "not_found": missing}


@router.get("/conversations/{conversation_id}")
async def get_conversation(conversation_id: str, services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """One of your conversations with its history: `items` has the newest 100, in the order they were said."""
    conversation = await services.conversations.get(caller.subject, conversation_id)
    newest = await services.conversations.newest(conversation, PageRequest(HISTORY))
    return conversation.to_dict() | {"items": newest.to_list(Item.to_dict, no_id="")}


@router.post("/conversations/{conversation_id}", openapi_extra=CHANGE)
@router.patch("/conversations/{conversation_id}", openapi_extra=CHANGE)
async def change_conversation(
    conversation_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change what a conversation is called, its model or its metadata."""
    return (await services.conversations.change(caller.subject, conversation_id, parse_change(body))).to_dict()


@router.delete("/conversations/{conversation_id}")
async def delete_conversation(conversation_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """Delete a conversation and all that is in it."""
    await services.conversations.delete(caller.subject, conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.post("/conversations/{conversation_id}/items", openapi_extra=request_body(AddItemsRequest))
async def add_items(
    conversation_id: str, request: Request, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> Response:
    """Add up to twenty items to the end of a conversation, together."""
    bodies = parse_added(body)

    async def add(tail: str) -> dict[str, Any]:
        added = await services.conversations.add_items(caller.subject, conversation_id, bodies, tail)
        return Page(added, has_more=False).to_list(Item.to_dict, no_id="")

    return await once(request, caller, body, add)


@router.get("/conversations/{conversation_id}/items")
async def list_items(
    conversation_id: str, services: ServicesDep, caller: IdentifiedReader, page: PageDep
) -> dict[str, Any]:
    """List what is in a conversation, the newest first unless `order` says otherwise."""
    found = await services.conversations.list_items(caller.subject, conversation_id, page)
    return found.to_list(Item.to_dict, no_id="")


@router.get("/conversations/{conversation_id}/items/{item_id}")
async def get_item(
    conversation_id: str, item_id: str, services: ServicesDep, caller: IdentifiedReader
) -> dict[str, Any]:
    """One item of a conversation."""
    return (await services.conversations.get_item(caller.subject, conversation_id, item_id)).to_dict()


@router.delete("/conversations/{conversation_id}/items/{item_id}")
async def delete_item(
    conversation_id: str, item_id: str, services: ServicesDep, caller: IdentifiedWriter
) -> dict[str, Any]:
    """Delete one item; the answer is the conversation that it was in."""
    conversation: Conversation = await services.conversations.delete_item(caller.subject, conversation_id, item_id)
    return conversation.to_dict()
