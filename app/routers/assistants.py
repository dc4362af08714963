"""Assistants: OpenAI's, with Jan's fields."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.domain.assistant import Assistant
from app.openapi import request_body
from app.routers.dependencies import IdentifiedReader, IdentifiedWriter, JsonBody, PageDep, ServicesDep
from app.schemas.assistants import ChangeAssistantRequest, CreateAssistantRequest
from app.schemas.body import parse

BODIES = (CreateAssistantRequest, ChangeAssistantRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Assistants"])
CHANGE = request_body(ChangeAssistantRequest)


@router.post("/assistants", openapi_extra=request_body(CreateAssistantRequest))
async def create_assistant(services: ServicesDep, caller: IdentifiedWriter, body: JsonBody) -> dict[str, Any]:
    """Make an assistant: a model, and what it is told in every run."""
    wanted = parse(CreateAssistantRequest, body)
    return (await services.threads.assistants.create(caller.subject, wanted)).to_dict()


@router.get("/assistants")
async def list_assistants(services: ServicesDep, caller: IdentifiedReader, page: PageDep) -> dict[str, Any]:
    """List your assistants."""
    found = await services.threads.assistants.list(caller.subject, page)
    return found.to_list(Assistant.to_dict, no_id="")


@router.get("/assistants/{assistant_id}")
async def get_assistant(assistant_id: str, services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Describe one of your assistants."""
    return (await services.threads.assistants.get(caller.subject, assistant_id)).to_dict()


@router.post("/assistants/{assistant_id}", openapi_extra=CHANGE)
@router.patch("/assistants/{assistant_id}", include_in_schema=False)
async def change_assistant(
    assistant_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change one of your assistants. Runs that were made before go on as they were told."""
    wanted = parse(ChangeAssistantRequest, body)
    return (await services.threads.assistants.change(caller.subject, assistant_id, wanted)).to_dict()


@router.delete("/assistants/{assistant_id}")
async def delete_assistant(assistant_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """Delete one of your assistants. What it said in threads stays."""
    await services.threads.assistants.delete(caller.subject, assistant_id)
    return {"id": assistant_id, "object": "assistant.deleted", "deleted": True}
