"""Sums of sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add, attrgetter

from app.domain.usage_report import SUMS, Dimension, UsageRow

_sums_of = attrgetter(*SUMS)

_Group = tuple[int, str | None, str | None, str | None, str | None]


def total(rows: Iterable[UsageRow], start_ms: int = 0) -> UsageRow:
    """All of them as one."""
    sums: Sequence[int] = [0] * len(SUMS)
    for row in rows:
        sums = list(map(add, sums, _sums_of(row)))
    return UsageRow(start_ms, **dict(zip(SUMS, sums, strict=True)))


def regrouped(rows: Iterable[UsageRow], by: Iterable[Dimension]) -> list[UsageRow]:
    """The same where fewer are told apart, in the order in which each was met first."""
    told = frozenset(by)
    owners, projects, keys, models = (name in told for name in ("owner", "project_id", "key_id", "model"))
    groups: dict[_Group, Sequence[int]] = {}
    for row in rows:
        group = (
            row.start_ms,
            row.owner if owners else None,
            row.project_id if projects else None,
            row.key_id if keys else None,
            row.model if models else None,
        )
        sums = _sums_of(row)
        groups[group] = list(map(add, groups[group], sums)) if group in groups else sums
    return [UsageRow(*group, **dict(zip(SUMS, sums, strict=True))) for group, sums in groups.items()]
