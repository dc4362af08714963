"""Usage and costs as OpenAI's administration API has them. For admins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from app.domain.usage_buckets import BucketPage, Show, Width, completions_result, costs_result, embeddings_result
from app.domain.usage_report import Dimension, UsageQuery, UsageRow
from app.domain.usage_sums import regrouped
from app.errors import InvalidRequest
from app.routers.dependencies import AdminReader, ServicesDep
from app.routers.organization import several
from app.routers.usage_params import canonical
from app.schemas.problem import shown
from app.schemas.usage_period import MAX_SECOND
from app.services import Services
from app.services.usage.reports import MAX_ROWS

router = APIRouter(prefix="/organization", tags=["Organization"])

FIELDS: Final[Mapping[str, Dimension]] = {
    "project_id": "project_id",
    "user_id": "owner",
    "api_key_id": "key_id",
    "model": "model",
    "line_item": "model",
}
"""What OpenAI tells apart, as the ledger calls it."""

USAGE_LIMITS: Final[Mapping[Width, tuple[int, int]]] = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets a page by their width: how many where nothing is said, and at the most."""
COST_LIMITS: Final[Mapping[Width, tuple[int, int]]] = {"1d": (7, 180)}


def several_or_none(name: str) -> Callable[..., Awaitable[tuple[str, ...] | None]]:
    """A dependency: the values of a filter; None where it is left out."""

    async def values(found: Sequence[str] = Depends(several(name))) -> tuple[str, ...] | None:
        return tuple(dict.fromkeys(found)) or None

    return values


def grouped_by(*allowed: str) -> Callable[..., Awaitable[frozenset[str]]]:
    """A dependency: what is told apart."""

    async def fields(found: Annotated[Sequence[str], Depends(several("group_by"))]) -> frozenset[str]:
        for name in found:
            if name not in allowed:
                message = f"`group_by` must be of {', '.join(allowed)}, not {shown(name)}."
                raise InvalidRequest(message, param="group_by")
        return frozenset(found)

    return fields


def paged(limits: Mapping[Width, tuple[int, int]]) -> Callable[..., Awaitable[BucketPage]]:
    """A dependency: which buckets."""

    async def buckets(
        start_time: Annotated[int, Query(ge=0, le=MAX_SECOND, description="Unix seconds.")],
        end_time: Annotated[int | None, Query(ge=0, le=MAX_SECOND, description="Unix seconds. Left out: now.")] = None,
        bucket_width: Width = "1d",
        limit: Annotated[int | None, Query(description="Buckets a page.")] = None,
        page: Annotated[str | None, Query(max_length=64, description="`next_page` of the page before.")] = None,
    ) -> BucketPage:
        if bucket_width not in limits:
            raise InvalidRequest(f"`bucket_width` must be of {', '.join(limits)}.", param="bucket_width")
        usual, most = limits[bucket_width]
        if limit is not None and not 1 <= limit <= most:
            message = f"`limit` must be from 1 to {most} where a bucket is {bucket_width}, not {limit}."
            raise InvalidRequest(message, param="limit")
        if end_time is not None and end_time <= start_time:
            raise InvalidRequest("`end_time` must be after `start_time`.", param="end_time")
        # What has not begun yet has no buckets.
        end = max(start_time, int(time.time()) + 1) if end_time is None else end_time
        try:
            return BucketPage.of(bucket_width, start_time, end, limit or usual, page)
        except ValueError:
            raise InvalidRequest("`page` is nothing that this list gave out.", param="page") from None

    return buckets


