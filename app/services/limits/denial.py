"""Why a request may not be now, and how its caller is told."""

from __future__ import annotations

import math
from collections.abc import Mapping

from app.domain import money
from app.domain.limits import Bound, Limit, Standing, What
from app.errors import InsufficientQuota, RateLimited

NOUNS: Mapping[What, str] = {
    "requests": "requests",
    "inference_requests": "requests",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "tokens": "tokens",
    "spend": "of spend",
    "concurrent_requests": "requests at once",
}


class Denied(Exception):
    """A bound has less left than is asked for.

    Attributes:
        wait_s: When it fits, from now, as far as anybody knows. None: never.
    """

    def __init__(self, bound: Bound, amount: int, wait_s: float | None) -> None:
        super().__init__(bound.name)
        self.bound = bound
        self.amount = amount
        self.wait_s = wait_s


def later(one: Denied | None, other: Denied | None) -> Denied | None:
    """The one that holds longer: who comes again when the other ends is refused again."""
    if one is None or other is None:
        return one or other
    return one if one.wait_s is None or (other.wait_s is not None and one.wait_s >= other.wait_s) else other


def told(denied: Denied, standings: tuple[Standing, ...]) -> RateLimited:
    """What the caller is told."""
    bound, wait_s = denied.bound, denied.wait_s
    limit = f"{bound.holder} {_limit(bound.limit)}"
    if wait_s is None:
        most = bound.limit.burst
        at_once = "" if most is None or most >= bound.limit.count else f", {_amount(bound.limit, most)} at once"
        asked = f"{_amount(bound.limit, denied.amount)} {NOUNS[bound.limit.what]}"
        message = f"This asks for {asked}, more than {limit}{at_once} ever allow. Ask for less."
    else:
        message = f"This would be more than {limit}. Try again in {_duration(wait_s)}."
    kind = InsufficientQuota if bound.limit.is_budget else RateLimited
    return kind(message, retry_after_s=wait_s, standings=standings)


def _limit(limit: Limit) -> str:
    text = f"{_amount(limit, limit.count)} {NOUNS[limit.what]}"
    return text if limit.per is None else f"{text} per {limit.per}"


def _amount(limit: Limit, amount: int) -> str:
    return money.amount(amount) if limit.what == "spend" else str(amount)


def _duration(seconds: float) -> str:
    if seconds <= 300:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds <= 5 * 3600:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h"
