"""What can be asked about usage, and the sums that answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Bucket = Literal["minute", "hour", "day"]
Dimension = Literal["owner", "project_id", "key_id", "model"]

BUCKET_MS: Final[dict[Bucket, int]] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""Length of a bucket. Buckets begin at whole ones of UTC."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which requests are summed up, and what by.

    Attributes:
        start_ms: From here on, in epoch milliseconds: a request belongs to when it was let in.
        end_ms: Up to here, and not including it.
        bucket: Sums of which length; None for one over all the time.
        by: What else has sums of its own.
        owners: Of these alone; None for all. Likewise below; an empty one lets nothing through.
    """

    start_ms: int
    end_ms: int
    bucket: Bucket | None = "day"
    by: tuple[Dimension, ...] = ()
    owners: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The sums of one bucket and group; there are none of what nobody used.

    Attributes:
        start_ms: Where the bucket begins; the query's own start where all is one.
        owner: None where owners are not told apart; likewise below. A project or key is None also for requests without.
        failed_requests: Those of the requests that got no whole answer, through no doing of the caller's.
        input_tokens: The cached ones among them.
        output_tokens: The reasoning ones among them.
        cost_nano: In billionths of the currency's unit.
    """

    start_ms: int
    owner: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    requests: int = 0
    failed_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0


SUMS: Final = (
    "requests",
    "failed_requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_nano",
)
"""What of a row is a sum, in the row's order."""


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A part of a report.

    Attributes:
        rows: In the order of their start, owner, project, key and model.
        next: Shows the part behind it, or None where there is none.
    """

    rows: list[UsageRow]
    next: str | None
