"""What reports of usage are asked for in the query string."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import Field

from app.domain.usage_view import COLUMNS, Grouping
from app.errors import InvalidRequest
from app.routers.dependencies import services_of
from app.schemas.problem import shown
from app.schemas.usage_period import MAX_DAYS, MAX_SECOND, Period, SaidPeriod

MAX_VALUES = 100
Value = Annotated[str, Field(max_length=4096)]
Second = Annotated[int | None, Query(ge=0, le=MAX_SECOND)]
Day = Annotated[str | None, Query(max_length=32, description="In UTC, such as 2026-11-23.")]


async def _period(
    start: Second = None,
    end: Second = None,
    start_date: Day = None,
    end_date: Day = None,
    days: Annotated[int | None, Query(ge=1, le=MAX_DAYS, description="So many, up to the end.")] = None,
) -> Period:
    return SaidPeriod(start, end, start_date, end_date, days).period(time.time())


PeriodDep = Annotated[Period, Depends(_period)]
"""From when to when: Unix seconds, days or a number of days; the last thirty days where nothing is said."""


def _split(values: Sequence[str]) -> list[str]:
    return [part for value in values for each in value.split(",") if (part := each.strip())]


def grouped_by(*allowed: Grouping) -> Callable[..., Awaitable[tuple[Grouping, ...]]]:
    """A dependency: what is told apart, in the order of ``allowed``; days where nothing is said."""
    choice = ", ".join(allowed)

    async def groupings(
        group_by: list[Value] = Query(default=[], max_length=MAX_VALUES, description=f"{choice}; split by commas."),
    ) -> tuple[Grouping, ...]:
        said = _split(group_by)
        for name in said:
            if name not in allowed:
                raise InvalidRequest(f"`group_by` must be of {choice}, not {shown(name)}.", param="group_by")
        return tuple(name for name in allowed if name in said) or ("day",)

    return groupings


def one_of(name: str) -> Callable[..., Awaitable[tuple[str, ...] | None]]:
    """A dependency: the values of a filter, split by commas or repeated; None where it is left out."""

    async def values(
        said: list[Value] = Query(default=[], alias=name, max_length=MAX_VALUES, description="Split by commas."),
    ) -> tuple[str, ...] | None:
        found = tuple(dict.fromkeys(_split(said)))
        if len(found) > MAX_VALUES:
            raise InvalidRequest(f"`{name}` may name at most {MAX_VALUES}, not {len(found)}.", param=name)
        return found or None

    return values


async def _models(
    request: Request, said: Annotated[tuple[str, ...] | None, Depends(one_of("model"))]
) -> tuple[str, ...] | None:
    return said and canonical(request, said)


def canonical(request: Request, models: Sequence[str]) -> tuple[str, ...]:
    """Models by their ids; what is no alias of one may have been one."""
    names = services_of(request).catalog.current().names
    return tuple(dict.fromkeys(names.get(model, model) for model in models))


ModelsDep = Annotated[tuple[str, ...] | None, Depends(_models)]
KeysDep = Annotated[tuple[str, ...] | None, Depends(one_of("key"))]


async def _as_csv(
    request: Request, form: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None
) -> bool:
    if form is not None:
        return form == "csv"
    accepted = {part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    return "text/csv" in accepted and "application/json" not in accepted


AsCsv = Annotated[bool, Depends(_as_csv)]
"""Whether the caller wants a table: by ``format=csv``, or by ``Accept: text/csv``."""

OWN_GROUPINGS: tuple[Grouping, ...] = ("day", "model", "key")
ALL_GROUPINGS: tuple[Grouping, ...] = tuple(COLUMNS)
OwnGroupingsDep = Annotated[tuple[Grouping, ...], Depends(grouped_by(*OWN_GROUPINGS))]
GroupingsDep = Annotated[tuple[Grouping, ...], Depends(grouped_by(*ALL_GROUPINGS))]
