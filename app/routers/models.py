"""Which models there are: public, cold ones too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query

from app.domain.model_spec import ModelPrice
from app.domain.usage import FREE
from app.routers.dependencies import PUBLIC, ServicesDep
from app.services.catalog import CatalogEntry

router = APIRouter(tags=["Models"], dependencies=[PUBLIC])


@router.get("/models")
@router.get("/conv/models", include_in_schema=False)
async def list_models(
    services: ServicesDep,
    limit: int | None = Query(default=None, ge=1, le=100),
    after: str | None = None,
    before: str | None = None,
    order: str = Query(default="asc", pattern="^(asc|desc)$"),
) -> dict[str, Any]:
    """List every known model, with what it can do and what it is doing now."""
    entries = services.catalog.current().entries
    ids = sorted(entries, reverse=order == "desc")
    # By comparison, so that a page goes on where it should when the model it hangs on is gone.
    if after is not None:
        ids = [id_ for id_ in ids if (id_ < after if order == "desc" else id_ > after)]
    if before is not None:
        ids = [id_ for id_ in ids if (id_ > before if order == "desc" else id_ < before)]
    page = ids[:limit]
    return {
        "object": "list",
        "data": [describe(entries[id_]) for id_ in page],
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
        "has_more": len(page) < len(ids),
    }


@router.get("/models/{model:path}")
async def get_model(model: str, services: ServicesDep) -> dict[str, Any]:
    """Describe one model, by its id or one of its aliases."""
    return {**describe(services.catalog.current().get(model)), "id": model}


def describe(entry: CatalogEntry) -> dict[str, Any]:
    """The model object: OpenAI's four fields, and what a user of many models wants to know."""
    spec, state = entry.spec, entry.state
    return {
        "id": spec.id,
        "object": "model",
        "created": entry.created,
        "owned_by": spec.owned_by,
        "aliases": list(spec.aliases),
        "capabilities": list(spec.capabilities),
        "price": _price(spec.price),
        "max_model_len": state.max_model_len,
        "replicas": state.replicas,
        "queued": state.queued,
        "status": state.status,
        "phase": state.phase,
        "progress": state.progress,
        "detail": state.detail,
        "started_at": state.started_at,
        "retry_at": state.retry_at,
        "last_start": state.start and state.start.to_dict(),
        "pull": state.pull and asdict(state.pull),
    }


def _price(price: ModelPrice) -> dict[str, float] | None:
    """What a million tokens cost, in the installation's currency; None of what costs nothing."""
    if price.per_token() == FREE:
        return None
    return {
        "input_per_million": price.input_per_million,
        "cached_input_per_million": price.cached_per_million,
        "output_per_million": price.output_per_million,
    }
