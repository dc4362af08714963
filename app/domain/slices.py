"""Periods in slices: how what is counted passes out of a window that slides.

A period has ``SLICES`` slices. Slice ``k`` lasts from ``k * width`` to ``(k + 1) * width``, in epoch milliseconds of
the database's clock. It counts for as long as a part of it may lie in the period that ends now, which is for one slice
more than a period has: so there is never more than a limit in *any* stretch of its period, and what was taken is back a
twentieth of the period late at the most. A month is one slice: the calendar's, in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app.domain.limits import PERIOD_MS, Per

SLICES = 20
MONTH_MS = 28 * 86_400_000
"""The shortest, for what needs to know it only roughly."""

Slices = Sequence[tuple[int, int]]
"""Slices and what was taken in each, the oldest first."""


def period_ms(per: Per) -> int:
    """How long the period is; of a month, roughly."""
    return MONTH_MS if per == "month" else PERIOD_MS[per]


def width_ms(per: Per) -> int:
    """How long a slice is; of a month, roughly."""
    return period_ms(per) if per == "month" else period_ms(per) // SLICES


def slice_at(per: Per, now_ms: float) -> int:
    """The slice of this moment."""
    if per == "month":
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        return now.year * 12 + now.month
    return int(now_ms // width_ms(per))


def oldest_live(per: Per, current: int) -> int:
    """The oldest slice that counts while ``current`` lasts."""
    return current if per == "month" else current - SLICES


def ends_at_ms(per: Per, k: int) -> int:
    """When a slice is over."""
    if per == "month":
        # Months count from 1, so that December is the 0th of the next year.
        return int(datetime(k // 12, k % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)
    return (k + 1) * width_ms(per)


def passes_at_ms(per: Per, k: int) -> int:
    """When what was taken in a slice counts no more."""
    return ends_at_ms(per, k) if per == "month" else ends_at_ms(per, k + SLICES)


def fits_at_ms(per: Per, slices: Slices, free: int, amount: int) -> float:
    """When so much more fits, if nobody takes any meanwhile.

    Args:
        slices: What is taken.
        free: What is not.

    Returns:
        Epoch milliseconds; 0 if it fits already, infinity if it never does.
    """
    if free >= amount:
        return 0
    for k, taken in slices:
        free += taken
        if free >= amount:
            return passes_at_ms(per, k)
    return float("inf")


def interval_ms(per: Per, count: int) -> float:
    """How long what comes in evenly lies apart: what a ``burst`` is followed by."""
    return period_ms(per) / max(1, count)
