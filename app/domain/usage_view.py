"""Usage as our own API shows it: to programs as JSON, to spreadsheets as CSV.

Amounts of money are decimal numbers of the currency's unit, written digit by digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from app.domain.csv_text import Cell, csv_text
from app.domain.money import amount
from app.domain.usage import UsageEvent
from app.domain.usage_report import Dimension, UsageRow
from app.domain.user import User

Grouping = Literal["day", "user", "project", "key", "model"]
"""What a report can tell apart, as callers say it."""

DIMENSIONS: Final[Mapping[Grouping, Dimension]] = {
    "user": "owner",
    "project": "project_id",
    "key": "key_id",
    "model": "model",
}
"""The same as the ledger calls it; days are its buckets."""

COLUMNS: Final[Mapping[Grouping, Sequence[str]]] = {
    "day": ("date",),
    "user": ("user_id", "user_name", "user_email"),
    "project": ("project_id", "project_name"),
    "key": ("key_id", "key_name"),
    "model": ("model",),
}
COUNTS: Final = (
    "requests",
    "failed_requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True)
class Names:
    """What those in a report are called, by their ids; whoever is no more has no name."""

    users: Mapping[str, User] = field(default_factory=dict[str, User])
    projects: Mapping[str, str] = field(default_factory=dict[str, str])
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


def money(nano: int) -> msgspec.Raw:
    """An amount as a JSON number."""
    return msgspec.Raw(amount(nano).encode())


def sums_object(row: UsageRow) -> dict[str, Any]:
    """How much it was."""
    return {**{name: getattr(row, name) for name in COUNTS}, "cost": money(row.cost_nano)}


def row_object(row: UsageRow, by: Iterable[Grouping], names: Names) -> dict[str, Any]:
    """How much it was, of what."""
    return {"object": "usage", **_labels(row, by, names), **sums_object(row)}


def event_object(event: UsageEvent) -> dict[str, Any]:
    """A single request."""
    return {
        "id": event.request_id,
        "object": "usage.request",
        "created_at": event.started_at_ms // 1000,
        "model": event.model,
        "key_id": event.key_id,
        "project_id": event.project_id,
        "route": event.route,
        "stream": event.stream,
        "status": event.status,
        "http_status": event.http_status or None,
        "ttft_ms": event.ttft_ms,
        "duration_ms": event.duration_ms,
        "input_tokens": event.input_tokens,
        "cached_tokens": event.cached_tokens,
        "output_tokens": event.output_tokens,
        "reasoning_tokens": event.reasoning_tokens,
        "cost": money(event.cost_nano),
    }


def usage_csv(rows: Iterable[UsageRow], by: Sequence[Grouping], names: Names, currency: str) -> str:
    """Rows as a table with a line of names above."""
    header = [*(column for grouping in by for column in COLUMNS[grouping]), *COUNTS, "cost", "currency"]

    def cells(row: UsageRow) -> list[Cell]:
        counts = (getattr(row, name) for name in COUNTS)
        return [*_labels(row, by, names).values(), *counts, amount(row.cost_nano), currency]

    return csv_text([header, *map(cells, rows)])


def _labels(row: UsageRow, by: Iterable[Grouping], names: Names) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for grouping in by:
        labels |= zip(COLUMNS[grouping], _values(row, grouping, names), strict=True)
    return labels


def _values(row: UsageRow, grouping: Grouping, names: Names) -> Sequence[str | None]:
    match grouping:
        case "day":
            return [datetime.fromtimestamp(row.start_ms / 1000, UTC).date().isoformat()]
        case "user":
            user = names.users.get(row.owner or "")
            return [row.owner, user and user.name, user and user.email]
        case "project":
            return [row.project_id, names.projects.get(row.project_id or "")]
        case "key":
            return [row.key_id, names.keys.get(row.key_id or "")]
        case "model":
            return [row.model]
