"""Threads and their messages: OpenAI's, with Jan's fields; a view on conversations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.domain.thread import message_of, thread_of
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
from app.schemas.threads import (
    ChangeMessageRequest,
    ChangeThreadRequest,
    CreateMessageRequest,
    CreateThreadRequest,
)

BODIES = (CreateThreadRequest, ChangeThreadRequest, CreateMessageRequest, ChangeMessageRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Threads"])
CHANGE_THREAD = request_body(ChangeThreadRequest)
CHANGE_MESSAGE = request_body(ChangeMessageRequest)


@router.post("/threads", openapi_extra=request_body(CreateThreadRequest, required=False))
async def create_thread(
    request: Request, services: ServicesDep, caller: IdentifiedWriter, body: OptionalJsonBody
) -> Response:
    """Make a thread, with messages or without. It is a conversation too, by the same id with `conv_` in front."""
    wanted = parse(CreateThreadRequest, body)

    async def create(tail: str) -> dict[str, Any]:
        return thread_of(await services.threads.threads.create(caller.subject, wanted, tail))

    return await once(request, caller, body, create)


@router.get("/threads")
async def list_threads(services: ServicesDep, caller: IdentifiedReader, page: PageDep) -> dict[str, Any]:
    """List your threads: all of your conversations."""
    return (await services.threads.threads.list(caller.subject, page)).to_list(thread_of, no_id="")


@router.get("/threads/{thread_id}")
async def get_thread(thread_id: str, services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Describe one of your threads."""
    return thread_of(await services.threads.threads.get(caller.subject, thread_id))


@router.post("/threads/{thread_id}", openapi_extra=CHANGE_THREAD)
@router.patch("/threads/{thread_id}", include_in_schema=False)
async def change_thread(
    thread_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change one of your threads."""
    wanted = parse(ChangeThreadRequest, body)
    return thread_of(await services.threads.threads.change(caller.subject, thread_id, wanted))


@router.delete("/threads/{thread_id}")
async def delete_thread(thread_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """Delete one of your threads, and the conversation that it is, with all that is in it."""
    await services.threads.threads.delete(caller.subject, thread_id)
    return {"id": thread_id, "object": "thread.deleted", "deleted": True}


@router.post("/threads/{thread_id}/messages", openapi_extra=request_body(CreateMessageRequest))
async def create_message(
    thread_id: str, request: Request, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> Response:
    """Write a message at the end of a thread, while no run is at work in it."""
    wanted = parse(CreateMessageRequest, body)
    thread = await services.threads.threads.get(caller.subject, thread_id)

    async def create(tail: str) -> dict[str, Any]:
        return message_of(await services.threads.messages.create(thread, wanted, tail), thread_id)

    return await once(request, caller, body, create)


@router.get("/threads/{thread_id}/messages")
async def list_messages(
    thread_id: str,
    services: ServicesDep,
    caller: IdentifiedReader,
    page: PageDep,
    run_id: Annotated[str | None, Query(max_length=128, description="Only those that this run made.")] = None,
) -> dict[str, Any]:
    """List the messages of a thread."""
    thread = await services.threads.threads.get(caller.subject, thread_id)
    found = await services.threads.messages.list(thread, page, run_id)
    return found.to_list(lambda item: message_of(item, thread_id), no_id="")


@router.get("/threads/{thread_id}/messages/{message_id}")
async def get_message(
    thread_id: str, message_id: str, services: ServicesDep, caller: IdentifiedReader
) -> dict[str, Any]:
    """Show one message of a thread."""
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return message_of(await services.threads.messages.get(thread, message_id), thread_id)


@router.post("/threads/{thread_id}/messages/{message_id}", openapi_extra=CHANGE_MESSAGE)
@router.patch("/threads/{thread_id}/messages/{message_id}", include_in_schema=False)
async def change_message(
    thread_id: str, message_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change the metadata of a message."""
    wanted = parse(ChangeMessageRequest, body)
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return message_of(await services.threads.messages.change(thread, message_id, wanted), thread_id)


@router.delete("/threads/{thread_id}/messages/{message_id}")
async def delete_message(
    thread_id: str, message_id: str, services: ServicesDep, caller: IdentifiedWriter
) -> dict[str, Any]:
    """Delete a message from a thread."""
    thread = await services.threads.threads.get(caller.subject, thread_id)
    await services.threads.messages.delete(thread, message_id)
    return {"id": message_id, "object": "thread.message.deleted", "deleted": True}
