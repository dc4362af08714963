"""What was used: one's own, and for admins everybody's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response

from app.domain.principal import Principal
from app.domain.usage_report import UsageQuery, UsageRow
from app.domain.usage_sums import total
from app.domain.usage_view import DIMENSIONS, Grouping, Names, event_object, row_object, sums_object, usage_csv
from app.errors import InvalidRequest
from app.routers.dependencies import AdminReader, IdentifiedReader, PageDep, ServicesDep
from app.routers.usage_params import AsCsv, GroupingsDep, KeysDep, ModelsDep, OwnGroupingsDep, PeriodDep, one_of
from app.schemas.usage_period import Period
from app.services import Services
from app.services.usage.reports import MAX_ROWS

router = APIRouter(tags=["Usage"])
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/csv": {}}}}


@router.get("/usage", responses=CSV)
async def get_usage(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: IdentifiedReader,
    period: PeriodDep,
    by: OwnGroupingsDep,
    models: ModelsDep,
    keys: KeysDep,
    as_csv: AsCsv,
) -> Response:
    """What you used, and what it costs, by day, model and API key. A restricted key is told what itself used."""
    keys = _allowed_keys(caller, keys)
    query = _query(period, by, owners=(caller.subject,), keys=keys, models=models)
    return await _report(services, Asked(period, by, query), as_csv=as_csv)


@router.get("/usage/requests")
async def list_requests(services: ServicesDep, caller: IdentifiedReader, page: PageDep) -> Response:
    """Your single requests to models. A restricted key is told of its own."""
    found = await services.usage_reports.recent(caller.subject, page, key_id=_only_key(caller))
    return _json({**found.to_list(event_object), "currency": services.settings.currency})


@router.get("/admin/usage", responses=CSV)
async def get_everybodys_usage(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: AdminReader,
    period: PeriodDep,
    by: GroupingsDep,
    users: Annotated[tuple[str, ...] | None, Depends(one_of("user"))],
    projects: Annotated[tuple[str, ...] | None, Depends(one_of("project"))],
    models: ModelsDep,
    keys: KeysDep,
    as_csv: AsCsv,
) -> Response:
    """What everybody used, and what it costs, by day, user, project, API key and model."""
    query = _query(period, by, owners=users, projects=projects, keys=keys, models=models)
    return await _report(services, Asked(period, by, query), as_csv=as_csv)


@dataclass(frozen=True, slots=True)
class Asked:
    """A report that somebody wants."""

    period: Period
    by: tuple[Grouping, ...]
    query: UsageQuery


def _only_key(caller: Principal) -> str | None:
    """The one key that the caller may know of; None for whoever may know of all their own."""
    return caller.key_id if caller.bounded else None


def _allowed_keys(caller: Principal, wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    only = _only_key(caller)
    if only is None:
        return wanted
    return (only,) if wanted is None or only in wanted else ()


def _query(period: Period, by: Sequence[Grouping], **filters: tuple[str, ...] | None) -> UsageQuery:
    return UsageQuery(
        start_ms=period.start_s * 1000,
        end_ms=period.end_s * 1000,
        bucket="day" if "day" in by else None,
        by=tuple(DIMENSIONS[grouping] for grouping in by if grouping in DIMENSIONS),
        **filters,
    )


async def _report(services: Services, asked: Asked, *, as_csv: bool) -> Response:
    part = await services.usage_reports.page(asked.query, limit=MAX_ROWS)
    if part.next is not None:
        message = f"This report has more than {MAX_ROWS} rows. Ask for a shorter period, or group by less."
        raise InvalidRequest(message, param="group_by")
    names = await _names(services, asked.by, part.rows)
    write = _table if as_csv else _list
    # In a thread: so many rows take a tenth of a second, for which every stream of this process would stand still.
    return await asyncio.to_thread(write, asked, part.rows, names, services.settings.currency)


def _table(asked: Asked, rows: Sequence[UsageRow], names: Names, currency: str) -> Response:
    name = f"usage-{asked.period.first_day}-{asked.period.last_day}.csv"
    return Response(
        usage_csv(rows, asked.by, names, currency),
        media_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"},
    )


def _list(asked: Asked, rows: Sequence[UsageRow], names: Names, currency: str) -> Response:
    body: dict[str, Any] = {
        "object": "list",
        "data": [row_object(row, asked.by, names) for row in rows],
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "start": asked.period.start_s,
        "end": asked.period.end_s,
        "group_by": asked.by,
        "currency": currency,
        "totals": sums_object(total(rows)),
    }
    return _json(body)


async def _names(services: Services, by: Sequence[Grouping], rows: Sequence[UsageRow]) -> Names:
    users = {row.owner for row in rows if row.owner} if "user" in by else set[str]()
    projects = {row.project_id for row in rows} if "project" in by else set[str]()
    keys = {row.key_id for row in rows if row.key_id} if "key" in by else set[str]()
    return Names(
        users=await services.accounts.by_ids(users),
        projects={id_: each.name for id_, each in (await services.organization.access.by_ids(projects)).items()},
        keys={id_: key.name for id_, key in (await services.keys.by_ids(keys)).items()},
    )


def _json(body: dict[str, Any]) -> Response:
    # not through floats, which amounts of money would not survive
    return Response(msgspec.json.encode(body), media_type="application/json", headers={"Vary": "Accept"})