UsagePageDep = Annotated[BucketPage, Depends(paged(USAGE_LIMITS))]
CostPageDep = Annotated[BucketPage, Depends(paged(COST_LIMITS))]
Ids = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Whose usage, and of what; None for all."""

    projects: Ids = None
    owners: Ids = None
    keys: Ids = None
    models: Ids = None


async def _filters(
    request: Request,
    project_ids: Annotated[Ids, Depends(several_or_none("project_ids"))],
    user_ids: Annotated[Ids, Depends(several_or_none("user_ids"))],
    api_key_ids: Annotated[Ids, Depends(several_or_none("api_key_ids"))],
    models: Annotated[Ids, Depends(several_or_none("models"))],
) -> Filters:
    return Filters(project_ids, user_ids, api_key_ids, models and canonical(request, models))


FiltersDep = Annotated[Filters, Depends(_filters)]


@router.get("/usage/completions")
async def get_completions_usage(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: AdminReader,
    buckets: UsagePageDep,
    filters: FiltersDep,
    by: Annotated[
        frozenset[str],
        Depends(grouped_by("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")),
    ],
    batch: bool | None = None,
) -> Response:
    """What models that write used, removed ones too, in buckets of time. There are no batches."""
    # Told apart by model in any case, so that those of the other list can be left out.
    rows = await _rows(services, buckets, filters, {"model", *_dimensions(by)})
    others = _embedders(services)
    kept = regrouped((row for row in rows if row.model not in others and not batch), _dimensions(by))
    return await _answer(buckets, kept, lambda row: completions_result(row, by))


@router.get("/usage/embeddings")
async def get_embeddings_usage(
    services: ServicesDep,
    caller: AdminReader,
    buckets: UsagePageDep,
    filters: FiltersDep,
    by: Annotated[frozenset[str], Depends(grouped_by("project_id", "user_id", "api_key_id", "model"))],
) -> Response:
    """What models used that embed, rank or score, in buckets of time."""
    embedders = _embedders(services)
    wanted = embedders if filters.models is None else embedders & set(filters.models)
    only = Filters(filters.projects, filters.owners, filters.keys, tuple(sorted(wanted)))
    rows = await _rows(services, buckets, only, _dimensions(by))
    return await _answer(buckets, rows, embeddings_result)


@router.get("/costs")
async def get_costs(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: AdminReader,
    buckets: CostPageDep,
    project_ids: Annotated[Ids, Depends(several_or_none("project_ids"))],
    api_key_ids: Annotated[Ids, Depends(several_or_none("api_key_ids"))],
    by: Annotated[frozenset[str], Depends(grouped_by("project_id", "line_item", "api_key_id"))],
) -> Response:
    """What all of it cost, day by day. A line item is a model."""
    rows = await _rows(services, buckets, Filters(project_ids, None, api_key_ids), _dimensions(by))
    currency = services.settings.currency
    return await _answer(buckets, rows, lambda row: costs_result(row, _dimensions(by), currency))


def _embedders(services: Services) -> frozenset[str]:
    """The models that do not write."""
    entries = services.catalog.current().entries
    return frozenset(
        id_ for id_, entry in entries.items() if not {"chat", "completions"} & set(entry.spec.capabilities)
    )


def _dimensions(by: Collection[str]) -> frozenset[Dimension]:
    return frozenset(FIELDS[name] for name in by if name in FIELDS)


async def _rows(
    services: Services, buckets: BucketPage, filters: Filters, by: Collection[Dimension]
) -> Sequence[UsageRow]:
    if buckets.start_s >= buckets.end_s:
        return []
    query = UsageQuery(
        start_ms=buckets.start_s * 1000,
        end_ms=buckets.end_s * 1000,
        bucket=buckets.bucket,
        by=tuple(sorted(by)),
        owners=filters.owners,
        projects=filters.projects,
        keys=filters.keys,
        models=filters.models,
    )
    part = await services.usage_reports.page(query, limit=MAX_ROWS)
    if part.next is not None:
        message = f"These buckets have more than {MAX_ROWS} results. Ask for fewer of them at a time."
        raise InvalidRequest(message, param="limit")
    return part.rows


async def _answer(buckets: BucketPage, rows: Sequence[UsageRow], show: Show) -> Response:
    # In a thread: thousands of results take long enough for every stream of this process to stand still.
    # Not through floats, which amounts of money would not survive.
    body = await asyncio.to_thread(lambda: msgspec.json.encode(buckets.body(rows, show)))
    return Response(body, media_type="application/json")
