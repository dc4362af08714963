"""Responses: OpenAI's answers of items, kept here unless their caller wants otherwise."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from app.domain.ids import new_tail
from app.domain.item import Item
from app.errors import InvalidRequest
from app.openapi import request_body
from app.routers.dependencies import (
    IdentifiedReader,
    IdentifiedWriter,
    Inferrer,
    JsonBody,
    PageDep,
    ServicesDep,
    services_of,
)
from app.routers.idempotent import begin, replayed, trying
from app.schemas.responses import InputTokensRequest, ResponseRequest, parse, parse_input_tokens
from app.services.idempotency import JSON, Attempt
from app.services.inference import CHAT, able
from app.services.responses.beginning import is_stored
from app.services.responses.plan import tokens_of
from app.services.responses.respond import events_behind, respond

BODIES = (ResponseRequest, InputTokensRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Responses"])

StartingAfter = Annotated[int, Query(ge=-1, le=2**53)]


@router.post("/responses", openapi_extra=request_body(ResponseRequest))
async def create_response(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Answer items; with `stream`, as server-sent events; with `background`, without waiting for it."""
    services = services_of(request)
    asked = parse(body, extras=services.request_extras)
    attempt = Attempt(new_tail())
    if is_stored(caller, asked) or asked.conversation is not None:
        attempt = await begin(request, caller, body)
    if attempt.replay is not None:
        return replayed(attempt.replay)
    async with trying(services.idempotency, attempt):
        return await respond(services, caller, asked, attempt, request.scope["state"])


@router.post("/responses/input_tokens", openapi_extra=request_body(InputTokensRequest))
async def count_input_tokens(request: Request, caller: Inferrer, body: JsonBody) -> dict[str, Any]:
    """Say how many tokens the input of a response would be."""
    services = services_of(request)
    asked = parse_input_tokens(body)
    entry = able(services, caller, CHAT, asked.model, request.scope["state"])
    return {"object": "response.input_tokens", "input_tokens": await tokens_of(services, caller, entry, asked)}


@router.get("/responses/{response_id}")
async def get_response(
    response_id: str,
    services: ServicesDep,
    caller: IdentifiedReader,
    *,
    stream: bool = False,
    starting_after: StartingAfter = -1,
) -> Response:
    """A response; with `stream`, the events of one in the background, all or those behind `starting_after`."""
    found = await services.responses.get(caller.subject, response_id)
    if not stream:
        return Response(msgspec.json.encode(found.body), media_type=JSON)
    if not found.streams:
        raise InvalidRequest(
            "Only a response that was made with `background` and `stream` can be streamed once more.", param="stream"
        )
    return events_behind(services, found, starting_after)


@router.delete("/responses/{response_id}")
async def delete_response(response_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """Delete a response; its items stay in its conversation, if it has one."""
    await services.responses.delete(caller.subject, response_id)
    return {"id": response_id, "object": "response.deleted", "deleted": True}


@router.post("/responses/{response_id}/cancel")
async def cancel_response(response_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """End work on a response in the background; what came of it by then is kept."""
    return dict((await services.responses.cancel(caller.subject, response_id)).body)


@router.get("/responses/{response_id}/input_items")
async def list_input_items(
    response_id: str, services: ServicesDep, caller: IdentifiedReader, page: PageDep
) -> dict[str, Any]:
    """List what went into a response."""
    found = await services.responses.inputs(caller.subject, response_id, page)
    return found.to_list(Item.to_dict)
