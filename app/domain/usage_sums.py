"""Sums of sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.domain.usage_report import Dimension, UsageRow

_DIMENSIONS: Sequence[Dimension] = ("owner", "project_id", "key_id", "model")


def total(rows: Iterable[UsageRow], start_ms: int = 0) -> UsageRow:
    """All of them as one."""
    result = UsageRow(start_ms)
    for row in rows:
        result = _sum(result, row)
    return result


def regrouped(rows: Iterable[UsageRow], by: Iterable[Dimension]) -> list[UsageRow]:
    """The same where fewer are told apart, in the order in which each was met first."""
    merged = {name: None for name in _DIMENSIONS if name not in set(by)}
    sums: dict[tuple[int, str | None, str | None, str | None, str | None], UsageRow] = {}
    for row in rows:
        plain = replace(row, **merged)
        group = (plain.start_ms, plain.owner, plain.project_id, plain.key_id, plain.model)
        sums[group] = _sum(sums[group], plain) if group in sums else plain
    return list(sums.values())


def _sum(one: UsageRow, other: UsageRow) -> UsageRow:
    """Both, under what the first stands for."""
    return replace(
        one,
        requests=one.requests + other.requests,
        failed_requests=one.failed_requests + other.failed_requests,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        cost_nano=one.cost_nano + other.cost_nano,
    )
