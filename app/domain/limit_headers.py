"""How limits stand, as headers say it: the older family for people, OpenAI's for SDKs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from app.domain.limits import REQUESTS, TOKENS, Standing

Headers = list[tuple[bytes, bytes]]

EXPOSED = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    *(f"x-ratelimit-{part}-{what}" for what in ("requests", "tokens") for part in ("limit", "remaining", "reset")),
)
"""What scripts of other pages may read."""


def rate_limit_headers(standings: Iterable[Standing]) -> Headers:
    """The headers; none where nothing is limited.

    ``X-RateLimit-*`` tell the window of requests with the least left (where requests are not limited, of tokens);
    ``x-ratelimit-*-requests`` and ``-tokens`` the tightest of each kind.
    """
    standings = list(standings)
    requests = tightest([each for each in standings if each.bound.limit.what in REQUESTS])
    tokens = tightest([each for each in standings if each.bound.limit.what in TOKENS])
    headers: Headers = []
    if (first := requests or tokens) is not None:
        headers += [
            (b"x-ratelimit-limit", b"%d" % first.bound.limit.count),
            (b"x-ratelimit-remaining", b"%d" % first.remaining),
            (b"x-ratelimit-reset", b"%d" % math.ceil(first.reset_at)),
        ]
    for what, standing in ((b"requests", requests), (b"tokens", tokens)):
        if standing is not None:
            headers += [
                (b"x-ratelimit-limit-" + what, b"%d" % standing.bound.limit.count),
                (b"x-ratelimit-remaining-" + what, b"%d" % standing.remaining),
                (b"x-ratelimit-reset-" + what, duration(standing.reset_in_s).encode()),
            ]
    return headers


def tightest(standings: Sequence[Standing]) -> Standing | None:
    """The one with the least left; of equals the one that is back last."""
    return min(standings, key=lambda each: (each.remaining, -each.reset_in_s), default=None)


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``6m0s``, ``1h0m3s``, ``12ms``."""
    if seconds < 1:
        return f"{max(0, math.ceil(seconds * 1000))}ms"
    whole = math.ceil(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if minutes or hours else ""
    return f"{text}{rest}s"
