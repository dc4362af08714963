"""Limits: how much of what, in how long, and where that is counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

What = Literal[
    "requests",  # of any kind
    "inference_requests",  # to a model
    "input_tokens",
    "output_tokens",
    "tokens",  # of both
    "spend",  # billionths of the currency's unit
    "concurrent_requests",  # to models, under way
]

Per = Literal["second", "minute", "hour", "day", "month"]
"""A month is the calendar's, in UTC, by the database's clock; the others are any stretch of that length."""

PERIOD_MS: Mapping[Per, int] = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""A month has no fixed length."""

REQUESTS: frozenset[What] = frozenset(("requests", "inference_requests"))
TOKENS: frozenset[What] = frozenset(("tokens", "input_tokens", "output_tokens"))

GivenLimits = Literal["none"] | Mapping[str, int | float]
"""``"none"``: lifted by an admin. Else what one key or user is held to, by the names in
``app.domain.limit_table.OWN``."""

OwnLimits = Literal["none"] | tuple[tuple[str, int | float], ...]
"""The same as a caller carries it."""

Amounts = Mapping[What, int]
"""How much of what: what a request takes, or took."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So much in so long.

    Attributes:
        what: What is counted.
        count: The most there may be in any stretch of that length; billionths for ``spend``.
        per: The length; None for ``concurrent_requests``, which are counted while they are under way.
        burst: The most at once; more come in one by one, evenly over the time. None: all of them.
    """

    what: What
    count: int
    per: Per | None
    burst: int | None = None

    @property
    def is_budget(self) -> bool:
        """Whether it bounds what is paid for, rather than abuse: it closes where it cannot be checked."""
        return self.what == "spend" or (self.per == "month" and self.what in TOKENS)


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit, and where it is counted.

    Attributes:
        subject: The document that counts, such as ``user:user_1``, ``ip:127.0.0.1`` or ``model:org/name``.
        name: What counts there: unique in the subject; free of ``.`` and ``$``. The limit's number may change.
        limit: How much.
        holder: Whose limit it is, as messages tell them: "your", "this API key's", "this model's".
    """

    subject: str
    name: str
    limit: Limit
    holder: str = "your"


class Standing(NamedTuple):
    """How a bound stands for a caller at this moment.

    Attributes:
        remaining: How much is left.
        reset_at: When all of it is back, in Unix seconds by the database's clock; 0 of requests under way.
        reset_in_s: The same, from now.
    """

    bound: Bound
    remaining: int
    reset_at: float
    reset_in_s: float


def carried(limits: GivenLimits | None) -> OwnLimits | None:
    """Limits as a caller carries them."""
    return tuple(limits.items()) if isinstance(limits, Mapping) else limits
