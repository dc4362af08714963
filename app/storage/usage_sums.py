"""Sums of usage in the database's own language: what rollups and reports have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.usage_report import BUCKET_MS, SUMS, Dimension, UsageQuery
from app.storage.database import Document

DAY_MS = BUCKET_MS["day"]

TIMES: Final = ("duration_us", "durations", "ttft_us", "ttfts")
"""Sums of times, and of how many, for averages."""

ORDER: Final[tuple[Dimension, ...]] = ("owner", "project_id", "key_id", "model")
"""What rows are ordered by, after their time."""

_FILTERS: Final = (("owners", "owner"), ("projects", "project_id"), ("keys", "key_id"), ("models", "model"))

Key = tuple[int, *tuple[str | None, ...]]
"""Where a row's time begins, and what it is of."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a report groups.

    Attributes:
        start_ms: Where a row begins that is over all the time.
        bucket_ms: Length of the others; None where there is one row over all the time.
        by: In ``ORDER``.
    """

    start_ms: int
    bucket_ms: int | None
    by: tuple[Dimension, ...]

    @classmethod
    def of(cls, query: UsageQuery) -> Grouping:
        """The query's."""
        by: tuple[Dimension, ...] = tuple(name for name in ORDER if name in query.by)
        return cls(query.start_ms, BUCKET_MS[query.bucket] if query.bucket else None, by)

    def id(self, time: str) -> Document:
        """The ``_id`` of a ``$group``.

        Args:
            time: The field that has the time, in epoch milliseconds.
        """
        start: Any = {"$literal": self.start_ms}
        if self.bucket_ms is not None:
            start = {"$subtract": [f"${time}", {"$mod": [f"${time}", self.bucket_ms]}]}
        return {"start_ms": start, **{name: f"${name}" for name in self.by}}

    def key(self, group_id: Mapping[str, Any]) -> Key:
        """What a ``$group`` found, as a key."""
        return (int(group_id["start_ms"]), *(group_id.get(name) for name in self.by))

    def part(self, after: Key | None, limit: int | None) -> Iterator[Document]:
        """The stages that leave a part of the groups: the first of those behind ``after``, in order."""
        names = ["_id.start_ms", *(f"_id.{name}" for name in self.by)]
        if after is not None:
            yield {"$match": {"$or": list(_behind(names, after))}}
        if limit is not None:
            yield {"$sort": dict.fromkeys(names, 1)}
            yield {"$limit": limit}


def order_of(key: Key) -> tuple[Any, ...]:
    """What keys are sorted by here as the database sorts them: what is none comes first."""
    return (key[0], *((name is not None, name or "") for name in key[1:]))


def matching(query: UsageQuery, time: str, start_ms: int, end_ms: int) -> Document:
    """The filter for a query's documents of a stretch of time."""
    where: Document = {time: {"$gte": start_ms, "$lt": end_ms}}
    for name, field in _FILTERS:
        wanted: tuple[str, ...] | None = getattr(query, name)
        if wanted is not None:
            where[field] = {"$in": list(wanted)}
    return where


def sums_of_sums() -> Document:
    """Accumulators over documents that are sums."""
    return {name: {"$sum": f"${name}"} for name in SUMS}


def _behind(names: list[str], after: Key) -> Iterator[Document]:
    same: Document = {}
    for name, value in zip(names, after, strict=True):
        # "Greater than null" finds nothing: the database compares what is of one type.
        yield {**same, name: {"$ne": None} if value is None else {"$gt": value}}
        same = {**same, name: {"$eq": value}}
