"""Usage and costs in buckets of time, as OpenAI's administration API shows them, a page of buckets at a time."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.domain.usage_report import BUCKET_MS, Bucket, Dimension, UsageRow
from app.domain.usage_view import money

Width = Literal["1m", "1h", "1d"]
Json = dict[str, Any]
Show = Callable[[UsageRow], Json]

BUCKETS: Final[Mapping[Width, Bucket]] = {"1m": "minute", "1h": "hour", "1d": "day"}
CURSOR: Final = "page_"


@dataclass(frozen=True, slots=True)
class BucketPage:
    """Some buckets in a row. Times are Unix seconds.

    Attributes:
        start_s: Where the first one begins.
        end_s: Where the last one ends.
        stop_s: Where the last one of all pages ends.
    """

    bucket: Bucket
    start_s: int
    end_s: int
    stop_s: int

    @classmethod
    def of(cls, width: Width, start_s: int, end_s: int, limit: int, cursor: str | None) -> BucketPage:
        """The page that a cursor shows, or the first one: whole buckets, of so many at the most.

        Raises:
            ValueError: The cursor is none of this list's.
        """
        step = BUCKET_MS[BUCKETS[width]] // 1000
        start = start_s // step * step
        stop = -(-end_s // step) * step if end_s > start_s else start
        here = start if cursor is None else _second(cursor)
        if here % step or not start <= here < max(stop, start + 1):
            raise ValueError("no cursor of this list")
        return cls(BUCKETS[width], here, min(stop, here + limit * step), stop)

    def body(self, rows: Iterable[UsageRow], show: Show) -> Json:
        """The answer: every bucket, those too in which there was nothing."""
        step = BUCKET_MS[self.bucket] // 1000
        results: dict[int, list[Json]] = {second: [] for second in range(self.start_s, self.end_s, step)}
        for row in rows:
            results[row.start_ms // 1000].append(show(row))
        return {
            "object": "page",
            "data": [
                {"object": "bucket", "start_time": second, "end_time": second + step, "results": found}
                for second, found in results.items()
            ],
            "has_more": self.end_s < self.stop_s,
            "next_page": _cursor(self.end_s) if self.end_s < self.stop_s else None,
        }


def completions_result(row: UsageRow, by: frozenset[str]) -> Json:
    """What models that write used."""
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": row.input_tokens,
        "input_cached_tokens": row.cached_tokens,
        "input_uncached_tokens": row.input_tokens - row.cached_tokens,
        "input_audio_tokens": 0,
        "output_tokens": row.output_tokens,
        "output_audio_tokens": 0,
        "num_model_requests": row.requests,
        **_group(row),
        # There are neither here, so that all of it is the one that is none.
        "batch": False if "batch" in by else None,
        "service_tier": "default" if "service_tier" in by else None,
    }


def embeddings_result(row: UsageRow) -> Json:
    """What models that turn text into numbers used."""
    return {
        "object": "organization.usage.embeddings.result",
        "input_tokens": row.input_tokens,
        "num_model_requests": row.requests,
        **_group(row),
    }


def costs_result(row: UsageRow, by: Iterable[Dimension], currency: str) -> Json:
    """What it cost. A line item is a model."""
    itemized = "model" in by
    return {
        "object": "organization.costs.result",
        "amount": {"value": money(row.cost_nano), "currency": currency},
        "line_item": row.model,
        "project_id": row.project_id,
        "api_key_id": row.key_id,
        "quantity": row.input_tokens + row.output_tokens if itemized else None,
        "quantity_unit": "tokens" if itemized else None,
    }


def _group(row: UsageRow) -> Json:
    return {"project_id": row.project_id, "user_id": row.owner, "api_key_id": row.key_id, "model": row.model}


def _cursor(second: int) -> str:
    return CURSOR + urlsafe_b64encode(str(second).encode()).decode().rstrip("=")


def _second(cursor: str) -> int:
    encoded = cursor.removeprefix(CURSOR)
    try:
        second = int(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError:
        second = 0
    if _cursor(second) != cursor:
        raise ValueError("no cursor of this list")
    return second
