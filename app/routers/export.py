"""Everything of one's own to take along."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.routers.dependencies import IdentifiedReader, ServicesDep
from app.services.accounts import describe

router = APIRouter(tags=["Identity"])


@router.get("/export", response_class=StreamingResponse)
async def export_all(services: ServicesDep, caller: IdentifiedReader) -> StreamingResponse:
    """Everything of yours as one JSON document: profile, conversations with their items, and all that is stored."""
    # Asked for first: a database that is away is told as such, and not by a document that breaks off.
    profile = describe(await services.accounts.get(caller.subject))
    name = f"manta-export-{datetime.now(UTC):%Y-%m-%d}.json"
    return StreamingResponse(
        services.export.document(caller.subject, profile),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
